//! Rules 1 and 2: an entry and its seq belong to each other, whoever looks.

use tidings_proto::frames::server::Kind;

use crate::{
    event::TextHash,
    index::{Index, Sighting, Via},
    report::Outcome,
};

/// Rule 1. Acks, deliveries and reads of a seq agree on sender, `client_msg_id` and kind; and on the text, where several
/// texts were sent under one id (a text that nobody sent is rule 5's). Void, edited and redacted ones keep their text to
/// themselves.
pub(super) fn one_entry_per_seq(index: &Index<'_>, outcome: &mut Outcome) {
    for sightings in index.entries() {
        outcome.judge();
        let mut first = First::default();
        for sighting in sightings {
            if let Some((what, other)) = first.disagrees(index, sighting) {
                outcome.violate(|| {
                    let conversation = index.conversation_name(sighting.conversation);
                    let what = format!("seq {} of {conversation} has {what}", sighting.seq);
                    (what, vec![index.sighting_evidence(other), index.sighting_evidence(sighting)])
                });
                break;
            }
        }
    }
}

/// Who was first to say what of an entry.
#[derive(Default)]
struct First<'s, 'h> {
    message: Option<&'s Sighting<'h>>,
    kind: Option<&'s Sighting<'h>>,
    text: Option<(&'s Sighting<'h>, TextHash)>,
}

impl<'s, 'h> First<'s, 'h> {
    fn disagrees(&mut self, index: &Index<'h>, sighting: &'s Sighting<'h>) -> Option<(&'static str, &'s Sighting<'h>)> {
        if sighting.message.is_some() {
            let first = *self.message.get_or_insert(sighting);
            if first.message != sighting.message {
                return Some(("two entries", first));
            }
        }
        // An ack says no kind: what it answers may be a repeat with another body.
        if sighting.kind != Kind::Void && sighting.via != Via::Ack {
            let first = *self.kind.get_or_insert(sighting);
            if first.kind != sighting.kind {
                return Some(("two kinds", first));
            }
        }
        if let Some(text) = text_as_sent(index, sighting) {
            let (first, first_text) = *self.text.get_or_insert((sighting, text));
            if first_text != text {
                return Some(("two texts", first));
            }
        }
        None
    }
}

/// The text as it stands in this sighting, if it is one of those sent under the entry's id.
fn text_as_sent(index: &Index<'_>, sighting: &Sighting<'_>) -> Option<TextHash> {
    let entry = sighting.entry.filter(|entry| entry.edited_seq.is_none() && !entry.redacted)?;
    let attempts = &index.message(sighting.message?).attempts;
    let sent = |text: &TextHash| attempts.iter().any(|&attempt| index.attempt(attempt).asked.text == Some(*text));
    entry.text.filter(sent)
}

/// Rule 2. All that tells of a (conversation, sender, `client_msg_id`), by ack or by entry, names one seq.
pub(super) fn one_seq_per_message(index: &Index<'_>, outcome: &mut Outcome) {
    let mut told = vec![false; index.messages.len()];
    for sighting in &index.sightings {
        let Some(number) = sighting.message else { continue };
        let Some(first) = index.message(number).first_known else { continue };
        if first.event == sighting.event && first.seq == sighting.seq {
            outcome.judge();
        } else if first.seq != sighting.seq && !std::mem::replace(&mut told[number.place()], true) {
            outcome.violate(|| {
                let (message, conversation) =
                    (index.message_name(number), index.conversation_name(sighting.conversation));
                let what = format!("{message} has seq {} and seq {} in {conversation}", first.seq, sighting.seq);
                (what, vec![index.evidence(first.event), index.sighting_evidence(sighting)])
            });
        }
    }
}
