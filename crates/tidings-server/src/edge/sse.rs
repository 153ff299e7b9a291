//! Server-Sent Events (WHATWG HTML section 9.2): a session's frames as events, each with a sync token as its id, so that a
//! client which comes back with `Last-Event-ID` gets what it missed.

use std::{convert::Infallible, time::Duration};

use axum::{
    Extension,
    body::Body,
    extract::{ConnectInfo, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::Deserialize;
use tidings_proto::{
    CloseCode, Code,
    frames::server::{Close, Expiring, ServerFrame},
    limits::TAIL_MAX,
};
use utoipa::ToSchema;

use crate::{
    host::feed::Attached,
    metrics::{InUse, Transport},
    session::{
        attachment::{Attachment, welcome},
        auth::log_in,
        expiry::Expiry,
        outbox::Next,
        reply::Answer,
    },
};

use super::{
    Edge,
    addresses::Peer,
    admission::Later,
    expiry,
    http::{documents::Calls, identity, input::Asked, problem},
    takeover::Endless,
};

/// A comment after so long without an event, so that nobody in between takes the line for dead.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How long a browser waits before it comes back.
const RETRY_MS: u64 = 1_000;

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "text/event-stream"),
    ("cache-control", "no-store"),
    // Proxies that gather answers would hold events back.
    ("x-accel-buffering", "no"),
];

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
    ConnectInfo(peer): ConnectInfo<Peer>,
    headers: HeaderMap,
    Asked(params): Asked<Params>,
) -> Response {
    match edge.admit(peer.client.ip()) {
        Ok(()) => {}
        Err(later @ Later::Crowd { .. }) => return send_away(&edge, later),
        Err(later @ Later::Address { .. }) => return problem::of(&later.answer()),
    }
    let identity = match identity(&edge, peer.socket.ip(), params.ticket.as_deref(), &headers).await {
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
    match Events::begin(edge, &identity, shown.as_deref(), tail, peer.is_relayed).await {
        Ok(events) => response(events),
        Err(refusal) => problem::of(&refusal),
    }
}

/// Tells when to come back. After any status but 200 a browser would never do so.
fn send_away(edge: &Edge, later: Later) -> Response {
    edge.host.metrics.connections_closed.of(CloseCode::TryLater).inc();
    let mut text = format!("retry: {}\n", later.wait_ms());
    put(&mut text, None, &later.answer().into_frame(None).to_json());
    put(&mut text, None, &close_frame(CloseCode::TryLater));
    (HEADERS, text).into_response()
}

fn close_frame(code: CloseCode) -> String {
    ServerFrame::Close(Close { code: code.number(), reason: code.reason().to_owned() }).to_json()
}

fn response(events: Events) -> Response {
    let endless = Endless(events.attachment.outbox.clone());
    let body = futures_util::stream::unfold(events, async |mut events| {
        let chunk = events.next().await?;
        Some((Ok::<_, Infallible>(chunk), events))
    });
    (Extension(endless), HEADERS, Body::from_stream(body)).into_response()
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
    expiry: Expiry,
    _connected: InUse,
}

impl Events {
    async fn begin(
        edge: Edge,
        who: &crate::session::auth::Identity,
        shown: Option<&str>,
        tail: usize,
        is_relayed: bool,
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
        put(&mut ready, id, &welcome(&host, &caller, &attachment.outbox, token.clone(), is_relayed));
        while let Some(page) = differences {
            let (next, more) = (page.next, page.more);
            let changes = host.changes(&caller.home, None, page, tail).await.map_err(|error| host.answer(error))?;
            put(&mut ready, Some(&next.write(host.lineage, &caller.user)), &changes);
            differences = if more { Some(attachment.changes_since(Some(next)).await?) } else { None };
        }
        let _connected = host.metrics.connected(Transport::Sse);
        let expiry = expiry::of(&edge, &attachment.caller);
        Ok(Self {
            edge,
            attachment,
            token,
            ready: Some(ready),
            frames: Vec::new(),
            is_closed: false,
            expiry,
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
            if let Some(expires_ms) = expiry::renewed(&self.edge, &self.attachment.outbox) {
                self.expiry.extend(expires_ms);
            }
            tokio::select! {
                () = self.attachment.outbox.changed() => {}
                () = expiry::at(&self.edge, self.expiry.deadline_ms()) => return Some(self.warn_or_close()),
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
    fn warn_or_close(&mut self) -> Bytes {
        let Some(in_s) = self.expiry.warning(expiry::now_ms(&self.edge)) else {
            return self.close(CloseCode::TokenExpired);
        };
        self.expiry.warned();
        let mut chunk = String::new();
        put(&mut chunk, Some(&self.token), &ServerFrame::Expiring(Expiring { in_s }).to_json());
        chunk.into()
    }

    fn close(&mut self, code: CloseCode) -> Bytes {
        self.is_closed = true;
        self.edge.host.metrics.connections_closed.of(code).inc();
        let mut chunk = String::new();
        put(&mut chunk, Some(&self.token), &close_frame(code));
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
