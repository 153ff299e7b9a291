//! Rules 3 and 4: the log has no holes and loses nothing. Both rest on final reads; a page of any read has no holes.

use hashbrown::{HashMap, HashSet};
use tidings_proto::Seq;

use crate::{
    event::{Event, Fetched},
    index::{ConversationNumber, EventNumber, Index, Sighting, UserNumber, Via},
    report::Outcome,
    rules::sent,
};

/// One user's final read of one conversation, from all its pages.
struct FinalRead {
    /// The first and last that the reader may see, as the server said.
    first_seq: Seq,
    last_seq: Seq,
    event: EventNumber,
    seqs: Vec<Seq>,
}

type FinalReads = HashMap<(ConversationNumber, UserNumber), FinalRead>;

fn final_reads(index: &Index<'_>) -> FinalReads {
    let mut reads = FinalReads::new();
    for (place, record) in index.history.records().enumerate() {
        let Event::Fetched(fetched) = &record.event else { continue };
        if fetched.is_final {
            let event = EventNumber::from(place);
            let user = index.connection(index.connection_number(fetched.connection)).user;
            let key = (index.conversation_number(&fetched.conversation), user);
            let &Fetched { first_seq, last_seq, .. } = fetched;
            let new = || FinalRead { first_seq, last_seq, event, seqs: Vec::new() };
            let read = reads.entry(key).or_insert_with(new);
            read.last_seq = read.last_seq.max(last_seq);
            read.event = event;
            read.seqs.extend(fetched.entries.iter().map(|entry| entry.seq));
        }
    }
    for read in reads.values_mut() {
        read.seqs.sort_unstable();
        read.seqs.dedup();
    }
    reads
}

/// Rule 3. Each page ascends by one; each final read goes from its first to its last seq without a hole, and in each
/// conversation at least one of them from 1.
pub(super) fn dense(index: &Index<'_>, outcome: &mut Outcome) {
    for (place, record) in index.history.records().enumerate() {
        let Event::Fetched(fetched) = &record.event else { continue };
        outcome.judge();
        let jump = fetched.entries.windows(2).find(|pair| pair[0].seq.next() != pair[1].seq);
        if let (Some([before, after]), false) = (jump, fetched.is_final) {
            outcome.violate(|| {
                let what = format!("a page of {} goes from {} to {}", fetched.conversation, before.seq, after.seq);
                (what, vec![index.evidence(EventNumber::from(place))])
            });
        }
    }
    let mut first_seqs: HashMap<ConversationNumber, (Seq, EventNumber)> = HashMap::new();
    for (&(conversation, _), read) in &final_reads(index) {
        outcome.judge();
        let first = first_seqs.entry(conversation).or_insert((read.first_seq, read.event));
        *first = (*first).min((read.first_seq, read.event));
        if let Some(hole) = hole(read) {
            outcome.violate(|| {
                let conversation = index.conversation_name(conversation);
                let what = format!("the final read of {conversation} has no entry {hole}");
                (what, vec![index.evidence(read.event)])
            });
        }
    }
    for (conversation, (first_seq, event)) in first_seqs.into_iter().filter(|(_, (first, _))| *first > Seq::FIRST) {
        outcome.violate(|| {
            let what = format!("nobody may see {} before {first_seq}", index.conversation_name(conversation));
            (what, vec![index.evidence(event)])
        });
    }
}

/// The first seq of its range that a final read lacks.
fn hole(read: &FinalRead) -> Option<Seq> {
    let mut expected = read.first_seq.max(Seq::FIRST);
    for &seq in &read.seqs {
        if seq > expected {
            return Some(expected);
        }
        expected = expected.max(seq.next());
    }
    (expected <= read.last_seq).then_some(expected)
}

/// Rule 4. Every seq that was acked, delivered or read is in each final read that may show it, an acked one with its
/// sender, `client_msg_id`, kind and text; and a final read reaches as far as any `last_seq` that was told.
pub(super) fn durable(index: &Index<'_>, outcome: &mut Outcome) {
    let reads = final_reads(index);
    let mut readers: HashMap<ConversationNumber, Vec<UserNumber>> = HashMap::new();
    for &(conversation, user) in reads.keys() {
        readers.entry(conversation).or_default().push(user);
    }
    let mut finals = HashSet::new();
    for sightings in index.entries() {
        finals.clear();
        let mut earlier: Option<&Sighting<'_>> = None;
        let mut acked: Option<&Sighting<'_>> = None;
        for sighting in sightings.clone() {
            match sighting.via {
                Via::FinalRead => _ = finals.insert(index.observer(sighting)),
                Via::Ack if acked.is_none() => acked = Some(sighting),
                _ => earlier = earlier.or(Some(sighting)),
            }
        }
        let Some(proof) = acked.or(earlier) else { continue };
        let Some(readers) = readers.get(&proof.conversation) else { continue };
        outcome.judge();
        for &reader in readers.iter().filter(|reader| !finals.contains(*reader)) {
            let read = &reads[&(proof.conversation, reader)];
            if read.first_seq <= proof.seq {
                lost(index, outcome, proof, read.event);
            }
        }
        if let Some(acked) = acked {
            for shown in sightings.filter(|sighting| sighting.via == Via::FinalRead) {
                compare(index, outcome, acked, shown);
            }
        }
    }
    told_too_much(index, outcome, &reads);
}

fn lost(index: &Index<'_>, outcome: &mut Outcome, proof: &Sighting<'_>, read: EventNumber) {
    outcome.violate(|| {
        let how = if proof.via == Via::Ack { "acked" } else { "seen" };
        let conversation = index.conversation_name(proof.conversation);
        let what = format!("seq {} of {conversation} was {how} and is not in a final read", proof.seq);
        (what, vec![index.sighting_evidence(proof), index.evidence(read)])
    });
}

fn compare(index: &Index<'_>, outcome: &mut Outcome, acked: &Sighting<'_>, shown: &Sighting<'_>) {
    let Some(entry) = shown.entry.filter(|entry| !entry.is_void()) else { return };
    let difference = if shown.message != acked.message {
        Some("another entry stands at the seq of an acked one")
    } else if !sent::is_explained(index, shown, entry) {
        Some("an acked entry has another content")
    } else {
        None
    };
    if let Some(difference) = difference {
        outcome.violate(|| {
            let what = format!("{difference}: seq {} of {}", acked.seq, index.conversation_name(acked.conversation));
            (what, vec![index.sighting_evidence(acked), index.sighting_evidence(shown)])
        });
    }
}

/// A `last_seq` beyond the final log told of what was never committed, or was lost.
fn told_too_much(index: &Index<'_>, outcome: &mut Outcome, reads: &FinalReads) {
    for (&(conversation, _), read) in reads {
        let Some(known) = index.known(conversation).at_last() else { continue };
        let seen = index.logged(conversation, known.seq).is_some();
        if known.seq > read.last_seq && !seen {
            outcome.violate(|| {
                let conversation = index.conversation_name(conversation);
                let what =
                    format!("{conversation} was said to reach {}, its final read ends at {}", known.seq, read.last_seq);
                (what, vec![index.evidence(known.event), index.evidence(read.event)])
            });
        }
    }
}
