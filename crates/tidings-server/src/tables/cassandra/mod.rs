//! Tables in Cassandra: a row is one blob, written with its version as time stamp, so that of all writes in any order the
//! highest version stays. No write reads before it, none is conditional, and any may be repeated.
//!
//! `write` makes statements of rows, `log` reads logs out of their parts. It knows no commit; of the journal it knows the
//! number of the one whose mark it keeps.

mod log;
mod statements;
mod write;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use scylla::value::CqlValue;
use tidings_proto::{ConversationId, Seq, UserId};

use super::{Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, Version, stages};
use crate::{
    cassandra::{
        Store, StoreError,
        ask::{Found, found},
        marks::Marks,
    },
    conversation::entry::Entry,
    journal::Position,
    node::NodeId,
};
use statements::Statements;

/// Reads of one call that are under way at once.
const READS_AT_ONCE: usize = 16;
/// Writes of one flush that are under way at once: with more they do not go faster, and conditional writes beside them
/// wait for each.
const WRITES_AT_ONCE: usize = 8;

/// The tables, and the mark of one journal: that of the process that writes through this.
pub struct CassandraTables {
    store: Arc<Store>,
    statements: Statements,
    marks: Marks,
    journal: NodeId,
    is_closed: AtomicBool,
}

impl CassandraTables {
    pub async fn open(store: Arc<Store>, journal: NodeId) -> Result<Self, StoreError> {
        let statements = Statements::prepare(&store).await?;
        let marks = Marks::open(store.clone()).await?;
        Ok(Self { store, statements, marks, journal, is_closed: AtomicBool::new(false) })
    }

    async fn get_one(&self, key: Key) -> Result<Option<Stored>, TablesError> {
        let statement = &self.statements.of(&key).get;
        let answer = self.store.ask(statement, statements::place(&key)).await.map_err(failed)?;
        found(answer).map_err(failed)?.first_mut().map(stored).transpose()
    }

    fn check(&self) -> Result<(), TablesError> {
        if self.is_closed.load(Ordering::Acquire) { Err(TablesError::Closed) } else { Ok(()) }
    }

    /// From here on nothing is written: which rows are there is not known.
    fn close(&self, error: StoreError) -> TablesError {
        self.is_closed.store(true, Ordering::Release);
        failed(error)
    }
}

#[async_trait]
impl Tables for CassandraTables {
    async fn put_max(&self, rows: Vec<Row>, _: Freshness) -> Result<(), TablesError> {
        self.check()?;
        for rows in stages(rows) {
            self.write(rows).await.map_err(|error| self.close(error))?;
        }
        Ok(())
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        let reads = futures_util::stream::iter(keys.into_iter().map(|key| self.get_one(key)));
        reads.buffered(READS_AT_ONCE).try_collect().await
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        let after = after.filter(|after| prefix.covers(after) || *after > first_of(&prefix));
        if after.as_ref().is_some_and(|after| !prefix.covers(after)) || limit == 0 {
            return Ok(Vec::new());
        }
        let mut place = statements::prefix_place(&prefix);
        let of_prefix = self.statements.of_prefix(&prefix);
        let statement = match &after {
            Some(after) => {
                place.push(statements::last_of_place(after));
                &of_prefix.after
            }
            None => &of_prefix.all,
        };
        place.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        let rows = self.store.ask(statement, place).await.and_then(found).map_err(failed)?;
        rows.into_iter().map(|mut row| Ok((key_of(&prefix, &mut row)?, stored(&mut row)?))).collect()
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        let tokens = slice.tokens();
        let (statement, from) = match after {
            Some(after) => (&self.statements.slice.after, statements::last_of_place(&Key::Conversation(after))),
            None => (&self.statements.slice.all, CqlValue::BigInt(*tokens.start())),
        };
        let limit = CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX));
        let place = vec![from, CqlValue::BigInt(*tokens.end()), limit];
        let rows = self.store.ask(statement, place).await.and_then(found).map_err(failed)?;
        rows.into_iter().map(|mut row| Ok((conversation_of(&mut row)?, stored(&mut row)?))).collect()
    }

    async fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        self.read_log(conversation, range, limit).await
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        let reads = wanted.into_iter().map(|(conversation, seq)| self.rows_with(conversation, seq));
        futures_util::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await
    }

    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.rows_between(conversation, from, to, limit).await
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        self.check()?;
        self.marks.set(self.journal, position).await.map_err(|error| self.close(error))
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        self.marks.of(self.journal).await.map_err(failed)
    }
}

/// The lowest key that a prefix may cover, for the order among kinds.
fn first_of(prefix: &Prefix) -> Key {
    let nowhere = ConversationId::from_bytes([0; 16]);
    match prefix {
        Prefix::Archived(id) => Key::Archived(*id, Seq::NONE),
        Prefix::Members(id) => Key::Log(*id, Seq(u64::MAX)),
        Prefix::Fingerprints(id) => Key::Fingerprints(*id, Seq::NONE),
        Prefix::Inbox(user) => Key::Inbox(user.clone(), nowhere),
        Prefix::Conversations => Key::Conversation(nowhere),
        Prefix::Homes => Key::Fingerprints(ConversationId::from_bytes([255; 16]), Seq(u64::MAX)),
        Prefix::Pending(part) => {
            let mut lowest = [0; 16];
            lowest[0] = *part;
            Key::Pending(ConversationId::from_bytes(lowest))
        }
    }
}

fn failed(error: StoreError) -> TablesError {
    TablesError::Failed(Arc::new(error.into_io()))
}

fn damaged(place: &str, what: &str) -> TablesError {
    TablesError::Damaged { place: place.to_owned(), what: what.to_owned() }
}

/// The value and version of a row that was selected as `e, writetime(e) AS version`.
fn stored(row: &mut Found) -> Result<Stored, TablesError> {
    let version = row.number("version").and_then(|version| u64::try_from(version).ok());
    match (row.take_bytes("e"), version) {
        (Some(value), Some(version)) => Ok(Stored { version: Version(version), value: Bytes::from(value) }),
        _ => Err(damaged("a row in Cassandra", "it has no value or no version")),
    }
}

fn conversation_of(row: &mut Found) -> Result<ConversationId, TablesError> {
    conversation(row).ok_or_else(|| damaged("a row of a slice", "its key cannot be read"))
}

fn conversation(row: &mut Found) -> Option<ConversationId> {
    let bytes = row.take_bytes("conversation").and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
    bytes.map(ConversationId::from_bytes)
}

fn key_of(prefix: &Prefix, row: &mut Found) -> Result<Key, TablesError> {
    let user = |row: &Found| row.text("name").and_then(|name| UserId::new(name).ok());
    let key = match prefix {
        Prefix::Members(id) => user(row).map(|user| Key::Member(*id, user)),
        Prefix::Archived(id) => row.number("last_seq").map(|seq| Key::Archived(*id, Seq(seq.unsigned_abs()))),
        Prefix::Fingerprints(id) => row.number("first_seq").map(|seq| Key::Fingerprints(*id, Seq(seq.unsigned_abs()))),
        Prefix::Inbox(user) => conversation(row).map(|id| Key::Inbox(user.clone(), id)),
        Prefix::Conversations => conversation(row).map(Key::Conversation),
        Prefix::Homes => user(row).map(Key::Home),
        Prefix::Pending(_) => conversation(row).map(Key::Pending),
    };
    key.ok_or_else(|| damaged(&format!("a row of {prefix:?}"), "its key cannot be read"))
}
