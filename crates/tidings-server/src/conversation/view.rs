//! An entry as one reader sees it on the wire. The only place that decides what a blocked person's entry looks like.

use std::borrow::Cow;

use tidings_proto::{
    UserId,
    frames::{
        client,
        server::{self, Kind, More},
    },
    limits::PREVIEW_CHARS,
};

use crate::conversation::{
    entry::{Body, Entry, Fold, MembersChange, Message, Redacted, Role},
    fold,
};

/// For whom an entry is shown.
#[derive(Clone, Copy)]
pub struct Viewer<'a> {
    pub user: &'a UserId,
    /// Whose entries this reader does not see in this conversation.
    pub hides: &'a dyn Fn(&UserId) -> bool,
}

impl Viewer<'_> {
    /// Whether this reader sees no more than that there is an entry.
    pub fn is_void(&self, entry: &Entry) -> bool {
        entry.from != *self.user && (entry.void || (self.hides)(&entry.from))
    }
}

/// The entry on the wire.
pub fn entry<'a>(entry: &'a Entry, viewer: Viewer<'_>) -> server::Entry<'a> {
    if viewer.is_void(entry) {
        return void(entry);
    }
    let hidden = entry.fold.as_ref().is_some_and(|fold| !fold.void.is_empty());
    if hidden {
        let mut shown = entry.clone();
        fold::apply_void(&mut shown, viewer.user);
        return into_owned(plain(&shown, viewer.user));
    }
    plain(entry, viewer.user)
}

/// The entry as everybody sees it who is neither its sender's blocker nor reacted to it: for live frames, which are the same for all.
pub fn live(entry: &Entry) -> server::Entry<'_> {
    plain(entry, &entry.from)
}

pub fn void(entry: &Entry) -> server::Entry<'static> {
    server::Entry {
        seq: entry.seq,
        kind: Kind::Void,
        from: None,
        at: None,
        client_msg_id: None,
        text: None,
        more: None,
    }
}

/// The entry as a preview: its text cut.
pub fn preview<'a>(shown: &'a Entry, viewer: Viewer<'_>) -> Option<server::Entry<'a>> {
    if viewer.is_void(shown) {
        return None;
    }
    let mut preview = entry(shown, viewer);
    let end = preview.text.as_deref().and_then(preview_end);
    if let (Some(end), Some(text)) = (end, &mut preview.text) {
        match text {
            Cow::Borrowed(borrowed) => *text = Cow::Borrowed(&borrowed[..end]),
            Cow::Owned(owned) => owned.truncate(end),
        }
        preview.more.get_or_insert_default().cut = true;
    }
    Some(preview)
}

/// Where a text is cut for a preview, if it is longer than one.
fn preview_end(text: &str) -> Option<usize> {
    match text.as_bytes().get(..PREVIEW_CHARS) {
        None => None,
        // An inbox has a thousand of them: most need no counting.
        Some(beginning) if beginning.is_ascii() => (text.len() > PREVIEW_CHARS).then_some(PREVIEW_CHARS),
        Some(_) => text.char_indices().nth(PREVIEW_CHARS).map(|(end, _)| end),
    }
}

fn plain<'a>(entry: &'a Entry, reader: &UserId) -> server::Entry<'a> {
    let mut shown = server::Entry {
        seq: entry.seq,
        kind: Kind::Message,
        from: Some(entry.from.clone()),
        at: Some(entry.at_ms),
        client_msg_id: entry.client_msg_id.as_deref().map(Cow::Borrowed),
        text: None,
        more: None,
    };
    match &entry.body {
        Body::Message(message) => show_message(&mut shown, message, entry.fold.as_deref(), reader),
        Body::Edit { target, text } => {
            shown.kind = Kind::Edit;
            let redacted = entry.fold.as_ref().and_then(|fold| fold.redacted.as_ref()).map(redacted);
            shown.text = redacted.is_none().then_some(Cow::Borrowed(text));
            shown.more = Some(Box::new(More { target: Some(*target), redacted, ..More::default() }));
        }
        Body::Redaction { target, .. } => {
            shown.kind = Kind::Redaction;
            shown.more = Some(Box::new(More { target: Some(*target), ..More::default() }));
        }
        Body::Reaction { target, emoji, on } => {
            shown.kind = Kind::Reaction;
            let emoji = Some(emoji.as_ref().to_owned());
            shown.more = Some(Box::new(More { target: Some(*target), emoji, on: Some(*on), ..More::default() }));
        }
        Body::Members(change) => {
            shown.kind = Kind::Members;
            shown.more = Some(Box::new(members(change)));
        }
        Body::Rename { name } => {
            shown.kind = Kind::Rename;
            shown.more = Some(Box::new(More { name: Some(name.as_ref().to_owned()), ..More::default() }));
        }
    }
    shown
}

