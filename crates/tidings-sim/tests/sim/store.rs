//! The store of the fleet, as one place: rows of tables, journals with their marks, view, shards and beats; and a node's way to it.
//! Like Cassandra it does each request at once and for itself; what is asked in several requests may half happen.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use parking_lot::Mutex;
use rand::Rng as _;
use tidings_server::{
    cluster::store::{ShardRow, memory::MemoryClusterStore},
    host::event::Event,
    journal::{Position, framing},
    node::NodeId,
    tables::memory::MemoryTables,
};
use tokio::{sync::oneshot, time::timeout};

use super::world::{Place, World, digest};

/// After so long without an answer a request is sent again.
const ATTEMPT: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Store {
    pub tables: MemoryTables,
    pub cluster: MemoryClusterStore,
    pub journals: BTreeMap<NodeId, BTreeMap<u64, JournalRow>>,
    pub marks: BTreeMap<NodeId, Position>,
    /// What must never be.
    pub faults: Vec<String>,
}

#[derive(Clone, Debug)]
pub struct JournalRow {
    pub id: u64,
    /// None: a seal, or given up.
    pub body: Option<Bytes>,
    pub is_seal: bool,
}

impl Store {
    /// A conditional write: refused by what stands there.
    pub fn insert(&mut self, world: &World, node: NodeId, at: u64, row: &JournalRow) -> Result<(), JournalRow> {
        let rows = self.journals.entry(node).or_default();
        if let Some(there) = rows.get(&at) {
            return Err(there.clone());
        }
        rows.insert(at, row.clone());
        match &row.body {
            None => world.note(format_args!("seal {node} behind {at}")),
            Some(body) => {
                world.note(format_args!("append {node} {at} {:016x}", digest(body)));
                // An attempt may come late, when its bucket was given up: nobody looks there any more.
                if Position(at) > self.mark(node) {
                    self.check_hosts(world, node, at, body);
                }
            }
        }
        Ok(())
    }

    /// While the row of a shard names a journal, only that one gets events of the shard.
    fn check_hosts(&mut self, world: &World, node: NodeId, at: u64, commit: &Bytes) {
        for event in framing::events(commit.clone()).flatten() {
            let Ok(event) = Event::decode(&event) else { continue };
            world.explain(|| format!("{event:?}"));
            let ShardRow { host, epoch } = self.cluster.row(event.shard());
            if host != Some(node) {
                let shard = event.shard().0;
                self.faults.push(format!(
                    "position {at} of the journal of {node} has an event of shard {shard}, hosted by {host:?} in epoch {epoch}"
                ));
            }
        }
    }

    pub fn mark(&self, node: NodeId) -> Position {
        self.marks.get(&node).copied().unwrap_or_default()
    }

    pub fn set_mark(&mut self, node: NodeId, up_to: Position) {
        let mark = self.marks.entry(node).or_default();
        *mark = up_to.max(*mark);
    }
}

/// What is in memory is there at once.
pub fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("memory does not wait")
}

/// The way of one run of a node to the store.
#[derive(Clone)]
pub struct Link {
    pub world: Arc<World>,
    pub store: Arc<Mutex<Store>>,
    pub place: Place,
    /// False once the node is dead: what it has sent still arrives, and nothing more leaves.
    pub is_alive: Arc<AtomicBool>,
}

impl Link {
    /// Asks until there is an answer. What is asked may be done more than once, and later.
    pub async fn ask<T: Send + 'static>(
        &self,
        act: impl Fn(&mut Store, &Arc<World>) -> T + Clone + Send + 'static,
    ) -> T {
        loop {
            let answer = self.attempt(act.clone());
            if let Ok(Ok(answer)) = timeout(ATTEMPT, answer).await {
                return answer;
            }
            let pause = self.world.random(|rng| rng.random_range(10..500));
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// The same, but the weather may have it that an error is told, and nothing of what became of it.
    pub async fn try_ask<T: Send + 'static>(
        &self,
        act: impl Fn(&mut Store, &Arc<World>) -> T + Clone + Send + 'static,
    ) -> io::Result<T> {
        if self.world.falls(self.world.weather().store_errors) {
            // It may have been sent.
            if self.world.random(|rng| rng.random()) {
                drop(self.attempt(act));
            }
            tokio::time::sleep(self.world.latency()).await;
            return Err(io::Error::other("the simulation has it fail"));
        }
        Ok(self.ask(act).await)
    }

    fn attempt<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Store, &Arc<World>) -> T + Send + 'static,
    ) -> oneshot::Receiver<T> {
        let (answered, answer) = oneshot::channel();
        if !self.is_alive.load(Ordering::Relaxed) {
            return answer;
        }
        let weather = self.world.weather();
        if self.world.falls(weather.store_lost) {
            return answer;
        }
        let (store, place) = (self.store.clone(), self.place);
        let slow_ms = u64::try_from(weather.store_slow.as_millis()).unwrap_or(0);
        let slow = if slow_ms > 0 { self.world.random(|rng| rng.random_range(0..slow_ms)) } else { 0 };
        let answers = move |world: &Arc<World>| {
            let said = act(&mut store.lock(), world);
            if !world.falls(weather.store_lost) {
                // Whoever asked may have given up.
                world.send(Place::Store, place, move |_| drop(answered.send(said)));
            }
        };
        let arrives = move |world: &Arc<World>| world.after(Duration::from_millis(slow), answers);
        self.world.send(place, Place::Store, arrives);
        answer
    }
}
