//! A node's side of a client's connection, as `edge/websocket.rs` has it on a socket: the session's protocol, what it asks for, and
//! what waits in the outbox.

use std::{
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tidings_proto::{
    CloseCode,
    frames::{
        client::{Command, Hello, Request},
        server::{Beat, ServerFrame},
    },
};
use tidings_server::{
    edge::Edge,
    host::{Host, shards::Place as Hosted},
    node::NodeId,
    session::{
        attachment::welcome,
        auth::{Identity, log_in, username},
        execute::{self, act, is_read, read},
        outbox::{Next, Outbox},
        reply::{Answer, Reply},
        state::{Effect, State},
        unanswered::Counter,
    },
};
use tokio::sync::mpsc;

use super::{
    flaw::{Flaw, Telling},
    pipe::Pipe,
};

/// How long a client waits while its home is on its way.
const MOVING_WAIT: Duration = Duration::from_secs(1);

/// What a client sends.
pub enum Up {
    Text(String),
    Gone,
}

/// What a client gets.
pub enum Down {
    Text(Bytes),
    Closed(CloseCode),
    /// The socket broke.
    Broken,
    /// Another node serves this user. (A server relays the bytes; here the client connects there.)
    Elsewhere(NodeId),
}

/// A client that connects.
pub struct Caller {
    pub up: mpsc::UnboundedReceiver<Up>,
    pub down: Pipe<Down>,
}

/// Takes connections until the node ends.
pub async fn serve_all(
    host: &Arc<Host>,
    is_alive: &Arc<AtomicBool>,
    called: &mut mpsc::UnboundedReceiver<Caller>,
    flaw: Option<Flaw>,
) {
    while let Some(caller) = called.recv().await {
        let rules = Arc::new(Edge::session_rules(host));
        let state = State::new(rules, now_ms(host));
        let outbox = Arc::new(Outbox::new(host.config.limits.outbox_bytes));
        let (host, is_alive) = (host.clone(), is_alive.clone());
        let (telling, unanswered) = (Telling::new(flaw), Arc::default());
        let connection = Connection { host, is_alive, caller, outbox, telling, state, unanswered, reading: None };
        tokio::spawn(connection.run());
    }
}

fn now_ms(host: &Host) -> u64 {
    host.clock.monotonic_ns() / 1_000_000
}

enum End {
    Gone,
    Close(CloseCode),
    Elsewhere(NodeId),
}

type Reading = Pin<Box<dyn Future<Output = String> + Send>>;

struct Connection {
    host: Arc<Host>,
    is_alive: Arc<AtomicBool>,
    caller: Caller,
    outbox: Arc<Outbox>,
    telling: Telling,
    state: State,
    unanswered: Arc<Counter>,
    reading: Option<Reading>,
}

impl Connection {
    async fn run(mut self) {
        let end = match self.hello().await {
            Ok(caller) => {
                let end = self.serve(&caller).await;
                self.host.detach(&caller.home, &self.outbox);
                end
            }
            Err(end) => end,
        };
        if self.is_alive.load(Ordering::Relaxed) {
            self.caller.down.send(match end {
                End::Gone => Down::Broken,
                End::Close(code) => Down::Closed(code),
                End::Elsewhere(node) => Down::Elsewhere(node),
            });
        }
    }

    fn write(&mut self, frame: impl Into<Bytes>) {
        // Of a node that is being torn down nothing is heard.
        if self.is_alive.load(Ordering::Relaxed) {
            self.caller.down.send(Down::Text(frame.into()));
            self.state.on_spoken(now_ms(&self.host));
        }
    }

    fn on_up(&mut self, up: Option<Up>) -> Result<Effect, End> {
        match up {
            Some(Up::Text(text)) => Ok(self.state.on_text(&text, now_ms(&self.host))),
            Some(Up::Gone) | None => Err(End::Gone),
        }
    }

    fn until_due(&self) -> tokio::time::Sleep {
        tokio::time::sleep(Duration::from_millis(self.state.deadline_ms().saturating_sub(now_ms(&self.host))))
    }

    async fn hello(&mut self) -> Result<execute::Caller, End> {
        loop {
            let due = self.until_due();
            let effect = tokio::select! {
                up = self.caller.up.recv() => self.on_up(up)?,
                () = due => self.state.on_time(now_ms(&self.host)),
            };
            match effect {
                Effect::Hello(id, hello) => match self.welcome(&hello).await? {
                    Ok(caller) => return Ok(caller),
                    Err(refusal) => self.write(refusal.into_frame(id).to_json()),
                },
                effect => self.answer(effect)?,
            }
        }
    }

    async fn welcome(&mut self, hello: &Hello) -> Result<Result<execute::Caller, Answer>, End> {
        let host = self.host.clone();
        let Ok(user) = username(hello.username.as_deref().unwrap_or_default()) else { return Err(End::Gone) };
        let moving = tokio::time::sleep(MOVING_WAIT);
        tokio::pin!(moving);
        loop {
            let changed = host.shards.changed.notified();
            match host.place_of(&user) {
                Hosted::Here => break,
                Hosted::There(node) => return Err(End::Elsewhere(node.id)),
                Hosted::Moving => tokio::select! {
                    () = changed => {}
                    () = &mut moving => return Err(End::Close(CloseCode::TryLater)),
                },
            }
        }
        let identity =
            Identity { user, device: hello.device.clone(), issued_ms: u64::MAX, expires_ms: None, name: None };
        let caller = match log_in(&host, &identity).await {
            Ok(caller) => caller,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let since = hello.sync.as_deref().map(|sync| host.read_token(&caller.home, Some(sync)).unwrap_or(None));
        let attached = match host.attach(&caller.home, &caller.device, &self.outbox, since).await {
            Ok(attached) => attached,
            Err(error) => return Ok(Err(host.answer(error))),
        };
        self.state.open(None);
        self.write(welcome(&host, &caller, &self.outbox, attached.token, false));
        if let Some(differences) = attached.differences {
            match host.changes(&caller.home, None, differences, hello.tail.unwrap_or(0)).await {
                Ok(changes) => self.write(changes),
                Err(_) => {
                    host.detach(&caller.home, &self.outbox);
                    return Err(End::Close(CloseCode::TryLater));
                }
            }
        }
        Ok(Ok(caller))
    }

    async fn serve(&mut self, caller: &execute::Caller) -> End {
        let mut held: Option<Box<Request>> = None;
        loop {
            if let Some(request) = held.take_if(|_| self.reading.is_none())
                && let Err(end) = self.begin_read(caller, *request).await
            {
                return end;
            }
            let due = self.until_due();
            let outbox = self.outbox.clone();
            let effect = tokio::select! {
                up = self.caller.up.recv(), if held.is_none() => self.on_up(up),
                () = outbox.changed() => self.drain().map(|()| Effect::Nothing),
                frame = next_answer(&mut self.reading) => {
                    self.write(frame);
                    Ok(Effect::Nothing)
                }
                () = due => Ok(self.state.on_time(now_ms(&self.host))),
            };
            let done = match effect {
                Ok(Effect::Execute(request)) if is_read(&request.command) => {
                    held = Some(request);
                    Ok(())
                }
                Ok(Effect::Execute(request)) => self.execute(caller, *request).await,
                Ok(effect) => self.answer(effect),
                Err(end) => Err(end),
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn answer(&mut self, effect: Effect) -> Result<(), End> {
        match effect {
            Effect::Nothing | Effect::Expiring { .. } => Ok(()),
            Effect::Refuse(error) => {
                self.write(Answer::refused(error.code, error.message).into_frame(error.id).to_json());
                Ok(())
            }
            Effect::Pong(re) => {
                self.write(ServerFrame::Pong(Beat { re }).to_json());
                Ok(())
            }
            Effect::Ping => {
                self.write(ServerFrame::Ping(Beat::default()).to_json());
                Ok(())
            }
            Effect::Close(code) => Err(End::Close(code)),
            Effect::Drop => Err(End::Gone),
            Effect::Hello(..) | Effect::Execute(_) => unreachable!("the caller carries these out"),
        }
    }

    async fn execute(&mut self, caller: &execute::Caller, request: Request) -> Result<(), End> {
        let Request { id, command } = request;
        let host = self.host.clone();
        let reply = Reply::to_session(id, self.outbox.clone(), self.unanswered.begin());
        match command {
            Command::Typing(typing) => {
                let typed = host.typing(&caller.user, typing.conversation, self.outbox.session).await;
                reply.answer(typed.map_or_else(|error| host.answer(error), |()| Answer::Done));
                Ok(())
            }
            command => self.drive(pin!(act(&host, caller, command, reply))).await,
        }
    }

    async fn begin_read(&mut self, caller: &execute::Caller, request: Request) -> Result<(), End> {
        let Request { id, command } = request;
        let unanswered = self.unanswered.clone();
        self.drive(pin!(unanswered.all_answered())).await?;
        let (host, caller) = (self.host.clone(), caller.clone());
        self.reading = Some(Box::pin(async move {
            match read(&host, &caller, id.clone(), command).await {
                Ok(frame) => frame,
                Err(refusal) => refusal.into_frame(id).to_json(),
            }
        }));
        Ok(())
    }

    /// Awaits `work`, and meanwhile writes what waits, and goes on with the read under way.
    async fn drive<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, End> {
        let outbox = self.outbox.clone();
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = outbox.changed() => self.drain()?,
                frame = next_answer(&mut self.reading) => self.write(frame),
            }
        }
    }

    fn drain(&mut self) -> Result<(), End> {
        let mut frames = Vec::new();
        loop {
            match self.outbox.take(&mut frames, 64 << 10) {
                Next::Frames => {
                    for frame in frames.drain(..) {
                        self.telling.of(frame).into_iter().for_each(|frame| self.write(frame));
                    }
                }
                Next::Empty => return Ok(()),
                Next::Close(code) => return Err(End::Close(code)),
            }
        }
    }
}

/// The answer to the read that is under way; never, if there is none.
async fn next_answer(reading: &mut Option<Reading>) -> String {
    match reading {
        Some(answer) => {
            let frame = answer.await;
            *reading = None;
            frame
        }
        None => std::future::pending().await,
    }
}
