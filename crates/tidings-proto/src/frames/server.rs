//! What a client is told. Each struct is one `type` of frame; `ServerFrame` is all of them.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    ConversationId, DeviceId, Seq, UserId,
    codes::Code,
    frames::{
        RequestId,
        client::{History, Role},
    },
    limits::Limits,
    schema::Schemas,
};

macro_rules! frames {
    ($($wire:literal $name:ident $type:ty,)*) => {
        /// Any frame from the server.
        #[derive(Clone, Debug, Serialize)]
        #[serde(tag = "type")]
        pub enum ServerFrame<'a> {
            $(#[serde(rename = $wire)] $name($type),)*
        }

        impl ServerFrame<'_> {
            /// Every `type` a server may say.
            pub const TYPES: &'static [&'static str] = &[$($wire,)*];

            /// The frame's `type`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $wire,)* }
            }
        }

        impl<'a> ServerFrame<'a> {
            /// The schema of each frame, by its `type`.
            pub fn schemas(schemas: &mut Schemas) -> Vec<(&'static str, serde_json::Value)> {
                vec![$(($wire, schemas.frame::<$type>($wire)),)*]
            }
        }

        impl ServerFrame<'static> {
            /// Reads a frame; `Ok(None)`: a type that this version does not know, to be skipped.
            pub fn parse(text: &str) -> Result<Option<Self>, serde_json::Error> {
                #[derive(Deserialize)]
                struct Head<'a> {
                    #[serde(borrow, rename = "type")]
                    kind: Cow<'a, str>,
                }
                Ok(Some(match &*serde_json::from_str::<Head<'_>>(text)?.kind {
                    $($wire => Self::$name(serde_json::from_str(text)?),)*
                    _ => return Ok(None),
                }))
            }
        }
    };
}

frames! {
    "welcome" Welcome Welcome,
    "sent" Sent Sent,
    "created" Created Sent,
    "entry" Entry LiveEntry<'a>,
    "entries" Entries Entries<'a>,
    "inbox" Inbox InboxPage<'a>,
    "changes" Changes Changes<'a>,
    "receipt" Receipt Receipt,
    "typing" Typing Typing,
    "presence" Presence Presence,
    "ok" Ok Answered,
    "error" Error Refused,
    "move" Move Move,
    "expiring" Expiring Expiring,
    "close" Close Close,
    "ping" Ping Beat,
    "pong" Pong Beat,
}

impl ServerFrame<'_> {
    /// The frame as one line of JSON.
    pub fn to_json(&self) -> String {
        // With room for most messages: growing costs more than the rest of the writing.
        let bytes = match self {
            Self::Entry(_) => 512,
            Self::Inbox(page) => 512 * page.items.len(),
            Self::Changes(changes) => 128 + 512 * changes.items.len(),
            Self::Entries(Entries { page: Some(page), .. }) => 512 * page.entries.len(),
            _ => 128,
        };
        let mut json = Vec::with_capacity(bytes);
        serde_json::to_writer(&mut json, self).expect("frames have string keys and no failing values");
        String::from_utf8(json).expect("JSON is UTF-8")
    }
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Welcome {
    pub user: UserId,
    pub device: DeviceId,
    pub session: String,
    /// The account as it stands now. A client that resumed gets what differs in the `changes` behind this frame.
    pub sync: String,
    /// Address of the node where this user's conversations are, if it is another one.
    #[schema(required)]
    pub prefer: Option<String>,
    pub heartbeat_s: u64,
    #[serde(deserialize_with = "known_limits")]
    pub limits: Limits,
    pub features: Vec<String>,
}

/// The limits this version knows: a newer server may tell more, which a settings file may not.
fn known_limits<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Limits, D::Error> {
    let mut told = serde_json::Map::deserialize(deserializer)?;
    let known = serde_json::to_value(Limits::default()).expect("limits are plain numbers");
    told.retain(|name, _| known.get(name).is_some());
    serde_json::from_value(told.into()).map_err(serde::de::Error::custom)
}

/// The answer to all that makes an entry: it is durable now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Sent {
    #[schema(required)]
    pub re: Option<RequestId>,
    pub conversation: ConversationId,
    pub seq: Seq,
    pub at: u64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub repeat: bool,
}

/// An entry as it happens.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LiveEntry<'a> {
    pub conversation: ConversationId,
    #[serde(flatten)]
    pub entry: Entry<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Message,
    Edit,
    Redaction,
    Reaction,
    Members,
    Rename,
    Tip,
    Void,
    /// A kind of a newer version: to be skipped.
    #[serde(other)]
    Unknown,
}

/// One entry of a log. Which fields stand depends on `kind`; a `void` one has `seq` and `kind` only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Entry<'a> {
    pub seq: Seq,
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_msg_id: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    #[serde(flatten)]
    #[schema(value_type = More)]
    pub more: Option<Box<More>>,
}

