//! What a history is made of: one [`Record`] a line of JSON, as the clients saw it.
//!
//! Times are nanoseconds of CLOCK_MONOTONIC of one machine, so that processes of that machine can be compared. What only
//! asks (a fetch, a sync) is one record, made when the answer is there; what changes something is recorded before it
//! leaves the client, because it may happen even if the client never learns of it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{client::Page, server},
};

/// Nanoseconds of the recording machine's monotonic clock.
pub type Nanos = u64;

/// The client's id for a send.
pub type ClientMsgId = Arc<str>;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
            #[serde(transparent)]
            pub struct $name(pub u64);
        )*
    };
}

numbers! {
    /// One socket, one stream, or the requests of one HTTP client. Unique in a history.
    ConnectionId,
    /// A client's state that outlives its connections: what a sync token stands for. Unique in a history.
    SessionId,
    /// A question that changes something, and its answer. Unique in a history.
    OperationId,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// When this was asked, or when the client had the answer in its hands.
    pub at: Nanos,
    pub event: Event,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// Recorded before the client connects; names the connection in all that follows.
    Connected(Connected),
    /// The client knows that the connection is over.
    Closed {
        connection: ConnectionId,
    },
    /// About to send something that makes an entry. Its answer is `sent`, `refused` or `unknown`; none means unknown.
    Send(SendAsked),
    Sent {
        operation: OperationId,
        seq: Seq,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        repeat: bool,
    },
    /// About to block or unblock. Its answer is `done`, `refused` or `unknown`; none means unknown.
    Block(BlockAsked),
    Done {
        operation: OperationId,
    },
    /// It did not happen and will not.
    Refused {
        operation: OperationId,
        code: Code,
    },
    /// It may have happened, or may still.
    Unknown {
        operation: OperationId,
    },
    Delivered(Delivered),
    Fetched(Fetched),
    Synced(Synced),
    MarkedRead(MarkedRead),
    Receipt(ReceiptSeen),
    /// For people who read the history: a restart, a kill, a cut line.
    Mark {
        text: String,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connected {
    pub connection: ConnectionId,
    pub session: SessionId,
    pub user: UserId,
    pub device: DeviceId,
    pub transport: Transport,
    /// It came with a sync token of this session: what was missed has to be told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    WebSocket,
    Sse,
    Mqtt,
    LongPoll,
    Poll,
    /// Requests that may overtake each other.
    Http,
}

impl Transport {
    /// Whether entries come of their own accord, in order and without gaps.
    pub fn is_live(self) -> bool {
        matches!(self, Self::WebSocket | Self::Sse | Self::Mqtt)
    }

    /// Whether requests take effect in the order sent.
    pub fn keeps_order(self) -> bool {
        matches!(self, Self::WebSocket | Self::Mqtt)
    }
}

/// A message, an edit, a change of members: all that makes an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendAsked {
    pub operation: OperationId,
    pub connection: ConnectionId,
    pub conversation: ConversationId,
    /// The other one, if the conversation is direct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<UserId>,
    pub client_msg_id: ClientMsgId,
    pub kind: server::Kind,
    /// Of a message or an edit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextHash>,
    /// What an edit, a redaction, a reaction is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Seq>,
    /// Who is put out by it, the sender when leaving: they need not see the conversation any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removes: Vec<UserId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockAsked {
    pub operation: OperationId,
    pub connection: ConnectionId,
    /// Whom the connection's user blocks or unblocks.
    pub user: UserId,
    pub on: bool,
}

/// An entry that came of its own accord.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivered {
    pub connection: ConnectionId,
    pub conversation: ConversationId,
    pub entry: Entry,
}

/// One page of history.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fetched {
    pub connection: ConnectionId,
    /// When it was asked.
    pub asked: Nanos,
    pub conversation: ConversationId,
    pub range: Page,
    pub first_seq: Seq,
    pub last_seq: Seq,
    pub entries: Vec<Entry>,
    /// The answer ended before the range did, because of its size.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// Read when all was over and quiet: together these pages are the log for ever.
    #[serde(default, skip_serializing_if = "std::ops::Not::not", rename = "final")]
    pub is_final: bool,
}

/// An inbox page, or the changes since a sync token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Synced {
    pub connection: ConnectionId,
    /// When it was asked, for a resume when the `hello` left. Absent: told of its own accord.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Nanos>,
    /// Whether it (with its later pages) is the whole account rather than what differs.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub full: bool,
    /// More pages follow.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
    /// It is such a later page.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub continued: bool,
    pub items: Vec<Item>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub removed: Vec<ConversationId>,
}

impl Synced {
    /// Whether it is an answer in one page: then what it leaves out stayed as it was. (While somebody pages, what moves
    /// may slip through, and the next sync brings it.)
    pub fn is_complete(&self) -> bool {
        self.asked.is_some() && !self.more && !self.continued
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    pub conversation: ConversationId,
    pub last_seq: Seq,
    pub read_seq: Seq,
    pub unread: u64,
    /// The preview, unless its text was cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Entry>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tail: Vec<Entry>,
}

/// A `mark_read` that was answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedRead {
    pub connection: ConnectionId,
    pub conversation: ConversationId,
    pub seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptSeen {
    pub connection: ConnectionId,
    pub conversation: ConversationId,
    pub user: UserId,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}

/// An entry as a client was shown it. A void one has `seq` and `kind` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: Seq,
    pub kind: server::Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_msg_id: Option<ClientMsgId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextHash>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<Seq>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

impl Entry {
    pub fn is_void(&self) -> bool {
        self.kind == server::Kind::Void
    }
}

impl From<&server::Entry<'_>> for Entry {
    fn from(entry: &server::Entry<'_>) -> Self {
        let more = entry.more.as_deref();
        Self {
            seq: entry.seq,
            kind: entry.kind,
            from: entry.from.clone(),
            client_msg_id: entry.client_msg_id.as_deref().map(Arc::from),
            text: entry.text.as_deref().map(TextHash::of),
            target: more.and_then(|more| more.target),
            edited_seq: more.and_then(|more| more.edited_seq),
            redacted: more.is_some_and(|more| more.redacted.is_some()),
        }
    }
}

impl From<&server::Item<'_>> for Item {
    fn from(item: &server::Item<'_>) -> Self {
        let whole = |last: &&server::Entry<'_>| !last.more.as_deref().is_some_and(|more| more.cut);
        Self {
            conversation: item.conversation,
            last_seq: item.last_seq,
            read_seq: item.read_seq,
            unread: item.unread,
            last: item.last.as_ref().filter(whole).map(Entry::from),
            tail: item.tail.iter().flatten().map(Entry::from).collect(),
        }
    }
}

/// Stands for a text: 8 bytes of its BLAKE3 hash, in JSON as 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TextHash(pub u64);

impl TextHash {
    pub fn of(text: &str) -> Self {
        let hash = blake3::hash(text.as_bytes());
        let (first, _) = hash.as_bytes().split_first_chunk().expect("a hash has 32 bytes");
        Self(u64::from_be_bytes(*first))
    }
}

impl Serialize for TextHash {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:016x}", self.0))
    }
}

impl<'de> Deserialize<'de> for TextHash {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&digits, 16).map(Self).map_err(serde::de::Error::custom)
    }
}
