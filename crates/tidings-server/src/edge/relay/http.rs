//! Relays calls: whole, as they come, and their answers unchanged. What is read of a call is who makes it.
//!
//! Each connection of a client keeps the leg of its last call for the next one. Streams of events end as they do on the node
//! that serves them: with a word, at the end of an event, when this node stops or the other one is gone.

use std::{io, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::future::Either;
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tidings_proto::{
    CloseCode, Code, ShardId,
    frames::server::{Close, ServerFrame},
};
use tokio::{task::AbortHandle, time::timeout};

use crate::{
    cluster::view::Node,
    metrics::{InUse, Transport},
    session::{auth::ticket_shard, reply::Answer},
};

use super::{
    super::{
        Edge,
        addresses::Peer,
        http::{identity, problem},
    },
    Found, Leg, Life, pump,
    upgrade::{self, Upgrade},
};

/// A leg reads at once; it has room for this while it lives.
const READ_BYTES: usize = 16 * 1024;
/// Longer than any call waits that asks for something: a poll for a minute, and then some.
const ANSWER_WAIT: Duration = Duration::from_secs(75);
/// A stream of events has a comment after 15 s without one.
const EVENTS_SILENCE: Duration = Duration::from_secs(40);
/// In so many seconds polls come back that this node's stop has ended.
const AFTER_STOP_S: &str = "1";

/// The leg that a client's connection keeps.
#[derive(Default)]
pub struct Kept(Mutex<Option<Line>>);

/// A leg that speaks HTTP.
pub(super) struct Line {
    node: Arc<Node>,
    sender: SendRequest<Body>,
    life: Arc<Driven>,
    is_new: bool,
}

/// The leg goes on as long as this.
pub(super) struct Driven {
    pub life: Life,
    driver: AbortHandle,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// `Ok`: the call is to be answered here. `Err`: its answer from elsewhere.
pub async fn relay(edge: &Edge, kept: &Kept, peer: Peer, request: Request<Body>) -> Result<Request<Body>, Response> {
    let Some(shard) = shard(edge, peer, request.uri(), request.headers()).await else { return Ok(request) };
    if is_too_large(edge, &request) {
        let why = "the body is larger than this call takes; send it in parts";
        return Err(problem::of(&Answer::refused(Code::TooLarge, why)));
    }
    let is_upgrade = upgrade::is_asked(&request);
    match edge.find(shard, &peer, |node| kept.line(edge, node, peer, is_upgrade)).await {
        Found::Here => Ok(request),
        Found::There(line) => Err(forward(edge, kept, peer, line, request).await),
        Found::Nowhere => Err(problem::of(&Answer::moving())),
    }
}

/// A call whose body had to be read to know which shard's it is, if that is elsewhere; `None`: it is to be answered here.
pub async fn relay_read(edge: &Edge, peer: Peer, shard: ShardId, request: Request<Body>) -> Option<Response> {
    let kept = Kept::default();
    let open = |node| kept.line(edge, node, peer, false);
    let line = match edge.find(shard, &peer, open).await {
        Found::Here => return None,
        Found::There(line) => line,
        Found::Nowhere => return Some(problem::of(&Answer::moving())),
    };
    Some(forward(edge, &kept, peer, line, request).await)
}

/// Whose call it is: the shard of that user's home. `None`: nobody's, or it is answered wherever it comes.
async fn shard(edge: &Edge, peer: Peer, uri: &Uri, headers: &HeaderMap) -> Option<ShardId> {
    let path = uri.path();
    // Who logs in, and which conversation an import is for, is in the body.
    if path.starts_with("/v1/admin/") || path == "/v1/login" {
        return None;
    }
    if matches!(path, "/v1/ws" | "/v1/events" | "/v1/mqtt")
        && let Some(ticket) = uri.query().and_then(ticket)
    {
        return ticket_shard(ticket);
    }
    // Whoever is wrong is told so here.
    let identity = identity(edge, peer.socket.ip(), None, headers).await.ok()??;
    Some(identity.user.shard())
}

/// A body that would be refused there: an answer that comes while it is still being sent might be lost. Files are larger.
fn is_too_large(edge: &Edge, request: &Request<Body>) -> bool {
    let takes_files = ["/v1/media", "/v1/uploads"].iter().any(|path| request.uri().path().starts_with(path));
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    !takes_files && length.is_some_and(|length: usize| length > edge.host.config.limits.frame_bytes)
}

fn ticket(query: &str) -> Option<&str> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("ticket="))
}

fn transport(path: &str) -> Transport {
    match path {
        "/v1/ws" => Transport::WebSocket,
        "/v1/mqtt" => Transport::Mqtt,
        "/v1/events" => Transport::Sse,
        "/v1/sync" => Transport::LongPoll,
        _ => Transport::Http,
    }
}

impl Kept {
    /// The kept leg, if it leads to this node and nothing is under way there, else a new one.
    async fn line(&self, edge: &Edge, node: Arc<Node>, peer: Peer, is_upgrade: bool) -> io::Result<Line> {
        let kept = if is_upgrade { None } else { self.0.lock().take() };
        if let Some(kept) = kept.filter(|kept| kept.node.id == node.id && kept.sender.is_ready()) {
            return Ok(Line { is_new: false, ..kept });
        }
        let leg = edge.leg(&node, &peer).await?;
        Line::open(leg, node).await
    }

    fn keep(&self, line: Line) {
        *self.0.lock() = Some(line);
    }
}

impl Line {
    async fn open(Leg { stream, life }: Leg, node: Arc<Node>) -> io::Result<Self> {
        let mut builder = http1::Builder::new();
        let opened = builder.max_buf_size(READ_BYTES).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(io::Error::other)?;
        let driver = tokio::spawn(connection.with_upgrades()).abort_handle();
        Ok(Self { node, sender, life: Arc::new(Driven { life, driver }), is_new: true })
    }
}

