//! Tables on local disk: an LSM (fjall) that is written only by ingestion of sorted segments, one a keyspace and flush.
//! The only place that knows fjall.
//!
//! This file is the handle: it carries calls to threads that may block. `store` is what happens there, `value` the
//! bytes of a row, `compactor` the thread that merges segments, `verify` how damage is found and named.

mod compactor;
mod store;
mod value;
mod verify;

use std::{io, path::PathBuf, sync::Arc};

use async_trait::async_trait;
use tidings_proto::{ConversationId, Seq};
use tokio::sync::{Mutex, Semaphore};

pub use self::store::Status;
use self::store::Store;
use super::{Footprint, Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError};
use crate::{conversation::entry::Entry, journal::Position};

/// Reads under way at once; more wait. A read is a few microseconds from the cache, or a few reads of the disk.
const READERS: usize = 16;

#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The tables' own folder; made if it is missing or empty.
    pub path: PathBuf,
    /// Blocks kept in memory. Filters and indexes of the newest segments come on top of it, about 2 % of the data.
    pub cache_bytes: u64,
}

#[derive(Clone)]
pub struct EmbeddedTables {
    store: Arc<Store>,
    readers: Arc<Semaphore>,
    writer: Arc<Mutex<()>>,
}

impl EmbeddedTables {
    /// Opens or makes the tables. Reads and checks the lists of segments, but not all of the data (see [`Self::verify`]).
    /// Fails if another process has them open.
    pub async fn open(options: EmbeddedOptions) -> Result<Self, TablesError> {
        let store = block(move || Store::open(&options)).await?;
        Ok(Self { store: Arc::new(store), readers: Arc::new(Semaphore::new(READERS)), writer: Arc::default() })
    }

    /// Sizes and what compaction owes, for metrics and back-pressure. Cheap.
    pub fn status(&self) -> Status {
        self.store.status()
    }

    /// Reads every segment and compares its checksum; reports the first damaged file. For `fsck` and tests.
    pub async fn verify(&self) -> Result<(), TablesError> {
        self.read(Store::verify).await
    }

    /// Returns when compaction owes nothing. For benchmarks and tests.
    pub async fn settle(&self) -> Result<(), TablesError> {
        self.read(Store::settle).await
    }

    async fn read<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Store) -> Result<T, TablesError> + Send + 'static,
    ) -> Result<T, TablesError> {
        let permit = Arc::clone(&self.readers).acquire_owned().await.expect("the semaphore is never closed");
        let store = Arc::clone(&self.store);
        block(move || {
            let _permit = permit;
            job(&store)
        })
        .await
    }

    async fn write(
        &self,
        job: impl FnOnce(&Store) -> Result<(), TablesError> + Send + 'static,
    ) -> Result<(), TablesError> {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        let store = Arc::clone(&self.store);
        // The job runs to its end even if the caller gives up; the next write waits for it.
        let written = block(move || {
            let _turn = turn;
            let written = store.check_open().and_then(|()| job(&store));
            if written.is_err() {
                store.close();
            }
            written
        });
        written.await.inspect_err(|_| self.store.close())
    }
}

/// Runs `job` on tokio's threads for blocking work. A panic in the engine is a failure like any other.
async fn block<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, TablesError> + Send + 'static,
) -> Result<T, TablesError> {
    tokio::task::spawn_blocking(job).await.unwrap_or_else(|error| {
        let what = format!("a thread of the tables ended early: {error}");
        Err(TablesError::Failed(Arc::new(io::Error::other(what))))
    })
}

#[async_trait]
impl Tables for EmbeddedTables {
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        self.write(move |store| store.put_max(rows, freshness)).await
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.read(move |store| store.get(&keys)).await
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.read(move |store| store.rows(&prefix, after.as_ref(), limit)).await
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        self.read(move |store| store.conversations(slice, after, limit)).await
    }

    async fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        self.read(move |store| store.log(conversation, range, limit)).await
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        self.read(move |store| store.log_rows(&wanted)).await
    }

    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.read(move |store| store.log_rows_between(conversation, from, to, limit)).await
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        self.write(move |store| store.set_flushed(position)).await
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        self.read(Store::flushed).await
    }

    fn footprint(&self) -> Footprint {
        let Status { disk_bytes, unmerged_bytes, .. } = self.status();
        Footprint { disk_bytes, unmerged_bytes }
    }
}

#[cfg(test)]
mod tests;
