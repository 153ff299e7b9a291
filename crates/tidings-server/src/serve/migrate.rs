//! A keyspace as the target of a migration: reserved while it is filled, opened for others at the end.
//!
//! The row of the data names [`MOVING`] as the current journal until the end, so nobody opens what is half there. The rows of
//! the shards name it, too, in the last epoch of the server of before: a fleet finds a host that has gone, whose journal is
//! empty, and takes each shard in a higher epoch, as it does after any death.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;
use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _};

use crate::{
    archive::Job,
    blobs::Blobs,
    cassandra::fleet::CassandraCluster,
    cluster::store::{ClusterStore as _, Move, Part, ShardRow},
    config::{BlobStore, Config},
    data_folder::DataFolder,
    host::Host,
    journal::cassandra::{Journals, MOVING, Reserved},
    migrate::{
        MigrateError, Migration, Parts, SWITCH_WITHIN,
        target::{Identity, OpenTarget, Target, TargetError},
        tracked::TrackedTables,
    },
    shutdown::Shutdown,
    tables::{Tables, cassandra::CassandraTables},
};

use super::{ServeError, blobs, cassandra};

/// Parts of the shards that are written at once.
const PARTS_AT_ONCE: usize = 8;

pub struct CassandraTarget {
    journals: Journals,
    cluster: CassandraCluster,
    tables: Arc<dyn Tables>,
    blobs: Option<Blobs>,
    place: String,
}

impl CassandraTarget {
    /// Connects to the cluster that these settings name, and to their bucket. `source` is where blobs are now.
    pub async fn open(settings: &Config, source: &Config) -> Result<Self, ServeError> {
        let failed = cassandra::CassandraError::from;
        let store = cassandra::connect(&settings.cassandra).await?;
        let journals = Journals::open(store.clone()).await.map_err(failed)?;
        let cluster = CassandraCluster::open(store.clone()).await.map_err(failed)?;
        let tables = Arc::new(CassandraTables::open(store.clone(), MOVING).await.map_err(failed)?);
        let blobs = match (source.blobs, settings.blobs) {
            (BlobStore::Local, BlobStore::S3) => Some(blobs::open(settings, "").await?),
            // The same bucket, or the same folder: what is there stays.
            _ => None,
        };
        let place = format!("keyspace {}", store.keyspace());
        Ok(Self { journals, cluster, tables, blobs, place })
    }

    fn of_others(&self) -> TargetError {
        TargetError::OfOthers { place: self.place.clone() }
    }

    /// Names [`MOVING`] in each row of a part, in this epoch.
    async fn prepare_part(&self, part: Part, epoch: u64) -> Result<(), TargetError> {
        let to = ShardRow { host: Some(MOVING), epoch };
        let rows = self.cluster.shards(part).await.map_err(failed)?;
        if rows.iter().any(|(_, row)| row.host.is_some_and(|host| host != MOVING)) {
            return Err(self.of_others());
        }
        let behind = rows.into_iter().filter(|(_, row)| *row != to);
        let moves: Vec<_> = behind.map(|(shard, from)| Move { shard, from, to }).collect();
        match self.cluster.move_shards(part, &moves).await.map_err(failed)? {
            true => Ok(()),
            false => Err(self.of_others()),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> TargetError {
    TargetError::Failed(error.to_string())
}

#[async_trait]
impl Target for CassandraTarget {
    fn tables(&self) -> &Arc<dyn Tables> {
        &self.tables
    }

    fn blobs(&self) -> Option<&Blobs> {
        self.blobs.as_ref()
    }

    fn place(&self) -> &str {
        &self.place
    }

    async fn begin(&self, identity: &Identity) -> Result<(), TargetError> {
        if self.cluster.view().await.map_err(failed)?.epoch > 0 {
            return Err(self.of_others());
        }
        match self.journals.reserve(identity.lineage.0, &identity.secret).await.map_err(failed)? {
            Reserved::Moving => Ok(()),
            Reserved::Finished => Err(TargetError::Finished { place: self.place.clone() }),
            Reserved::OfOthers => Err(self.of_others()),
        }
    }

    async fn prepare(&self, epoch: u64) -> Result<(), TargetError> {
        let parts: Vec<_> = Part::all().map(|part| self.prepare_part(part, epoch).boxed()).collect();
        futures_util::stream::iter(parts).buffer_unordered(PARTS_AT_ONCE).try_collect().await
    }

    async fn answers(&self) -> Result<(), TargetError> {
        self.cluster.view().await.map(drop).map_err(failed)
    }

    async fn finish(&self, epoch: u64) -> Result<(), TargetError> {
        match self.journals.open_reserved(epoch).await.map_err(failed)? {
            true => Ok(()),
            false => Err(self.of_others()),
        }
    }
}

/// Opens the keyspace that an operator names.
pub struct Opener {
    /// Of this server: where blobs are now.
    pub config: Config,
}

#[async_trait]
impl OpenTarget for Opener {
    async fn open(&self, settings: BTreeMap<String, String>) -> Result<Arc<dyn Target>, MigrateError> {
        let is_of_target = |name: &str| name == "blobs" || name.starts_with("cassandra.") || name.starts_with("s3.");
        if let Some(name) = settings.keys().find(|name| !is_of_target(name)) {
            return Err(MigrateError::Settings(format!(
                "{name} does not say where to: give cassandra.*, blobs and s3.*"
            )));
        }
        // Nobody moves into a place that was not named.
        if let Some(name) = ["cassandra.nodes", "cassandra.keyspace"].iter().find(|name| !settings.contains_key(**name))
        {
            return Err(MigrateError::Settings(format!("{name} is missing: it says where to")));
        }
        let all = settings.into_iter().chain([("store".to_owned(), "cassandra".to_owned())]);
        let settings = Config::layered(None, [], all).map_err(|error| MigrateError::Settings(error.to_string()))?;
        let target = CassandraTarget::open(&settings, &self.config).await;
        Ok(Arc::new(target.map_err(|error| MigrateError::Open(error.to_string()))?))
    }
}

/// The migration of a server whose data are in a folder; none is begun yet.
pub(super) fn of_alone(
    host: &Arc<Host>,
    tables: Arc<TrackedTables>,
    archive: &Arc<Job>,
    blobs: &Blobs,
    folder: &DataFolder,
    secret: &str,
    shutdown: &Shutdown,
) -> Arc<Migration> {
    Migration::new(Parts {
        host: host.clone(),
        tables,
        archive: archive.clone(),
        blobs: blobs.clone(),
        identity: Identity { lineage: folder.lineage(), secret: secret.into() },
        epoch: folder.starts(),
        folder: Some(folder.path().to_owned()),
        opener: Box::new(Opener { config: host.config.clone() }),
        switch_within: SWITCH_WITHIN,
        shutdown: shutdown.clone(),
    })
}