async fn forward(edge: &Edge, kept: &Kept, peer: Peer, mut line: Line, mut request: Request<Body>) -> Response {
    let transport = transport(request.uri().path());
    let counted = edge.host.metrics.relayed(transport);
    let is_get = request.method() == Method::GET;
    let upgrade = Upgrade::take(&mut request);
    let mut request = outgoing(request, upgrade.as_ref());
    let answer = loop {
        let sending = line.sender.try_send_request(request);
        let sent = tokio::select! {
            sent = sending => sent,
            () = line.life.life.gone.cancelled() => return problem::of(&Answer::unavailable()),
            () = edge.shutdown.begun(), if transport == Transport::LongPoll => return after_stop(),
            () = tokio::time::sleep(ANSWER_WAIT), if is_get => return problem::of(&Answer::unavailable()),
        };
        match sent {
            Ok(answer) => break answer,
            // The other node had closed what was kept, and has heard nothing of the call.
            Err(mut error) => match error.take_message() {
                Some(unsent) if !line.is_new => {
                    let Ok(leg) = edge.leg(&line.node, &peer).await else {
                        return problem::of(&Answer::moving());
                    };
                    let Ok(new) = Line::open(leg, line.node).await else { return problem::of(&Answer::moving()) };
                    (line, request) = (new, unsent);
                }
                Some(_) => return problem::of(&Answer::moving()),
                None => return problem::of(&Answer::unavailable()),
            },
        }
    };
    match upgrade {
        Some(upgrade) if answer.status() == StatusCode::SWITCHING_PROTOCOLS => {
            let bytes = match transport {
                Transport::WebSocket => pump::Bytes::of_websocket(),
                _ => pump::Bytes::Plain,
            };
            upgrade::join(edge, upgrade, answer, bytes, (line.life, counted))
        }
        _ => {
            let life = line.life.clone();
            kept.keep(line);
            incoming(edge, answer, life, counted)
        }
    }
}

/// What a poll is answered that a stop has ended.
fn after_stop() -> Response {
    (StatusCode::NO_CONTENT, [("tidings-poll-after", AFTER_STOP_S)]).into_response()
}

/// The call as the other node gets it, over HTTP/1.1.
fn outgoing(request: Request<Body>, upgrade: Option<&Upgrade>) -> Request<Body> {
    let (mut parts, body) = request.into_parts();
    strip(&mut parts.headers);
    parts.headers.remove(header::EXPECT);
    // Whether the page may call was decided here, and is told by what is answered here.
    parts.headers.remove(header::ORIGIN);
    if !parts.headers.contains_key(header::HOST) {
        let host = parts.uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
        parts.headers.insert(header::HOST, host.unwrap_or(HeaderValue::from_static("tidings")));
    }
    if let Some(path) = parts.uri.path_and_query() {
        parts.uri = Uri::from(path.clone());
    }
    parts.version = Version::HTTP_11;
    parts.extensions = Extensions::new();
    if let Some(upgrade) = upgrade {
        parts.method = Method::GET;
        upgrade.ask(&mut parts.headers);
    }
    Request::from_parts(parts, body)
}

/// The answer as the client gets it.
fn incoming(edge: &Edge, answer: Response<Incoming>, life: Arc<Driven>, counted: InUse) -> Response {
    let (mut parts, body) = answer.into_parts();
    strip(&mut parts.headers);
    let is_events = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
    let body = if is_events {
        Body::from_stream(Events { edge: edge.clone(), body, life, is_between: true, _counted: counted }.into_stream())
    } else {
        let held = (life, counted);
        Body::new(body.map_frame(move |frame| {
            // Both are there as long as the body.
            let _ = &held;
            frame
        }))
    };
    Response::from_parts(parts, body)
}

/// Takes out what is between two neighbours only (RFC 9110 section 7.6.1).
pub(super) fn strip(headers: &mut HeaderMap) {
    const OWN: [HeaderName; 6] = [
        header::CONNECTION,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        header::PROXY_AUTHORIZATION,
    ];
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named.iter().chain(&OWN) {
        headers.remove(name);
    }
    for name in ["keep-alive", "proxy-connection"] {
        headers.remove(name);
    }
}

/// A stream of events on its way.
struct Events {
    edge: Edge,
    body: Incoming,
    life: Arc<Driven>,
    /// What was passed on last was the end of an event.
    is_between: bool,
    _counted: InUse,
}

impl Events {
    fn into_stream(self) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send {
        futures_util::stream::unfold(Either::Left(self), async |events| {
            let Either::Left(mut events) = events else { return None };
            match events.next().await {
                Some(part) => {
                    events.is_between = part.ends_with(b"\n\n");
                    Some((Ok(part), Either::Left(events)))
                }
                // A client takes either for the end, and comes back.
                None if events.is_between => Some((Ok(goodbye()), Either::Right(()))),
                None => None,
            }
        })
    }

    /// The next part. `None`: the other node, or this one, can go on no more.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let frame = tokio::select! {
                frame = timeout(EVENTS_SILENCE, self.body.frame()) => frame,
                () = self.life.life.gone.cancelled() => return None,
                () = self.edge.shutdown.begun() => return None,
            };
            if let Ok(part) = frame.ok()??.ok()?.into_data() {
                return Some(part);
            }
        }
    }
}

fn goodbye() -> Bytes {
    let code = CloseCode::Draining;
    let close = ServerFrame::Close(Close { code: code.number(), reason: code.reason().to_owned() });
    format!("data: {}\n\n", close.to_json()).into()
}
