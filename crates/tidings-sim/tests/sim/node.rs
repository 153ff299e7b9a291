//! One node: a runtime of its own, whose clock the simulation moves. It is started, paused, killed and drained; what runs in it is
//! the server's own code, from membership down to the journal's committer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tidings_proto::CloseCode;
use tidings_server::{
    clock::Clock,
    cluster::view::Node,
    config::Config,
    data_folder::Lineage,
    host::{Host, open::Parts, peers::Peers, shards::Shards},
    journal::commit::RunsAs,
    metrics::Metrics,
    node::NodeId,
    serve::joined::Joined,
    shutdown::Shutdown,
};
use tokio::{
    runtime::{Builder, Runtime},
    sync::mpsc,
    time::Instant,
};

use super::{
    bus::Network,
    cluster::Cluster,
    door::{self, Caller},
    flaw::Flaw,
    journals::Journals,
    store::{Link, Store},
    tables::NodeTables,
    world::{Place, TICK, World},
};

/// What all nodes stand on.
#[derive(Clone)]
pub struct Ground {
    pub world: Arc<World>,
    pub store: Arc<Mutex<Store>>,
    pub network: Network,
    pub flaw: Option<Flaw>,
}

/// One run of a node.
pub struct Process {
    pub id: NodeId,
    runtime: Runtime,
    shared: Arc<Shared>,
    callers: mpsc::UnboundedSender<Caller>,
    network: Network,
    /// Whether its clock moves.
    pub is_paused: bool,
    behind: Duration,
    until: Instant,
}

/// What the simulation knows of a run.
struct Shared {
    is_alive: Arc<AtomicBool>,
    /// The process has ended by itself.
    has_ended: AtomicBool,
    to_drain: tokio::sync::Notify,
    open: Mutex<Option<Open>>,
}

/// What a run serves with, once it does.
#[derive(Clone)]
pub struct Open {
    pub host: Arc<Host>,
    pub joined: Arc<Joined>,
}

/// `run` is counted from 1 for each node.
pub fn id(place: usize, run: u32) -> NodeId {
    NodeId::from_u128((place as u128 + 1) << 64 | u128::from(run))
}

pub fn name(place: usize) -> String {
    format!("node-{place}")
}

pub fn place_of(id: NodeId) -> usize {
    usize::try_from((id.as_u128() >> 64) - 1).expect("there are few nodes")
}

impl Process {
    pub fn start(ground: &Ground, place: usize, run: u32) -> Self {
        let id = id(place, run);
        ground.world.note(format_args!("node {id} begins"));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.expect("a runtime needs memory only");
        let is_alive = Arc::new(AtomicBool::new(true));
        let (has_ended, to_drain) = (AtomicBool::new(false), tokio::sync::Notify::new());
        let shared = Arc::new(Shared { is_alive, has_ended, to_drain, open: Mutex::default() });
        let (callers, called) = mpsc::unbounded_channel();
        let until = {
            let _entered = runtime.enter();
            Instant::now()
        };
        runtime.spawn(live(ground.clone(), place, id, shared.clone(), called));
        let network = ground.network.clone();
        Self { id, runtime, shared, callers, network, is_paused: false, behind: Duration::ZERO, until }
    }

    /// Moves its clock on, and does what is to be done by then. A node that was paused finds that much time has passed.
    pub fn tick(&mut self) {
        if self.is_paused {
            self.behind += TICK;
            return;
        }
        let behind = std::mem::take(&mut self.behind);
        self.until += behind + TICK;
        let until = self.until;
        self.runtime.block_on(async move {
            if !behind.is_zero() {
                tokio::time::advance(behind).await;
            }
            tokio::time::sleep_until(until).await;
        });
    }

    pub fn has_ended(&self) -> bool {
        self.shared.has_ended.load(Ordering::Relaxed)
    }

    pub fn open(&self) -> Option<Open> {
        self.shared.open.lock().clone()
    }

