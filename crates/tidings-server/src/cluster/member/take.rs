//! Getting shards: those that nobody ever hosted, and those of hosts that have gone.

use std::collections::HashMap;

use tidings_proto::ShardId;

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

    /// Seals first: from then on the journal has all there will ever be. What the tables have all of needs no replay.
    async fn take_from(&mut self, gone: NodeId, shards: Vec<ShardId>) -> Result<bool, HostingError> {
        if !self.sealed.contains(&gone) {
            self.shared.hosting.seal(gone).await?;
            self.sealed.insert(gone);
        }
        let owed = self.shared.hosting.owes(gone).await?;
        let (owed, flushed): (Vec<_>, Vec<_>) = shards.into_iter().partition(|shard| owed.contains(shard));
        // Somebody was there a moment ago; they may be waiting.
        let has_taken = self.take_owed(gone, owed).await?;
        Ok(self.take_rows(gone, flushed, 1).await? || has_taken)
    }

    /// Claims: the epoch is this node's own then, for the versions that the replay writes, and of two who claim only the later
    /// can move the rows. Then replays, then moves.
    async fn take_owed(&mut self, gone: NodeId, shards: Vec<ShardId>) -> Result<bool, HostingError> {
        let claim = |from: ShardRow| ShardRow { epoch: from.epoch + 1, ..from };
        let claims = shards.into_iter().map(|shard| Move { shard, from: self.row(shard), to: claim(self.row(shard)) });
        let claimed = self.move_rows(claims.collect()).await;
        if claimed.is_empty() {
            return Ok(false);
        }
        let epochs: Vec<_> = claimed.iter().map(|claim| (claim.shard, claim.to.epoch)).collect();
        self.shared.hosting.replay(gone, &epochs).await?;
        self.take_rows(gone, shards_of(&claimed), 0).await
    }

    /// Has the rows name this node, in epochs that are higher by `step`, and serves what they say.
    async fn take_rows(&mut self, gone: NodeId, shards: Vec<ShardId>, step: u64) -> Result<bool, HostingError> {
        let me = Some(self.me());
        let to = |from: ShardRow| ShardRow { host: me, epoch: from.epoch + step };
        let wanted = shards.len();
        let moves = shards.into_iter().map(|shard| Move { shard, from: self.row(shard), to: to(self.row(shard)) });
        let moved = self.move_and_tell(moves.collect()).await;
        if wanted > 0 {
            tracing::info!(node = %gone, wanted, taken = moved.len(), owed = step == 0, "took shards of a node that has gone");
        }
        // What is not opened now is opened by the next round.
        self.open(&shards_of(&moved)).await.map_err(|error| HostingError::new(&error))
    }
}
