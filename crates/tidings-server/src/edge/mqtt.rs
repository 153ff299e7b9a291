//! MQTT 3.1.1 and 5, on a port of its own and over WebSocket. The same session as every other transport: here packets become
//! frames, and frames packets.
//!
//! `line` carries the bytes, `wire` knows the packets, `connection` is the loop of one client: `connect` opens it, `request`
//! takes what the client publishes, `deliver` brings what it is owed. `seats` sees to it that a client id has one connection.

mod line;
mod carried;
mod wire;
mod topics;
mod seats;
mod connection;
mod connect;
mod publish;
mod request;
mod subscribe;
mod deliveries;
mod deliver;

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, Query, State, WebSocketUpgrade},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::{metrics::Transport, session::auth::Identity};

use super::{
    Edge,
    addresses::Peer,
    door::Door,
    http::{documents::Calls, identity, problem},
};
use connection::Connection;
use line::Line;
pub use seats::Seats;

/// Of MQTT over WebSocket (MQTT 5 section 6).
const SUBPROTOCOL: &str = "mqtt";
/// Of each WebSocket's buffers.
const BUFFER_BYTES: usize = 4 * 1024;
/// Connections that wait to be taken.
const BACKLOG: u32 = 1_024;

/// Opens the port. A client may ask for no keep-alive: the system then finds out whether it is still there.
pub fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.set_keepalive(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Takes connections until the stop has begun.
pub async fn serve(listener: TcpListener, edge: Edge) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = edge.shutdown.begun() => return,
        };
        match accepted {
            Ok((stream, address)) => {
                // Packets are small and wanted at once.
                let _ = stream.set_nodelay(true);
                let peer = Peer { socket: address, client: address, is_relayed: false };
                edge.shutdown.spawn(run(edge.clone(), Line::Tcp(stream), peer, None));
            }
            Err(error) => {
                // Out of files, most likely: those that are open go on, and make room when they end.
                tracing::warn!(%error, "an MQTT connection could not be taken");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// As [`serve`], under TLS.
pub async fn serve_tls(mut door: Door, edge: Edge) {
    loop {
        let (stream, peer) = tokio::select! {
            accepted = door.accept() => accepted,
            () = edge.shutdown.begun() => return,
        };
        edge.shutdown.spawn(run(edge.clone(), Line::Secure(Box::new(stream)), peer, None));
    }
}

#[derive(serde::Deserialize)]
pub struct Params {
    ticket: Option<String>,
}

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    let upgrade =
        calls.on("get", "/v1/mqtt", "MQTT over WebSocket, subprotocol mqtt: see /asyncapi.json for its payloads");
    upgrade.of_ticket_holders().gives_nothing(101, "It is one from here on");
}

/// `GET /v1/mqtt`.
pub async fn upgrade(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    Query(params): Query<Params>,
    headers: HeaderMap,
    upgrade: WebSocketUpgrade,
) -> Response {
    let shown = match identity(&edge, peer.socket.ip(), params.ticket.as_deref(), &headers).await {
        Ok(shown) => shown,
        Err(refusal) => return problem::of(&refusal),
    };
    let max_bytes = edge.host.config.limits.frame_bytes;
    let upgrade = upgrade
        .protocols([SUBPROTOCOL])
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(max_bytes)
        .max_frame_size(max_bytes);
    if upgrade.selected_protocol().is_none() {
        return (StatusCode::BAD_REQUEST, format!("the subprotocol is {SUBPROTOCOL}")).into_response();
    }
    upgrade.on_upgrade(move |socket| {
        let shutdown = edge.shutdown.clone();
        shutdown.track(run(edge, Line::WebSocket(Box::new(socket)), peer, shown))
    })
}

/// A client of another node, through the door for nodes.
pub async fn run_relayed(edge: Edge, stream: TcpStream, peer: Peer) {
    run(edge, Line::Tcp(stream), peer, None).await;
}

/// `shown`: whom headers or a ticket named already.
async fn run(edge: Edge, line: Line, peer: Peer, shown: Option<Identity>) {
    let _connected = edge.host.metrics.connected(Transport::Mqtt);
    Connection::new(edge, line, peer, shown).run().await;
}
