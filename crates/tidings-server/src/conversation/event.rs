//! What a conversation decides: the events of its log and of its state. State is a function of these.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    cbor,
    conversation::entry::{Entry, Role},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Kind {
    #[n(0)]
    Direct,
    #[n(1)]
    Group,
    #[n(2)]
    List,
    #[n(3)]
    System,
}

/// What those who join see of the time before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum History {
    #[default]
    #[n(0)]
    All,
    #[n(1)]
    Joined,
}

/// One event of one conversation, as a commit holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct ConversationEvent {
    #[n(0)]
    pub conversation: ConversationId,
    /// The conversation's event count with this one: 1, 2, 3 …. What has it applied already ignores it.
    #[n(1)]
    pub version: u64,
    #[n(2)]
    pub change: Change,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Change {
    /// The conversation begins to exist. A group's first members follow as its first entry.
    #[n(0)]
    Created(#[n(0)] Created),
    #[n(1)]
    Entry(#[cbor(n(0), with = "cbor::shared")] Arc<Entry>),
    /// `by` blocks the other one of a direct conversation, or no longer does.
    #[n(2)]
    Blocked {
        #[n(0)]
        by: UserId,
        #[n(1)]
        on: bool,
        /// Version of the blocker's home: an older one than the last is ignored.
        #[n(2)]
        home_version: u64,
    },
    /// Registers that only move forward.
    #[n(3)]
    Receipt {
        #[n(0)]
        user: UserId,
        #[n(1)]
        delivered: Seq,
        #[n(2)]
        read: Seq,
    },
    /// An import brings its own past: members without an entry, then messages of any time, in order. Everybody has read them.
    #[n(4)]
    Imported {
        /// Who was no member before.
        #[n(0)]
        members: Vec<UserId>,
        #[cbor(n(1), with = "cbor::all_shared")]
        entries: Vec<Arc<Entry>>,
    },
}

impl Change {
    /// The entries that it adds to the log, in order.
    pub fn entries(&self) -> &[Arc<Entry>] {
        match self {
            Self::Entry(entry) => std::slice::from_ref(entry),
            Self::Imported { entries, .. } => entries,
            Self::Created(_) | Self::Blocked { .. } | Self::Receipt { .. } => &[],
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Created {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub name: Box<str>,
    #[n(2)]
    pub history: History,
    /// Of a direct conversation both people; of the others those who are there before the first entry.
    #[n(3)]
    pub members: Vec<(UserId, Role)>,
    #[n(4)]
    pub at_ms: u64,
    /// Of a direct conversation: what the two are called, in the order of `members`.
    #[n(5)]
    #[cbor(default)]
    pub profiles: Vec<ProfileOf>,
}

/// How a person is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct ProfileOf {
    #[n(0)]
    pub name: Option<Box<str>>,
    #[n(1)]
    pub picture: Option<Box<str>>,
}
