//! Getting shards: those that nobody ever hosted, and those of hosts that have gone.

use std::collections::HashMap;

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
        let moved = self.move_rows(moves).await;
        self.open(&shards_of(&moved)).await
    }

    /// Takes what the view wishes to be here and who hosts it has gone.
    pub(super) async fn take_from_the_gone(&mut self) -> Step {
        let me = Some(self.me());
        let view = self.shared.known.borrow().view.clone();
        let gone = view.gone(self.rows.iter().filter_map(|row| row.host));
        let mut hosts: HashMap<NodeId, Vec<Move>> = HashMap::new();
        for shard in self.those(|place, _, _| self.wished[place] == me) {
            let from = self.row(shard);
            if let Some(host) = from.host.filter(|host| gone.contains(host)) {
                let to = ShardRow { epoch: from.epoch + 1, ..from };
                hosts.entry(host).or_default().push(Move { shard, from, to });
            }
        }
        let mut changed = false;
        let mut failed: Option<HostingError> = None;
        for (host, claims) in hosts {
            match self.take_from(host, claims).await {
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

    /// Seals first: from then on the journal has all there will ever be. Then claims: the epoch is this node's own, for the
    /// versions that the replay writes, and of two who claim only the later can move the rows. Then replays, then moves.
    async fn take_from(&mut self, gone: NodeId, claims: Vec<Move>) -> Result<bool, HostingError> {
        if !self.sealed.contains(&gone) {
            self.shared.hosting.seal(gone).await?;
            self.sealed.insert(gone);
        }
        let claimed = self.move_rows(claims).await;
        if claimed.is_empty() {
            return Ok(false);
        }
        let epochs: Vec<_> = claimed.iter().map(|claim| (claim.shard, claim.to.epoch)).collect();
        self.shared.hosting.replay(gone, &epochs).await?;
        let to = |from: ShardRow| ShardRow { host: Some(self.me()), ..from };
        let moves = claimed.iter().map(|claim| Move { shard: claim.shard, from: claim.to, to: to(claim.to) }).collect();
        let moved = self.move_rows(moves).await;
        tracing::info!(node = %gone, claimed = epochs.len(), taken = moved.len(), "took shards of a node that has gone");
        // They are opened by the next round at the latest.
        match self.open(&shards_of(&moved)).await {
            Ok(has_opened) => Ok(has_opened),
            Err(error) => Err(HostingError::new(&error)),
        }
    }
}
