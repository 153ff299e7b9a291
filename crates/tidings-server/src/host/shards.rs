//! Which shards this node hosts now, and where the others are as far as it knows.
//!
//! The rows in the store decide; this is what the node has read there. Whoever hands an event to the journal has entered its
//! shard, so a shard that is being released gets no event after the release has begun.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use tidings_proto::{SHARDS, ShardId};
use tokio::sync::Notify;

use crate::{
    cluster::{store::ShardRow, view::Node},
    node::NodeId,
};

/// Where the actors of a shard are.
#[derive(Clone, Debug)]
pub enum Place {
    Here,
    There(Arc<Node>),
    /// On the way from one node to another, or on a node that is not known yet. Soon it is elsewhere.
    Moving,
}

/// One shard, as this node knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Hosted here since this epoch.
    Here {
        epoch: u64,
    },
    /// Hosted here until what is under way is done.
    Leaving {
        epoch: u64,
    },
    /// Hosted by that node's run, since this epoch.
    There {
        node: NodeId,
        epoch: u64,
    },
    Unknown,
}

pub struct Shards {
    /// `None`: this node has a store of its own, and hosts all.
    ///
    /// Read recursively only: who has entered a shard may look for another one, and must not wait for a writer in between.
    known: Option<RwLock<Known>>,
    /// The epoch of all shards where this node hosts all.
    epoch: u64,
    /// Told whenever a shard's place has changed.
    pub changed: Notify,
    /// Told when there are new hints.
    pub hinted: Notify,
    hints: Mutex<Hints>,
}

/// What a node has heard of rows since it read them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hints {
    /// Some are others now, and nobody knows which.
    pub all: bool,
    /// These were so a moment ago: who moved them says it.
    pub rows: HashMap<ShardId, ShardRow>,
}

impl Hints {
    pub fn all() -> Self {
        Self { all: true, rows: HashMap::new() }
    }

    pub fn of(rows: impl IntoIterator<Item = (ShardId, ShardRow)>) -> Self {
        Self { all: false, rows: rows.into_iter().collect() }
    }

    pub fn add(&mut self, more: Self) {
        self.all |= more.all;
        for (shard, row) in more.rows {
            let known = self.rows.entry(shard).or_insert(row);
            if known.epoch <= row.epoch {
                *known = row;
            }
        }
    }
}

struct Known {
    slots: Box<[Slot]>,
    /// The nodes of the view.
    nodes: Vec<Arc<Node>>,
}

/// While it lives the shard stays here.
pub struct Entered<'s> {
    pub epoch: u64,
    _known: Option<RwLockReadGuard<'s, Known>>,
}

impl Shards {
    /// All shards, for ever, of a store that no other node has.
    pub fn all(epoch: u64) -> Self {
        Self { known: None, epoch, changed: Notify::new(), hinted: Notify::new(), hints: Mutex::default() }
    }

    /// Those of a fleet: none yet.
    pub fn of_fleet() -> Self {
        let slots = vec![Slot::Unknown; usize::from(SHARDS)].into_boxed_slice();
        let known = Some(RwLock::new(Known { slots, nodes: Vec::new() }));
        Self { known, epoch: 0, changed: Notify::new(), hinted: Notify::new(), hints: Mutex::default() }
    }

    /// Whether there are, or may be, other nodes.
    pub fn is_fleet(&self) -> bool {
        self.known.is_some()
    }

    pub fn slot(&self, shard: ShardId) -> Slot {
        match &self.known {
            None => Slot::Here { epoch: self.epoch },
            Some(known) => known.read_recursive().slots[usize::from(shard.0)],
        }
    }

    pub fn is_here(&self, shard: ShardId) -> bool {
        matches!(self.slot(shard), Slot::Here { .. })
    }

    /// The epoch in which this node hosts the shard; 0: it does not.
    pub fn epoch(&self, shard: ShardId) -> u64 {
        match self.slot(shard) {
            Slot::Here { epoch } | Slot::Leaving { epoch } => epoch,
            Slot::There { .. } | Slot::Unknown => 0,
        }
    }

