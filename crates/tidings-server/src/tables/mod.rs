//! The tables: the projections that reads use. They know no session and no journal: a flush writes into them what
//! the journal already holds, later and coalesced.
//!
//! `memory` is the reference, `embedded` the one on local disk, `cassandra` the one of a fleet; `conformance` is the suite
//! that every one passes.
//! `chunk` is how log entries are packed into rows and `flush` how a window's entries become rows; both know no engine.

pub mod cassandra;
pub mod chunk;
#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
pub mod fingerprints;
pub mod flush;
pub mod keys;
pub(crate) mod log_read;
pub mod memory;
pub mod slice;

use async_trait::async_trait;
use bytes::Bytes;
use tidings_proto::{ConversationId, Seq};

pub use keys::{Key, Prefix};
pub use slice::Slice;

use crate::{conversation::entry::Entry, journal::Position};

/// Of two values of one row the one with the higher version is the newer. Equal versions mean equal values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct Version(#[n(0)] pub u64);

/// One row, always written whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub key: Key,
    pub version: Version,
    /// `None` deletes the row, if `version` is the highest it was ever given.
    pub value: Option<Bytes>,
}

/// What the caller knows of the rows it writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Each row is newer than what the tables hold (a flusher that writes in order): no comparison is needed.
    Newest,
    /// Some rows may be older than what the tables hold (a replay): the higher version must win.
    Unknown,
}

/// Which way to read a log from an exclusive bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRange {
    /// Entries above this seq, the lowest first.
    After(Seq),
    /// Entries below this seq, the highest first. `Seq(u64::MAX)` reads the newest.
    Before(Seq),
}

/// Rows with versions, and the low-water mark of the journal.
///
/// Every call may be made from any task; an implementation does blocking work on threads of its own.
#[async_trait]
pub trait Tables: Send + Sync + 'static {
    /// Writes rows, in any order and any number of times with the same effect: of each key the highest version stays. Nothing is read
    /// before the write with [`Freshness::Newest`]. When it returns `Ok` later reads see the rows; they are durable at the latest
    /// when a following `set_flushed` is, and never before those of an earlier call. No key stands twice in `rows`. Calls at the same time
    /// are carried out one after the other.
    ///
    /// A delete may have the version of the row that it deletes: then it takes this one and leaves a newer one.
    ///
    /// A deleted row's version is remembered at least until a `set_flushed` follows: an older write can only come from a replay,
    /// and a replay begins behind that mark.
    ///
    /// Of one call, rows of conversations, homes and meta become durable after all others: a state never tells of entries, members
    /// or inbox items that a crash has lost. So a replay may leave out the events that a stored state already has. And deletes come
    /// behind what is put: an entry that goes from one log row into another is in one of them for every reader, and after every crash.
    ///
    /// After an error the tables may hold some of the rows and take no more writes until they are opened anew.
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError>;

    /// The rows of `keys`, each in its place; `None` where there is no row, or a deleted one.
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError>;

    /// Rows under `prefix` in key order, deleted ones left out, from after `after` on, until `limit` rows. All conversations
    /// or all homes come in an order of the engine's own, which stays the same; `after` is one of them then.
    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError>;

    /// The states of the conversations in a slice, from after `after` on, until `limit`. Each conversation is in one slice, for ever;
    /// slice after slice they come in the order of [`Prefix::Conversations`].
    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError>;

    /// Up to `limit` entries of a log in `range`, in the direction of reading. Where log rows overlap, the entry from the row with
    /// the higher version counts.
    async fn log(&self, conversation: ConversationId, range: LogRange, limit: usize)
    -> Result<Vec<Entry>, TablesError>;

    /// For each (conversation, seq): all rows that hold an entry of this seq, with the first seq of each, ascending. For the flush,
    /// which must alter an entry wherever it stands.
    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError>;

    /// The log rows that begin at `from` to `to`, both included, in this order, at most `limit`. For the archive, which must know of
    /// each row what it holds and how old it is.
    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError>;

    /// Every event at or below this position is in the tables. Durable with or after the rows that `put_max` wrote before.
    async fn set_flushed(&self, position: Position) -> Result<(), TablesError>;

    async fn flushed(&self) -> Result<Position, TablesError>;

    /// What they take of this machine's disk, for operators. Cheap, reads nothing. All zero where they are elsewhere.
    fn footprint(&self) -> Footprint {
        Footprint::default()
    }
}

/// The rows of one `put_max`, for an engine that cannot write them at once: each of these is to be durable before the next begins.
pub fn stages(rows: Vec<Row>) -> [Vec<Row>; 3] {
    let (states, others): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| matches!(row.key, Key::Conversation(_) | Key::Home(_) | Key::Meta(_)));
    let (put, deleted) = others.into_iter().partition(|row| row.value.is_some());
    [put, deleted, states]
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Footprint {
    pub disk_bytes: u64,
    /// What was written and is not merged with what was there: compaction owes at least so much.
    pub unmerged_bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub version: Version,
    pub value: Bytes,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum TablesError {
    /// Bytes that were once durable are wrong. `place` names file or key.
    #[error("the tables are damaged at {place}: {what}")]
    Damaged { place: String, what: String },
    #[error("the tables failed: {0}")]
    Failed(std::sync::Arc<std::io::Error>),
    /// They may answer later.
    #[error("the tables have not answered for {0:?}")]
    Late(std::time::Duration),
    #[error("the tables are closed after an earlier failure")]
    Closed,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_comes_before_what_is_deleted_and_states_last() {
        let id = ConversationId::direct(&"ada".parse().expect("a name"), &"bob".parse().expect("a name"));
        let row = |key, value: Option<&'static str>| Row { key, version: Version(1), value: value.map(Bytes::from) };
        let rows = vec![
            row(Key::Conversation(id), Some("state")),
            row(Key::Log(id, Seq(2)), None),
            row(Key::Log(id, Seq(1)), Some("chunk of both")),
        ];
        let [state, small, chunk] = rows.clone().try_into().expect("there are three");
        assert_eq!(stages(rows), [vec![chunk], vec![small], vec![state]]);
    }
}
