//! What changes a home: what its user does, and what conversations tell it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, DeviceId, Seq, UserId};

use crate::conversation::{
    entry::{Entry, Role},
    event::{History, Kind, ProfileOf},
};

use super::kept::{KeptSession, Published};

/// One event of one home, as a commit holds it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct HomeEvent {
    #[n(0)]
    pub user: UserId,
    #[n(1)]
    pub change: HomeChange,
}

/// Each may be applied again, in order, with the same result.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum HomeChange {
    /// The user is known from now on.
    #[n(0)]
    Known {
        #[n(0)]
        at_ms: u64,
        /// What an import calls the user: it stays the name of the id for imports, and is a display name unless there is one already.
        #[n(1)]
        name: Option<Box<str>>,
    },
    #[n(1)]
    Device {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        at_ms: u64,
    },
    #[n(2)]
    DeviceRevoked {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        at_ms: u64,
    },
    #[n(3)]
    Read {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        seq: Seq,
        /// `Entry::ord` of that entry.
        #[n(2)]
        ord: u64,
    },
    #[n(4)]
    Set {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        muted: Option<bool>,
        #[n(2)]
        pinned: Option<bool>,
        #[n(3)]
        archived: Option<bool>,
    },
    /// An empty string removes.
    #[n(5)]
    Profile {
        #[n(0)]
        name: Option<Box<str>>,
        #[n(1)]
        picture: Option<Box<str>>,
        #[n(2)]
        audience: Option<Audience>,
    },
    /// The user blocks another one, or no longer does. The direct conversation of the two follows.
    #[n(6)]
    Blocked {
        #[n(0)]
        user: UserId,
        #[n(1)]
        on: bool,
        #[n(2)]
        home_version: u64,
    },
    /// The other one of this direct conversation is shown so from now on.
    #[n(8)]
    PeerProfile {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        profile: ProfileOf,
    },
    /// What is kept of a device's session from now on; none: it has ended.
    #[n(9)]
    Kept {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        session: Option<KeptSession>,
    },
    /// A device has published without a `client_msg_id`. In one commit with what it published.
    #[n(10)]
    Published {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        published: Published,
    },
    /// A device has everything of a conversation up to `seq`.
    #[n(11)]
    Delivered {
        /// Which cursors: those of one subscription of one device.
        #[n(0)]
        cursors: u64,
        #[n(1)]
        conversation: ConversationId,
        #[n(2)]
        seq: Seq,
    },
    /// How a device is shown; an empty string removes.
    #[n(12)]
    DeviceNamed {
        #[n(0)]
        device: DeviceId,
        #[n(1)]
        name: Option<Box<str>>,
        #[n(2)]
        platform: Option<Box<str>>,
    },
    /// The last session ended.
    #[n(7)]
    Left {
        #[n(0)]
        at_ms: u64,
    },
}

impl HomeChange {
    /// The inbox item that it is about.
    pub fn conversation(&self, home: &UserId) -> Option<ConversationId> {
        match self {
            Self::Read { conversation, .. }
            | Self::Set { conversation, .. }
            | Self::Delivered { conversation, .. }
            | Self::PeerProfile { conversation, .. } => Some(*conversation),
            Self::Blocked { user, .. } => Some(ConversationId::direct(home, user)),
            Self::Known { .. }
            | Self::Device { .. }
            | Self::DeviceRevoked { .. }
            | Self::DeviceNamed { .. }
            | Self::Profile { .. }
            | Self::Kept { .. }
            | Self::Published { .. }
            | Self::Left { .. } => None,
        }
    }
}

/// Who may see whether a user is online.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub enum Audience {
    #[n(0)]
    Everyone,
    #[default]
    #[n(1)]
    Contacts,
    #[n(2)]
    Nobody,
}

/// What a conversation tells the home of a member. On one node it follows from the conversation's own event, which is in
/// the journal; so it is not written there a second time.
#[derive(Clone, Debug)]
pub struct Tell {
    pub conversation: ConversationId,
    /// The conversation's event count: one that was applied already is ignored.
    pub version: u64,
    pub what: Told,
}

impl Tell {
    /// When what is told happened, in unix milliseconds; 0 where that is of no account.
    pub fn at_ms(&self) -> u64 {
        match &self.what {
            Told::Joined(joined) => joined.at_ms,
            Told::Entry(entry) | Told::Group { entry, .. } => entry.at_ms,
            Told::Peer { .. } => 0,
        }
    }
}

#[derive(Clone, Debug)]
pub enum Told {
    /// The user belongs to it from now on.
    Joined(Box<Joined>),
    Entry(Arc<Entry>),
    /// An entry that changed who belongs to it or how it is called.
    Group {
        entry: Arc<Entry>,
        name: Arc<str>,
        member_count: u64,
        large: bool,
    },
    /// How far the other one of a direct conversation is.
    Peer {
        delivered: Seq,
        read: Seq,
    },
}

/// A conversation as somebody finds it who becomes a member.
#[derive(Clone, Debug)]
pub struct Joined {
    pub kind: Kind,
    pub with: Option<(UserId, ProfileOf)>,
    pub name: Arc<str>,
    pub member_count: u64,
    pub role: Role,
    pub history: History,
    pub large: bool,
    /// The entry that added the user; none for the people of a direct conversation, and after an import.
    pub entry: Option<Arc<Entry>>,
    /// After an import: what the item shows.
    pub preview: Option<Arc<Entry>>,
    pub last_seq: Seq,
    pub last_ord: u64,
    pub at_ms: u64,
}

impl Joined {
    /// The last entry that was there before the user.
    pub fn before(&self) -> Seq {
        self.entry.as_ref().map_or(self.last_seq, |entry| entry.seq.previous())
    }
}