    /// Keeps the shard here until the guard is dropped. `None`: it is not, or is about to leave. To be held for a moment only,
    /// and over no `.await`.
    pub fn enter(&self, shard: ShardId) -> Option<Entered<'_>> {
        let Some(known) = &self.known else { return Some(Entered { epoch: self.epoch, _known: None }) };
        let known = known.read_recursive();
        match known.slots[usize::from(shard.0)] {
            Slot::Here { epoch } => Some(Entered { epoch, _known: Some(known) }),
            Slot::Leaving { .. } | Slot::There { .. } | Slot::Unknown => None,
        }
    }

    /// The same, for an actor that was loaded in this epoch: one of an earlier time here is not the one of now.
    pub fn enter_in(&self, shard: ShardId, epoch: u64) -> Option<Entered<'_>> {
        self.enter(shard).filter(|entered| entered.epoch == epoch)
    }

    pub fn place(&self, shard: ShardId) -> Place {
        let Some(known) = &self.known else { return Place::Here };
        let known = known.read_recursive();
        match known.slots[usize::from(shard.0)] {
            Slot::Here { .. } => Place::Here,
            Slot::There { node, .. } => {
                known.nodes.iter().find(|other| other.id == node).cloned().map_or(Place::Moving, Place::There)
            }
            Slot::Leaving { .. } | Slot::Unknown => Place::Moving,
        }
    }

    /// What is known of these shards from now on.
    pub fn set(&self, slots: &[(ShardId, Slot)]) {
        let Some(known) = &self.known else { return };
        {
            let mut known = known.write();
            for (shard, slot) in slots {
                known.slots[usize::from(shard.0)] = *slot;
            }
        }
        self.changed.notify_waiters();
    }

    /// That node serves these shards no more, which it had since these epochs.
    pub fn leave(&self, node: NodeId, shards: &[(u16, u64)]) {
        let Some(known) = &self.known else { return };
        {
            let mut known = known.write();
            for &(shard, since) in shards {
                if let Some(slot) = known.slots.get_mut(usize::from(shard))
                    && matches!(slot, Slot::There { node: host, epoch } if *host == node && *epoch <= since)
                {
                    *slot = Slot::Unknown;
                }
            }
        }
        self.changed.notify_waiters();
    }

    /// Those rows stand there, or did: believed of shards that are not here and of which no later epoch is known. Whether any was news.
    pub fn moved(&self, rows: impl IntoIterator<Item = (ShardId, NodeId, u64)>) -> bool {
        let Some(known) = &self.known else { return false };
        let mut has_news = false;
        {
            let mut known = known.write();
            for (shard, node, epoch) in rows {
                let slot = &mut known.slots[usize::from(shard.0)];
                let is_news = match slot {
                    Slot::Unknown => true,
                    Slot::There { epoch: before, .. } => *before < epoch,
                    _ => false,
                };
                if is_news {
                    *slot = Slot::There { node, epoch };
                    has_news = true;
                }
            }
        }
        self.changed.notify_waiters();
        has_news
    }

    /// Somebody was not where this says, or is said to be elsewhere.
    pub fn hint(&self, hints: Hints) {
        self.hints.lock().add(hints);
        self.hinted.notify_one();
    }

    /// What was heard since the last call.
    pub fn take_hints(&self) -> Hints {
        std::mem::take(&mut self.hints.lock())
    }

    /// The nodes there are from now on.
    pub fn set_nodes(&self, nodes: Vec<Arc<Node>>) {
        let Some(known) = &self.known else { return };
        known.write().nodes = nodes;
        self.changed.notify_waiters();
    }

    pub fn node(&self, id: NodeId) -> Option<Arc<Node>> {
        self.known.as_ref()?.read_recursive().nodes.iter().find(|node| node.id == id).cloned()
    }

    /// The shards for which `which` says so.
    pub fn those(&self, which: impl Fn(Slot) -> bool) -> Vec<ShardId> {
        (0..SHARDS).map(ShardId).filter(|shard| which(self.slot(*shard))).collect()
    }
}
