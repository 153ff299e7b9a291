//! WebSockets whose user is known from `hello` only: this node has answered for itself by then, so what it relays are messages,
//! one at a time in each direction. Pings of WebSocket itself are answered by each node; those of the protocol go through.

use std::{io, pin::pin, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use bytes::Bytes;
use futures_util::{
    Sink, SinkExt, Stream, StreamExt,
    stream::{SplitSink, SplitStream},
};
use tidings_proto::{
    CloseCode,
    frames::server::{Move, ServerFrame},
};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};
use tungstenite::{
    client::IntoClientRequest,
    http::{HeaderValue, header},
    protocol::WebSocketConfig,
};

use crate::{cluster::view::Node, metrics::Transport};

use super::{
    super::{
        Edge,
        addresses::Peer,
        websocket::{SUBPROTOCOL, is_protocol_error},
    },
    CLOSE_WAIT, Leg, Life, silence,
};

/// Of each buffer of a leg.
const BUFFER_BYTES: usize = 1024;
/// The largest answer is a little above 1 MiB.
const MESSAGE_MAX_BYTES: usize = 4 << 20;
/// How long the other node may take to agree.
const AGREE_WAIT: Duration = Duration::from_secs(2);
/// A client that takes nothing for so long while something waits for it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

type Socket = WebSocketStream<TcpStream>;

/// A WebSocket to the node that serves the client, on which nothing was said yet.
pub struct Line {
    socket: Socket,
    life: Life,
}

pub async fn open(edge: &Edge, node: Arc<Node>, peer: Peer) -> io::Result<Line> {
    let Leg { stream, life } = edge.leg(&node, &peer).await?;
    let mut request = "ws://tidings/v1/ws".into_client_request().map_err(io::Error::other)?;
    request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_MAX_BYTES))
        .max_frame_size(Some(MESSAGE_MAX_BYTES));
    let agreed = timeout(AGREE_WAIT, client_async_with_config(request, stream, Some(config))).await;
    let (socket, _) = agreed.map_err(io::Error::other)?.map_err(io::Error::other)?;
    Ok(Line { socket, life })
}

/// Says `hello` there, then carries until one side ends.
pub async fn pump(edge: Edge, client: WebSocket, Line { mut socket, life }: Line, hello: Utf8Bytes) {
    let (_counted, _held) = (edge.host.metrics.relayed(Transport::WebSocket), edge.relay.connection());
    if socket.send(tungstenite::Message::text(hello.as_str())).await.is_err() {
        return close(client, CloseCode::TryLater).await;
    }
    let (to_node, from_node) = socket.split();
    let (mut to_client, mut from_client) = client.split();
    let last = tokio::select! {
        last = down(&edge, &life, from_node, &mut to_client) => last,
        end = up(&mut from_client, to_node) => match end {
            Some(last) => last,
            None => return,
        },
    };
    let Ok(client) = to_client.reunite(from_client) else { return };
    say_last(client, last).await;
}

/// From the client to the node, until the client has ended: what is to be said then.
async fn up(
    from: &mut SplitStream<WebSocket>,
    mut to: impl Sink<tungstenite::Message, Error: Send> + Unpin,
) -> Option<CloseFrame> {
    let mut last = None;
    while let Some(message) = from.next().await {
        let message = match message {
            Ok(message) => message,
            // Too long a frame, or bytes that are no text.
            Err(error) => {
                last = is_protocol_error(error).then(|| frame(CloseCode::BadFrame));
                break;
            }
        };
        let message = match message {
            Message::Text(text) => tungstenite::Message::text(text.as_str()),
            Message::Binary(bytes) => tungstenite::Message::Binary(bytes),
            Message::Ping(_) | Message::Pong(_) => continue,
            Message::Close(_) => break,
        };
        if to.send(message).await.is_err() {
            // What the node has to say about this comes the other way.
            return std::future::pending().await;
        }
    }
    let _ = timeout(CLOSE_WAIT, to.close()).await;
    last
}

/// From the node to the client, until the node has ended: what it said last.
async fn down(
    edge: &Edge,
    life: &Life,
    mut from: impl Stream<Item = Result<tungstenite::Message, tungstenite::Error>> + Unpin,
    to: &mut SplitSink<WebSocket, Message>,
) -> CloseFrame {
    let mut leave = None;
    let mut silent = pin!(sleep(silence(edge)));
    loop {
        let message = tokio::select! {
            message = from.next() => message,
            () = life.gone.cancelled() => return draining(),
            () = &mut silent => return draining(),
            () = edge.shutdown.begun(), if leave.is_none() => {
                let after = edge.drain_wait();
                leave = Some(Box::pin(sleep(after)));
                let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
                Some(Ok(tungstenite::Message::text(ServerFrame::Move(Move { after_ms }).to_json())))
            }
            () = async { leave.as_mut().expect("it is set").await }, if leave.is_some() => return draining(),
        };
        let message = match message {
            Some(Ok(tungstenite::Message::Text(text))) => Message::Text(utf_8(text)),
            Some(Ok(tungstenite::Message::Binary(bytes))) => Message::Binary(bytes),
            Some(Ok(tungstenite::Message::Close(Some(frame)))) => {
                return CloseFrame { code: frame.code.into(), reason: utf_8(frame.reason) };
            }
            Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => continue,
            Some(Ok(tungstenite::Message::Close(None) | tungstenite::Message::Frame(_)) | Err(_)) | None => {
                return draining();
            }
        };
        silent.set(sleep(silence(edge)));
        // Who takes nothing is noticed by the node, too, and cut there.
        if !matches!(timeout(PATIENCE, to.send(message)).await, Ok(Ok(()))) {
            return draining();
        }
    }
}

fn utf_8(text: tungstenite::Utf8Bytes) -> Utf8Bytes {
    Bytes::from(text).try_into().expect("it was UTF-8 before")
}

fn draining() -> CloseFrame {
    frame(CloseCode::Draining)
}

fn frame(code: CloseCode) -> CloseFrame {
    CloseFrame { code: code.number(), reason: code.reason().into() }
}

/// Closes a connection that nobody serves now.
pub async fn close(client: WebSocket, code: CloseCode) {
    say_last(client, frame(code)).await;
}

/// Says why this ends, and gives the client a moment to read it.
async fn say_last(mut client: WebSocket, last: CloseFrame) {
    let say = async {
        if client.send(Message::Close(Some(last))).await.is_ok() {
            while let Some(Ok(_)) = client.next().await {}
        }
    };
    let _ = timeout(CLOSE_WAIT, say).await;
}
