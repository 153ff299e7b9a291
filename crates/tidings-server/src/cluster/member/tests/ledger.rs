//! What nodes do with shards, in one place, and the way of a node to the store, which can be cut, slow and late.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tidings_proto::ShardId;

use super::*;
use crate::{
    cluster::{
        hosting::HostingError,
        store::{Move, ShardRow},
    },
    host::shards::Slot,
};

/// Of these shards a node that dies has something in its journal that the tables lack.
pub(super) fn is_written(shard: ShardId) -> bool {
    !shard.0.is_multiple_of(3)
}

/// Whoever serves, what is in sealed journals only, and each thing that must not have happened.
#[derive(Default)]
pub(super) struct Ledger {
    kept: Mutex<Kept>,
    /// Whom a bus would bring what the others say.
    nodes: Mutex<Vec<Weak<Shared>>>,
}

#[derive(Default)]
struct Kept {
    serving: HashMap<ShardId, NodeId>,
    /// In the journal of this node, and not in the tables.
    owed: HashMap<ShardId, NodeId>,
    sealed: HashMap<NodeId, usize>,
    /// How many of the shards that a sealed node served were replayed.
    taken: HashMap<NodeId, usize>,
    retired: HashSet<NodeId>,
    epochs: HashMap<ShardId, u64>,
    /// Who replayed a shard in which epoch.
    replayed: HashMap<(ShardId, u64), NodeId>,
    opened: usize,
    faults: Vec<String>,
}

impl Kept {
    fn open(&mut self, node: NodeId, shard: ShardId, epoch: u64) {
        if self.sealed.contains_key(&node) {
            // It acknowledges nothing.
            return;
        }
        let before = self.serving.insert(shard, node).filter(|before| *before != node);
        if let Some(before) = before {
            self.faults.push(format!("{shard:?}: {node} opens it, and {before} serves it"));
        }
        if let Some(owed) = self.owed.get(&shard) {
            self.faults.push(format!("{shard:?}: {node} opens it without what the journal of {owed} has"));
        }
        let highest = self.epochs.entry(shard).or_default();
        if epoch <= *highest {
            self.faults.push(format!("{shard:?}: opened in epoch {epoch} after {highest}"));
        }
        *highest = epoch;
        self.opened += 1;
    }

    fn seal(&mut self, dead: NodeId) {
        *self.sealed.entry(dead).or_default() += 1;
        let its: Vec<_> = self.serving.extract_if(|_, host| *host == dead).collect();
        self.owed.extend(its.into_iter().filter(|(shard, _)| is_written(*shard)));
    }

    fn replay(&mut self, node: NodeId, dead: NodeId, shard: ShardId, epoch: u64) {
        if !self.sealed.contains_key(&dead) {
            self.faults.push(format!("{shard:?}: {node} replays {dead}, which is not sealed"));
        }
        if self.retired.contains(&dead) && self.owed.get(&shard) == Some(&dead) {
            self.faults.push(format!("{shard:?}: the journal of {dead} was given up before its replay"));
        }
        let other = self.replayed.insert((shard, epoch), node).filter(|other| *other != node);
        if let Some(other) = other {
            self.faults.push(format!("{shard:?}: {node} and {other} both replay in epoch {epoch}"));
        }
        if self.owed.get(&shard) == Some(&dead) {
            self.owed.remove(&shard);
            *self.taken.entry(dead).or_default() += 1;
        }
    }
}

impl Ledger {
    pub fn has_joined(&self, node: &Arc<Shared>) {
        self.nodes.lock().push(Arc::downgrade(node));
    }

    pub fn check(&self) {
        let kept = self.kept.lock();
        assert!(kept.faults.is_empty(), "{} faults, the first: {:?}", kept.faults.len(), &kept.faults[0]);
    }

    pub fn serves(&self, shard: ShardId) -> Option<NodeId> {
        self.kept.lock().serving.get(&shard).copied()
    }

    pub fn served_by(&self, node: NodeId) -> usize {
        self.kept.lock().serving.values().filter(|host| **host == node).count()
    }

    /// How often shards were opened.
    pub fn opened(&self) -> usize {
        self.kept.lock().opened
    }

    pub fn sealed(&self) -> usize {
        self.kept.lock().sealed.len()
    }

    pub fn seals(&self, node: NodeId) -> usize {
        self.kept.lock().sealed.get(&node).copied().unwrap_or(0)
    }

    pub fn taken(&self, dead: NodeId) -> usize {
        self.kept.lock().taken.get(&dead).copied().unwrap_or(0)
    }

    pub fn is_retired(&self, node: NodeId) -> bool {
        self.kept.lock().retired.contains(&node)
    }
}

/// Delays, drawn from a seed; without one there are none.
struct Delays(Option<Mutex<StdRng>>);

