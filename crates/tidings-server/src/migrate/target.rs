//! Where a migration goes: tables, and what says whose they are and whether they are whole.

use std::{collections::BTreeMap, sync::Arc};

use async_trait::async_trait;

use super::MigrateError;
use crate::{blobs::Blobs, data_folder::Lineage, tables::Tables};

/// Whose data it is.
#[derive(Clone, Debug)]
pub struct Identity {
    pub lineage: Lineage,
    /// What tokens are signed with: they stay good.
    pub secret: Arc<str>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum TargetError {
    #[error("{place} has data of others: give it a keyspace that nobody has used")]
    OfOthers { place: String },
    #[error("{place} has all of this data already, and was opened for others: start the servers there")]
    Finished { place: String },
    #[error("{0}")]
    Failed(String),
}

/// The other side. Whoever opens it before `finish` is refused there.
#[async_trait]
pub trait Target: Send + Sync + 'static {
    fn tables(&self) -> &Arc<dyn Tables>;

    /// Where the archive's blobs are to be. `None`: where they are.
    fn blobs(&self) -> Option<&Blobs>;

    /// For people: fits after "to".
    fn place(&self) -> &str;

    /// Reserves it for this data. Again: the same. Refused if anybody has used it.
    async fn begin(&self, identity: &Identity) -> Result<(), TargetError>;

    /// Makes the shards ready to be taken, in epochs above this one, which was the last of this server's. May take seconds, and comes
    /// before the switch.
    async fn prepare(&self, epoch: u64) -> Result<(), TargetError>;

    /// Returns when it answers.
    async fn answers(&self) -> Result<(), TargetError>;

    /// It is whole: from here on others may open it, in epochs above this one. When it fails with `OfOthers` nothing has changed; after
    /// any other error it is not known.
    async fn finish(&self, epoch: u64) -> Result<(), TargetError>;
}

/// Who finds the target that an operator names by settings.
#[async_trait]
pub trait OpenTarget: Send + Sync + 'static {
    async fn open(&self, settings: BTreeMap<String, String>) -> Result<Arc<dyn Target>, MigrateError>;
}
