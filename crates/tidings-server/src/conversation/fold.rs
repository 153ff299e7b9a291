//! Folding: what edits, redactions and reactions make of their target. Doing it twice, in order, changes nothing more.

use std::sync::Arc;

use tidings_proto::{Seq, UserId, limits::PREVIEW_CHARS};

use crate::conversation::entry::{Body, Entry, Fold, Reactions, Redacted, VoidChange};

/// The entries that `entry` changes: the message it is about, and of a redaction that message's edits.
pub fn targets(entry: &Entry) -> impl Iterator<Item = Seq> {
    let (target, edits) = match &entry.body {
        Body::Edit { target, .. } | Body::Reaction { target, .. } => (Some(*target), &[][..]),
        Body::Redaction { target, edits } => (Some(*target), edits.as_slice()),
        Body::Message(_) | Body::Members(_) | Body::Rename { .. } => (None, &[][..]),
    };
    target.into_iter().chain(edits.iter().copied())
}

/// Makes `change` (an entry with `entry` among its targets) part of `entry`.
pub fn apply(entry: &mut Entry, change: &Entry) {
    if let (Body::Edit { text, .. }, Body::Redaction { .. }) = (&mut entry.body, &change.body) {
        if !change.void || entry.void {
            *text = Box::default();
            let redacted = Redacted { seq: change.seq, by: change.from.clone(), at_ms: change.at_ms };
            entry.fold.get_or_insert_default().redacted.get_or_insert(redacted);
        }
        return;
    }
    if change.void && !entry.void {
        // Only who made it sees it: it is kept apart, the latest of each kind.
        let fold = entry.fold.get_or_insert_default();
        fold.void.retain(|earlier| earlier.by != change.from || !same_place(&earlier.body, &change.body));
        fold.void.push(VoidChange {
            seq: change.seq,
            at_ms: change.at_ms,
            by: change.from.clone(),
            body: change.body.clone(),
        });
        return;
    }
    apply_body(entry, change.seq, change.at_ms, &change.from, &change.body);
}

/// Shows `entry` as `viewer` sees it, with what a blocked person did after the block, if that is the viewer.
pub fn apply_void(entry: &mut Entry, viewer: &UserId) {
    let Some(fold) = &mut entry.fold else { return };
    for change in std::mem::take(&mut fold.void) {
        if change.by == *viewer {
            apply_body(entry, change.seq, change.at_ms, &change.by, &change.body);
        }
    }
}

fn same_place(one: &Body, other: &Body) -> bool {
    match (one, other) {
        (Body::Reaction { emoji: one, .. }, Body::Reaction { emoji: other, .. }) => one == other,
        (one, other) => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn apply_body(entry: &mut Entry, seq: Seq, at_ms: u64, by: &UserId, body: &Body) {
    let Body::Message(message) = &mut entry.body else { return };
    let fold = entry.fold.get_or_insert_default();
    match body {
        Body::Edit { text, .. } if fold.redacted.is_none() && fold.edits.last().is_none_or(|last| *last < seq) => {
            fold.edits.push(seq);
            message.text = text.clone();
        }
        Body::Redaction { .. } => {
            *message = crate::conversation::entry::Message { reply_to: message.reply_to, ..Default::default() };
            // Who reacted to what is gone is gone too.
            let redacted = fold.redacted.take().unwrap_or(Redacted { seq, by: by.clone(), at_ms });
            **fold = Fold { redacted: Some(redacted), ..Fold::default() };
        }
        Body::Reaction { emoji, on, .. } if fold.redacted.is_none() => react(&mut fold.reactions, emoji, by, *on),
        _ => {}
    }
}

fn react(reactions: &mut Vec<Reactions>, emoji: &str, by: &UserId, on: bool) {
    let place = reactions.iter().position(|reaction| &*reaction.emoji == emoji);
    match (place, on) {
        (Some(at), true) => {
            if !reactions[at].users.contains(by) {
                reactions[at].users.push(by.clone());
            }
        }
        (None, true) => reactions.push(Reactions { emoji: emoji.into(), users: vec![by.clone()] }),
        (Some(at), false) => {
            reactions[at].users.retain(|user| user != by);
            if reactions[at].users.is_empty() {
                reactions.remove(at);
            }
        }
        (None, false) => {}
    }
}

/// Whether an entry may stand as a conversation's last one.
pub fn is_previewed(entry: &Entry) -> bool {
    matches!(entry.body, Body::Message(_) | Body::Members(_) | Body::Rename { .. })
}

/// Brings a conversation's preview up to `entry`. Void entries are the caller's business.
pub fn preview(preview: &mut Option<Arc<Entry>>, entry: &Arc<Entry>) {
    if is_previewed(entry) {
        *preview = Some(cut(entry));
    } else if let Some(shown) = preview.as_mut().filter(|shown| targets(entry).any(|target| target == shown.seq)) {
        let shown = Arc::make_mut(shown);
        apply(shown, entry);
        cut_text(shown);
    }
}

/// The entry as a preview: its text at most one character longer than what is shown, so that one can tell that it was cut.
fn cut(entry: &Arc<Entry>) -> Arc<Entry> {
    let long = match &entry.body {
        Body::Message(message) => message.text.len() > PREVIEW_CHARS,
        Body::Members(change) => change.added.len() + change.removed.len() + change.roles.len() > PREVIEW_NAMES,
        _ => false,
    };
    if !long {
        return entry.clone();
    }
    let mut entry = (**entry).clone();
    cut_text(&mut entry);
    Arc::new(entry)
}

/// How many names of a change of members a preview keeps of each kind.
const PREVIEW_NAMES: usize = 8;

fn cut_text(entry: &mut Entry) {
    match &mut entry.body {
        Body::Message(message) => {
            if let Some((end, _)) = message.text.char_indices().nth(PREVIEW_CHARS + 1) {
                message.text = message.text[..end].into();
            }
        }
        Body::Members(change) => {
            change.added.truncate(PREVIEW_NAMES);
            change.removed.truncate(PREVIEW_NAMES);
            change.roles.truncate(PREVIEW_NAMES);
        }
        _ => {}
    }
}
