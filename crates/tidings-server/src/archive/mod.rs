//! The archive: what is old in the logs of conversations, packed into blobs and taken out of the tables.
//!
//! A **segment** is a blob of many **blocks**; a block is a run of one conversation's entries (`tables/chunk/block.rs`). A row of the
//! tables says where each block is (`place`). `tables` lays segments under the log rows, so whoever reads a log sees no difference;
//! `round` moves what has become old; `job` does a round now and then. A row that is newer than a block goes before it: so an edit or a
//! redaction of an archived entry is a log row again, as if nothing had been moved.
//!
//! It knows no actor in memory: all it needs of a conversation stands in the tables.

mod cache;
pub mod job;
mod merge;
mod moving;
mod place;
mod round;
mod segment;
pub mod tables;

use std::{io, sync::Arc};

use tidings_proto::ConversationId;

pub use job::{Job, Status};
pub use place::Place;
#[cfg(test)]
pub(crate) use round::Archiver;
pub use round::{KEPT, Report, RoundError};
pub use tables::ArchivedTables;

use cache::BlockCache;

use crate::{
    blobs::{BlobError, Blobs},
    conversation::entry::Entry,
    metrics::{Cache, Metrics, gauge},
    tables::{TablesError, chunk},
};

/// Where segments are read from, and those of their blocks that were read lately.
pub struct Archive {
    blobs: Blobs,
    cache: BlockCache,
    metrics: Arc<Metrics>,
}

/// Why a block cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReadError {
    /// Later it may be read.
    #[error("the archive cannot be read now: {0}")]
    Unreachable(BlobError),
    #[error("the archive is damaged at {place}: {what}")]
    Damaged { place: String, what: String },
}

impl ReadError {
    /// To whoever reads a log it is the tables that cannot answer.
    fn into_tables_error(self) -> TablesError {
        match self {
            Self::Unreachable(_) => TablesError::Failed(Arc::new(io::Error::other(self.to_string()))),
            Self::Damaged { place, what } => TablesError::Damaged { place, what },
        }
    }
}

impl Archive {
    pub fn new(blobs: Blobs, cache_bytes: usize, metrics: Arc<Metrics>) -> Self {
        Self { blobs, cache: BlockCache::new(cache_bytes), metrics }
    }

    /// The entries of a block, ascending and dense from its first seq to its last.
    pub async fn block(&self, conversation: ConversationId, place: &Place) -> Result<Arc<Vec<Entry>>, ReadError> {
        if let Some(block) = self.cache.get(&place.digest) {
            self.metrics.cache_hits.of(Cache::Archive).inc();
            return Ok(block);
        }
        self.metrics.cache_misses.of(Cache::Archive).inc();
        let (name, range) = (place.segment_name(), place.range());
        let damaged =
            |what: String| ReadError::Damaged { place: format!("{name} for conversation {conversation}"), what };
        let bytes = self.blobs.range(&name, range).await.map_err(|error| match error {
            // A bucket that refuses is no damage either: somebody has to correct a setting, and the block is there.
            BlobError::Unreachable { .. } | BlobError::Refused { .. } => ReadError::Unreachable(error),
            BlobError::Absent(_) | BlobError::Failed(_) => damaged(error.to_string()),
        })?;
        if !place.is_of(&bytes) {
            return Err(damaged("its bytes are not the ones that were noted when it was written".to_owned()));
        }
        let unpacked = tokio::task::spawn_blocking(move || chunk::decode_block(&bytes)).await;
        let entries = unpacked
            .map_err(|error| damaged(format!("it could not be unpacked: {error}")))?
            .map_err(|error| damaged(error.to_string()))?;
        if !place.covers_exactly(&entries) {
            return Err(damaged("it holds other entries than it must".to_owned()));
        }
        let block = Arc::new(entries);
        let bytes = self.cache.put(place.digest, block.clone());
        self.metrics.cache_bytes.of(Cache::Archive).set(gauge(bytes as u64));
        Ok(block)
    }
}
