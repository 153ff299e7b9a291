//! Reads who hosts what, compares it with what the view wishes, and has shards opened, taken and given.
//!
//! Rows first, then the view: whoever is named in a row had joined before, so a host that is not in the view has gone. All
//! reads and moves of this node follow each other in one task; so what was read is never older than what it moved.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use tidings_proto::{SHARDS, ShardId};
use tokio::time::{Instant, sleep, timeout};

use super::{Round, Shared};
use crate::{
    cluster::{
        hosting::HostingError,
        store::{ClusterError, Move, PARTS, Part, ShardRow},
        view::NodeState,
    },
    host::shards::Slot,
    node::NodeId,
};

/// Parts that are read, or moved in, at once: all.
const PARTS_AT_ONCE: usize = PARTS as usize;

/// How long until the rows are read again while some are not as wished, and when all are.
const WHILE_MOVING: Duration = Duration::from_secs(1);
const WHILE_SETTLED: Duration = Duration::from_secs(5);

/// All rows are read at most so often; between, there is what their movers say.
const READ_ALL: Duration = Duration::from_secs(1);

/// Rounds begin at least so far apart, however many hints come.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(50);

/// A journal is given up when its node has been silent for so long: one that has just begun is not in the view yet.
const RETIRE_AFTER: Duration = Duration::from_secs(60);

#[derive(Debug, thiserror::Error)]
pub(super) enum RoundError {
    #[error(transparent)]
    Store(#[from] ClusterError),
    #[error(transparent)]
    Hosting(#[from] HostingError),
}

/// What this node does with a shard whose row names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Own {
    /// The row names another, or it was not noticed yet that it names this one.
    Away,
    Open,
    /// The release was asked for in this epoch and has not succeeded.
    Closing {
        epoch: u64,
    },
    /// Everything of it is in the tables, and nothing more is decided. A move of the row may be on its way, or still come
    /// to pass: so it may be opened again in a later epoch only.
    Closed {
        epoch: u64,
    },
}

/// One of the steps of a round: whether it has changed something.
pub(super) type Step = Result<bool, RoundError>;

pub(super) struct Rows {
    pub shared: Arc<Shared>,
    /// As they were read last, or moved since.
    pub rows: Vec<ShardRow>,
    pub own: Vec<Own>,
    /// Whom the view of that epoch wishes to host each shard.
    pub wished: Vec<Option<NodeId>>,
    wished_epoch: u64,
    /// The view that was read after all rows were.
    counted_epoch: u64,
    /// What the actors' side was told of others; `None`: nothing.
    told: Vec<Option<Slot>>,
    /// Journals whose seal is known to hold.
    pub sealed: HashSet<NodeId>,
    /// When all rows were read last.
    read_all: Option<Instant>,
    /// Something above has changed since it was told and published.
    has_news: bool,
}

pub(super) async fn work(shared: Arc<Shared>) {
    let count = usize::from(SHARDS);
    let mut rows = Rows {
        shared,
        rows: vec![ShardRow::default(); count],
        own: vec![Own::Away; count],
        wished: vec![None; count],
        wished_epoch: 0,
        counted_epoch: 0,
        told: vec![None; count],
        sealed: HashSet::new(),
        read_all: None,
        has_news: true,
    };
    while rows.shared.is_in() {
        let began = Instant::now();
        let pause = match rows.round().await {
            Ok(true) => Duration::ZERO,
            Ok(false) if rows.is_uncounted() => Duration::ZERO,
            Ok(false) if rows.is_settled() && !rows.shared.hints.lock().all => WHILE_SETTLED,
            Ok(false) => WHILE_MOVING,
            Err(error) => {
                tracing::warn!(%error, "shards could not be moved; trying again");
                WHILE_MOVING
            }
        };
        let _ = timeout(pause, rows.shared.hint.notified()).await;
        sleep(BETWEEN_ROUNDS.saturating_sub(began.elapsed())).await;
    }
}

impl Rows {
    async fn round(&mut self) -> Step {
        let has_read_all = self.read().await?;
        if has_read_all {
            self.shared.note(self.shared.store.view().await?);
        }
        self.wish();
        if has_read_all && self.is_uncounted() {
            self.counted_epoch = self.wished_epoch;
            self.has_news = true;
        }
        if std::mem::take(&mut self.has_news) {
            self.tell();
            self.report();
        }
        if !self.shared.is_in() {
            return Ok(false);
        }
        if self.is_settled() {
            return self.retire().await;
        }
        let mut changed = self.open_named().await?;
        changed |= self.take_free().await?;
        // By older rows one that gave everything before it left would still seem to have some.
        if has_read_all {
            changed |= self.take_from_the_gone().await?;
        }
        changed |= self.give().await?;
        Ok(changed)
    }

