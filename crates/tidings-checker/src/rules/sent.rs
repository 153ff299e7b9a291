//! Rule 5: nothing comes from nowhere.

use tidings_proto::frames::server::Kind;

use crate::{
    event::{Entry, TextHash},
    index::{Answer, Index, Sighting, Via},
    report::{Evidence, Outcome},
};

/// Rule 5. Whatever is shown was asked for before (by an attempt that was not refused), with that kind and text; an edited
/// text is that of an edit of this entry, a redacted or void entry has none. What may or may not have happened may show or
/// not. The content of acked entries in final reads is rule 4's.
pub(super) fn only_what_was_sent(index: &Index<'_>, outcome: &mut Outcome) {
    let acked = acked(index);
    for sighting in &index.sightings {
        let Some(entry) = sighting.entry else { continue };
        outcome.judge();
        if let Some((what, evidence)) = unasked(index, sighting, entry) {
            outcome.violate(|| {
                let conversation = index.conversation_name(sighting.conversation);
                let mut all = evidence;
                all.push(index.sighting_evidence(sighting));
                (format!("seq {} of {conversation} is shown, but {what}", sighting.seq), all)
            });
            continue;
        }
        let is_judged_as_durable =
            sighting.via == Via::FinalRead && sighting.message.is_some_and(|message| acked[message.place()]);
        if !is_judged_as_durable && !is_explained(index, sighting, entry) {
            outcome.violate(|| {
                let conversation = index.conversation_name(sighting.conversation);
                let what = format!("seq {} of {conversation} has a content that nobody sent", sighting.seq);
                let attempts = sighting.message.map(|message| &index.message(message).attempts[..]).unwrap_or_default();
                let mut evidence: Vec<Evidence> =
                    attempts.iter().map(|&attempt| index.evidence(index.attempt(attempt).event)).collect();
                evidence.push(index.sighting_evidence(sighting));
                (what, evidence)
            });
        }
    }
}

/// For each message whether an ack named it.
fn acked(index: &Index<'_>) -> Vec<bool> {
    let mut acked = vec![false; index.messages.len()];
    for attempt in &index.attempts {
        acked[attempt.message.place()] |= matches!(attempt.answer, Answer::Sent { .. });
    }
    acked
}

/// Why the entry should not be there at all, if it should not.
fn unasked(index: &Index<'_>, sighting: &Sighting<'_>, entry: &Entry) -> Option<(&'static str, Vec<Evidence>)> {
    let Some(number) = sighting.message else {
        let made_by_people = matches!(entry.kind, Kind::Message | Kind::Edit | Kind::Redaction | Kind::Reaction);
        return made_by_people.then(|| ("it names no sender or no client_msg_id", Vec::new()));
    };
    let message = index.message(number);
    let at = index.at(sighting.event);
    if index.effective_attempts(message).any(|attempt| attempt.at <= at) {
        return None;
    }
    let what = match message.attempts.first().map(|&attempt| index.attempt(attempt)) {
        None => "nobody sent it",
        Some(attempt) if attempt.at <= at => "it was refused",
        Some(_) => "it had not been sent yet",
    };
    let attempts = message.attempts.iter().map(|&attempt| index.evidence(index.attempt(attempt).event));
    Some((what, attempts.collect()))
}

/// Whether kind and text of a shown entry are what somebody sent.
pub(super) fn is_explained(index: &Index<'_>, sighting: &Sighting<'_>, entry: &Entry) -> bool {
    if entry.is_void() || entry.redacted {
        return entry.text.is_none();
    }
    let Some(number) = sighting.message else { return true };
    let mut attempts = index.effective_attempts(index.message(number));
    match entry.edited_seq {
        None => attempts.any(|attempt| (attempt.asked.kind, attempt.asked.text) == (entry.kind, entry.text)),
        Some(edited_seq) => {
            attempts.any(|attempt| attempt.asked.kind == entry.kind)
                && index.logged(sighting.conversation, edited_seq).is_none_or(|edit| {
                    let edits = edit.message.into_iter().flat_map(|edit| index.effective_attempts(index.message(edit)));
                    edits.into_iter().any(|edit| is_edit_to(edit.asked, sighting, entry.text))
                })
        }
    }
}

fn is_edit_to(asked: &crate::event::SendAsked, sighting: &Sighting<'_>, text: Option<TextHash>) -> bool {
    asked.kind == Kind::Edit && asked.target == Some(sighting.seq) && asked.text == text
}
