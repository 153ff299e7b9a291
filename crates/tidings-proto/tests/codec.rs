//! Whatever a client may say, with any ids, numbers and texts, is the same after it was written and read.

use proptest::{collection::vec, option, prelude::*};
use tidings_proto::{
    ConversationId, Seq, UserId,
    frames::{
        RequestId,
        client::{self, Command, History, Page, Range, Request, To},
        server::{Entry, Kind, LiveEntry, More, Reaction, Redacted, ServerFrame},
    },
};

fn user() -> impl Strategy<Value = UserId> {
    "[^\\p{C}]{1,20}".prop_map(|name| UserId::new(&name).expect("short, and without control characters"))
}

fn conversation() -> impl Strategy<Value = ConversationId> {
    any::<[u8; 16]>().prop_map(ConversationId::from_bytes)
}

fn seq() -> impl Strategy<Value = Seq> {
    any::<u64>().prop_map(Seq)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![any::<String>(), "[\"\\\\\u{0}-\u{1f}\u{2028}👍🏽/]{0,8}"]
}

fn page() -> impl Strategy<Value = Page> {
    (option::of(seq()), option::of(seq()), option::of(seq()), option::of(any::<usize>()))
        .prop_map(|(before, after, around, limit)| Page { before, after, around, limit })
}

fn send() -> impl Strategy<Value = Command> {
    let to =
        prop_oneof![user().prop_map(To::User), conversation().prop_map(To::Conversation), text().prop_map(To::List)];
    (to, text(), text(), vec(text(), 0..3), option::of(seq()), vec(text(), 0..3)).prop_map(
        |(to, client_msg_id, text, mentions, reply_to, attachments)| {
            let data = serde_json::value::to_raw_value(&serde_json::json!({ "text": text })).ok();
            Command::Send(client::Send { to, client_msg_id, text, mentions, reply_to, attachments, data })
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    let range = (conversation(), page()).prop_map(|(conversation, page)| Range { conversation, page });
    prop_oneof![
        send(),
        (option::of(conversation()), page(), option::of(vec(range, 0..3)))
            .prop_map(|(conversation, page, ranges)| { Command::Fetch(client::Fetch { conversation, page, ranges }) }),
        (text(), text(), vec(user(), 0..3), any::<bool>()).prop_map(|(client_msg_id, name, members, joined)| {
            let history = if joined { History::Joined } else { History::All };
            Command::Create(client::Create { client_msg_id, name, members, history })
        }),
        (text(), conversation(), seq(), text()).prop_map(|(client_msg_id, conversation, seq, text)| {
            Command::Edit(client::Edit { client_msg_id, conversation, seq, text })
        }),
        (text(), conversation(), seq(), text(), any::<bool>()).prop_map(
            |(client_msg_id, conversation, seq, emoji, on)| {
                Command::React(client::React { client_msg_id, conversation, seq, emoji, on })
            }
        ),
        vec(user(), 0..3).prop_map(|users| Command::Watch(client::Watch { users })),
    ]
}

fn id() -> impl Strategy<Value = RequestId> {
    prop_oneof![any::<i64>().prop_map(RequestId::Number), "[^\\p{C}]{0,16}".prop_map(RequestId::Text)]
}

fn more() -> impl Strategy<Value = More> {
    let redacted = (seq(), user(), any::<u64>()).prop_map(|(seq, by, at)| Redacted { seq, by, at });
    let reaction =
        (text(), any::<usize>(), any::<bool>()).prop_map(|(emoji, count, mine)| Reaction { emoji, count, mine });
    (vec(text(), 0..3), option::of(seq()), option::of(redacted), vec(reaction, 0..3), vec(user(), 0..3)).prop_map(
        |(mentions, reply_to, redacted, reactions, add)| More {
            mentions,
            reply_to,
            redacted,
            reactions,
            add,
            ..More::default()
        },
    )
}

fn entry() -> impl Strategy<Value = Entry<'static>> {
    let kind = prop_oneof![Just(Kind::Message), Just(Kind::Edit), Just(Kind::Members), Just(Kind::Void)];
    (seq(), kind, option::of(user()), option::of(any::<u64>()), option::of(text()), more()).prop_map(
        |(seq, kind, from, at, text, more)| Entry {
            seq,
            kind,
            from,
            at,
            client_msg_id: text.clone().map(Into::into),
            text: text.map(Into::into),
            more: Some(Box::new(more)),
        },
    )
}

proptest! {
    #[test]
    fn a_request_is_the_same_after_it_was_written_and_read(id in option::of(id()), command in command()) {
        let request = Request { id, command };
        let written = serde_json::to_string(&request).expect("it can be written");
        let read = Request::parse(&written).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(format!("{read:?}"), format!("{request:?}"));
    }

    #[test]
    fn an_entry_is_the_same_after_it_was_written_and_read(conversation in conversation(), entry in entry()) {
        let written = ServerFrame::Entry(LiveEntry { conversation, entry: entry.clone() }).to_json();
        let Ok(Some(ServerFrame::Entry(read))) = ServerFrame::parse(&written) else {
            return Err(TestCaseError::fail(written));
        };
        prop_assert_eq!(read.entry, entry);
        prop_assert_eq!(read.conversation, conversation);
    }
}
