//! A conversation's state as a row of the tables holds it.

use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    conversation::{
        actor::Stored,
        entry::Entry,
        event::{Created, Kind},
        members::{Member, Members},
        state::{Block, Imported, State},
    },
    tables::{TablesError, flush::OpenTail},
};

use super::load::decode;

#[derive(Debug, Encode, Decode)]
pub struct ConversationRow {
    #[n(0)]
    version: u64,
    #[n(1)]
    created: Option<Created>,
    #[n(2)]
    name: Box<str>,
    #[n(3)]
    last_seq: Seq,
    #[n(4)]
    last_ord: u64,
    #[n(5)]
    last_at_ms: u64,
    /// Up to 64 members; `None`: they are rows of their own.
    #[n(6)]
    members: Option<Vec<(UserId, Member)>>,
    #[n(7)]
    #[cbor(default)]
    blocks: Vec<Block>,
    #[n(8)]
    preview: Option<Entry>,
    #[n(9)]
    #[cbor(default)]
    mentions_of_all: Vec<Seq>,
    #[n(10)]
    tail: OpenTail,
    #[n(11)]
    fingerprints_from: Seq,
    #[n(12)]
    #[cbor(default)]
    imported: Imported,
    #[n(13)]
    #[cbor(default)]
    redacted: Vec<Seq>,
}

impl ConversationRow {
    pub fn new(state: &State, tail: OpenTail, fingerprints_from: Seq) -> Self {
        let members = match &state.members {
            Members::Few(few) => Some(few.as_ref().clone()),
            Members::Many(_) => None,
        };
        // Whom a group began with is in its first entry; the row needs only what it is.
        let created = state.created.as_deref().map(|created| Created {
            members: if created.members.len() <= 2 { created.members.clone() } else { Vec::new() },
            ..created.clone()
        });
        Self {
            version: state.version,
            created,
            name: state.name.as_ref().into(),
            last_seq: state.last_seq,
            last_ord: state.last_ord,
            last_at_ms: state.last_at_ms,
            members,
            blocks: state.blocks.clone(),
            preview: state.preview.as_deref().cloned(),
            mentions_of_all: state.mentions_of_all.clone(),
            tail,
            fingerprints_from,
            imported: state.imported,
            redacted: state.redacted.clone(),
        }
    }

    pub fn read(id: ConversationId, value: &[u8]) -> Result<Self, TablesError> {
        decode(value, || format!("the row of conversation {id}"))
    }

    pub fn last_seq(&self) -> Seq {
        self.last_seq
    }

    /// The first seq whose fingerprint is not in a complete run of them.
    pub fn fingerprints_from(&self) -> Seq {
        self.fingerprints_from.max(Seq::FIRST)
    }

    /// Whether it is a group of this name.
    pub fn is_group_named(&self, name: &str) -> bool {
        *self.name == *name && self.created.as_ref().is_some_and(|created| created.kind == Kind::Group)
    }

    pub fn has_member_rows(&self) -> bool {
        self.members.is_none()
    }

    /// The state again; `many` are the members that have rows of their own.
    pub fn into_state(self, many: Vec<(UserId, Member)>) -> (State, Stored) {
        let stored =
            Stored { tail: self.tail, last_seq: self.last_seq, fingerprints_from: self.fingerprints_from, flushes: 0 };
        let members = match self.members {
            Some(few) => Members::Few(Arc::new(few)),
            None => Members::Many(many.into_iter().collect()),
        };
        let state = State {
            created: self.created.map(Arc::new),
            version: self.version,
            name: self.name.into(),
            last_seq: self.last_seq,
            last_ord: self.last_ord,
            last_at_ms: self.last_at_ms,
            members,
            blocks: self.blocks,
            preview: self.preview.map(Arc::new),
            mentions_of_all: self.mentions_of_all,
            imported: self.imported,
            redacted: self.redacted,
        };
        (state, stored)
    }
}

/// A row's value. Encoding into memory cannot fail.
pub fn encode<T: Encode<()>>(value: &T) -> Bytes {
    minicbor::to_vec(value).expect("a vector takes all bytes").into()
}
