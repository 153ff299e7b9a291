//! Checking a store that no server uses: bring the tables up to the journal's end as a start does, then hold them against each
//! other.

use std::sync::Arc;

use super::{Opened, STORE_WAIT, ServeError, blobs, fleet::FleetError, open_journal, open_tables};
use crate::{
    archive::{Archive, ArchivedTables},
    clock::Clock,
    cluster::member::operate::OperateError,
    config::{Config, Store},
    data_folder::DataFolder,
    fsck::{Fsck, Report},
    host::{Host, open::Parts, shards::Shards},
    metrics::Metrics,
    shutdown::Shutdown,
    tables::Tables,
};

#[derive(Debug, thiserror::Error)]
pub enum FsckError {
    #[error(transparent)]
    Open(#[from] ServeError),
    #[error("store = \"memory\" keeps nothing that could be checked")]
    NotHere,
    #[error("fsck takes the data over: stop all nodes of this fleet, then say --all-stopped")]
    MayRun,
    #[error(transparent)]
    Operate(#[from] OperateError),
}

/// Checks the store that the settings name, and mends it if it may. A data folder is refused while a server has it.
///
/// In Cassandra this joins as the only node, `all_stopped` being somebody's word that there is no other, and takes what the
/// others had; one that lives nevertheless is found by its beats and refused, a server alone is fenced.
pub async fn fsck(config: Config, mends: bool, all_stopped: bool) -> Result<Report, FsckError> {
    match config.store {
        Store::Memory => Err(FsckError::NotHere),
        Store::Embedded => of_folder(config, mends).await,
        Store::Cassandra if !all_stopped => Err(FsckError::MayRun),
        Store::Cassandra => of_cluster(config, mends).await,
    }
}

async fn of_folder(config: Config, mends: bool) -> Result<Report, FsckError> {
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
    let starts = folder.starts();
    Ok(Fsck::new(tables, move |_| starts, mends).run().await.map_err(ServeError::from)?)
}

async fn of_cluster(mut config: Config, mends: bool) -> Result<Report, FsckError> {
    // Its own name: the settings may be those of a node that is to come back.
    config.node.name = "fsck".to_owned();
    // Nothing is to move meanwhile.
    config.archive.after_months = 0;
    let shutdown = Shutdown::default();
    let opened = super::open(config, &shutdown).await?;
    let checked = check_hosted(&opened, mends).await;
    shutdown.begin();
    if let Some(joined) = opened.joined {
        joined.leave(STORE_WAIT).await.map_err(|ended| ServeError::from(FleetError::from(ended)))?;
    }
    opened.host.stop(opened.tasks).await;
    checked
}

async fn check_hosted(opened: &Opened, mends: bool) -> Result<Report, FsckError> {
    if let Some(joined) = &opened.joined {
        joined.host_everything(&opened.host).await?;
    }
    let host = opened.host.clone();
    host.flush_or_fail().await.map_err(ServeError::from)?;
    let tables = host.tables.clone();
    let checked = Fsck::new(tables, move |shard| host.shards.epoch(shard), mends).run().await;
    Ok(checked.map_err(ServeError::from)?)
}
