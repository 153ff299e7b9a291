//! Tables that all nodes of a test share, with a mark for each journal.

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::entry::Entry,
    journal::Position,
    tables::{Freshness, Key, LogRange, Prefix, Row, Stored, Tables, TablesError, memory::MemoryTables},
};

pub(super) struct OfNode {
    tables: MemoryTables,
    flushed: Mutex<Position>,
}

impl OfNode {
    pub fn new(tables: &MemoryTables) -> Self {
        Self { tables: tables.clone(), flushed: Mutex::default() }
    }
}

#[async_trait]
impl Tables for OfNode {
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        self.tables.put_max(rows, freshness).await
    }
    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.tables.get(keys).await
    }
    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.tables.rows(prefix, after, limit).await
    }
    async fn log(&self, id: ConversationId, range: LogRange, limit: usize) -> Result<Vec<Entry>, TablesError> {
        self.tables.log(id, range, limit).await
    }
    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        self.tables.log_rows(wanted).await
    }
    async fn log_rows_between(
        &self,
        id: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.tables.log_rows_between(id, from, to, limit).await
    }
    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        let mut flushed = self.flushed.lock();
        *flushed = position.max(*flushed);
        Ok(())
    }
    async fn flushed(&self) -> Result<Position, TablesError> {
        Ok(*self.flushed.lock())
    }
}
