//! Rules 6 and 7: what was known when something was asked counts for it.

use hashbrown::HashMap;
use tidings_proto::{Seq, frames::client::Page};

use crate::{
    event::{Event, Fetched},
    index::{ConversationNumber, EventNumber, Index, Step, UserNumber, Via},
    report::{Evidence, Outcome},
};

/// Rule 6. A send first asked after a seq was known to anybody (by an ack, a delivery, a read) has a higher one.
pub(super) fn real_time_order(index: &Index<'_>, outcome: &mut Outcome) {
    for message in &index.messages {
        let Some(known) = message.first_known else { continue };
        let Some(first) = index.effective_attempts(message).next() else { continue };
        let Some(before) = index.known(message.conversation).before(first.at) else { continue };
        // Shown before it was sent: that is rule 5's.
        if known.at < first.at {
            continue;
        }
        outcome.judge();
        if known.seq <= before.seq {
            outcome.violate(|| {
                let (id, conversation) = (&first.asked.client_msg_id, index.conversation_name(message.conversation));
                let what = format!(
                    "{id} was sent to {conversation} when seq {} was known, and came to stand at {}",
                    before.seq, known.seq
                );
                (what, [before.event, first.event, known.event].map(|event| index.evidence(event)).to_vec())
            });
        }
    }
}

/// Rule 7. A page reaches, in the range it was asked for, as far as anybody knew when it was asked; it has as many entries
/// as were asked for unless it says `more`; and nothing that the reader saw before lies before its `first_seq`.
/// (Holes inside a page are rule 3's, final reads rule 4's.)
pub(super) fn fresh_reads(index: &Index<'_>, outcome: &mut Outcome) {
    let mut lowest_seen: HashMap<(ConversationNumber, UserNumber), (Seq, EventNumber)> = HashMap::new();
    let mut sightings = index.sightings.iter().peekable();
    for (place, record) in index.history.records().enumerate() {
        let event = EventNumber::from(place);
        while let Some(seen) = sightings.next_if(|sighting| sighting.event < event) {
            let lowest = lowest_seen.entry((seen.conversation, index.observer(seen))).or_insert((seen.seq, seen.event));
            *lowest = (*lowest).min((seen.seq, seen.event));
        }
        let Event::Fetched(fetched) = &record.event else { continue };
        if fetched.is_final {
            continue;
        }
        outcome.judge();
        let conversation = index.conversation_number(&fetched.conversation);
        let user = index.connection(index.connection_number(fetched.connection)).user;
        let known = index.known(conversation).before(fetched.asked);
        if let Some(what) = too_little(fetched, known.map_or(Seq::NONE, |known| known.seq)) {
            violate(index, outcome, fetched, &what, known, event);
        } else if let Some(&(lowest, seen)) = lowest_seen.get(&(conversation, user))
            && lowest < fetched.first_seq
            && !index.put_out.contains(&(conversation, user))
        {
            let what = format!("its first_seq hides seq {lowest}, which the reader saw before");
            let step = Step { at: 0, seq: lowest, event: seen };
            violate(index, outcome, fetched, &what, Some(step), event);
        }
    }
}

fn violate(
    index: &Index<'_>,
    outcome: &mut Outcome,
    fetched: &Fetched,
    what: &str,
    known: Option<Step>,
    event: EventNumber,
) {
    outcome.violate(|| {
        let proof: Option<Evidence> = known.map(|known| index.evidence(known.event));
        let evidence = proof.into_iter().chain([index.evidence(event)]).collect();
        (format!("a read of {} is wrong: {what}", fetched.conversation), evidence)
    });
}

/// What the page lacks or has too much of, when `known` was known.
fn too_little(fetched: &Fetched, known: Seq) -> Option<String> {
    let Fetched { range, entries, more, .. } = fetched;
    let first_seq = fetched.first_seq.max(Seq::FIRST);
    if fetched.last_seq < known {
        return Some(format!("it says last_seq {} when {known} was known", fetched.last_seq));
    }
    if range.limit.is_some_and(|limit| entries.len() > limit) {
        return Some("it has more entries than asked for".to_owned());
    }
    let (lowest, highest) = bounds(*range, first_seq);
    if let Some(outside) = entries.iter().find(|entry| entry.seq < lowest || entry.seq > highest) {
        return Some(format!("seq {} was not asked for", outside.seq));
    }
    let highest_known = highest.min(known);
    if lowest > highest_known {
        return None;
    }
    let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
        return Some(format!("it is empty when {known} was known"));
    };
    // By what it spans: a hole in it is rule 3's.
    let span = (last.seq.0 + 1).saturating_sub(first.seq.0);
    let is_full = *more || range.limit.is_none_or(|limit| span >= limit as u64);
    match range {
        Page { after: Some(_), .. } if first.seq != lowest => Some(format!("it does not begin at {lowest}")),
        Page { after: Some(_), .. } if last.seq < highest_known && !is_full => {
            Some(format!("it ends at {} when {known} was known", last.seq))
        }
        Page { after: Some(_), .. } => None,
        Page { around: Some(around), .. } if *around <= known && *around >= first_seq => {
            let inside = first.seq <= *around && *around <= last.seq;
            (!inside).then(|| format!("it leaves out {around} itself"))
        }
        Page { around: Some(_), .. } => None,
        _ if last.seq < highest_known => Some(format!("it ends at {} when {known} was known", last.seq)),
        _ if first.seq > lowest && !is_full => Some(format!("it begins at {} for no reason", first.seq)),
        _ => None,
    }
}

/// The lowest and highest seq that a page over `range` may have.
fn bounds(range: Page, first_seq: Seq) -> (Seq, Seq) {
    let lowest = range.after.map_or(first_seq, |after| after.next().max(first_seq));
    let highest = range.before.map_or(Seq(u64::MAX), Seq::previous);
    (lowest, highest)
}

/// The kinds of sighting that a reader asked for.
pub(super) fn was_asked_for(via: Via) -> bool {
    matches!(via, Via::Fetched | Via::FinalRead | Via::Tail | Via::Preview)
}