impl Delays {
    fn new(seed: Option<u64>) -> Self {
        Self(seed.map(|seed| Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Most pass at once.
    async fn pass(&self, up_to_ms: u64) {
        let Some(rng) = self.0.as_ref().filter(|_| self.happens(30)) else { return };
        let ms = rng.lock().random_range(0..=up_to_ms);
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn happens(&self, percent: u32) -> bool {
        self.0.as_ref().is_some_and(|rng| rng.lock().random_ratio(percent, 100))
    }
}

/// The actors' side of one node: it does nothing but write it down.
pub(super) struct Recorder {
    node: NodeId,
    ledger: Arc<Ledger>,
    delays: Delays,
}

impl Recorder {
    pub fn new(node: NodeId, ledger: Arc<Ledger>, seed: Option<u64>) -> Self {
        Self { node, ledger, delays: Delays::new(seed) }
    }

    /// As a store that does not answer: nothing is known then, and some of it may have been done.
    fn fails(&self) -> Result<(), HostingError> {
        if self.delays.happens(5) { Err(HostingError::new(&"the dice say so")) } else { Ok(()) }
    }
}

#[async_trait]
impl Hosting for Recorder {
    async fn seal(&self, dead: NodeId) -> Result<(), HostingError> {
        self.delays.pass(200).await;
        self.ledger.kept.lock().seal(dead);
        self.fails()
    }

    async fn owes(&self, dead: NodeId) -> Result<HashSet<ShardId>, HostingError> {
        self.delays.pass(200).await;
        self.fails()?;
        let mut owed: HashSet<_> =
            self.ledger.kept.lock().owed.iter().filter(|(_, host)| **host == dead).map(|(shard, _)| *shard).collect();
        // The mark of what is flushed lags behind.
        owed.extend((0..SHARDS).map(ShardId).filter(|shard| shard.0.is_multiple_of(30)));
        Ok(owed)
    }

    async fn replay(&self, dead: NodeId, shards: &[(ShardId, u64)]) -> Result<(), HostingError> {
        // Some have done one half of it before they fail.
        let (first, rest) = shards.split_at(shards.len() / 2);
        for half in [first, rest] {
            self.delays.pass(2_000).await;
            let mut kept = self.ledger.kept.lock();
            half.iter().for_each(|(shard, epoch)| kept.replay(self.node, dead, *shard, *epoch));
            drop(kept);
            self.fails()?;
        }
        Ok(())
    }

    async fn release(&self, shards: &[ShardId]) -> Result<(), HostingError> {
        self.delays.pass(1_000).await;
        let mut kept = self.ledger.kept.lock();
        if kept.sealed.contains_key(&self.node) {
            return Err(HostingError::new(&"the journal is sealed"));
        }
        shards.iter().for_each(|shard| {
            if kept.serving.get(shard) == Some(&self.node) {
                kept.serving.remove(shard);
            }
        });
        drop(kept);
        self.fails()
    }

    async fn open(&self, shards: &[(ShardId, u64)]) -> Result<(), HostingError> {
        self.delays.pass(100).await;
        // Asked for again it would open what is open.
        self.fails()?;
        let mut kept = self.ledger.kept.lock();
        shards.iter().for_each(|(shard, epoch)| kept.open(self.node, *shard, *epoch));
        Ok(())
    }

    fn learn(&self, slots: &[(ShardId, Slot)]) {
        let mut kept = self.ledger.kept.lock();
        for (shard, slot) in slots {
            let is_served = kept.serving.get(shard) == Some(&self.node);
            if is_served && !kept.sealed.contains_key(&self.node) {
                kept.faults.push(format!("{shard:?}: {} serves it and learns that it is {slot:?}", self.node));
            }
        }
    }

    fn nodes(&self, _: Vec<Arc<Node>>) {}

    /// So many that shards are given in a few waves.
    fn sessions(&self) -> HashMap<ShardId, usize> {
        (0..SHARDS)
            .filter(|shard| shard.is_multiple_of(3))
            .map(|shard| (ShardId(shard), usize::from(shard % 7)))
            .collect()
    }

    /// By a bus that loses some, and brings some twice, or when they are old.
    fn moved(&self, rows: &[(ShardId, ShardRow)]) {
        for node in &*self.ledger.nodes.lock() {
            for late_ms in [50, 10_000] {
                if self.delays.happens(30) {
                    continue;
                }
                let (node, hints) = (node.clone(), Hints::of(rows.iter().copied()));
                let wait = Duration::from_millis(rand::rng().random_range(0..late_ms));
                tokio::spawn(async move {
                    tokio::time::sleep(wait).await;
                    if let Some(node) = node.upgrade() {
                        node.hints.lock().add(hints);
                        node.hint.notify_one();
                    }
                });
            }
        }
    }

    async fn retire(&self, dead: NodeId) -> Result<(), HostingError> {
        self.delays.pass(100).await;
        let mut kept = self.ledger.kept.lock();
        if let Some(shard) = kept.owed.iter().find(|(_, host)| **host == dead).map(|(shard, _)| *shard) {
            kept.faults.push(format!("{shard:?}: the journal of {dead} is given up, and is needed"));
        }
        kept.seal(dead);
        kept.retired.insert(dead);
        Ok(())
    }
}

/// How a node reaches the store.
pub(super) struct Link {
    store: Arc<MemoryClusterStore>,
    is_paused: channel::Receiver<bool>,
    delays: Delays,
    late: AtomicUsize,
}

/// Conditional writes that come late and again.
const LATE_AT_ONCE: usize = 64;

impl Link {
    pub fn new(store: Arc<MemoryClusterStore>, is_paused: channel::Receiver<bool>, seed: Option<u64>) -> Self {
        Self { store, is_paused, delays: Delays::new(seed), late: AtomicUsize::new(0) }
    }

    async fn pass(&self) {
        self.delays.pass(20).await;
        let _ = self.is_paused.clone().wait_for(|is_paused| !is_paused).await;
    }

    /// The same call arrives once more, seconds later: an attempt that was given up and repeated.
    fn again_later(&self, part: Part, moves: &[Move]) {
        if self.delays.happens(10) && self.late.fetch_add(1, Ordering::Relaxed) < LATE_AT_ONCE {
            let (store, moves) = (self.store.clone(), moves.to_vec());
            let ms = rand::rng().random_range(0..10_000);
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let _ = store.move_shards(part, &moves).await;
            });
        }
    }
}

#[async_trait]
impl ClusterStore for Link {
    async fn view(&self) -> Result<View, ClusterError> {
        self.pass().await;
        let view = self.store.view().await;
        self.delays.pass(20).await;
        view
    }

    async fn swap_view(&self, before_epoch: u64, next: &View) -> Result<bool, ClusterError> {
        self.pass().await;
        self.store.swap_view(before_epoch, next).await
    }

    async fn shards(&self, part: Part) -> Result<Vec<(ShardId, ShardRow)>, ClusterError> {
        self.pass().await;
        let rows = self.store.shards(part).await;
        self.delays.pass(20).await;
        rows
    }

    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError> {
        self.pass().await;
        self.again_later(part, moves);
        if self.delays.happens(5) {
            // It arrives later, or not at all, and nobody knows.
            return Ok(false);
        }
        let moved = self.store.move_shards(part, moves).await?;
        self.delays.pass(20).await;
        // Of a claim it cannot always be said whose it is.
        Ok(moved && !(moves.iter().all(Move::may_be_anybodys) && self.delays.happens(10)))
    }

    async fn beat(&self, node: NodeId, counter: u64) -> Result<(), ClusterError> {
        self.pass().await;
        self.store.beat(node, counter).await
    }

    async fn beats(&self) -> Result<HashMap<NodeId, u64>, ClusterError> {
        self.pass().await;
        self.store.beats().await
    }

    async fn forget(&self, node: NodeId) -> Result<(), ClusterError> {
        self.pass().await;
        self.store.forget(node).await
    }
}

/// Without this a test in which nothing may be wrong could not be wrong.
#[test]
fn the_ledger_notices_what_must_not_be() {
    let (one, other) = (NodeId::random(), NodeId::random());
    let shard = ShardId(7);
    let faults = |steps: &dyn Fn(&mut Kept)| {
        let mut kept = Kept::default();
        kept.open(one, shard, 3);
        assert!(kept.faults.is_empty());
        steps(&mut kept);
        kept.faults.len()
    };
    assert_eq!(faults(&|kept| kept.open(other, shard, 4)), 1, "two serve");
    assert_eq!(faults(&|kept| kept.open(one, shard, 3)), 1, "the epoch stays");
    assert_eq!(faults(&|kept| kept.replay(other, one, shard, 4)), 1, "not sealed");
    let without_replay = |kept: &mut Kept| {
        kept.seal(one);
        kept.open(other, shard, 4);
    };
    assert_eq!(faults(&without_replay), 1, "without what the journal has");
    let taken = |kept: &mut Kept| {
        kept.seal(one);
        kept.replay(other, one, shard, 4);
        kept.open(other, shard, 4);
        kept.open(one, shard, 5);
    };
    assert_eq!(faults(&taken), 0, "who is sealed serves nobody");
    assert_eq!(
        faults(&|kept| {
            taken(kept);
            kept.replay(one, one, shard, 4);
        }),
        1,
        "two replay in one epoch"
    );
}
