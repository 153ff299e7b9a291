//! Tables that note which rows were written while a migration runs, so that it can write those again into the target.
//!
//! They lie under everything that writes: the flusher, the archive. While no migration runs they cost one look at a flag. They
//! never wait for the target and never fail because of it.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::entry::Entry,
    journal::Position,
    tables::{Footprint, Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, Version},
};

/// Above so many rows the migration cannot keep up, and begins its check anew instead: this bounds the memory, to some
/// hundred bytes a row.
const NOTED_MAX: usize = 2_000_000;

/// What was written of a row: of a deleted one its version, which nobody could read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Noted {
    pub version: Version,
    pub is_deleted: bool,
}

pub struct TrackedTables {
    inner: Arc<dyn Tables>,
    is_on: AtomicBool,
    noted: Mutex<Notes>,
}

#[derive(Default)]
struct Notes {
    rows: HashMap<Key, Noted>,
    /// Some were not noted: there were too many.
    is_incomplete: bool,
}

/// More was written than can be noted: what was taken is not all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooMany;

impl TrackedTables {
    pub fn new(inner: Arc<dyn Tables>) -> Self {
        Self { inner, is_on: AtomicBool::new(false), noted: Mutex::default() }
    }

    /// Every write that begins from here on is noted. Those that are under way are not: let them end before anything is read.
    pub fn begin(&self) {
        *self.noted.lock() = Notes::default();
        self.is_on.store(true, Ordering::SeqCst);
    }

    pub fn end(&self) {
        self.is_on.store(false, Ordering::SeqCst);
        *self.noted.lock() = Notes::default();
    }

    /// How many rows were written since they were taken last.
    pub fn count(&self) -> usize {
        self.noted.lock().rows.len()
    }

    /// What was written since they were taken last.
    pub fn take(&self) -> Result<Taken<'_>, TooMany> {
        let mut noted = self.noted.lock();
        let rows = mem::take(&mut noted.rows);
        if mem::take(&mut noted.is_incomplete) { Err(TooMany) } else { Ok(Taken { tables: self, rows }) }
    }

    /// What was written up to now is of no interest.
    pub fn forget(&self) {
        *self.noted.lock() = Notes::default();
    }
}

/// Notes on their way into the target. Unless that is done they are noted again when this is dropped.
pub struct Taken<'t> {
    tables: &'t TrackedTables,
    rows: HashMap<Key, Noted>,
}

impl Taken<'_> {
    pub fn rows(&self) -> &HashMap<Key, Noted> {
        &self.rows
    }

    /// The target has them.
    pub fn done(mut self) {
        self.rows.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if self.rows.is_empty() || !self.tables.is_on.load(Ordering::SeqCst) {
            return;
        }
        let mut noted = self.tables.noted.lock();
        // What was written since then is newer.
        let newer = mem::replace(&mut noted.rows, mem::take(&mut self.rows));
        noted.add(newer);
    }
}

impl Notes {
    fn add(&mut self, rows: impl IntoIterator<Item = (Key, Noted), IntoIter: ExactSizeIterator>) {
        let rows = rows.into_iter();
        if self.rows.len() + rows.len() > NOTED_MAX {
            *self = Self { rows: HashMap::new(), is_incomplete: true };
        } else {
            self.rows.extend(rows);
        }
    }
}

#[async_trait]
impl Tables for TrackedTables {
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        let written: Option<Vec<_>> = self.is_on.load(Ordering::SeqCst).then(|| {
            let noted = |row: &Row| Noted { version: row.version, is_deleted: row.value.is_none() };
            rows.iter().map(|row| (row.key.clone(), noted(row))).collect()
        });
        let outcome = self.inner.put_max(rows, freshness).await;
        // After the write: whoever takes a note finds the row. After an error, too: some may have been written.
        if let Some(written) = written {
            self.noted.lock().add(written);
        }
        outcome
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.inner.get(keys).await
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.inner.rows(prefix, after, limit).await
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        self.inner.conversations(slice, after, limit).await
    }

    async fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        self.inner.log(conversation, range, limit).await
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        self.inner.log_rows(wanted).await
    }

    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.inner.log_rows_between(conversation, from, to, limit).await
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        self.inner.set_flushed(position).await
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        self.inner.flushed().await
    }

    fn footprint(&self) -> Footprint {
        self.inner.footprint()
    }
}
