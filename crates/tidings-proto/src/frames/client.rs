//! What a client says. Each struct is one `type` of frame; `Command` is all of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{ConversationId, DeviceId, Seq, UserId, frames::RequestId, schema::Schemas};

/// A frame from a client: who asks for the answer, and what is asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub id: Option<RequestId>,
    pub command: Command,
}

macro_rules! commands {
    ($($wire:literal $name:ident,)*) => {
        #[derive(Clone, Debug)]
        pub enum Command {
            $($name($name),)*
        }

        impl Command {
            /// Every `type` a client may say.
            pub const TYPES: &'static [&'static str] = &[$($wire,)*];

            /// The frame's `type`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$name(_) => $wire,)* }
            }

            /// The schema of each frame, by its `type`.
            pub fn schemas(schemas: &mut Schemas) -> Vec<(&'static str, serde_json::Value)> {
                vec![$(($wire, schemas.request::<$name>($wire)),)*]
            }

            /// Reads the body of a frame of type `kind`. `None`: there is no such type.
            pub(super) fn read(kind: &str, text: &str) -> Option<Result<Self, serde_json::Error>> {
                Some(match kind {
                    $($wire => serde_json::from_str::<$name>(text).map(Self::$name),)*
                    _ => return None,
                })
            }

            /// Why `read` failed, with the path of the field.
            pub(super) fn explain(kind: &str, text: &str) -> Option<serde_path_to_error::Error<serde_json::Error>> {
                match kind {
                    $($wire => {
                        let json = &mut serde_json::Deserializer::from_str(text);
                        serde_path_to_error::deserialize::<_, $name>(json).err()
                    })*
                    _ => None,
                }
            }
        }

        impl Serialize for Request {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                #[derive(Serialize)]
                struct Tagged<'a, T> {
                    #[serde(rename = "type")]
                    kind: &'static str,
                    #[serde(skip_serializing_if = "Option::is_none")]
                    id: &'a Option<RequestId>,
                    #[serde(flatten)]
                    body: &'a T,
                }
                let kind = self.command.kind();
                match &self.command {
                    $(Command::$name(body) => Tagged { kind, id: &self.id, body }.serialize(serializer),)*
                }
            }
        }
    };
}

commands! {
    "hello" Hello,
    "auth" Auth,
    "send" Send,
    "fetch" Fetch,
    "inbox" Inbox,
    "sync" Sync,
    "mark_read" MarkRead,
    "ack" Ack,
    "typing" Typing,
    "watch" Watch,
    "create" Create,
    "members" Members,
    "leave" Leave,
    "rename" Rename,
    "edit" Edit,
    "redact" Redact,
    "react" React,
    "block" Block,
    "unblock" Unblock,
    "set" Set,
    "profile" Profile,
    "device" Device,
    "ping" Ping,
    "pong" Pong,
}

/// Opens a session: `username` in open mode, `token` where a login service gives one.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Hello {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    /// Resume: what differs since this token comes first, as `changes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    /// With `sync`: so many of each changed conversation's newest entries come with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
}

/// Renews the token of a living connection.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Auth {
    pub token: String,
}

/// Where a message goes: exactly one of a user, a conversation, a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum To {
    User(UserId),
    Conversation(ConversationId),
    List(String),
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Send {
    pub to: To,
    pub client_msg_id: String,
    #[serde(default)]
    pub text: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub mentions: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<Seq>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<String>,
    /// A JSON object of the client's own, kept as it came.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Box<RawValue>>,
}

/// History of one conversation, or of many by `ranges`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Fetch {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation: Option<ConversationId>,
    #[serde(flatten)]
    pub page: Page,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ranges: Option<Vec<Range>>,
}

/// Which entries: `before` and `after` exclusive, `around` inclusive, none of them: the newest. At most one of the three.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Page {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub around: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Range {
    pub conversation: ConversationId,
    #[serde(flatten)]
    pub page: Page,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Inbox {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Sync {
    /// Absent: the whole inbox.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sync: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tail: Option<usize>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MarkRead {
    pub conversation: ConversationId,
    pub seq: Seq,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Ack {
    pub conversation: ConversationId,
    pub seq: Seq,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Typing {
    pub conversation: ConversationId,
}

/// Whose presence to tell: replaces the set.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Watch {
    pub users: Vec<UserId>,
}

/// What those who join see of the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum History {
    #[default]
    All,
    Joined,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Create {
    pub client_msg_id: String,
    pub name: String,
    #[serde(default)]
    pub members: Vec<UserId>,
    #[serde(default)]
    pub history: History,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Member,
    Admin,
    Owner,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Members {
    pub client_msg_id: String,
    pub conversation: ConversationId,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<UserId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<UserId>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub roles: BTreeMap<UserId, Role>,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Leave {
    pub client_msg_id: String,
    pub conversation: ConversationId,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rename {
    pub client_msg_id: String,
    pub conversation: ConversationId,
    pub name: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Edit {
    pub client_msg_id: String,
    pub conversation: ConversationId,
    pub seq: Seq,
    pub text: String,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Redact {
    pub client_msg_id: String,
    pub conversation: ConversationId,
    pub seq: Seq,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct React {
    pub client_msg_id: String,
    pub conversation: ConversationId,
    pub seq: Seq,
    pub emoji: String,
    pub on: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Block {
    pub user: UserId,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Unblock {
    pub user: UserId,
}

/// This user's own settings of a conversation. What is absent stays.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Set {
    pub conversation: ConversationId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muted: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archived: Option<bool>,
}

/// Who may see whether a user is online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PresenceAudience {
    Everyone,
    #[default]
    Contacts,
    Nobody,
}

/// One's own profile. What is absent stays; an empty string removes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Profile {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub presence: Option<PresenceAudience>,
}

/// How one of one's own devices is shown in the list of them. What is absent stays; an empty string removes.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Device {
    /// Absent: the device that says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is, such as "Firefox on Linux".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Ping {}

#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Pong {}
