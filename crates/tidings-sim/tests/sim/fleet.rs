//! All nodes and the clients' side, moved on tick by tick, one after the other, in one thread.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_proto::{SHARDS, ShardId, UserId};
use tidings_server::cluster::store::ClusterStore as _;
use tokio::{
    runtime::{Builder, Runtime},
    time::Instant,
};

use super::{
    bus::Network,
    flaw::Flaw,
    lines::Lines,
    logs,
    node::{Ground, Open, Process, name},
    store::{Store, at_once},
    world::{Place, TICK, World},
};

/// Ticks.
const LOOK_EVERY: u32 = 20;

pub struct Fleet {
    pub world: Arc<World>,
    pub ground: Ground,
    pub lines: Arc<Lines>,
    pub nodes: Vec<Slot>,
    clients: Runtime,
    clients_until: Instant,
}

/// Where runs of one node follow each other.
pub struct Slot {
    pub process: Option<Process>,
    runs: u32,
    /// When it starts again.
    starts_at: Option<Duration>,
}

impl Fleet {
    /// So many nodes begin at once, and there is room for `later` more.
    pub fn new(world: &Arc<World>, count: usize, later: usize, flaw: Option<Flaw>) -> Self {
        let store = Arc::new(Mutex::new(Store::default()));
        let ground = Ground { world: world.clone(), store, network: Network::new(world), flaw };
        let clients = Builder::new_current_thread().enable_time().start_paused(true).build();
        let clients = clients.expect("a runtime needs memory only");
        let clients_until = {
            let _entered = clients.enter();
            Instant::now()
        };
        let slot = |place| Slot { process: None, runs: 0, starts_at: (place < count).then_some(Duration::ZERO) };
        let nodes = (0..count + later).map(slot).collect();
        let lines = Lines::new(world, count + later);
        Self { world: world.clone(), ground, lines, nodes, clients, clients_until }
    }

    /// Runs something on the clients' side.
    pub fn spawn<F>(&self, task: F) -> tokio::task::JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.clients.spawn(task)
    }

    pub fn tick(&mut self) {
        self.world.tick();
        let now = self.world.now();
        for place in 0..self.nodes.len() {
            self.tick_node(place, now);
        }
        logs::turn_of(Place::Clients);
        self.clients_until += TICK;
        let until = self.clients_until;
        self.clients.block_on(async move { tokio::time::sleep_until(until).await });
    }

    fn tick_node(&mut self, place: usize, now: Duration) {
        if self.nodes[place].starts_at.is_some_and(|at| at <= now) {
            self.start(place);
        }
        let slot = &mut self.nodes[place];
        let Some(process) = &mut slot.process else { return self.lines.break_all(place) };
        for caller in self.lines.take_callers(place) {
            process.call(caller);
        }
        logs::turn_of(Place::Node(place));
        process.tick();
        if process.has_ended() {
            // Whatever watches over processes starts it again.
            self.kill(place, Duration::from_millis(500));
        }
    }

    fn start(&mut self, place: usize) {
        let slot = &mut self.nodes[place];
        slot.runs += 1;
        slot.starts_at = None;
        slot.process = Some(Process::start(&self.ground, place, slot.runs));
    }

    /// Ends a node at once. It starts again after `down`.
    pub fn kill(&mut self, place: usize, down: Duration) {
        let slot = &mut self.nodes[place];
        if let Some(process) = slot.process.take() {
            self.world.note(format_args!("node {} is dead", process.id));
            process.kill();
            slot.starts_at = Some(self.world.now() + down);
            self.lines.break_all(place);
        }
    }

    pub fn pause(&mut self, place: usize, is_paused: bool) {
        if let Some(process) = &mut self.nodes[place].process {
            self.world.note(format_args!("node {} is paused: {is_paused}", process.id));
            process.is_paused = is_paused;
        }
    }

    pub fn drain(&self, place: usize) {
        if let Some(process) = &self.nodes[place].process {
            process.drain();
        }
    }

    pub fn ask_to_drain(&self, asked: usize, place: usize) {
        if let Some(process) = &self.nodes[asked].process {
            process.ask_to_drain(name(place));
        }
    }

    /// One that was not there before begins.
    pub fn join(&mut self, place: usize) {
        self.nodes[place].starts_at.get_or_insert(self.world.now());
    }

    pub fn interrupt(&self, place: usize) {
        self.ground.network.interrupt(Place::Node(place));
    }

    /// Moves on until `is_so`, which is looked at now and then; `false`: it was not within `limit`.
    pub fn until(&mut self, limit: Duration, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.world.now() + limit;
        while self.world.now() < end {
            (0..LOOK_EVERY).for_each(|_| self.tick());
            if is_so(self) {
                return true;
            }
        }
        false
    }

    /// Those that serve, each with its place.
    pub fn open(&self) -> Vec<(usize, Open)> {
        let open = |(place, slot): (usize, &Slot)| Some((place, slot.process.as_ref()?.open()?));
        self.nodes.iter().enumerate().filter_map(open).collect()
    }

    /// The node that has this user's home.
    pub fn serving(&self, user: &UserId) -> Option<usize> {
        let serves = |(_, open): &(usize, Open)| open.host.shards.is_here(user.shard());
        self.open().into_iter().find(serves).map(|(place, _)| place)
    }

    /// Everything is as the view wishes: each shard is hosted by whom its row names, and by nobody else.
    pub fn is_settled(&self) -> bool {
        self.unsettled().is_none()
    }

    /// What is not settled, if anything is.
    pub fn unsettled(&self) -> Option<String> {
        let open = self.open();
        let are_there = self.nodes.iter().filter(|slot| slot.process.is_some() || slot.starts_at.is_some()).count();
        if open.len() < are_there {
            return Some(format!("{} of {are_there} nodes serve", open.len()));
        }
        let store = self.ground.store.lock();
        let view = at_once(store.cluster.view());
        let epoch = view.map(|view| view.epoch).unwrap_or_default();
        for (place, open) in &open {
            let known = open.joined.known();
            if known.view.epoch != epoch || known.round.view_epoch != epoch {
                return Some(format!(
                    "node {place} knows the views {} and {}, not {epoch}",
                    known.view.epoch, known.round.view_epoch
                ));
            }
        }
        for shard in (0..SHARDS).map(ShardId) {
            let row = store.cluster.row(shard);
            for (place, open) in &open {
                let process = self.nodes[*place].process.as_ref();
                let is_named = process.is_some_and(|process| row.host == Some(process.id));
                if open.host.shards.is_here(shard) != is_named {
                    return Some(format!("shard {} is named {row:?}, and node {place} says otherwise", shard.0));
                }
            }
            if row.host.is_none_or(|host| {
                !self.nodes.iter().any(|slot| slot.process.as_ref().is_some_and(|process| process.id == host))
            }) {
                return Some(format!("shard {} is named {row:?}, and that is nobody", shard.0));
            }
        }
        None
    }
}
