//! Server-Sent Events (WHATWG HTML section 9.2): a session's frames as events, each with a sync token as its id, so that a
//! client which comes back with `Last-Event-ID` gets what it missed.

use std::{convert::Infallible, net::SocketAddr, time::Duration};

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use tidings_proto::{
    CloseCode, Code,
    frames::server::{Close, Expiring, ServerFrame},
    limits::TAIL_MAX,
};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    host::feed::Attached,
    metrics::{InUse, Transport},
    session::{
        attachment::{Attachment, welcome},
        auth::log_in,
        outbox::Next,
        reply::Answer,
        state::EXPIRY_WARNING_MS,
    },
};

use super::{
    Edge,
    addresses::Peer,
    expiry,
    http::{documents::Calls, identity, input::Asked, problem},
};

/// A comment after so long without an event, so that nobody in between takes the line for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
const EXPIRY_WARNING: Duration = Duration::from_millis(EXPIRY_WARNING_MS);
/// How long a browser waits before it comes back.
const RETRY_MS: u64 = 1_000;

#[derive(Deserialize, ToSchema)]
pub struct Params {
    sync: Option<String>,
    tail: Option<usize>,
    ticket: Option<String>,
}

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    let events = calls.on("get", "/v1/events", "Server-sent events: see /asyncapi.json for the frames");
    let events = events.of_ticket_holders().asks::<Params>().hears("Last-Event-ID", "The id of the last event.");
    events.gives_text(200, "text/event-stream", "One frame in each event's data");
}

/// `GET /v1/events`.
pub async fn events(
    State(edge): State<Edge>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    ConnectInfo(socket): ConnectInfo<Peer>,
    headers: HeaderMap,
    Asked(params): Asked<Params>,
) -> Response {
    if let Err(wait) = edge.admit(address.ip()) {
        return problem::rate_limited(wait);
    }
    let identity = match identity(&edge, socket.socket.ip(), params.ticket.as_deref(), &headers).await {
        Ok(Some(identity)) => identity,
        Ok(None) => {
            return problem::of(&edge.auth.refuse("show a token, or a ticket of POST /v1/tickets"));
        }
        Err(refusal) => return problem::of(&refusal),
    };
    let tail = params.tail.unwrap_or(0);
    if tail > TAIL_MAX {
        return problem::of(&Answer::refused(
            Code::BadRequest,
            format!("tail: {tail} is above the maximum of {TAIL_MAX}"),
        ));
    }
    // The address stays the same when a browser comes back; the header is newer.
    let shown = headers.get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned).or(params.sync);
    match Events::begin(edge, &identity, shown.as_deref(), tail).await {
        Ok(events) => response(events),
        Err(refusal) => problem::of(&refusal),
    }
}

fn response(events: Events) -> Response {
    let body = futures_util::stream::unfold(events, async |mut events| {
        let chunk = events.next().await?;
        Some((Ok::<_, Infallible>(chunk), events))
    });
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        // Proxies that gather answers would hold events back.
        ("x-accel-buffering", "no"),
    ];
    (headers, Body::from_stream(body)).into_response()
}

struct Events {
    edge: Edge,
    attachment: Attachment,
    /// Of one who got everything up to the last event.
    token: String,
    /// What is ready to be written.
    ready: Option<String>,
    frames: Vec<Bytes>,
    is_closed: bool,
    /// When to warn of the token's end; afterwards `None`.
    warn_at: Option<Instant>,
    expires_at: Option<Instant>,
    _connected: InUse,
}

impl Events {
    async fn begin(
        edge: Edge,
        who: &crate::session::auth::Identity,
        shown: Option<&str>,
        tail: usize,
    ) -> Result<Self, Answer> {
        let host = edge.host.clone();
        let caller = log_in(&host, who).await?;
        // A token that cannot be read would lock the client out: it gets everything instead.
        let since = shown.map(|sync| host.read_token(&caller.home, Some(sync)).unwrap_or(None));
        let (attachment, Attached { token, mut differences }) = Attachment::begin(&host, &caller, since).await?;
        let mut ready = format!("retry: {RETRY_MS}\n");
        // Cut off behind the welcome, the client still has what it showed.
        let id = match since {
            Some(since) => shown.filter(|_| since.is_some()),
            None => Some(token.as_str()),
        };
        put(&mut ready, id, &welcome(&host, &caller, &attachment.outbox, token.clone()));
        while let Some(page) = differences {
            let (next, more) = (page.next, page.more);
            let changes = host.changes(&caller.home, None, page, tail).await.map_err(|error| host.answer(error))?;
            put(&mut ready, Some(&next.write(host.lineage, &caller.user)), &changes);
            differences = if more { Some(attachment.changes_since(Some(next)).await?) } else { None };
        }
        let _connected = host.metrics.connected(Transport::Sse);
        let expires_at = expiry::of(&edge, &attachment.caller);
        Ok(Self {
            edge,
            attachment,
            token,
            ready: Some(ready),
            frames: Vec::new(),
            is_closed: false,
            warn_at: expires_at.map(|at| at.checked_sub(EXPIRY_WARNING).unwrap_or_else(Instant::now)),
            expires_at,
            _connected,
        })
    }

    /// What to write next; `None`: this is the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(ready) = self.ready.take() {
            return Some(ready.into());
        }
        while !self.is_closed {
            let (next, token) = self.attachment.take(&mut self.frames);
            match next {
                Next::Frames => return Some(self.events(token)),
                Next::Close(code) => return Some(self.close(code)),
                Next::Empty => {}
            }
            tokio::select! {
                () = self.attachment.outbox.changed() => {}
                () = expiry::at(self.expires_at) => return Some(self.close(CloseCode::TokenExpired)),
                () = expiry::at(self.warn_at) => return Some(self.warn()),
                () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(b":\n\n")),
            }
        }
        None
    }

    /// The frames that were taken. Only who gets the last one has all that `token` stands for.
    fn events(&mut self, token: String) -> Bytes {
        let before = std::mem::replace(&mut self.token, token);
        let mut chunk = String::new();
        let last = self.frames.len() - 1;
        for (at, frame) in self.frames.drain(..).enumerate() {
            self.edge.host.metrics.sent(&frame);
            let id = if at == last { &self.token } else { &before };
            put(&mut chunk, Some(id), std::str::from_utf8(&frame).expect("frames are JSON, which is UTF-8"));
        }
        chunk.into()
    }

    /// Tells that the token ends soon: the client comes back with a new one and what it has.
    fn warn(&mut self) -> Bytes {
        self.warn_at = None;
        let left = self.expires_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(Instant::now()));
        let in_s = u64::try_from(left.as_millis().div_ceil(1_000)).unwrap_or(0);
        let mut chunk = String::new();
        put(&mut chunk, Some(&self.token), &ServerFrame::Expiring(Expiring { in_s }).to_json());
        chunk.into()
    }

    fn close(&mut self, code: CloseCode) -> Bytes {
        self.is_closed = true;
        self.edge.host.metrics.connections_closed.of(code).inc();
        let close = Close { code: code.number(), reason: code.reason().to_owned() };
        let mut chunk = String::new();
        put(&mut chunk, Some(&self.token), &ServerFrame::Close(close).to_json());
        chunk.into()
    }
}

/// Writes one event. Frames are one line each.
fn put(chunk: &mut String, id: Option<&str>, frame: &str) {
    if let Some(id) = id {
        for part in ["id: ", id, "\n"] {
            chunk.push_str(part);
        }
    }
    for part in ["data: ", frame, "\n\n"] {
        chunk.push_str(part);
    }
}
