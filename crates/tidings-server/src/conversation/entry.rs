//! What a conversation's log is made of, as it is kept: in events, in the overlay and in log chunks.
//!
//! The shape on the wire is `tidings_proto::frames`; this one is for storage (CBOR, RFC 8949, with numbered fields, so
//! that a newer version may add some and an older one skips them).

use minicbor::{Decode, Encode};
use tidings_proto::{Seq, UserId};

/// One record of a conversation's log.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Entry {
    #[n(0)]
    pub seq: Seq,
    /// Unix milliseconds of the server's clock, for people. Order is `seq`.
    #[n(1)]
    pub at_ms: u64,
    #[n(2)]
    pub from: UserId,
    /// How many entries up to and including this one count as unread for those who have not seen them.
    #[n(3)]
    pub ord: u64,
    /// Absent only where no client made the entry.
    #[n(4)]
    pub client_msg_id: Option<Box<str>>,
    #[n(5)]
    pub body: Body,
    /// In a direct conversation: sent by a blocked person. Only the sender sees more than `seq`.
    #[n(6)]
    #[cbor(default)]
    pub void: bool,
    /// What later entries made of this one. Absent while nothing did.
    #[n(7)]
    pub fold: Option<Box<Fold>>,
}

impl Entry {
    /// About how many bytes this takes in an answer.
    pub fn weight(&self) -> usize {
        200 + match &self.body {
            Body::Message(message) => message.text.len() + message.data.as_ref().map_or(0, |data| data.len()),
            Body::Edit { text, .. } => text.len(),
            Body::Members(change) => 32 * (change.added.len() + change.removed.len() + change.roles.len()),
            Body::Redaction { .. } | Body::Reaction { .. } | Body::Rename { .. } => 0,
        }
    }

    /// Whether this user is no member any more by this.
    pub fn removes(&self, user: &UserId) -> bool {
        matches!(&self.body, Body::Members(change) if change.removed.contains(user))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Body {
    #[n(0)]
    Message(#[n(0)] Message),
    #[n(1)]
    Edit {
        #[n(0)]
        target: Seq,
        #[n(1)]
        text: Box<str>,
    },
    #[n(2)]
    Redaction {
        #[n(0)]
        target: Seq,
        /// The target's edits: their texts go with it.
        #[n(1)]
        #[cbor(default)]
        edits: Vec<Seq>,
    },
    #[n(3)]
    Reaction {
        #[n(0)]
        target: Seq,
        #[n(1)]
        emoji: Box<str>,
        #[n(2)]
        on: bool,
    },
    #[n(4)]
    Members(#[n(0)] MembersChange),
    #[n(5)]
    Rename {
        #[n(0)]
        name: Box<str>,
    },
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Message {
    #[n(0)]
    pub text: Box<str>,
    /// User ids, or `@all`.
    #[n(1)]
    #[cbor(default)]
    pub mentions: Vec<Box<str>>,
    #[n(2)]
    pub reply_to: Option<Seq>,
    /// Media ids.
    #[n(3)]
    #[cbor(default)]
    pub attachments: Vec<Box<str>>,
    /// The client's own JSON object, as it came.
    #[n(4)]
    pub data: Option<Box<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
pub enum Role {
    #[n(0)]
    Member,
    #[n(1)]
    Admin,
    #[n(2)]
    Owner,
}

/// Who came, who went, whose role is another. A user stands in at most one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct MembersChange {
    #[n(0)]
    #[cbor(default)]
    pub added: Vec<(UserId, Role)>,
    #[n(1)]
    #[cbor(default)]
    pub removed: Vec<UserId>,
    #[n(2)]
    #[cbor(default)]
    pub roles: Vec<(UserId, Role)>,
}

/// The effect of edits, redactions and reactions on their target.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Fold {
    /// Its edits, ascending. The target's text is that of the last one.
    #[n(0)]
    #[cbor(default)]
    pub edits: Vec<Seq>,
    #[n(1)]
    pub redacted: Option<Redacted>,
    /// In order of first use; no empty ones.
    #[n(2)]
    #[cbor(default)]
    pub reactions: Vec<Reactions>,
    /// What a blocked person made of it after the block: only that person sees it.
    #[n(3)]
    #[cbor(default)]
    pub void: Vec<VoidChange>,
}

/// A void edit, redaction or reaction.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct VoidChange {
    #[n(0)]
    pub seq: Seq,
    #[n(1)]
    pub at_ms: u64,
    #[n(2)]
    pub by: UserId,
    #[n(3)]
    pub body: Body,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Redacted {
    #[n(0)]
    pub seq: Seq,
    #[n(1)]
    pub by: UserId,
    #[n(2)]
    pub at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Reactions {
    #[n(0)]
    pub emoji: Box<str>,
    #[n(1)]
    pub users: Vec<UserId>,
}
