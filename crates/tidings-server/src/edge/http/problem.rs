//! Refusals over HTTP: problem documents (RFC 9457), with `Retry-After` (RFC 9110 section 10.2.3) where waiting helps.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use tidings_proto::{
    Code,
    frames::{
        FrameError,
        server::{Problem, Refused},
    },
};

use crate::session::reply::Answer;

const PROBLEM: &str = "application/problem+json";
/// Of a refusal from elsewhere so much is told.
const SAID_BYTES: usize = 1024;

/// The problem document of a refusal.
pub fn of(answer: &Answer) -> Response {
    match answer {
        Answer::Refused(refused) => document(refused),
        Answer::Sent { .. } | Answer::Created { .. } | Answer::Done => StatusCode::NO_CONTENT.into_response(),
    }
}

/// Gives a refusal that came from elsewhere than our calls the same shape.
pub async fn every(response: Response) -> Response {
    let status = response.status();
    let is_problem = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
    if is_problem || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let code = match status {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::NOT_FOUND => Code::NotFound,
        status if status.is_client_error() => Code::BadRequest,
        _ => Code::Internal,
    };
    let (parts, body) = response.into_parts();
    let said = axum::body::to_bytes(body, SAID_BYTES).await.unwrap_or_default();
    let mut problem = of(&Answer::refused(code, String::from_utf8_lossy(&said)));
    for name in [header::ALLOW, header::UPGRADE, header::SEC_WEBSOCKET_VERSION] {
        if let Some(value) = parts.headers.get(&name) {
            problem.headers_mut().insert(name, value.clone());
        }
    }
    problem
}

/// Tells who is asked to log in how to show that (RFC 9110 section 11.6.1, RFC 6750 section 3).
pub fn challenge(response: &mut Response, shown_token: bool) {
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = if shown_token { r#"Bearer error="invalid_token""# } else { "Bearer" };
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    }
}

/// A request that could not be read.
pub fn frame_error(error: &FrameError) -> Response {
    of(&Answer::refused(error.code, error.message.clone()))
}

fn document(refused: &Refused) -> Response {
    let Refused { code, message, retry_after_ms, users, login_url, .. } = refused;
    let problem = Problem {
        code: *code,
        title: code.title().to_owned(),
        detail: message.clone(),
        status: code.status(),
        users: users.clone(),
        login_url: login_url.clone(),
    };
    let status = StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = serde_json::to_string(&problem).expect("a problem has string keys");
    let mut response = (status, [(header::CONTENT_TYPE, PROBLEM)], body).into_response();
    if matches!(code, Code::RateLimited | Code::LimitReached | Code::Unavailable) {
        let seconds = retry_after_ms.unwrap_or(1_000).div_ceil(1_000).max(1);
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
