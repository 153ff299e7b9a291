//! What the nodes of a fleet agree on, in the store that they share: the view, who hosts which shard, and who lives.
//!
//! `memory` keeps it in one process; the one of a real fleet is `cassandra/fleet.rs`. `conformance` is the suite that all
//! pass. Whoever implements it decides nothing: it compares and sets.

#[cfg(test)]
pub mod conformance;
pub mod memory;

use std::{collections::HashMap, fmt, io, sync::Arc};

use async_trait::async_trait;
use tidings_proto::{SHARDS, ShardId};

use super::view::{TooOld, View};
use crate::node::NodeId;

/// Rows of shards that stand together: one part is read at once, and rows of one part move together.
pub const PART_SHARDS: u16 = 1_024;

pub const PARTS: u16 = SHARDS / PART_SHARDS;

/// Neighbouring shards, [`PART_SHARDS`] of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part(pub u16);

impl Part {
    pub const fn of(shard: ShardId) -> Self {
        Self(shard.0 / PART_SHARDS)
    }

    pub fn all() -> impl Iterator<Item = Self> {
        (0..PARTS).map(Self)
    }

    /// Where in its part a shard stands, counted from 0.
    pub fn place(shard: ShardId) -> usize {
        usize::from(shard.0 % PART_SHARDS)
    }

    pub fn shards(self) -> impl Iterator<Item = ShardId> {
        (self.0 * PART_SHARDS..(self.0 + 1) * PART_SHARDS).map(ShardId)
    }
}

/// Who hosts a shard. Every change raises the epoch, but the one that ends a taking: that one changes the host. So no row
/// ever stands there twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ShardRow {
    /// `None`: nobody ever did. Then the epoch is 0.
    pub host: Option<NodeId>,
    pub epoch: u64,
}

/// A change of one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    pub shard: ShardId,
    /// What must stand there.
    pub from: ShardRow,
    pub to: ShardRow,
}

impl Move {
    /// Whether two nodes could want exactly this: then a row that is as wanted does not say who made it so.
    pub fn may_be_anybodys(&self) -> bool {
        self.from.host == self.to.host
    }
}

/// Why the store did not do what was asked; what became of it is not known. Asking again does no harm.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClusterError {
    #[error("failed to ask the store of the fleet: {0}")]
    Failed(Arc<io::Error>),
    #[error(transparent)]
    TooOld(#[from] TooOld),
    #[error("the store of the fleet holds {what} that cannot be read: {why}")]
    Damaged { what: &'static str, why: String },
}

impl ClusterError {
    pub fn damaged(what: &'static str, why: &dyn fmt::Display) -> Self {
        Self::Damaged { what, why: why.to_string() }
    }
}

/// The fleet's common knowledge. Calls wait until the store answers, for as long as that takes; a call that is dropped may
/// have its effect at any later time.
#[async_trait]
pub trait ClusterStore: Send + Sync + 'static {
    /// The view as it is now, or was a moment ago: whatever was answered before this call is in it. Epoch 0: nobody has joined
    /// yet.
    async fn view(&self) -> Result<View, ClusterError>;

    /// Makes `next` the view if the view's epoch is `before_epoch`. `true`: `next` is the view, or was. `false`: it was not
    /// made the view, or the view has changed again since; read it.
    async fn swap_view(&self, before_epoch: u64, next: &View) -> Result<bool, ClusterError>;

    /// Whoever hosts the shards of a part, all of them, in their order. As fresh as [`ClusterStore::view`].
    async fn shards(&self, part: Part) -> Result<Vec<(ShardId, ShardRow)>, ClusterError>;

    /// Moves different shards of one part: all of them if each row is as its `from` says, else none.
    ///
    /// `true`: they were moved by this call. `false`: they were not, or somebody has moved some of them again since, or it
    /// cannot be said who moved them ([`Move::may_be_anybodys`]); read them. A move that is answered by `false` never happens
    /// later, unless the rows are still as `from` says.
    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError>;

    /// This node lives, and has counted to `counter`. The highest stands, in whatever order they come.
    async fn beat(&self, node: NodeId, counter: u64) -> Result<(), ClusterError>;

    /// The last beat of every node that was not forgotten.
    async fn beats(&self) -> Result<HashMap<NodeId, u64>, ClusterError>;

    /// Nobody wants to know of `node` any more, whatever it says later.
    async fn forget(&self, node: NodeId) -> Result<(), ClusterError>;
}
