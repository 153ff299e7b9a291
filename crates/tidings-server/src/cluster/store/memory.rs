//! A fleet's store in one process: for tests and simulations.

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_proto::{SHARDS, ShardId};

use super::{ClusterError, ClusterStore, Move, Part, ShardRow};
use crate::{cluster::view::View, node::NodeId};

pub struct MemoryClusterStore {
    kept: Mutex<Kept>,
}

struct Kept {
    view: View,
    rows: Vec<ShardRow>,
    beats: HashMap<NodeId, u64>,
    forgotten: HashSet<NodeId>,
}

impl Default for MemoryClusterStore {
    fn default() -> Self {
        let rows = vec![ShardRow::default(); usize::from(SHARDS)];
        let kept = Kept { view: View::default(), rows, beats: HashMap::new(), forgotten: HashSet::new() };
        Self { kept: Mutex::new(kept) }
    }
}

impl MemoryClusterStore {
    pub fn row(&self, shard: ShardId) -> ShardRow {
        self.kept.lock().rows[usize::from(shard.0)]
    }
}

#[async_trait]
impl ClusterStore for MemoryClusterStore {
    async fn view(&self) -> Result<View, ClusterError> {
        Ok(self.kept.lock().view.clone())
    }

    async fn swap_view(&self, before_epoch: u64, next: &View) -> Result<bool, ClusterError> {
        let mut kept = self.kept.lock();
        let is_expected = kept.view.epoch == before_epoch;
        if is_expected {
            kept.view = next.clone();
        }
        Ok(is_expected)
    }

    async fn shards(&self, part: Part) -> Result<Vec<(ShardId, ShardRow)>, ClusterError> {
        let kept = self.kept.lock();
        Ok(part.shards().map(|shard| (shard, kept.rows[usize::from(shard.0)])).collect())
    }

    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError> {
        assert!(moves.iter().all(|one| Part::of(one.shard) == part), "{moves:?}");
        let mut kept = self.kept.lock();
        let is_expected = moves.iter().all(|one| kept.rows[usize::from(one.shard.0)] == one.from);
        if is_expected {
            moves.iter().for_each(|one| kept.rows[usize::from(one.shard.0)] = one.to);
        }
        Ok(is_expected)
    }

    async fn beat(&self, node: NodeId, counter: u64) -> Result<(), ClusterError> {
        let mut kept = self.kept.lock();
        if !kept.forgotten.contains(&node) {
            let beat = kept.beats.entry(node).or_insert(counter);
            *beat = counter.max(*beat);
        }
        Ok(())
    }

    async fn beats(&self) -> Result<HashMap<NodeId, u64>, ClusterError> {
        Ok(self.kept.lock().beats.clone())
    }

    async fn forget(&self, node: NodeId) -> Result<(), ClusterError> {
        let mut kept = self.kept.lock();
        kept.beats.remove(&node);
        kept.forgotten.insert(node);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::conformance, *};

    #[tokio::test]
    async fn the_memory_store_conforms() {
        conformance::run(&MemoryClusterStore::default()).await;
    }
}
