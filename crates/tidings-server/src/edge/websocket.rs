//! WebSocket (RFC 6455): one unsplit task a connection. It reads a frame, asks the protocol what to do and does it; and it
//! writes what waits in the outbox, all that is ready before one flush.

mod hello;

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::{
        ConnectInfo, Query, State as Extract, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket},
    },
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tidings_proto::{
    CloseCode,
    frames::{
        client::{Command, Request},
        server::{Beat, Expiring, ServerFrame},
    },
};

use crate::{
    metrics::Transport,
    session::{
        auth::{Identity, renew},
        execute::{Caller, act, is_read, paced, read, take_rates},
        outbox::{Next, Outbox},
        reply::{Answer, Reply},
        state::{Effect, State},
        unanswered::Counter,
    },
};

use super::{
    Edge,
    addresses::Peer,
    admission::Later,
    expiry::{self, now_ms, sleep_until},
    http::{documents::Calls, identity, problem},
    relay,
};

pub const SUBPROTOCOL: &str = "tidings.v1.json";

/// The wire's version, for people. The first number stands in the subprotocol's name; the second one rises when something is added
/// that others skip, and what a client may use it reads in the `features` of its welcome.
pub const PROTOCOL: &str = if cfg!(feature = "next-format") { "1.1" } else { "1.0" };
/// What a connection reads at once. It has this in memory for as long as it lives, also when it is silent.
const READ_BYTES: usize = 1024;
/// Gathered before it is written; allocated as far as it is needed.
const WRITE_BYTES: usize = 4 * 1024;
/// Taken from the outbox at once.
const TAKE_BYTES: usize = 64 * 1024;
/// Places for frames on their way that a connection keeps.
const FRAMES_KEPT: usize = 16;
/// How long a client that is being closed may take to read why.
const CLOSE_WAIT: Duration = Duration::from_secs(5);

#[derive(serde::Deserialize)]
pub struct Params {
    ticket: Option<String>,
}

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    let upgrade =
        calls.on("get", "/v1/ws", "WebSocket, subprotocol tidings.v1.json: see /asyncapi.json for the frames");
    upgrade.of_ticket_holders().gives_nothing(101, "It is one from here on");
}

/// `GET /v1/ws`.
pub async fn upgrade(
    Extract(edge): Extract<Edge>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let later = match edge.admit(peer.client.ip()) {
        Ok(()) => None,
        Err(later @ Later::Crowd { .. }) => Some(later),
        Err(later @ Later::Address { .. }) => return problem::of(&later.answer()),
    };
    let asked = headers.get_all("sec-websocket-protocol");
    let asks = |name: &str| {
        asked.iter().any(|value| value.to_str().is_ok_and(|value| value.split(',').any(|one| one.trim() == name)))
    };
    if asked.iter().next().is_some() && !asks(SUBPROTOCOL) {
        return (StatusCode::BAD_REQUEST, format!("the subprotocol of this version is {SUBPROTOCOL}")).into_response();
    }
    let shown = match later {
        Some(_) => Ok(None),
        None => identity(&edge, peer.socket.ip(), params.ticket.as_deref(), &headers).await,
    };
    let identity = match shown {
        Ok(identity) => identity,
        Err(refusal) => return problem::of(&refusal),
    };
    bounded(upgrade.protocols([SUBPROTOCOL]), edge.host.config.limits.frame_bytes).on_upgrade(move |socket| {
        let shutdown = edge.shutdown.clone();
        shutdown.track(async move {
            let _connected = edge.host.metrics.connected(Transport::WebSocket);
            // Boxed: the task would else take the room of all this a second time.
            let connection = Box::new(Connection::new(edge, socket, peer));
            match later {
                None => Box::pin(connection.run(identity)).await,
                Some(later) => Box::pin(connection.send_away(later)).await,
            }
        })
    })
}

/// What a connection may take of memory. (The echo of the tests, `examples/echo.rs`, is bounded by it too.)
pub fn bounded(upgrade: WebSocketUpgrade, frame_bytes: usize) -> WebSocketUpgrade {
    upgrade
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES)
        .max_message_size(frame_bytes)
        .max_frame_size(frame_bytes)
}