    /// Takes what was heard of rows, and reads them all (`true`) if that was not done a moment ago, or if the view is another one since.
    ///
    /// What was heard may be older than what is known, never newer than what stands in the store: as what was read.
    async fn read(&mut self) -> Result<bool, ClusterError> {
        let began = Instant::now();
        let read_all = self.read_all.take();
        let reads_all = self.is_uncounted() || read_all.is_none_or(|read_all| began - read_all >= READ_ALL);
        let heard = {
            let mut hints = self.shared.hints.lock();
            hints.all &= !reads_all;
            std::mem::take(&mut hints.rows)
        };
        if reads_all {
            let store = &self.shared.store;
            let reads = futures_util::stream::iter(Part::all().map(|part| store.shards(part)));
            // If that fails, all are read the next time.
            let parts: Vec<_> = reads.buffer_unordered(PARTS_AT_ONCE).try_collect().await?;
            parts.into_iter().flatten().for_each(|(shard, row)| self.stands(shard, row));
        }
        heard.into_iter().for_each(|(shard, row)| self.stands(shard, row));
        self.read_all = read_all.filter(|_| !reads_all).or(Some(began));
        Ok(reads_all)
    }

    /// This row stands there, or did.
    fn stands(&mut self, shard: ShardId, row: ShardRow) {
        let place = usize::from(shard.0);
        if row == self.rows[place] || row.epoch < self.rows[place].epoch {
            return;
        }
        self.has_news = true;
        if row.host != Some(self.me()) && self.own[place] != Own::Away {
            if self.own[place] == Own::Open {
                // Then the journal is sealed, and nothing was acknowledged since.
                tracing::warn!(shard = shard.0, "somebody has taken a shard from this node");
            }
            self.own[place] = Own::Away;
        }
        self.rows[place] = row;
    }

    /// Looks up whom the view, as it is known now, wishes where.
    pub fn wish(&mut self) {
        let view = self.shared.known.borrow().view.clone();
        if self.wished_epoch >= view.epoch {
            return;
        }
        let placement = view.placement();
        self.wished = (0..SHARDS).map(|shard| placement.host(ShardId(shard)).map(|at| view.nodes()[at].id)).collect();
        self.wished_epoch = view.epoch;
        self.has_news = true;
    }

    /// Says where the shards of others are, as far as that has changed.
    fn tell(&mut self) {
        let me = self.me();
        let mut news = Vec::new();
        for (place, row) in self.rows.iter().enumerate() {
            let slot = match row.host {
                Some(host) if host == me => None,
                Some(node) => Some(Slot::There { node, epoch: row.epoch }),
                None => Some(Slot::Unknown),
            };
            if slot != self.told[place] {
                self.told[place] = slot;
                news.extend(slot.map(|slot| (shard_at(place), slot)));
            }
        }
        if !news.is_empty() {
            self.shared.hosting.learn(&news);
        }
    }

    /// Publishes the counts.
    fn report(&self) {
        let count = |nodes: &mut dyn Iterator<Item = NodeId>| {
            let mut counts = HashMap::new();
            nodes.for_each(|node| *counts.entry(node).or_insert(0) += 1);
            counts
        };
        let round = Round {
            view_epoch: self.counted_epoch,
            hosted: count(&mut self.rows.iter().filter_map(|row| row.host)),
            wished: count(&mut self.wished.iter().copied().flatten()),
            moving: self.rows.iter().zip(&self.wished).filter(|(row, wished)| row.host != **wished).count(),
        };
        self.shared.known.send_if_modified(|known| {
            let is_new = known.round != round;
            known.round = round;
            is_new
        });
    }

    /// The view has changed since all rows were read.
    fn is_uncounted(&self) -> bool {
        self.counted_epoch != self.wished_epoch
    }

    /// All rows are as the view wishes, and what names this node is open.
    fn is_settled(&self) -> bool {
        let me = Some(self.me());
        let all = self.rows.iter().zip(&self.wished).zip(&self.own);
        all.into_iter().all(|((row, wished), own)| {
            (wished.is_none() || row.host == *wished) && (row.host != me || *own == Own::Open)
        })
    }

