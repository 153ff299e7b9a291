//! Every row there is: its key, what stands in it, and who writes it. Keys sort as their bytes do.

use tidings_proto::{ConversationId, Seq, UserId};

/// A row's key. The first byte of its encoding is the kind's tag; numbers are big-endian, so that order is kept; a
/// user id that something follows is prefixed with its length.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// `c`: a conversation's state. Version: its event count. Written by its host.
    Conversation(ConversationId),
    /// `l`: log entries from this seq on (see `chunk`). Version: the event count when they last changed.
    Log(ConversationId, Seq),
    /// `m`: a member of a conversation of more than 64. Version: event count.
    Member(ConversationId, UserId),
    /// `f`: fingerprints of the repeats index, for the entries from this seq on. Never changed.
    Fingerprints(ConversationId, Seq),
    /// `h`: a user's home: version counter, profile, devices, blocks, settings. Version: home version.
    Home(UserId),
    /// `i`: one item of a user's inbox. Version: home version at its last change.
    Inbox(UserId, ConversationId),
    /// `x`: facts of the whole data folder, by name: format, lineage, epoch.
    Meta(&'static str),
}

/// Rows that are read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    Members(ConversationId),
    Fingerprints(ConversationId),
    Inbox(UserId),
    /// All conversations' states, for `fsck`, export and counting.
    Conversations,
    /// All homes.
    Homes,
}
