//! What changes a home: what its user does, and what conversations tell it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, DeviceId, Seq, UserId};

use crate::{
    cbor,
    conversation::{
        entry::{Entry, Role},
        event::{History, Kind, ProfileOf},
        fold,
    },
};

use super::kept::{KeptSession, Published};

/// What is told again is whole up to so many bytes.
const TOLD_WHOLE_BYTES: usize = 96 << 10;

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
    /// What a conversation of another node told.
    #[n(13)]
    Told(#[n(0)] Tell),
    #[cfg(feature = "next-format")]
    #[n(60)]
    Next {
        #[n(0)]
        at_ms: u64,
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
            Self::Told(tell) => Some(tell.conversation),
            Self::Known { .. }
            | Self::Device { .. }
            | Self::DeviceRevoked { .. }
            | Self::DeviceNamed { .. }
            | Self::Profile { .. }
            | Self::Kept { .. }
            | Self::Published { .. }
            | Self::Left { .. } => None,
            #[cfg(feature = "next-format")]
            Self::Next { .. } => None,
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
/// the journal; so it is not written there a second time. A home on another node writes it into its own.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Tell {
    #[n(0)]
    pub conversation: ConversationId,
    /// The conversation's event count: one that was applied already is ignored.
    #[n(1)]
    pub version: u64,
    #[n(2)]
    pub what: Told,
}

impl Tell {
    /// When what is told happened, in unix milliseconds; 0 where that is of no account.
    pub fn at_ms(&self) -> u64 {
        match &self.what {
            Told::Joined(joined) => joined.at_ms,
            Told::Entry(entry) | Told::Group { entry, .. } => entry.at_ms,
            Told::Again(again) => again.entries.last().map_or(0, |entry| entry.at_ms),
            Told::Peer { .. } => 0,
        }
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let of_entry = self.entry().map_or(0, |entry| entry.weight());
        64 + match &self.what {
            Told::Joined(_) => 200 + of_entry,
            Told::Entry(_) | Told::Group { .. } => of_entry,
            Told::Again(again) => {
                200 + again.slim.iter().chain(&again.entries).map(|entry| entry.weight()).sum::<usize>()
            }
            Told::Peer { .. } => 0,
        }
    }

    /// The first entry that the home lacks without this; `NONE`: it tells of none.
    pub fn first_seq(&self) -> Seq {
        let first = match &self.what {
            Told::Again(again) => again.slim.iter().chain(&again.entries).next(),
            _ => self.entry(),
        };
        first.map_or(Seq::NONE, |entry| entry.seq)
    }

    /// The entry that this tells, if it tells one as it was made.
    pub fn entry(&self) -> Option<&Arc<Entry>> {
        match &self.what {
            Told::Entry(entry) | Told::Group { entry, .. } => Some(entry),
            Told::Joined(joined) => joined.entry.as_ref(),
            Told::Peer { .. } | Told::Again(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Told {
    /// The user belongs to it from now on.
    #[n(0)]
    Joined(#[n(0)] Box<Joined>),
    #[n(1)]
    Entry(#[cbor(n(0), with = "cbor::shared")] Arc<Entry>),
    /// An entry that changed who belongs to it or how it is called.
    #[n(2)]
    Group {
        #[cbor(n(0), with = "cbor::shared")]
        entry: Arc<Entry>,
        #[cbor(n(1), with = "cbor::shared_text")]
        name: Arc<str>,
        #[n(2)]
        member_count: u64,
        #[n(3)]
        large: bool,
    },
    /// How far the other one of a direct conversation is.
    #[n(3)]
    Peer {
        #[n(0)]
        delivered: Seq,
        #[n(1)]
        read: Seq,
    },
    /// Everything that may have been missed, as it is now: nobody knows what arrived.
    #[n(4)]
    Again(#[n(0)] Box<Again>),
}

/// A conversation as it is, for a home that may lack some of what it was told.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Again {
    #[n(0)]
    pub joined: Joined,
    /// Whether the user belongs to it.
    #[n(1)]
    pub is_member: bool,
    /// How far the other one of a direct conversation is.
    #[n(2)]
    pub peer: Option<(Seq, Seq)>,
    /// What may be missing, ascending, without a gap to the last.
    #[cbor(n(3), with = "cbor::all_shared")]
    pub entries: Vec<Arc<Entry>>,
    /// Before them, without a gap either, and without what they say: one frame has to take it all.
    #[cbor(n(4), default, with = "cbor::all_shared")]
    pub slim: Vec<Arc<Entry>>,
    /// The last of `slim` that an item may show.
    #[cbor(n(5), with = "cbor::optional_shared")]
    pub preview: Option<Arc<Entry>>,
}

impl Again {
    /// The conversation as `joined`, with as many of `entries` whole as have room.
    pub fn new(joined: Joined, is_member: bool, peer: Option<(Seq, Seq)>, entries: &[Arc<Entry>]) -> Self {
        let mut bytes = 0;
        let fits = |entry: &&Arc<Entry>| {
            bytes += entry.weight();
            bytes <= TOLD_WHOLE_BYTES
        };
        let whole = entries.iter().rev().take_while(fits).count();
        let (before, entries) = entries.split_at(entries.len() - whole);
        let preview = before.iter().rev().find(|entry| fold::is_previewed(entry) && !entry.void).cloned();
        let slim = before.iter().map(|entry| Arc::new(entry.slim())).collect();
        Self { joined, is_member, peer, entries: entries.to_vec(), slim, preview }
    }
}

/// A conversation as somebody finds it who becomes a member.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Joined {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub with: Option<(UserId, ProfileOf)>,
    #[cbor(n(2), with = "cbor::shared_text")]
    pub name: Arc<str>,
    #[n(3)]
    pub member_count: u64,
    #[n(4)]
    pub role: Role,
    #[n(5)]
    pub history: History,
    #[n(6)]
    pub large: bool,
    /// The entry that added the user; none for the people of a direct conversation, and after an import.
    #[cbor(n(7), with = "cbor::optional_shared")]
    pub entry: Option<Arc<Entry>>,
    /// After an import: what the item shows.
    #[cbor(n(8), with = "cbor::optional_shared")]
    pub preview: Option<Arc<Entry>>,
    #[n(9)]
    pub last_seq: Seq,
    #[n(10)]
    pub last_ord: u64,
    #[n(11)]
    pub at_ms: u64,
}

impl Joined {
    /// The last entry that was there before the user.
    pub fn before(&self) -> Seq {
        self.entry.as_ref().map_or(self.last_seq, |entry| entry.seq.previous())
    }
}