    /// Opens what the rows say is here, wherever it came from.
    async fn open_named(&mut self) -> Step {
        let me = self.me();
        let is_new = |_: usize, row: ShardRow, own: Own| {
            let is_closed = match own {
                Own::Away => false,
                Own::Open => true,
                Own::Closing { epoch } | Own::Closed { epoch } => row.epoch <= epoch,
            };
            row.host == Some(me) && !is_closed
        };
        let named = self.those(is_new);
        self.open(&named).await
    }

    pub async fn open(&mut self, shards: &[ShardId]) -> Step {
        if shards.is_empty() {
            return Ok(false);
        }
        let named: Vec<_> = shards.iter().map(|&shard| (shard, self.row(shard).epoch)).collect();
        let began = Instant::now();
        self.shared.hosting.open(&named).await?;
        self.note_open(shards);
        tracing::info!(shards = shards.len(), opened_ms = began.elapsed().as_millis(), "hosting shards");
        Ok(true)
    }

    pub fn note_open(&mut self, shards: &[ShardId]) {
        shards.iter().for_each(|shard| self.own[usize::from(shard.0)] = Own::Open);
    }

    /// Gives up the journal of one who has gone, if no row names it. One node does it, and one journal a round.
    async fn retire(&mut self) -> Step {
        let known = self.shared.known.borrow().clone();
        let first = known.view.nodes().iter().find(|node| node.state == NodeState::Live);
        if first.is_none_or(|first| first.id != self.me()) {
            return Ok(false);
        }
        let hosts: HashSet<_> = self.rows.iter().filter_map(|row| row.host).collect();
        let gone = known.quiet.iter().find(|(node, quiet)| {
            **quiet >= RETIRE_AFTER && known.view.node(**node).is_none() && !hosts.contains(*node)
        });
        let Some((&gone, _)) = gone else { return Ok(false) };
        self.shared.hosting.retire(gone).await?;
        self.shared.store.forget(gone).await?;
        self.sealed.remove(&gone);
        Ok(true)
    }

    /// Moves rows, and tells all nodes of it, this one first.
    pub async fn move_and_tell(&mut self, moves: Vec<Move>) -> Vec<Move> {
        let moved = self.move_rows(moves).await;
        if !moved.is_empty() {
            self.tell();
            let rows: Vec<_> = moved.iter().map(|one| (one.shard, one.to)).collect();
            self.shared.hosting.moved(&rows);
        }
        moved
    }

    /// Moves rows, and returns which were moved. What fails is looked at in the next round.
    pub async fn move_rows(&mut self, moves: Vec<Move>) -> Vec<Move> {
        let mut parts: HashMap<Part, Vec<Move>> = HashMap::new();
        moves.into_iter().for_each(|one| parts.entry(Part::of(one.shard)).or_default().push(one));
        let shared = &self.shared;
        let moving = parts.into_iter().map(|(part, moves)| async move {
            match shared.store.move_shards(part, &moves).await {
                Ok(true) => moves,
                Ok(false) => Vec::new(),
                Err(error) => {
                    tracing::warn!(%error, part = part.0, "rows of shards could not be moved");
                    Vec::new()
                }
            }
        });
        let moved: Vec<Move> = futures_util::stream::iter(moving).buffer_unordered(PARTS_AT_ONCE).concat().await;
        moved.iter().for_each(|one| self.rows[usize::from(one.shard.0)] = one.to);
        if !moved.is_empty() {
            self.has_news = true;
            // Others may have moved some to here meanwhile: who counts what it has left looks first.
            self.counted_epoch = 0;
        }
        moved
    }

    /// The shards for which `which` says so, by their place, row and what is done with them here.
    pub fn those(&self, which: impl Fn(usize, ShardRow, Own) -> bool) -> Vec<ShardId> {
        let is_one = |place: &usize| which(*place, self.rows[*place], self.own[*place]);
        (0..self.rows.len()).filter(is_one).map(shard_at).collect()
    }

    pub fn row(&self, shard: ShardId) -> ShardRow {
        self.rows[usize::from(shard.0)]
    }

    pub fn me(&self) -> NodeId {
        self.shared.me.id
    }
}

pub(super) fn shards_of(moves: &[Move]) -> Vec<ShardId> {
    moves.iter().map(|one| one.shard).collect()
}

fn shard_at(place: usize) -> ShardId {
    ShardId(u16::try_from(place).expect("there are fewer shards than 2^16"))
}
