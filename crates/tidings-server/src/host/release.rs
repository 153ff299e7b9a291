//! Shards come and go: giving some up, so that the next host finds everything in the tables; and beginning to serve others.

use std::{collections::HashMap, sync::Arc, time::Duration};

use smallvec::SmallVec;
use tidings_proto::{CloseCode, ShardId};

use crate::{
    cluster::view::Node,
    maps::HashSet,
    node::NodeId,
    session::reply::{Answer, Reply},
    tables::TablesError,
};

use super::{
    Host,
    act::ActError,
    peers::wire::{MovedTo, Notice},
    shards::{Hints, Slot},
};

/// How often what is pending is tried to be told when shards are opened, unless the store does not answer; and how far apart.
const TELL_ATTEMPTS: u32 = 60;
const TELL_AGAIN: Duration = Duration::from_millis(500);

/// The host has failed: what it has is in its journal, and is taken from there.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nothing can be stored any more")]
pub struct Failed;

impl Host {
    /// Gives up shards: decides nothing more for them, lets what is under way resolve, and flushes. When this returns the tables have
    /// everything of them, and nobody finds them here.
    pub async fn release_shards(&self, shards: &[ShardId]) -> Result<(), Failed> {
        // While all is still served: so little is left to write when nothing is.
        self.flush_or_fail().await.map_err(|_| Failed)?;
        let leaving: HashSet<ShardId> = shards.iter().copied().collect();
        let slots: Vec<_> =
            shards.iter().map(|shard| (*shard, Slot::Leaving { epoch: self.shards.epoch(*shard) })).collect();
        self.shards.set(&slots);
        self.tell_nodes(Notice::ShardsLeave {
            shards: shards.iter().map(|shard| (shard.0, self.shards.epoch(*shard))).collect(),
        });
        self.settle_submitted().await?;
        self.flush_or_fail().await.map_err(|_| Failed)?;
        self.conversations.remove(|id| leaving.contains(&id.shard()), drop);
        self.homes.remove(
            |user| leaving.contains(&user.shard()),
            |home| {
                // They come back to wherever it is then.
                home.lock().sessions.iter().for_each(|session| session.outbox.close(CloseCode::Draining));
            },
        );
        self.forget_pending(|shard| leaving.contains(&shard));
        if let Some(peers) = self.peers.get() {
            peers.forget(|shard| leaving.contains(&shard));
        }
        self.shards.set(&shards.iter().map(|shard| (*shard, Slot::Unknown)).collect::<Vec<_>>());
        Ok(())
    }

    /// How many sessions the users of each shard have here.
    pub fn sessions_by_shard(&self) -> HashMap<ShardId, usize> {
        let mut sessions = HashMap::new();
        self.homes.for_each(|home| {
            let count = home.lock().sessions.len();
            if count > 0 {
                *sessions.entry(home.user.shard()).or_default() += count;
            }
        });
        sessions
    }

    /// Everything that was submitted before this call is published when it returns.
    pub(super) async fn settle_submitted(&self) -> Result<(), Failed> {
        let (reply, done) = Reply::to_call();
        let permit = self.reserve_for_peers(0).await.map_err(|_| Failed)?;
        self.submit(SmallVec::new(), Some((reply, Answer::Done)), Some(permit));
        match done.await {
            Ok(Answer::Done) => Ok(()),
            _ => Err(Failed),
        }
    }

    /// The rows of these shards name this node, in these epochs: it serves them from now on.
    pub async fn open_shards(self: &Arc<Self>, shards: &[(ShardId, u64)]) {
        let slots: Vec<_> = shards.iter().map(|(shard, epoch)| (*shard, Slot::Here { epoch: *epoch })).collect();
        let opened: HashSet<ShardId> = shards.iter().map(|(shard, _)| *shard).collect();
        self.begin_opening(&opened);
        self.shards.set(&slots);
        self.resettle();
        for attempt in 1.. {
            let Err(error) = self.tell_pending(&opened).await else { break };
            // They stand in the tables still: what cannot be told here the next host of these shards tells.
            tracing::error!(%error, attempt, "what homes may lack was not told again");
            let passes = matches!(error, ActError::Tables(TablesError::Late(_)));
            if self.failure().is_some() || !passes && attempt >= TELL_ATTEMPTS {
                break;
            }
            tokio::time::sleep(TELL_AGAIN).await;
        }
        self.end_opening(&opened);
    }

    /// Where shards of others are.
    pub fn learn_shards(self: &Arc<Self>, slots: &[(ShardId, Slot)]) {
        self.shards.set(slots);
        self.follow();
    }

    /// Another node says where they are. Who waits for one of them need not wait until this node has looked itself.
    pub(super) fn hear_moved(self: &Arc<Self>, to: &[MovedTo]) {
        let me = self.peers().me();
        let rows: Vec<_> = to.iter().flat_map(MovedTo::rows).collect();
        let elsewhere =
            rows.iter().filter_map(|(shard, row)| Some((*shard, row.host.filter(|host| *host != me)?, row.epoch)));
        if self.shards.moved(elsewhere) {
            self.follow();
        }
        self.shards.hint(Hints::of(rows));
    }

    /// To where shards are now.
    fn follow(self: &Arc<Self>) {
        self.resettle();
        let host = self.clone();
        tokio::spawn(async move { host.renew_all_listening().await });
    }

    /// Tells all nodes what they may miss.
    pub fn tell_nodes(&self, notice: Notice) {
        if let Some(peers) = self.peers.get() {
            peers.broadcast(notice);
        }
    }

    /// Which nodes there are.
    pub fn learn_nodes(self: &Arc<Self>, nodes: Vec<Arc<Node>>) {
        let there: HashSet<NodeId> = nodes.iter().map(|node| node.id).collect();
        self.shards.set_nodes(nodes);
        if let Some(peers) = self.peers.get() {
            peers.gone(|node| !there.contains(&node));
        }
        self.resettle();
    }
}
