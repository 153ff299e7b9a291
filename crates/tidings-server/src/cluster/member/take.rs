//! Getting shards: those that nobody ever hosted, and those of hosts that have gone.

use std::collections::HashMap;

use tidings_proto::ShardId;
use tokio::time::Instant;

use super::rows::{Rows, Step, shards_of};
use crate::{
    cluster::{
        hosting::HostingError,
        store::{Move, ShardRow},
    },
    node::NodeId,
};

impl Rows {
    /// What names nobody holds nothing.
    pub(super) async fn take_free(&mut self) -> Step {
        let me = Some(self.me());
        let free = self.those(|place, row, _| row.host.is_none() && self.wished[place] == me);
        let to = ShardRow { host: me, epoch: 1 };
        let moves = free.into_iter().map(|shard| Move { shard, from: self.row(shard), to }).collect();
        let moved = self.move_and_tell(moves).await;
        self.open(&shards_of(&moved)).await
    }

    /// Takes what the view wishes to be here and who hosts it has gone.
    pub(super) async fn take_from_the_gone(&mut self) -> Step {
        let me = Some(self.me());
        let view = self.shared.known.borrow().view.clone();
        let gone = view.gone(self.rows.iter().filter_map(|row| row.host));
        let mut hosts: HashMap<NodeId, Vec<ShardId>> = HashMap::new();
        for shard in self.those(|place, _, _| self.wished[place] == me) {
            if let Some(host) = self.row(shard).host.filter(|host| gone.contains(host)) {
                hosts.entry(host).or_default().push(shard);
            }
        }
        let mut changed = false;
        let mut failed: Option<HostingError> = None;
        for (host, shards) in hosts {
            match self.take_from(host, shards).await {
                Ok(has_changed) => changed |= has_changed,
                // The next one's journal may be well.
                Err(error) => {
                    tracing::warn!(%error, node = %host, "the shards of a node that has gone could not be taken");
                    failed = Some(error);
                }
            }
        }
        match failed {
            Some(error) if !changed => Err(error.into()),
            _ => Ok(changed),
        }
    }

    /// Seals first: from then on the journal has all there will ever be. What it has something of comes first: somebody was there a
    /// moment ago, they may be waiting. The tables have all of the rest, which needs no replay.
    async fn take_from(&mut self, gone: NodeId, shards: Vec<ShardId>) -> Result<bool, HostingError> {
        let (hosting, began) = (self.shared.hosting.clone(), Instant::now());
        if !self.sealed.contains(&gone) {
            hosting.seal(gone).await?;
            self.sealed.insert(gone);
        }
        let sealed = began.elapsed();
        let owed = hosting.owes(gone).await?;
        let looked_through = began.elapsed();
        let wanted = shards.len();
        let (owed, flushed): (Vec<_>, Vec<_>) = shards.into_iter().partition(|shard| owed.contains(shard));
        let replayed = self.take_owed(gone, owed).await?;
        let taken = began.elapsed();
        let me = Some(self.me());
        let take = |shard, from: ShardRow| Move { shard, from, to: ShardRow { host: me, epoch: from.epoch + 1 } };
        let moves = flushed.into_iter().map(|shard| take(shard, self.row(shard))).collect();
        let epochs = epochs_of(&replayed);
        let (opened, flushed) = tokio::join!(hosting.open(&epochs), self.move_and_tell(moves));
        opened?;
        self.note_open(&shards_of(&replayed));
        tracing::info!(
            node = %gone, wanted, replayed = replayed.len(), flushed = flushed.len(), sealed_ms = sealed.as_millis(),
            looked_through_ms = looked_through.as_millis(), replayed_ms = taken.as_millis(), took_ms = began.elapsed().as_millis(),
            "took shards of a node that has gone"
        );
        // What is not opened now is opened by the next round.
        self.open(&shards_of(&flushed)).await.map_err(|error| HostingError::new(&error))?;
        Ok(!replayed.is_empty() || !flushed.is_empty())
    }

    /// Claims: the epoch is this node's own then, for the versions that the replay writes, and of two who claim only the later
    /// can move the rows. Then replays, then has the rows name this node.
    async fn take_owed(&mut self, gone: NodeId, shards: Vec<ShardId>) -> Result<Vec<Move>, HostingError> {
        let claim = |from: ShardRow| ShardRow { epoch: from.epoch + 1, ..from };
        let claims = shards.into_iter().map(|shard| Move { shard, from: self.row(shard), to: claim(self.row(shard)) });
        // Nobody is told: of two rows in one epoch the later could not be known.
        let claimed = self.move_rows(claims.collect()).await;
        if claimed.is_empty() {
            return Ok(claimed);
        }
        self.shared.hosting.replay(gone, &epochs_of(&claimed)).await?;
        let me = Some(self.me());
        let take = |claim: Move| Move { from: claim.to, to: ShardRow { host: me, ..claim.to }, ..claim };
        Ok(self.move_and_tell(claimed.into_iter().map(take).collect()).await)
    }
}

fn epochs_of(moved: &[Move]) -> Vec<(ShardId, u64)> {
    moved.iter().map(|one| (one.shard, one.to.epoch)).collect()
}
