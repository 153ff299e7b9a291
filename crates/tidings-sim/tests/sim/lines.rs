//! How clients reach nodes: connecting to any of them, being sent to the one that serves the user, and losing the line.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use rand::Rng as _;
use tidings_proto::{
    CloseCode,
    frames::{
        client::{Command, Hello, Request},
        server::ServerFrame,
    },
};
use tokio::{sync::mpsc, time::timeout};

use super::{
    door::{Caller, Down, Up},
    node::place_of,
    pipe::{Pipe, pipe},
    world::{Place, World, digest},
};

/// How long a `welcome` may take.
const PATIENCE: Duration = Duration::from_secs(6);

/// The nodes, as clients find them. What is put here is handed over when the node's clock moves next.
pub struct Lines {
    world: Arc<World>,
    /// Of each node: who connects.
    callers: Mutex<Vec<Vec<Caller>>>,
    /// Of each node: the connections that break with it.
    open: Mutex<Vec<Vec<Open>>>,
}

/// A connection that is open until this is set.
type Open = (Arc<AtomicBool>, Pipe<Down>);

/// Why a line has ended.
#[derive(Debug)]
pub enum Lost {
    Closed(CloseCode),
    Broken,
}

/// A logged-in connection.
pub struct Socket {
    world: Arc<World>,
    /// Whose it is, for people who look at a trace.
    name: String,
    up: Pipe<Up>,
    down: mpsc::UnboundedReceiver<Down>,
}

impl Lines {
    pub fn new(world: &Arc<World>, nodes: usize) -> Arc<Self> {
        let callers = Mutex::new((0..nodes).map(|_| Vec::new()).collect());
        let open = Mutex::new((0..nodes).map(|_| Vec::new()).collect());
        Arc::new(Self { world: world.clone(), callers, open })
    }

    /// Who has connected to a node since this was last asked.
    pub fn take_callers(&self, place: usize) -> Vec<Caller> {
        std::mem::take(&mut self.callers.lock()[place])
    }

    /// A node is dead: its connections break, and who is connected to it learns so after a moment.
    pub fn break_all(&self, place: usize) {
        let open = std::mem::take(&mut self.open.lock()[place]);
        self.callers.lock()[place].clear();
        for (is_broken, down) in open {
            is_broken.store(true, Ordering::Relaxed);
            self.world.after(self.world.latency(), move |_| down.break_off(Down::Broken));
        }
    }

    /// Connects to any node, and from there to the one that serves the user. `None`: it did not work.
    pub async fn open(&self, hello: Hello) -> Option<Socket> {
        let nodes = self.callers.lock().len();
        let mut place = self.world.random(|rng| rng.random_range(0..nodes));
        for _ in 0..3 {
            let mut socket = self.connect(place, &hello);
            socket.say(&Request { id: None, command: Command::Hello(hello.clone()) });
            match timeout(PATIENCE, socket.next_down()).await {
                Ok(Some(Down::Text(text))) if matches!(parse(&text), ServerFrame::Welcome(_)) => return Some(socket),
                Ok(Some(Down::Elsewhere(node))) => place = place_of(node),
                _ => return None,
            }
        }
        None
    }

    fn connect(&self, place: usize, hello: &Hello) -> Socket {
        let (world, node) = (&self.world, Place::Node(place));
        let is_broken = Arc::new(AtomicBool::new(false));
        let (up, ups) = pipe(world, Place::Clients, node, &is_broken);
        let (down, downs) = pipe(world, node, Place::Clients, &is_broken);
        {
            let mut open = self.open.lock();
            open[place].retain(|(is_broken, _)| !is_broken.load(Ordering::Relaxed));
            open[place].push((is_broken.clone(), down.clone()));
        }
        self.callers.lock()[place].push(Caller { up: ups, down });
        let device = hello.device.as_ref().map_or("?", |device| device.as_str());
        let name = format!("{}'s {device} at {node}", hello.username.as_deref().unwrap_or("?"));
        Socket { world: world.clone(), name, up, down: downs }
    }
}

impl Socket {
    pub fn say(&self, request: &Request) {
        let text = serde_json::to_string(request).expect("frames have string keys");
        self.world.explain(|| format!("{} says {text}", self.name));
        self.up.send(Up::Text(text));
    }

    pub fn pong(&self) {
        self.up.send(Up::Text(r#"{"type":"pong"}"#.to_owned()));
    }

    async fn next_down(&mut self) -> Option<Down> {
        let down = self.down.recv().await?;
        if let Down::Text(text) = &down {
            self.world.note(format_args!("client gets {:016x}", digest(text)));
            self.world.explain(|| format!("{} gets {}", self.name, String::from_utf8_lossy(text)));
        }
        Some(down)
    }

    /// The next frame.
    pub async fn next(&mut self) -> Result<ServerFrame<'static>, Lost> {
        match self.next_down().await {
            Some(Down::Text(text)) => Ok(parse(&text)),
            Some(Down::Closed(code)) => Err(Lost::Closed(code)),
            Some(Down::Broken | Down::Elsewhere(_)) | None => Err(Lost::Broken),
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.up.send(Up::Gone);
    }
}

/// What a server says.
pub fn parse(text: &[u8]) -> ServerFrame<'static> {
    let text = std::str::from_utf8(text).expect("frames are text");
    ServerFrame::parse(text).expect("the server speaks the protocol").expect("the server says what is known")
}
