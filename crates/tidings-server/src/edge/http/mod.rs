//! HTTP: the router, and the calls. An answer is the same object as the frame; a refusal is a problem document.

pub mod server;

pub mod account;
pub mod admin;
pub mod archive;
pub mod cluster;
pub mod conversations;
pub mod documents;
pub mod frames;
pub mod history;
pub mod input;
pub mod migration;
pub mod operators;
pub mod people;
pub mod problem;
pub mod send;

use std::net::IpAddr;

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, FromRequestParts, State},
    http::{
        HeaderMap, HeaderName, HeaderValue, StatusCode, Uri,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use tidings_proto::{
    Code, DeviceId,
    frames::{RequestId, check::check, client::Command},
};

use crate::session::{
    auth::{Identity, log_in, log_in_at},
    execute::{Caller, is_read, paced, read, take_request},
    reply::{Answer, Reply},
};

use super::{Edge, addresses::Peer, long_poll, mqtt, pages, sse, websocket};

/// Every path of the server: its calls, and beside them the page.
pub fn router(edge: Edge) -> Router {
    call_routes().method_not_allowed_fallback(no_such_method).fallback(no_such_path).with_state(edge)
}

/// Whether a path is that of a call. Other paths are the page's, or for operators.
pub fn is_v1(path: &str) -> bool {
    path.strip_prefix("/v1").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Every call. Each path is written out: what the framework does to nest a router costs every call something.
pub fn call_routes() -> Router<Edge> {
    user_routes().merge(admin::router()).merge(operator_routes())
}

async fn no_such_path(State(edge): State<Edge>, uri: Uri, headers: HeaderMap) -> Response {
    if is_v1(uri.path()) {
        return problem::of(&Answer::refused(Code::NotFound, "there is no such call; see docs/protocol.md"));
    }
    pages::asset(&edge, &uri, &headers).await
}

async fn no_such_method(uri: Uri) -> Response {
    if is_v1(uri.path()) {
        let why = "this path takes other methods: see the Allow header";
        return problem::of(&Answer::refused(Code::MethodNotAllowed, why));
    }
    StatusCode::METHOD_NOT_ALLOWED.into_response()
}

fn user_routes() -> Router<Edge> {
    Router::new()
        .route("/v1/ws", get(websocket::upgrade))
        .route("/v1/mqtt", get(mqtt::upgrade))
        .route("/v1/events", get(sse::events))
        .route("/v1/sync", get(long_poll::sync))
        .route("/v1/login", post(account::log_in))
        .route("/v1/tickets", post(account::ticket))
        .route("/v1/messages", post(send::message))
        .route("/v1/frames", post(frames::frames))
        .merge(conversation_routes())
        .merge(people_routes())
}

fn operator_routes() -> Router<Edge> {
    Router::new()
        .route("/livez", get(operators::live))
        .route("/readyz", get(operators::ready))
        .route("/metrics", get(operators::metrics))
        .route("/version", get(operators::version))
        .route("/openapi.json", get(documents::openapi))
        .route("/asyncapi.json", get(documents::asyncapi))
}

fn conversation_routes() -> Router<Edge> {
    Router::new()
        .route("/v1/conversations", get(conversations::inbox).post(conversations::create))
        .route("/v1/conversations/{conversation}", get(conversations::details).patch(conversations::rename))
        .route("/v1/conversations/{conversation}/members", get(conversations::members))
        .route(
            "/v1/conversations/{conversation}/members/{user}",
            put(conversations::put_member).delete(conversations::remove_member),
        )
        .route("/v1/conversations/{conversation}/read", put(conversations::mark_read))
        .route("/v1/conversations/{conversation}/settings", axum::routing::patch(conversations::set))
        .route("/v1/fetch", post(history::fetch))
        .route("/v1/conversations/{conversation}/entries", get(history::entries))
        .route(
            "/v1/conversations/{conversation}/entries/{seq}",
            axum::routing::patch(history::edit).delete(history::redact),
        )
        .route("/v1/conversations/{conversation}/entries/{seq}/receipts", get(history::receipts))
        .route(
            "/v1/conversations/{conversation}/entries/{seq}/reactions/{emoji}",
            put(history::react).delete(history::react_no_more),
        )
}

fn people_routes() -> Router<Edge> {
    Router::new()
        .route("/v1/users", get(people::users))
        .route("/v1/users/{user}", get(people::user))
        .route("/v1/me", get(people::me).patch(people::change_me))
        .route("/v1/me/devices", get(people::devices))
        .route("/v1/me/devices/{device}", axum::routing::patch(people::name_device).delete(people::revoke))
        .route("/v1/blocks", get(people::blocks))
        .route("/v1/blocks/{user}", put(people::block).delete(people::unblock))
}

const NO_TOKEN: &str = "show a token: Authorization: Bearer …; POST /v1/login gives one, or says who does";
/// Which of the user's devices calls, where the token does not say it.
pub const DEVICE_HEADER: HeaderName = HeaderName::from_static("tidings-device");

/// The token of the `Authorization` header (RFC 6750 section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// Whom a ticket, the `Authorization` header or a gateway at `peer` names, if one does.
pub async fn identity(
    edge: &Edge,
    peer: IpAddr,
    ticket: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<Identity>, Answer> {
    let now_ms = edge.host.clock.unix_ms();
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    let identity = match (ticket, bearer(headers)) {
        (Some(ticket), _) => Some(edge.auth.redeem(ticket, now_ms)?),
        (None, Some(token)) => Some(edge.auth.verify(token, now_ms).await?),
        (None, None) => edge.auth.of_gateway(peer, header("x-tidings-user"), header("x-tidings-name"))?,
    };
    let device = headers.get(DEVICE_HEADER).map(|name| name.to_str().ok().and_then(|name| DeviceId::new(name).ok()));
    if device == Some(None) {
        return Err(Answer::refused(Code::BadRequest, format!("{DEVICE_HEADER}: this is no device's name")));
    }
    Ok(identity.map(|identity| identity.on(device.flatten())))
}

/// A call by somebody who is logged in.
impl FromRequestParts<Edge> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        caller(parts, edge, false).await
    }
}

/// A poll: where sessions are none but polls, they come back with these. Whoever was not here lately comes in as one of the crowd.
pub struct Poller(pub Caller);

impl FromRequestParts<Edge> for Poller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        caller(parts, edge, true).await.map(Self)
    }
}

