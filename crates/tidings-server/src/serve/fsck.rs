//! Checking a store that no server uses: bring the tables up to the journal's end as a start does, then hold them against each
//! other.

use std::sync::Arc;

use super::{ServeError, blobs, open_journal, open_tables};
use crate::{
    archive::{Archive, ArchivedTables},
    clock::Clock,
    config::{Config, Store},
    data_folder::DataFolder,
    fsck::{Fsck, Report},
    host::{Host, open::Parts, shards::Shards},
    metrics::Metrics,
    tables::Tables,
};

#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error(transparent)]
    Open(#[from] ServeError),
    #[error("fsck checks what is in a data folder: store = \"embedded\"")]
    NotHere,
}

/// Checks the data folder that the settings name, and mends it if it may. Refused while a server has it.
pub async fn fsck(config: Config, mends: bool) -> Result<Report, FsckError> {
    if config.store != Store::Embedded {
        return Err(FsckError::NotHere);
    }
    let folder = DataFolder::open(&config.data).map_err(ServeError::from)?;
    let secret = folder.admin_token().map_err(ServeError::from)?;
    let metrics = Arc::new(Metrics::default());
    let hot = open_tables(&config, folder.path()).await.map_err(ServeError::from)?;
    let blobs = blobs::open(&config, &secret).await.map_err(ServeError::from)?;
    let cache_bytes = usize::try_from(config.cache.archive_bytes).unwrap_or(usize::MAX);
    let archive = Arc::new(Archive::new(blobs, cache_bytes, metrics.clone()));
    let tables: Arc<dyn Tables> = Arc::new(ArchivedTables::new(hot, archive));
    let journal = open_journal(&config, folder.path()).map_err(ServeError::from)?;
    let shards = Shards::all(folder.starts());
    let parts = Parts { config, clock: Clock::system(), metrics, lineage: folder.lineage(), shards };
    let host = Host::new(parts, tables.clone());
    super::replay(&host, journal).await?;
    Fsck::new(tables, folder.starts(), mends).run().await.map_err(|error| ServeError::from(error).into())
}
