//! The processes that the bench starts: the server itself, and bare WebSocket servers to compare with. A child dies with
//! the bench, also if that is killed.

use std::{convert::Infallible, io::Write, net::SocketAddr, os::unix::process::CommandExt, process::Command};

use axum::{
    Router,
    extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade},
    http::StatusCode,
    routing::{MethodRouter, get},
};
use clap::ValueEnum;
use futures_util::{FutureExt, SinkExt, StreamExt};
use rustix::process::{Resource, Rlimit, Signal};
use tokio::{net::TcpListener, sync::broadcast};

/// Of a bare connection, each way. The server reads 1 KiB at once, which matters to `idle` alone.
const BUFFER_BYTES: usize = 4 * 1024;
/// More than a sender has under way.
const BROADCAST_FRAMES: usize = 1_024;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// `tidings` with the arguments given
    Server,
    /// Sends back what it gets
    Echo,
    /// Sends what it gets to all connections
    Broadcast,
    /// Answers polls that nothing is new, without looking
    Handler,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Echo => "echo",
            Self::Broadcast => "broadcast",
            Self::Handler => "handler",
        }
    }
}

/// Runs until it is killed.
pub async fn run(kind: Kind, arguments: &[String]) -> anyhow::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    raise_file_limit()?;
    match kind {
        Kind::Server => become_server(arguments).map(|never| match never {}),
        Kind::Echo => serve("/v1/ws", get(|upgrade| async { accept(upgrade).on_upgrade(echo) })).await,
        Kind::Broadcast => {
            let (tx, _) = broadcast::channel(BROADCAST_FRAMES);
            let broadcast = |upgrade| async move { accept(upgrade).on_upgrade(move |socket| hand_on(socket, tx)) };
            serve("/v1/ws", get(broadcast)).await
        }
        Kind::Handler => {
            let nothing = || async { (StatusCode::NO_CONTENT, [("tidings-poll-after", "5")]) };
            serve("/v1/sync", get(nothing)).await
        }
    }
}

/// Every connection is an open file, on both sides.
pub fn raise_file_limit() -> anyhow::Result<()> {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    Ok(rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?)
}

/// The process goes on as the command that users run, so that it is exactly that which is measured.
fn become_server(arguments: &[String]) -> anyhow::Result<Infallible> {
    Err(Command::new(std::env::current_exe()?).args(arguments).exec().into())
}

async fn serve(path: &str, handler: MethodRouter) -> anyhow::Result<()> {
    let app = Router::new().route(path, handler);
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        let _ = stream.set_nodelay(true);
    });
    Ok(axum::serve(listener, app).await?)
}

fn accept(upgrade: WebSocketUpgrade) -> WebSocketUpgrade {
    upgrade.protocols(["tidings.v1.json"]).read_buffer_size(BUFFER_BYTES).write_buffer_size(BUFFER_BYTES)
}

/// Sends back all that is there before one flush, as the server does.
async fn echo(mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.next().await {
        let mut next = Some(message);
        while let Some(message) = next {
            if matches!(message, Message::Text(_)) && socket.feed(message).await.is_err() {
                return;
            }
            next = match socket.next().now_or_never() {
                Some(Some(Ok(message))) => Some(message),
                Some(_) => return,
                None => None,
            };
        }
        if socket.flush().await.is_err() {
            return;
        }
    }
}

/// Sends what any connection says to all of them, all that is there before one flush.
async fn hand_on(mut socket: WebSocket, tx: broadcast::Sender<Utf8Bytes>) {
    let mut rx = tx.subscribe();
    loop {
        tokio::select! {
            message = socket.next() => match message {
                // Nobody listens: nobody misses it.
                Some(Ok(Message::Text(text))) => drop(tx.send(text)),
                Some(Ok(_)) => {}
                Some(Err(_)) | None => return,
            },
            frame = rx.recv() => {
                let mut next = frame.ok();
                while let Some(frame) = next {
                    if socket.feed(Message::Text(frame)).await.is_err() {
                        return;
                    }
                    next = rx.try_recv().ok();
                }
                if socket.flush().await.is_err() {
                    return;
                }
            }
        }
    }
}