/// Who calls. With `is_crowd`, whoever was not here lately comes in when it is their turn.
async fn caller(parts: &mut Parts, edge: &Edge, is_crowd: bool) -> Result<Caller, Response> {
    let refused = |answer: Answer| {
        answer.count(&edge.host.metrics);
        problem::of(&answer)
    };
    let ConnectInfo(peer) =
        ConnectInfo::<Peer>::from_request_parts(parts, edge).await.map_err(IntoResponse::into_response)?;
    let identity = match identity(edge, peer.socket.ip(), None, &parts.headers).await {
        Ok(identity) => identity.ok_or_else(|| refused(edge.auth.refuse(NO_TOKEN)))?,
        Err(refusal) => return Err(wrong_token(edge, peer).unwrap_or_else(|| refused(refusal))),
    };
    let caller = match edge.host.awake_home(&identity.user) {
        Some(home) => log_in_at(&edge.host, home, &identity).await,
        None => {
            if is_crowd {
                edge.admit_crowd().map_err(|later| problem::of(&later.answer()))?;
            }
            log_in(&edge.host, &identity).await
        }
    };
    let caller = caller.map_err(refused)?;
    paced(take_request(&edge.host, &caller)).await.map_err(refused)?;
    Ok(caller)
}

/// Whoever shows one wrong token after the other is told to wait instead.
fn wrong_token(edge: &Edge, peer: Peer) -> Option<Response> {
    edge.admit_address(peer.client.ip()).err().map(|later| problem::of(&later.answer()))
}

/// Does what a frame of the same meaning does, held against the same limits.
pub async fn perform(edge: &Edge, caller: &Caller, command: Command) -> Response {
    let metrics = &edge.host.metrics;
    if let Err(message) = check(&command, &edge.host.rules.limits) {
        let refusal = Answer::refused(Code::BadRequest, message);
        refusal.count(metrics);
        return problem::of(&refusal);
    }
    metrics.frames_in.of(command.kind()).inc();
    if is_read(&command) {
        return match read(&edge.host, caller, None, command).await {
            Ok(frame) => {
                metrics.sent(frame.as_bytes());
                json(frame).into_response()
            }
            Err(refusal) => problem::of(&refusal),
        };
    }
    let (reply, answer) = Reply::to_call();
    send::rated_act(&edge.host, caller, command, reply).await;
    show(answer.await.unwrap_or_else(|_| Answer::unavailable()))
}

/// The same, where something that was there is another afterwards: 200 in place of 201.
pub async fn change(edge: &Edge, caller: &Caller, command: Command) -> Response {
    let mut response = perform(edge, caller, command).await;
    if response.status() == StatusCode::CREATED {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

/// An answer as a response: 201 for what was made, 200 for a repeat, 204 for what has no more to say.
pub fn show(answer: Answer) -> Response {
    let status = match &answer {
        Answer::Refused(_) => return problem::of(&answer),
        Answer::Done => return StatusCode::NO_CONTENT.into_response(),
        Answer::Sent { repeat: true, .. } | Answer::Created { repeat: true, .. } => StatusCode::OK,
        Answer::Sent { .. } | Answer::Created { .. } => StatusCode::CREATED,
    };
    (status, json(answer.into_frame(None::<RequestId>).to_json())).into_response()
}

/// A body that is JSON already.
pub fn json(body: impl Into<Body>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body.into())
}

/// An object that is no frame.
pub fn object(body: &impl serde::Serialize) -> Response {
    json(serde_json::to_string(body).expect("these objects have string keys and no failing values")).into_response()
}
