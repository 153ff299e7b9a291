//! Tables in memory: the reference for the others, and the baseline of benchmarks. Nothing lasts.
//!
//! Tests may let the next write fail, or hold writes back, to see what is not flushed yet.

use std::{collections::BTreeMap, io, ops::Bound, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use tidings_proto::{ConversationId, Seq};
use tokio::sync::watch;

use super::{
    Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, Version, keys::slice_keys, log_read,
    log_read::LogReader,
};
use crate::{conversation::entry::Entry, journal::Position};

#[derive(Clone, Default)]
pub struct MemoryTables {
    inner: Arc<Inner>,
    flushed: Arc<RwLock<Position>>,
}

#[derive(Default)]
struct Inner {
    state: RwLock<State>,
    held: watch::Sender<Held>,
    is_mute: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    /// By encoded key.
    rows: BTreeMap<Vec<u8>, Kept>,
    fail_next_put: bool,
    is_closed: bool,
}

/// Deleted rows keep their version for as long as the tables live.
struct Kept {
    version: Version,
    value: Option<Bytes>,
}

#[derive(Clone, Copy, Default)]
struct Held {
    is_held: bool,
    waiting: usize,
}

impl MemoryTables {
    pub fn new() -> Self {
        Self::default()
    }

    /// The same rows with a mark of their own, as another node of a fleet has them.
    #[must_use]
    pub fn beside(&self) -> Self {
        Self { inner: self.inner.clone(), flushed: Arc::default() }
    }

    /// The next `put_max` fails, having written the first half of its rows; then the tables are closed.
    pub fn fail_next_put(&self) {
        self.inner.state.write().fail_next_put = true;
    }

    /// Writes wait until [`Self::release`].
    pub fn hold(&self) {
        self.inner.held.send_modify(|held| held.is_held = true);
    }

    pub fn release(&self) {
        self.inner.held.send_modify(|held| held.is_held = false);
    }

    /// Whether reads of rows wait until they are answered again.
    pub fn mute(&self, is_mute: bool) {
        self.inner.is_mute.send_replace(is_mute);
    }

    async fn until_answering(&self) {
        let mut is_mute = self.inner.is_mute.subscribe();
        is_mute.wait_for(|is_mute| !is_mute).await.expect("the sender lives as long as self");
    }

    /// Returns when a write is being held back.
    pub async fn until_held(&self) {
        let mut held = self.inner.held.subscribe();
        held.wait_for(|held| held.waiting > 0).await.expect("the sender lives as long as self");
    }

    async fn pass_hold(&self) {
        let mut held = self.inner.held.subscribe();
        if held.borrow_and_update().is_held {
            self.inner.held.send_modify(|held| held.waiting += 1);
            held.wait_for(|held| !held.is_held).await.expect("the sender lives as long as self");
            self.inner.held.send_modify(|held| held.waiting -= 1);
        }
    }
}

impl State {
    fn put(&mut self, row: Row, freshness: Freshness) {
        let Row { key, version, value } = row;
        let key = key.encode();
        let is_older = |kept: &Kept| freshness == Freshness::Unknown && kept.version > version;
        if !self.rows.get(&key).is_some_and(is_older) {
            self.rows.insert(key, Kept { version, value });
        }
    }

    fn log_rows(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
    ) -> impl DoubleEndedIterator<Item = (Seq, Stored)> {
        let range = Key::Log(conversation, from).encode()..=Key::Log(conversation, to).encode();
        self.rows.range(range).filter_map(|(key, kept)| match Key::decode(key) {
            Some(Key::Log(_, first_seq)) => Some((first_seq, kept.stored()?)),
            _ => None,
        })
    }
}

impl Kept {
    fn stored(&self) -> Option<Stored> {
        Some(Stored { version: self.version, value: self.value.clone()? })
    }
}

#[async_trait]
impl Tables for MemoryTables {
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        self.pass_hold().await;
        let mut state = self.inner.state.write();
        if state.is_closed {
            return Err(TablesError::Closed);
        }
        let fails = std::mem::take(&mut state.fail_next_put);
        let count = if fails { rows.len() / 2 } else { rows.len() };
        for row in rows.into_iter().take(count) {
            state.put(row, freshness);
        }
        if fails {
            state.is_closed = true;
            return Err(TablesError::Failed(Arc::new(io::Error::other("asked to fail by a test"))));
        }
        Ok(())
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.until_answering().await;
        let state = self.inner.state.read();
        Ok(keys.iter().map(|key| state.rows.get(&key.encode()).and_then(Kept::stored)).collect())
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.until_answering().await;
        let state = self.inner.state.read();
        let prefix = prefix.encode();
        let from = match after.map(|key| key.encode()) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let rows = state.rows.range::<Vec<u8>, _>((from, Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(&prefix));
        Ok(rows.filter_map(|(key, kept)| Some((Key::decode(key)?, kept.stored()?))).take(limit).collect())
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        let state = self.inner.state.read();
        let rows = state.rows.range::<Vec<u8>, _>(slice_keys(slice, after));
        let rows = rows.filter_map(|(key, kept)| match Key::decode(key) {
            Some(Key::Conversation(id)) => Some((id, kept.stored()?)),
            _ => None,
        });
        Ok(rows.take(limit).collect())
    }

    async fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        self.until_answering().await;
        let mut reader = LogReader::new(conversation, range, limit);
        let Some((from, to)) = reader.start() else { return Ok(Vec::new()) };
        let state = self.inner.state.read();
        let mut rows = state.log_rows(conversation, from, to);
        let next = |rows: &mut dyn DoubleEndedIterator<Item = (Seq, Stored)>| match range {
            LogRange::After(_) => rows.next(),
            LogRange::Before(_) => rows.next_back(),
        };
        while let Some((first_seq, stored)) = next(&mut rows).filter(|(first_seq, _)| reader.wants(*first_seq)) {
            reader.take(first_seq, stored.version, &stored.value)?;
        }
        Ok(reader.finish())
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        let state = self.inner.state.read();
        let found = wanted.into_iter().map(|(conversation, seq)| {
            let mut holding = Vec::new();
            for (first_seq, stored) in state.log_rows(conversation, log_read::earliest_start(seq), seq) {
                if log_read::open(conversation, first_seq, &stored.value)?.last_seq >= seq {
                    holding.push((first_seq, stored));
                }
            }
            Ok(holding)
        });
        found.collect()
    }

    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        if from > to {
            return Ok(Vec::new());
        }
        Ok(self.inner.state.read().log_rows(conversation, from, to).take(limit).collect())
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        if self.inner.state.read().is_closed {
            return Err(TablesError::Closed);
        }
        *self.flushed.write() = position;
        Ok(())
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        Ok(*self.flushed.read())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::conformance::{self, Place};

    struct Memory(MemoryTables);

    #[async_trait]
    impl Place for Memory {
        async fn open(&self) -> Arc<dyn Tables> {
            Arc::new(self.0.clone())
        }

        /// Memory cannot be opened again: it stays open.
        async fn reopen(&self, tables: Arc<dyn Tables>) -> Arc<dyn Tables> {
            tables
        }
    }

    #[tokio::test]
    async fn memory_tables_keep_the_promises() {
        conformance::promises(&Memory(MemoryTables::new())).await;
    }

    fn home(version: u64) -> Row {
        let key = Key::Home(tidings_proto::UserId::new("ada").unwrap());
        Row { key, version: Version(version), value: Some(Bytes::new()) }
    }

    #[tokio::test]
    async fn a_held_write_is_not_seen_until_it_is_released() {
        let tables = MemoryTables::new();
        tables.hold();
        let writing = tokio::spawn({
            let tables = tables.clone();
            async move { tables.put_max(vec![home(1)], Freshness::Newest).await }
        });
        tables.until_held().await;
        assert_eq!(tables.get(vec![home(1).key]).await.unwrap(), [None]);
        tables.release();
        writing.await.unwrap().unwrap();
        assert!(tables.get(vec![home(1).key]).await.unwrap()[0].is_some());
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_taken() {
        let tables = MemoryTables::new();
        tables.fail_next_put();
        assert!(matches!(tables.put_max(vec![home(1)], Freshness::Newest).await, Err(TablesError::Failed(_))));
        assert!(matches!(tables.put_max(vec![home(1)], Freshness::Newest).await, Err(TablesError::Closed)));
        assert!(matches!(tables.set_flushed(Position(1)).await, Err(TablesError::Closed)));
    }
}
