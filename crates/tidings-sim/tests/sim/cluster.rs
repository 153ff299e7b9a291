//! View, shards and beats in the simulated store. What is asked a second time, because nobody answered the first, is answered as
//! `cassandra/fleet.rs` does: by what stands there then.

use std::{collections::HashMap, io, sync::Arc};

use async_trait::async_trait;
use tidings_proto::ShardId;
use tidings_server::{
    cluster::{
        store::{ClusterError, ClusterStore, Move, Part, ShardRow},
        view::View,
    },
    node::NodeId,
};

use super::{
    store::{Link, Store, at_once},
    world::World,
};

pub struct Cluster(pub Link);

fn failed(error: io::Error) -> ClusterError {
    ClusterError::Failed(Arc::new(error))
}

#[async_trait]
impl ClusterStore for Cluster {
    async fn view(&self) -> Result<View, ClusterError> {
        self.0.try_ask(|store, _| at_once(store.cluster.view())).await.map_err(failed)?
    }

    async fn swap_view(&self, before_epoch: u64, next: &View) -> Result<bool, ClusterError> {
        let next = next.clone();
        let swap = move |store: &mut Store, world: &Arc<World>| {
            let is_swapped = at_once(store.cluster.swap_view(before_epoch, &next))?;
            if is_swapped {
                world.note(format_args!("view {} of {} nodes", next.epoch, next.nodes().len()));
            }
            Ok(is_swapped || at_once(store.cluster.view())? == next)
        };
        self.0.try_ask(swap).await.map_err(failed)?
    }

    async fn shards(&self, part: Part) -> Result<Vec<(ShardId, ShardRow)>, ClusterError> {
        self.0.try_ask(move |store, _| at_once(store.cluster.shards(part))).await.map_err(failed)?
    }

    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError> {
        let moves = moves.to_vec();
        let moving = move |store: &mut Store, world: &Arc<World>| {
            if at_once(store.cluster.move_shards(part, &moves))? {
                let first = moves.first();
                world.note(format_args!("part {} moves {} rows, the first {first:?}", part.0, moves.len()));
                return Ok(true);
            }
            let is_there = |one: &Move| store.cluster.row(one.shard) == one.to;
            Ok(!moves.iter().all(Move::may_be_anybodys) && moves.iter().all(is_there))
        };
        self.0.try_ask(moving).await.map_err(failed)?
    }

    async fn beat(&self, node: NodeId, counter: u64) -> Result<(), ClusterError> {
        self.0.try_ask(move |store, _| at_once(store.cluster.beat(node, counter))).await.map_err(failed)?
    }

    async fn beats(&self) -> Result<HashMap<NodeId, u64>, ClusterError> {
        self.0.try_ask(|store, _| at_once(store.cluster.beats())).await.map_err(failed)?
    }

    async fn forget(&self, node: NodeId) -> Result<(), ClusterError> {
        self.0.try_ask(move |store, _| at_once(store.cluster.forget(node))).await.map_err(failed)?
    }
}
