//! HTTP: the router, and the calls. An answer is the same object as the frame; a refusal is a problem document.

pub mod server;

pub mod account;
pub mod admin;
pub mod archive;
pub mod conversations;
pub mod documents;
pub mod frames;
pub mod history;
pub mod input;
pub mod operators;
pub mod people;
pub mod problem;
pub mod send;

use std::net::{IpAddr, SocketAddr};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{AUTHORIZATION, CONTENT_TYPE},
        request::Parts,
    },
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post, put},
};
use tidings_proto::{
    Code, DeviceId,
    frames::{RequestId, check::check, client::Command},
};

use crate::session::{
    auth::{Identity, log_in},
    execute::{Caller, is_read, read, take_request},
    reply::{Answer, Reply},
};

use super::{Edge, addresses, addresses::socket_ip, long_poll, mqtt, origins, pages, sse, websocket};

/// Every path of the server: its calls, and beside them the page.
pub fn router(edge: Edge) -> Router {
    let v1 = user_routes()
        .layer(DefaultBodyLimit::max(edge.host.config.limits.frame_bytes))
        .nest("/admin", admin::router())
        .fallback(|| async {
            problem::of(&Answer::refused(Code::NotFound, "there is no such call; see docs/protocol.md"))
        })
        .method_not_allowed_fallback(|| async {
            problem::of(&Answer::refused(Code::MethodNotAllowed, "this path takes other methods: see the Allow header"))
        })
        .layer(map_response(problem::every))
        .layer(from_fn_with_state(edge.clone(), origins::check));
    Router::new()
        .nest("/v1", v1)
        .merge(operator_routes())
        .fallback(pages::asset)
        .layer(from_fn_with_state(edge.clone(), addresses::resolve))
        .with_state(edge)
}

fn user_routes() -> Router<Edge> {
    Router::new()
        .route("/ws", get(websocket::upgrade))
        .route("/mqtt", get(mqtt::upgrade))
        .route("/events", get(sse::events))
        .route("/sync", get(long_poll::sync))
        .route("/login", post(account::log_in))
        .route("/tickets", post(account::ticket))
        .route("/messages", post(send::message))
        .route("/frames", post(frames::frames))
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
        .route("/conversations", get(conversations::inbox).post(conversations::create))
        .route("/conversations/{conversation}", get(conversations::details).patch(conversations::rename))
        .route("/conversations/{conversation}/members", get(conversations::members))
        .route(
            "/conversations/{conversation}/members/{user}",
            put(conversations::put_member).delete(conversations::remove_member),
        )
        .route("/conversations/{conversation}/read", put(conversations::mark_read))
        .route("/conversations/{conversation}/settings", axum::routing::patch(conversations::set))
        .route("/fetch", post(history::fetch))
        .route("/conversations/{conversation}/entries", get(history::entries))
        .route(
            "/conversations/{conversation}/entries/{seq}",
            axum::routing::patch(history::edit).delete(history::redact),
        )
        .route("/conversations/{conversation}/entries/{seq}/receipts", get(history::receipts))
        .route(
            "/conversations/{conversation}/entries/{seq}/reactions/{emoji}",
            put(history::react).delete(history::react_no_more),
        )
}

fn people_routes() -> Router<Edge> {
    Router::new()
        .route("/users", get(people::users))
        .route("/users/{user}", get(people::user))
        .route("/me", get(people::me).patch(people::change_me))
        .route("/me/devices", get(people::devices))
        .route("/me/devices/{device}", axum::routing::patch(people::name_device).delete(people::revoke))
        .route("/blocks", get(people::blocks))
        .route("/blocks/{user}", put(people::block).delete(people::unblock))
}

const NO_TOKEN: &str = "show a token: Authorization: Bearer …; POST /v1/login gives one, or says who does";
/// Which of the user's devices calls, where the token does not say it.
pub const DEVICE_HEADER: &str = "tidings-device";

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
        let refused = |answer: Answer| {
            answer.count(&edge.host.metrics);
            problem::of(&answer)
        };
        let peer = socket_ip(&parts.extensions);
        let identity = match identity(edge, peer, None, &parts.headers).await {
            Ok(identity) => identity.ok_or_else(|| refused(edge.auth.refuse(NO_TOKEN)))?,
            Err(refusal) => return Err(wrong_token(edge, parts).unwrap_or_else(|| refused(refusal))),
        };
        let caller = log_in(&edge.host, &identity).await.map_err(refused)?;
        let wait = take_request(&edge.host, &caller).map_err(refused)?;
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        Ok(caller)
    }
}

/// Whoever shows one wrong token after the other is told to wait instead.
fn wrong_token(edge: &Edge, parts: &Parts) -> Option<Response> {
    let ConnectInfo(address) = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    edge.admit_address(address.ip()).err().map(|later| problem::of(&later.answer()))
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
pub fn json(body: String) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/json")], body)
}

/// An object that is no frame.
pub fn object(body: &impl serde::Serialize) -> Response {
    json(serde_json::to_string(body).expect("these objects have string keys and no failing values")).into_response()
}
