//! Rule 9: a retry is the first one again.

use crate::{
    Server,
    index::{Answer, Attempt, Index, Message},
    report::{Evidence, Outcome},
};

/// Rule 9. All acks of one message name one seq; at most one of them is no repeat; a send asked after an ack of the same
/// message is a repeat; and a repeat needs an earlier or concurrent attempt that can have been the first. In a fleet that may be
/// the same attempt: a node asks the next host what the one before did not answer.
pub(super) fn repeats_agree(index: &Index<'_>, outcome: &mut Outcome) {
    for message in &index.messages {
        let acked: Vec<Ack<'_, '_>> =
            message.attempts.iter().filter_map(|&number| ack(index.attempt(number))).collect();
        if acked.is_empty() {
            continue;
        }
        outcome.judge();
        if let Some((what, acks)) = wrong(index, message, &acked) {
            outcome.violate(|| {
                let name = index.message_name(acks[0].attempt.message);
                let conversation = index.conversation_name(message.conversation);
                let evidence: Vec<Evidence> = acks.iter().map(|ack| index.evidence(ack.event)).collect();
                (format!("{name} in {conversation}: {what}"), evidence)
            });
        }
    }
}

#[derive(Clone, Copy)]
struct Ack<'i, 'h> {
    attempt: &'i Attempt<'h>,
    seq: tidings_proto::Seq,
    repeat: bool,
    at: u64,
    event: crate::index::EventNumber,
}

fn ack<'i, 'h>(attempt: &'i Attempt<'h>) -> Option<Ack<'i, 'h>> {
    match attempt.answer {
        Answer::Sent { seq, repeat, at, event } => Some(Ack { attempt, seq, repeat, at, event }),
        _ => None,
    }
}

/// What is wrong with `acked` (not empty, in the order of asking), and the acks that show it.
fn wrong<'i, 'h>(
    index: &Index<'h>,
    message: &Message,
    acked: &[Ack<'i, 'h>],
) -> Option<(&'static str, Vec<Ack<'i, 'h>>)> {
    let first = acked[0];
    if let Some(&other) = acked.iter().find(|ack| ack.seq != first.seq) {
        return Some(("its acks name different seqs", vec![first, other]));
    }
    let originals: Vec<Ack<'_, '_>> = acked.iter().filter(|ack| !ack.repeat).copied().collect();
    if let [one, other, ..] = originals[..] {
        return Some(("two acks call it no repeat", vec![one, other]));
    }
    let earliest = *acked.iter().min_by_key(|ack| ack.at).expect("there is at least one ack");
    match originals.first() {
        Some(&original) if earliest.at < original.attempt.at => {
            Some(("asked again after an ack, it is called no repeat", vec![earliest, original]))
        }
        Some(_) => None,
        None if index.server == Server::Fleet => None,
        // All are repeats: another attempt, whose answer nobody has, must have been the first.
        None => {
            let mut others = index.effective_attempts(message).filter(|attempt| attempt.answer == Answer::Unknown);
            let explained = others.any(|attempt| attempt.at <= earliest.at);
            (!explained).then(|| ("it is called a repeat of nothing", vec![earliest]))
        }
    }
}