/// Why a connection ends.
enum End {
    /// The socket failed, or the client closed it.
    Gone,
    Close(CloseCode),
    /// Another node serves this client, which has said this to come in.
    Elsewhere(Box<relay::websocket::Line>, Utf8Bytes),
}

type Done = Result<(), End>;
type Reading = Pin<Box<dyn Future<Output = String> + Send>>;

struct Connection {
    edge: Edge,
    peer: Peer,
    socket: WebSocket,
    outbox: Arc<Outbox>,
    unanswered: Arc<Counter>,
    state: State,
    /// Frames on their way from the outbox to the socket.
    frames: Vec<Bytes>,
    /// One answer to a read at a time; it may be long.
    reading: Option<Reading>,
}

impl Connection {
    fn new(edge: Edge, socket: WebSocket, peer: Peer) -> Self {
        Self {
            outbox: Arc::new(Outbox::new(edge.host.config.limits.outbox_bytes)),
            unanswered: Arc::default(),
            state: State::new(edge.session_rules.clone(), now_ms(&edge)),
            frames: Vec::new(),
            reading: None,
            edge,
            peer,
            socket,
        }
    }

    async fn run(mut self: Box<Self>, identity: Option<Identity>) {
        // What happens once takes its room only then, and not of a connection that is silent.
        let end = match Box::pin(self.hello(identity)).await {
            Ok(caller) => {
                self.edge.host.metrics.sessions.inc();
                let end = self.serve(&caller).await;
                self.edge.host.detach(&caller.home, &self.outbox);
                self.edge.host.metrics.sessions.dec();
                end
            }
            Err(End::Elsewhere(line, hello)) => {
                let Self { edge, socket, .. } = *self;
                return Box::pin(relay::websocket::pump(edge, socket, *line, hello)).await;
            }
            Err(end) => end,
        };
        if let End::Close(code) = end {
            self.edge.host.metrics.connections_closed.of(code).inc();
            Box::pin(self.close(code)).await;
        }
    }

    /// Tells when to come back. A browser is told nothing of an HTTP status: so it is told on the socket.
    async fn send_away(mut self: Box<Self>, later: Later) {
        let _ = self.write(later.answer().into_frame(None).to_json()).await;
        self.edge.host.metrics.connections_closed.of(CloseCode::TryLater).inc();
        self.close(CloseCode::TryLater).await;
    }