    /// Somebody connects.
    pub fn call(&self, caller: Caller) {
        // A node that has ended refuses.
        let _ = self.callers.send(caller);
    }

    pub fn drain(&self) {
        self.shared.to_drain.notify_one();
    }

    /// A person asks this node that another one drain.
    pub fn ask_to_drain(&self, other: String) {
        let Some(open) = self.open() else { return };
        // What is refused, or not answered, is asked by nobody again.
        self.runtime.spawn(async move { drop(open.joined.member.drain_other(&other).await) });
    }

    /// Ends it at once: what it has sent arrives still.
    pub fn kill(self) {
        self.shared.is_alive.store(false, Ordering::Relaxed);
        self.network.leave(self.id);
        self.shared.open.lock().take();
    }
}

fn config() -> Config {
    let settings = [
        ("rates.sends_burst", "1000000"),
        ("rates.requests_burst", "1000000"),
        ("presence.grace_ms", "2000"),
        ("flush.window_ms", "1500"),
    ];
    Config::load(None, settings.map(|(name, value)| (name.to_owned(), value.to_owned())))
        .expect("these settings are good")
}

async fn live(
    ground: Ground,
    place: usize,
    id: NodeId,
    shared: Arc<Shared>,
    mut called: mpsc::UnboundedReceiver<Caller>,
) {
    let Ground { world, store, network, flaw } = ground;
    let at = Place::Node(place);
    let is_alive = shared.is_alive.clone();
    let link = Link { world: world.clone(), store, place: at, is_alive: is_alive.clone() };
    let journals = Journals { link: link.clone(), flaw };
    // No two clocks on the wall agree.
    let skew_ms = world.random(|rng| rand::Rng::random_range(rng, 0..4_000));
    let wall = world.clone();
    let clock = Clock::new(move || wall.unix_ms() + skew_ms);
    let tables = NodeTables { link: link.clone(), journal: id, flaw };
    let metrics = Arc::new(Metrics::default());
    let parts = Parts { config: config(), clock, metrics, lineage: Lineage([7; 8]), shards: Shards::of_fleet() };
    let host = Host::new(parts, Arc::new(tables));
    let (bus, inlets) = network.join(id, at, is_alive.clone());
    host.join(Peers::new(id, Arc::new(bus)), inlets);
    let shutdown = Shutdown::default();
    let journal = journals.begin(id).await;
    let tasks = host.run_as(RunsAs::Task, Arc::new(journal), &shutdown);
    let me = Node::new(id, name(place), "");
    let cluster = Arc::new(Cluster(link));
    match Joined::start(cluster, me, &host, Arc::new(journals), &shutdown).await {
        Ok(joined) => {
            let open = Open { host: host.clone(), joined: Arc::new(joined) };
            *shared.open.lock() = Some(open.clone());
            let wish_to_stop = async {
                tokio::select! {
                    () = shutdown.begun() => {}
                    () = shared.to_drain.notified() => {
                        world.note(format_args!("node {id} drains"));
                        tokio::select! {
                            () = open.joined.drain(Duration::from_secs(8)) => {}
                            () = shutdown.begun() => {}
                        }
                    }
                }
            };
            tokio::select! {
                () = wish_to_stop => {}
                () = door::serve_all(&host, &is_alive, &mut called, flaw) => {}
            }
            host.for_each_session(|outbox| outbox.close(CloseCode::Draining));
            let left = open.joined.leave(Duration::from_secs(5)).await;
            // Its tasks end wherever they are.
            shared.open.lock().take();
            drop(open);
            shutdown.begin();
            host.stop(tasks).await;
            world.note(format_args!("node {id} has left: {}", left.is_ok()));
        }
        Err(error) => world.note(format_args!("node {id} could not join: {error}")),
    }
    let why = host.failure().map(str::to_owned);
    world.note(format_args!("node {id} has ended: {why:?}"));
    shared.has_ended.store(true, Ordering::Relaxed);
}
