//! What the session reads off frames, and the frames it makes. Pure functions.

use std::borrow::Cow;

use tidings_proto::{
    Seq, UserId,
    frames::{
        RequestId,
        client::{Command, Request},
        server::{ConversationKind, Entry, Item, Kind, More, Sent, ServerFrame},
    },
};

/// Up to where a conversation that was not there before counts as delivered: a new direct one from its beginning, a group
/// from where this user joined (joining reads what is there).
pub(crate) fn start_of(item: &Item<'_>) -> Seq {
    match (item.first_seq, item.kind) {
        (Some(first), _) if first > Seq::FIRST => first.previous(),
        (_, ConversationKind::Direct) => Seq::NONE,
        _ => item.read_seq,
    }
}

/// The entry that `command` made, where the answer tells all about it. `None`: it must be fetched.
pub(crate) fn own_entry(me: &UserId, command: &Command, sent: &Sent) -> Option<Entry<'static>> {
    if sent.repeat {
        return None;
    }
    let (kind, client_msg_id, text, more) = match command {
        Command::Send(send) => {
            let data = send.data.as_ref().and_then(|data| serde_json::from_str(data.get()).ok());
            let more = More {
                mentions: send.mentions.clone(),
                reply_to: send.reply_to,
                attachments: send.attachments.clone(),
                data,
                ..More::default()
            };
            (Kind::Message, &send.client_msg_id, Some(send.text.clone()), more)
        }
        Command::Edit(edit) => {
            let more = More { target: Some(edit.seq), ..More::default() };
            (Kind::Edit, &edit.client_msg_id, Some(edit.text.clone()), more)
        }
        Command::Redact(redact) => {
            let more = More { target: Some(redact.seq), ..More::default() };
            (Kind::Redaction, &redact.client_msg_id, None, more)
        }
        Command::React(react) => {
            let emoji = Some(react.emoji.clone());
            let more = More { target: Some(react.seq), emoji, on: Some(react.on), ..More::default() };
            (Kind::Reaction, &react.client_msg_id, None, more)
        }
        _ => return None,
    };
    Some(Entry {
        seq: sent.seq,
        kind,
        from: Some(me.clone()),
        at: Some(sent.at),
        client_msg_id: Some(Cow::Owned(client_msg_id.clone())),
        text: text.map(Cow::Owned),
        more: Some(Box::new(more)),
    })
}

pub(crate) fn re(answer: &ServerFrame<'_>) -> Option<RequestId> {
    match answer {
        ServerFrame::Sent(sent) | ServerFrame::Created(sent) => sent.re.clone(),
        ServerFrame::Entries(entries) => entries.re.clone(),
        ServerFrame::Inbox(page) => page.re.clone(),
        ServerFrame::Changes(changes) => changes.re.clone(),
        ServerFrame::Ok(answered) => answered.re.clone(),
        ServerFrame::Error(refused) => refused.re.clone(),
        ServerFrame::Pong(beat) => beat.re.clone(),
        _ => None,
    }
}

pub(crate) fn text_of(request: &Request) -> String {
    serde_json::to_string(request).expect("frames have string keys and no failing values")
}

/// A frame that wants no answer.
pub(crate) fn telling(command: Command) -> String {
    text_of(&Request { id: None, command })
}