fn show_message<'a>(shown: &mut server::Entry<'a>, message: &'a Message, fold: Option<&Fold>, reader: &UserId) {
    let strings = |texts: &[Box<str>]| texts.iter().map(|text| text.as_ref().to_owned()).collect::<Vec<_>>();
    let Message { text: _, mentions, reply_to, attachments, data } = message;
    let is_plain =
        fold.is_none() && mentions.is_empty() && reply_to.is_none() && attachments.is_empty() && data.is_none();
    shown.text = Some(Cow::Borrowed(&message.text));
    if is_plain {
        return;
    }
    let mut more = More {
        mentions: strings(mentions),
        reply_to: *reply_to,
        attachments: strings(attachments),
        data: data.as_deref().and_then(server::data_object),
        ..More::default()
    };
    if let Some(fold) = fold {
        more.edited_seq = fold.edits.last().copied();
        more.reactions = fold
            .reactions
            .iter()
            .map(|reaction| server::Reaction {
                emoji: reaction.emoji.as_ref().to_owned(),
                count: reaction.users.len(),
                mine: reaction.users.contains(reader),
            })
            .collect();
        if fold.redacted.is_some() {
            shown.text = None;
            more.redacted = fold.redacted.as_ref().map(redacted);
        }
    }
    shown.more = Some(Box::new(more));
}

fn redacted(redacted: &Redacted) -> server::Redacted {
    server::Redacted { seq: redacted.seq, by: redacted.by.clone(), at: redacted.at_ms }
}

fn members(change: &MembersChange) -> More {
    let added = change.added.iter().filter(|(_, role)| *role != Role::Member);
    More {
        add: change.added.iter().map(|(user, _)| user.clone()).collect(),
        remove: change.removed.clone(),
        roles: change.roles.iter().chain(added).map(|(user, role)| (user.clone(), wire_role(*role))).collect(),
        ..More::default()
    }
}

fn into_owned(entry: server::Entry<'_>) -> server::Entry<'static> {
    server::Entry {
        client_msg_id: entry.client_msg_id.map(|id| Cow::Owned(id.into_owned())),
        text: entry.text.map(|text| Cow::Owned(text.into_owned())),
        seq: entry.seq,
        kind: entry.kind,
        from: entry.from,
        at: entry.at,
        more: entry.more,
    }
}

pub fn wire_role(role: Role) -> client::Role {
    match role {
        Role::Member => client::Role::Member,
        Role::Admin => client::Role::Admin,
        Role::Owner => client::Role::Owner,
    }
}

pub fn role(role: client::Role) -> Role {
    match role {
        client::Role::Member => Role::Member,
        client::Role::Admin => Role::Admin,
        client::Role::Owner => Role::Owner,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_ends_after_so_many_characters_whatever_their_bytes() {
        let counted = |text: &str| text.char_indices().nth(PREVIEW_CHARS).map(|(end, _)| end);
        for unit in ["a", "é", "aé", "日", "a日b"] {
            for repeats in [0, 1, PREVIEW_CHARS / 2, PREVIEW_CHARS - 1, PREVIEW_CHARS, PREVIEW_CHARS + 1] {
                let text = unit.repeat(repeats);
                assert_eq!(preview_end(&text), counted(&text), "{unit} x {repeats}");
            }
        }
        // The first character that is more than a byte stands right behind the place of the cut.
        let text = "a".repeat(PREVIEW_CHARS) + "é";
        assert_eq!(preview_end(&text), counted(&text));
    }
}