    async fn serve(&mut self, caller: &Caller) -> End {
        // A read that came while another one is under way: nothing more is read from the socket until it can begin.
        let mut held: Option<Box<Request>> = None;
        // Each frame moves the deadline on. The timer is set anew only when it has run out, and then looks how far that went;
        // or when a new token ends earlier.
        let mut due_ms = self.state.deadline_ms();
        let mut timer = pin!(sleep_until(&self.edge, due_ms));
        loop {
            if self.state.deadline_ms() < due_ms {
                due_ms = self.state.deadline_ms();
                timer.set(sleep_until(&self.edge, due_ms));
            }
            if let Some(request) = held.take_if(|_| self.reading.is_none())
                && let Err(end) = Box::pin(self.begin_read(caller, *request)).await
            {
                return end;
            }
            let effect = tokio::select! {
                message = self.socket.next(), if held.is_none() => match self.on_message(message) {
                    Ok(effect) => effect,
                    Err(end) => return end,
                },
                () = self.outbox.changed() => match self.drain().await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
                frame = next_answer(&mut self.reading) => match self.write(frame).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                },
                () = &mut timer => {
                    let effect = self.state.on_time(now_ms(&self.edge));
                    due_ms = self.state.deadline_ms();
                    timer.set(sleep_until(&self.edge, due_ms));
                    effect
                }
            };
            let done = match effect {
                Effect::Execute(request) if is_read(&request.command) => {
                    held = Some(request);
                    Ok(())
                }
                // Boxed, so that a connection has room for it only while it acts.
                Effect::Execute(request) => Box::pin(self.execute(caller, *request)).await,
                effect => Box::pin(self.answer(effect)).await,
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    fn on_message(&mut self, message: Option<Result<Message, axum::Error>>) -> Result<Effect, End> {
        let now_ms = now_ms(&self.edge);
        match message {
            Some(Ok(Message::Text(text))) => {
                self.edge.host.metrics.received_bytes.inc_by(text.len() as u64);
                Ok(self.state.on_text(&text, now_ms))
            }
            Some(Ok(Message::Binary(_))) => Err(End::Close(CloseCode::BadFrame)),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {
                self.state.on_alive(now_ms);
                Ok(Effect::Nothing)
            }
            Some(Ok(Message::Close(_))) | None => Err(End::Gone),
            // Too long a frame, or bytes that are no text: the protocol's error, which is told.
            Some(Err(error)) => Err(if is_protocol_error(error) { End::Close(CloseCode::BadFrame) } else { End::Gone }),
        }
    }

    /// Carries out what concerns the connection itself.
    async fn answer(&mut self, effect: Effect) -> Done {
        match effect {
            Effect::Nothing => Ok(()),
            Effect::Refuse(error) => {
                self.edge.host.metrics.refused.of(error.code).inc();
                self.write(Answer::refused(error.code, error.message).into_frame(error.id).to_json()).await
            }
            Effect::Pong(re) => self.write(ServerFrame::Pong(Beat { re }).to_json()).await,
            Effect::Expiring { in_s } => self.write(ServerFrame::Expiring(Expiring { in_s }).to_json()).await,
            Effect::Ping => self.write(ServerFrame::Ping(Beat::default()).to_json()).await,
            Effect::Close(code) => Err(End::Close(code)),
            Effect::Drop => Err(End::Gone),
            Effect::Hello(..) | Effect::Execute(_) => unreachable!("the caller carries these out"),
        }
    }

    async fn execute(&mut self, caller: &Caller, request: Request) -> Done {
        let Request { id, command } = request;
        self.edge.host.metrics.frames_in.of(command.kind()).inc();
        let host = self.edge.host.clone();
        let reply = Reply::to_session(id, self.outbox.clone(), self.unanswered.begin()).counted(&host.metrics);
        if let Err(refusal) = self.pace(caller, &command).await? {
            reply.answer(refusal);
            return Ok(());
        }
        match command {
            Command::Typing(typing) => {
                let typed = Box::pin(host.typing(&caller.user, typing.conversation, self.outbox.session)).await;
                reply.answer(typed.map_or_else(|error| host.answer(error), |()| Answer::Done));
            }
            Command::Watch(watch) => {
                let watched = Box::pin(host.watch(&caller.user, &self.outbox, &watch.users)).await;
                reply.answer(watched.map_or_else(|error| host.answer(error), |()| Answer::Done));
            }
            Command::Auth(auth) => {
                let renewed = Box::pin(renew(&self.edge.auth, caller, &auth.token, host.clock.unix_ms())).await;
                if let Ok(expires_ms) = &renewed {
                    self.state.renew(expiry::on_clock(&self.edge, *expires_ms));
                }
                reply.answer(renewed.map_or_else(|refusal| refusal, |_| Answer::Done));
            }
            command => self.drive(pin!(act(&host, caller, command, reply))).await?,
        }
        Ok(())
    }

    /// Begins a read; it sees all that was asked on this connection before.
    async fn begin_read(&mut self, caller: &Caller, request: Request) -> Done {
        let Request { id, command } = request;
        self.edge.host.metrics.frames_in.of(command.kind()).inc();
        if let Err(refusal) = self.pace(caller, &command).await? {
            refusal.count(&self.edge.host.metrics);
            return self.write(refusal.into_frame(id).to_json()).await;
        }
        let unanswered = self.unanswered.clone();
        self.drive(pin!(unanswered.all_answered())).await?;
        let (host, caller) = (self.edge.host.clone(), caller.clone());
        self.reading = Some(Box::pin(async move {
            match read(&host, &caller, id.clone(), command).await {
                Ok(frame) => frame,
                Err(refusal) => refusal.into_frame(id).to_json(),
            }
        }));
        Ok(())
    }

    /// Waits as long as the rates have it. The inner `Err`: too much waits already.
    async fn pace(&mut self, caller: &Caller, command: &Command) -> Result<Result<(), Answer>, End> {
        let taken = take_rates(&self.edge.host, caller, command);
        self.drive(pin!(paced(taken))).await
    }

    /// Awaits `work`, and meanwhile writes what waits, and goes on with the read under way: `work` may be waiting for what it loads.
    async fn drive<T>(&mut self, mut work: Pin<&mut impl Future<Output = T>>) -> Result<T, End> {
        loop {
            tokio::select! {
                done = &mut work => return Ok(done),
                () = self.outbox.changed() => self.drain().await?,
                frame = next_answer(&mut self.reading) => self.write(frame).await?,
            }
        }
    }

    /// Writes all that waits in the outbox, then flushes once.
    async fn drain(&mut self) -> Done {
        if let Some(expires_ms) = expiry::renewed(&self.edge, &self.outbox) {
            self.state.extend(expires_ms);
        }
        loop {
            match self.outbox.take(&mut self.frames, TAKE_BYTES) {
                Next::Frames => {
                    let patience = Duration::from_millis(self.state.patience_ms());
                    let Self { edge, socket, outbox, frames, .. } = self;
                    edge.host.metrics.sent_all(frames);
                    for frame in frames.drain(..) {
                        feed(socket, outbox, patience, frame).await?;
                    }
                }
                Next::Empty => break,
                Next::Close(code) => return Err(End::Close(code)),
            }
        }
        // A burst leaves no more behind than what the next one usually needs.
        self.frames.shrink_to(FRAMES_KEPT);
        self.flush().await
    }

    async fn write(&mut self, frame: String) -> Done {
        let frame = Bytes::from(frame);
        self.edge.host.metrics.sent(&frame);
        let patience = Duration::from_millis(self.state.patience_ms());
        feed(&mut self.socket, &self.outbox, patience, frame).await?;
        self.flush().await
    }

    async fn flush(&mut self) -> Done {
        self.state.on_spoken(now_ms(&self.edge));
        let patience = Duration::from_millis(self.state.patience_ms());
        unless_cut(&self.outbox, patience, self.socket.flush()).await
    }

    /// Says why, and gives the client a moment to read it.
    async fn close(mut self: Box<Self>, code: CloseCode) {
        let frame = CloseFrame { code: code.number(), reason: code.reason().into() };
        let say = async {
            if self.socket.send(Message::Close(Some(frame))).await.is_ok() {
                while let Some(Ok(_)) = self.socket.next().await {}
            }
        };
        // Whoever does not read is not waited for; least of all by a server that stops.
        let shutdown = self.edge.shutdown.clone();
        let stopping = async {
            shutdown.begun().await;
            tokio::time::sleep(CLOSE_WAIT / 10).await;
        };
        tokio::select! {
            () = say => {}
            () = tokio::time::sleep(CLOSE_WAIT) => {}
            () = stopping => {}
        }
    }
}

async fn feed(socket: &mut WebSocket, outbox: &Outbox, patience: Duration, frame: Bytes) -> Done {
    let text = Utf8Bytes::try_from(frame).expect("frames are JSON, which is UTF-8");
    unless_cut(outbox, patience, socket.feed(Message::Text(text))).await
}

/// Waits for a write, but not for a reader whose session is cut meanwhile, nor for one that takes nothing any more.
async fn unless_cut(outbox: &Outbox, patience: Duration, write: impl Future<Output = Result<(), axum::Error>>) -> Done {
    tokio::select! {
        biased;
        done = write => done.map_err(|_| End::Gone),
        code = outbox.cut() => Err(End::Close(code)),
        // Made only where the write has to wait.
        () = async { tokio::time::sleep(patience).await } => Err(End::Close(CloseCode::Lagging)),
    }
}

/// The answer of the read that is under way; never, if there is none.
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

pub(super) fn is_protocol_error(error: axum::Error) -> bool {
    let error = error.into_inner().downcast::<tungstenite::Error>();
    error.is_ok_and(|error| {
        matches!(
            *error,
            tungstenite::Error::Capacity(_) | tungstenite::Error::Utf8(_) | tungstenite::Error::Protocol(_)
        )
    })
}
