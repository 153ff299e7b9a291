//! Letting shards go to whom the view wishes to have them.

use std::{collections::HashSet, time::Duration};

use tidings_proto::ShardId;
use tokio::time::Instant;

use super::rows::{Own, Rows, Step, shards_of};
use crate::cluster::store::{Move, ShardRow};

/// Shards are given together until their users have so many sessions, which all come back elsewhere then. A wave costs hardly more
/// if it is larger; and what several waves delay one after the other, a single one delays once.
const SESSIONS_AT_ONCE: usize = 2_000;

/// After so long the rows are read again: there may be something to open.
const GIVING: Duration = Duration::from_secs(1);

impl Rows {
    pub(super) async fn give(&mut self) -> Step {
        let began = Instant::now();
        let mut changed = self.take_back().await?;
        while self.give_some().await? {
            changed = true;
            if began.elapsed() >= GIVING {
                break;
            }
        }
        Ok(changed)
    }

    /// Nobody else moves rows that name this node, so they are not read again each time.
    async fn give_some(&mut self) -> Step {
        let me = Some(self.me());
        let mut given =
            self.those(|place, row, own| row.host == me && own != Own::Away && self.is_wished_elsewhere(place));
        if given.is_empty() {
            return Ok(false);
        }
        given.truncate(self.wave(&given));
        let began = Instant::now();
        let is_closed = |rows: &Self, place: usize| matches!(rows.own[place], Own::Closed { .. });
        let closing: Vec<_> = given.iter().copied().filter(|shard| !is_closed(self, usize::from(shard.0))).collect();
        if !closing.is_empty() {
            // Before it is asked for: if the answer does not come they are closed, too.
            closing.iter().for_each(|shard| {
                self.own[usize::from(shard.0)] = Own::Closing { epoch: self.row(*shard).epoch };
            });
            self.shared.hosting.release(&closing).await?;
            closing.iter().for_each(|shard| {
                self.own[usize::from(shard.0)] = Own::Closed { epoch: self.row(*shard).epoch };
            });
            // That took a while: who should have them may have gone, or be about to leave.
            self.wish();
        }
        let released = began.elapsed();
        given.retain(|shard| self.is_wished_elsewhere(usize::from(shard.0)));
        let moves = given.into_iter().map(|shard| {
            let from = self.row(shard);
            let to = ShardRow { host: self.wished[usize::from(shard.0)], epoch: from.epoch + 1 };
            Move { shard, from, to }
        });
        let moved = self.move_and_tell(moves.collect()).await;
        moved.iter().for_each(|one| self.own[usize::from(one.shard.0)] = Own::Away);
        if moved.is_empty() {
            return Ok(false);
        }
        let hosts: HashSet<_> = moved.iter().filter_map(|one| one.to.host).collect();
        let (released_ms, moved_ms) = (released.as_millis(), (began.elapsed() - released).as_millis());
        tracing::info!(shards = moved.len(), nodes = hosts.len(), released_ms, moved_ms, "gave shards to others");
        Ok(true)
    }

    /// How many of these, at least one, are given together.
    fn wave(&self, given: &[ShardId]) -> usize {
        let sessions = self.shared.hosting.sessions();
        let mut sum = 0;
        let fits = |shard: &&ShardId| {
            sum += sessions.get(shard).copied().unwrap_or_default();
            sum <= SESSIONS_AT_ONCE
        };
        given.iter().take_while(fits).count().max(1)
    }

    fn is_wished_elsewhere(&self, place: usize) -> bool {
        self.wished[place].is_some_and(|wished| wished != self.me())
    }

    /// What was closed and is to stay after all: opened again in an epoch of its own, so that a move of the row that is still on
    /// its way moves nothing.
    async fn take_back(&mut self) -> Step {
        let me = Some(self.me());
        let is_kept = |place: usize, row: ShardRow, own: Own| {
            let is_closed = matches!(own, Own::Closing { epoch } | Own::Closed { epoch } if row.epoch <= epoch);
            row.host == me && is_closed && !self.is_wished_elsewhere(place)
        };
        let raised = |from: ShardRow| ShardRow { epoch: from.epoch + 1, ..from };
        let kept = self.those(is_kept).into_iter();
        let moves = kept.map(|shard| Move { shard, from: self.row(shard), to: raised(self.row(shard)) }).collect();
        // The others have heard that they leave.
        let moved = self.move_and_tell(moves).await;
        self.open(&shards_of(&moved)).await
    }
}