/// The less frequent fields of an entry, kept apart so that a plain message stays small in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct More {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<serde_json::Map<String, serde_json::Value>>,
    /// A preview whose text was cut.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cut: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited_seq: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redacted: Option<Redacted>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reactions: Vec<Reaction>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emoji: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<UserId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<UserId, Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Redacted {
    pub seq: Seq,
    pub by: UserId,
    pub at: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reaction {
    pub emoji: String,
    pub count: usize,
    /// Whether the reader is one of them.
    pub mine: bool,
}

/// History: of one conversation, or `ranges` in the order asked.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Entries<'a> {
    #[schema(required)]
    pub re: Option<RequestId>,
    #[serde(flatten)]
    pub page: Option<EntriesPage<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<RangeAnswer<'a>>>,
    /// Not all ranges were answered, because of the answer's size: ask again for the rest.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub more: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct EntriesPage<'a> {
    pub conversation: ConversationId,
    /// Ascending.
    pub entries: Vec<Entry<'a>>,
    /// What the reader may see at all.
    pub first_seq: Seq,
    pub last_seq: Seq,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum RangeAnswer<'a> {
    Page(EntriesPage<'a>),
    Refused { conversation: ConversationId, code: Code, message: String },
}

/// A page of the inbox. Keep the first page's `sync`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct InboxPage<'a> {
    #[schema(required)]
    pub re: Option<RequestId>,
    pub items: Vec<Item<'a>>,
    #[schema(required)]
    pub next: Option<String>,
    pub sync: String,
}

/// What differs since a sync token; without `re` also told of one's own accord.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Changes<'a> {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<RequestId>,
    pub items: Vec<Item<'a>>,
    /// Conversations that are no longer the user's.
    pub removed: Vec<ConversationId>,
    pub sync: String,
    pub more: bool,
    pub full: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ConversationKind {
    Direct,
    Group,
    List,
    System,
}

/// One conversation in a user's inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Item<'a> {
    pub conversation: ConversationId,
    pub kind: ConversationKind,
    #[serde(flatten)]
    pub who: Who,
    /// The newest entry of kind message, tip, members or rename, folded, its text cut at 200 characters.
    #[schema(required)]
    pub last: Option<Entry<'a>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seq: Option<Seq>,
    pub last_seq: Seq,
    pub read_seq: Seq,
    pub unread: u64,
    pub mentions: u64,
    pub muted: bool,
    pub pinned: bool,
    pub archived: bool,
    pub blocked: bool,
    /// With `tail` asked for: the newest entries, ascending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Vec<Entry<'a>>>,
}

/// Whom the conversation is with: one person, or a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Who {
    Direct { with: UserId, with_name: Option<String>, with_picture: Option<String>, peer: Peer },
    Group { name: String, picture: Option<String>, member_count: u64, role: Role },
}

/// How far the other one of a direct conversation is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Peer {
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    pub conversation: ConversationId,
    pub user: UserId,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Typing {
    pub conversation: ConversationId,
    pub user: UserId,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceState {
    Online,
    Offline,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Presence {
    pub user: UserId,
    pub state: PresenceState,
    /// Unix milliseconds, coarse. Absent where it is not known or not for the asker to know.
    #[schema(required)]
    pub last_seen: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answered {
    #[schema(required)]
    pub re: Option<RequestId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Refused {
    #[schema(required)]
    pub re: Option<RequestId>,
    pub code: Code,
    /// What to do.
    pub message: String,
    #[schema(required)]
    pub retry_after_ms: Option<u64>,
    /// With `unknown_user`: which ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Move {
    pub after_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Expiring {
    pub in_s: u64,
}

/// Where a transport has no close code of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Close {
    pub code: u16,
    pub reason: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Beat {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub re: Option<RequestId>,
}

/// A conversation as `GET /v1/conversations/{id}` tells it: the item, and who is in it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ConversationDetails<'a> {
    #[serde(flatten)]
    pub item: Item<'a>,
    pub history: History,
    /// Up to 64 members with their receipts; of a larger conversation use `…/members`.
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Member {
    pub user: UserId,
    pub role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_seq: Option<Seq>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<Seq>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MembersPage {
    pub members: Vec<Member>,
    #[schema(required)]
    pub next: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UserProfile {
    pub user: UserId,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceState>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Device {
    pub device: DeviceId,
    /// What the user calls it.
    #[schema(required)]
    pub name: Option<String>,
    /// What it says that it is.
    #[schema(required)]
    pub platform: Option<String>,
    #[schema(required)]
    pub last_seen: Option<u64>,
    pub connected: bool,
}

/// The problem document of a refused HTTP call (RFC 9457).
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    pub code: Code,
    pub title: String,
    pub detail: String,
    pub status: u16,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login_url: Option<String>,
}

/// `data` of a message, checked to be an object when it came in.
pub fn data_object(raw: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
    serde_json::from_str(raw).ok()
}

/// Frames of many answers of one `POST /v1/frames`.
#[derive(Serialize, Deserialize)]
pub struct Answers {
    pub answers: Vec<Box<RawValue>>,
}
