//! What a node does with shards that come and go: the side of the actors, as membership (`member`) asks for it.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use async_trait::async_trait;
use tidings_proto::ShardId;

use super::{store::ShardRow, view::Node};
use crate::{host::shards::Slot, node::NodeId};

/// It could not be done. What was asked for is asked for again.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct HostingError(pub String);

impl HostingError {
    pub fn new(why: &dyn std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// Called by one task, one call at a time; only `learn`, `nodes`, `sessions`, `moved`, `view_changed` and `is_shut` may come in
/// between. Each call may be repeated.
#[async_trait]
pub trait Hosting: Send + Sync + 'static {
    /// Ends the journal of `dead`. When it returns the seal holds: `dead` acknowledges nothing more.
    async fn seal(&self, dead: NodeId) -> Result<(), HostingError>;

    /// The shards of which the sealed journal of `dead` has something that the tables may lack. An error as for `replay`.
    async fn owes(&self, dead: NodeId) -> Result<HashSet<ShardId>, HostingError>;

    /// Brings what the sealed journal of `dead` has of these shards, and the tables lack, into the tables. Homes get versions
    /// of the epochs named here, which nobody else has. Others may do the same at the same time, or have done it already.
    ///
    /// An error also if the journal was given up meanwhile: then others have done it all, and the rows say so.
    async fn replay(&self, dead: NodeId, shards: &[(ShardId, u64)]) -> Result<(), HostingError>;

    /// Decides nothing more of these shards. When it returns the tables hold everything of them and the mark `flushed` has
    /// passed it. They stay closed, also after an error, until they are opened again.
    async fn release(&self, shards: &[ShardId]) -> Result<(), HostingError>;

    /// The rows name this node since these epochs, and the tables hold everything: serve.
    async fn open(&self, shards: &[(ShardId, u64)]) -> Result<(), HostingError>;

    /// Who else hosts what, as far as that has changed. A node that is not known by `nodes` is dead or not known yet.
    fn learn(&self, slots: &[(ShardId, Slot)]);

    /// The nodes of the view, this one included.
    fn nodes(&self, nodes: Vec<Arc<Node>>);

    /// All nodes read this format.
    fn may_write(&self, format: u16) {
        let _ = format;
    }

    /// How many sessions the users of each shard have here, of those who have any.
    fn sessions(&self) -> HashMap<ShardId, usize>;

    /// These rows stand there now: all may be told by the bus, so that they need not wait for their next look.
    fn moved(&self, rows: &[(ShardId, ShardRow)]) {
        let _ = rows;
    }

    /// There is a new view: all may be told by the bus, so that they need not wait for their next look.
    fn view_changed(&self) {}

    /// Whether nobody listens at this node's door, as its machine says. `false`: somebody does, or it is not known. Answers in
    /// well under a second.
    async fn is_shut(&self, node: &Node) -> bool {
        let _ = node;
        false
    }

    /// No row names `dead` any more: its journal may be given up.
    async fn retire(&self, dead: NodeId) -> Result<(), HostingError>;
}
