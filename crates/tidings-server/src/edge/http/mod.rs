//! HTTP: the router, and the calls. An answer is the same object as the frame; a refusal is a problem document.

pub mod server;

pub mod account;
pub mod admin;
pub mod input;
pub mod operators;
pub mod problem;
pub mod send;

use axum::{
    Router,
    extract::{DefaultBodyLimit, FromRequestParts},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use tidings_proto::{Code, frames::RequestId};

use crate::session::{
    auth::log_in,
    execute::Caller,
    reply::{Answer, Reply},
};

use super::{Edge, pages, websocket};

/// Every path of the server.
pub fn router(edge: Edge) -> Router {
    let v1 = Router::new()
        .route("/ws", get(websocket::upgrade))
        .route("/login", post(account::log_in))
        .route("/tickets", post(account::ticket))
        .route("/messages", post(send::message))
        .route("/frames", post(send::frames))
        .layer(DefaultBodyLimit::max(edge.host.config.limits.frame_bytes))
        .nest("/admin", admin::router())
        .fallback(|| async { problem::of(&Answer::refused(Code::NotFound, "there is no such call; see docs/protocol.md")) })
        .method_not_allowed_fallback(|| async {
            problem::of(&Answer::refused(Code::MethodNotAllowed, "this path takes other methods: see the Allow header"))
        });
    Router::new()
        .nest("/v1", v1)
        .route("/livez", get(operators::live))
        .route("/readyz", get(operators::ready))
        .route("/metrics", get(operators::metrics))
        .route("/version", get(operators::version))
        .fallback(pages::asset)
        .with_state(edge)
}

/// The token of the `Authorization` header (RFC 6750 section 2.1).
pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A call by somebody who is logged in.
impl FromRequestParts<Edge> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        let refused = |why: &str| {
            edge.host.metrics.refused.of(Code::Unauthenticated).inc();
            problem::of(&Answer::refused(Code::Unauthenticated, why))
        };
        let token = bearer(&parts.headers)
            .ok_or_else(|| refused("show a token: Authorization: Bearer …; POST /v1/login gives one"))?;
        let identity = edge.auth.verify(token).ok_or_else(|| refused("the token was not given here; log in again"))?;
        log_in(&edge.host, &identity).await.map_err(|answer| problem::of(&answer))
    }
}

/// Waits for an answer and shows it: `status` if it is done, the problem otherwise.
pub async fn answered(call: impl AsyncFnOnce(Reply)) -> Response {
    let (reply, answer) = Reply::to_call();
    call(reply).await;
    show(answer.await.unwrap_or_else(|_| Answer::unavailable()))
}

/// An answer as a response: 201 for what was made, 200 for a repeat, 204 for what has no more to say.
pub fn show(answer: Answer) -> Response {
    use axum::http::StatusCode;
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
    ([(axum::http::header::CONTENT_TYPE, "application/json")], body)
}
