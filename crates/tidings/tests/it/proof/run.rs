//! Lets clients loose on a server, round by round. A round ends when the server is gone and every client has noticed.

use std::{
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_checker::{Recorder, Transport};
use tidings_client::raw;
use tidings_proto::{
    UserId,
    frames::{
        client::{Command, Hello, Request},
        server::ServerFrame,
    },
};
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
    time::timeout,
};

use super::{
    caller::{EVERY_WAY, Product, Script},
    device::Device,
    held::Held,
    world::{OWNER, PEOPLE, World, creates, device, user},
};

/// Longer than anything here takes: who waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The devices: whose, and their names.
pub const DEVICES: [(&str, &str); 8] = [
    ("ada", "laptop"),
    ("ada", "phone"),
    ("bob", "laptop"),
    ("bob", "phone"),
    ("eve", "laptop"),
    ("dan", "laptop"),
    ("mal", "laptop"),
    ("mal", "phone"),
];

#[derive(Clone, Debug)]
pub enum Phase {
    /// A server listens there, for the so many-th time.
    Up { generation: u64, url: String },
    /// Finish what is under way, and leave.
    Over,
}

/// Whoever talks to a server until it is gone or all is over.
pub trait Client: Send + 'static {
    fn live(&mut self, url: &str) -> impl Future<Output = ()> + Send;
}

impl Client for Device {
    async fn live(&mut self, url: &str) {
        Self::live(self, url).await;
    }
}

pub struct Run {
    pub world: Arc<World>,
    /// What each device holds, to be looked at between rounds.
    pub held: Vec<(UserId, Arc<Mutex<Held>>)>,
    pub(super) phase: watch::Sender<Phase>,
    pub(super) generation: u64,
    pub(super) round: Arc<Barrier>,
    pub(super) clients: JoinSet<()>,
}

impl Run {
    /// Everybody is known and both groups are there; nobody talks yet.
    pub async fn new(seed: u64, url: &str) -> Self {
        let world = Arc::new(World::new(Recorder::in_memory()));
        set_up(&world, url).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let (phase, phase_rx) = watch::channel(Phase::Up { generation: 0, url: String::new() });
        let round = Arc::new(Barrier::new(DEVICES.len() + 3));
        let (mut clients, mut held) = (JoinSet::new(), Vec::new());
        let mut seed = || StdRng::seed_from_u64(rng.random());
        for (person, name) in DEVICES {
            let device = Device::new(&world, person, name, seed(), phase_rx.clone());
            held.push((device.user.clone(), device.held.clone()));
            clients.spawn(take_part(device, phase_rx.clone(), round.clone()));
        }
        let script = Script::new(&world, "bob", seed(), phase_rx.clone());
        clients.spawn(take_part(script, phase_rx.clone(), round.clone()));
        let product = Product::new(&world, "kim", "product", &EVERY_WAY, seed(), phase_rx.clone());
        clients.spawn(take_part(product, phase_rx, round.clone()));
        Self { world, held, phase, generation: 0, round, clients }
    }

    /// All clients talk to the server there.
    pub fn begin_round(&mut self, url: &str) {
        self.generation += 1;
        self.phase.send_replace(Phase::Up { generation: self.generation, url: url.to_owned() });
    }

    /// Waits until one of the devices holds what is wanted.
    pub async fn until(&self, wanted: impl Fn(&Held) -> bool) {
        let is_there = async {
            while !self.held.iter().any(|(_, held)| wanted(&held.lock().unwrap())) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, is_there).await.expect("the devices get on");
    }

    /// The server is gone: waits until everybody has noticed.
    pub async fn end_round(&mut self) {
        tokio::select! {
            waited = timeout(PATIENCE, self.round.wait()) => { waited.expect("everybody notices that the server is gone"); }
            Some(ended) = self.clients.join_next() => {
                ended.expect("a client fails for a reason of its own");
                panic!("a client has left early");
            }
        }
    }

    /// Everybody finishes and leaves.
    pub async fn finish(&mut self) {
        self.phase.send_replace(Phase::Over);
        while let Some(ended) = timeout(PATIENCE, self.clients.join_next()).await.expect("everybody gets their answers")
        {
            ended.expect("a client fails for a reason of its own");
        }
    }
}

impl Drop for Run {
    /// A test that fails leaves what was recorded, for `tidings-checker` and for people.
    fn drop(&mut self) {
        if std::thread::panicking() {
            static FAILED: AtomicUsize = AtomicUsize::new(1);
            let name =
                format!("tidings-history-{}-{}.jsonl", std::process::id(), FAILED.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            let lines = self.world.recorder.history();
            let lines = lines.records().map(|record| serde_json::to_string(record).unwrap() + "\n");
            let _ = std::fs::write(&path, lines.collect::<String>());
            eprintln!("the history is in {}", path.display());
        }
    }
}

async fn take_part(mut client: impl Client, mut phase: watch::Receiver<Phase>, round: Arc<Barrier>) {
    let mut last = 0;
    let is_over = |phase: &Phase| matches!(phase, Phase::Over);
    loop {
        let is_next = |phase: &Phase| match phase {
            Phase::Up { generation, .. } => *generation > last,
            Phase::Over => true,
        };
        let next = phase.wait_for(is_next).await.map(|phase| phase.clone());
        let Ok(Phase::Up { generation, url }) = next else { return };
        last = generation;
        client.live(&url).await;
        tokio::select! {
            _ = phase.wait_for(is_over) => return,
            _ = round.wait() => {}
        }
    }
}

/// Makes everybody known and both groups.
pub async fn set_up(world: &World, url: &str) {
    for person in PEOPLE.into_iter().rev() {
        // The owner comes last, when all are known.
        let hello = Hello { username: Some(person.to_owned()), device: Some(device("set-up")), ..Hello::default() };
        let recorded = world.recorder.session(&user(person), &device("set-up")).connect(Transport::Http);
        let (mut connection, _) = raw::Connection::connect(url, hello).await.expect("the server is up");
        for create in creates().into_iter().filter(|_| person == OWNER) {
            let command = Command::Create(create);
            let sending = world.sending(&recorded, &user(person), &command);
            let request = Request { id: Some(tidings_proto::frames::RequestId::Number(1)), command };
            connection.writer.queue(&serde_json::to_string(&request).unwrap());
            connection.writer.flush().await.unwrap();
            loop {
                if let ServerFrame::Created(created) = connection.reader.next().await.unwrap().parse().unwrap() {
                    sending.sent(created.seq, created.repeat);
                    break;
                }
            }
        }
        recorded.closed();
    }
}
