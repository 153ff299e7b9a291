//! For operators: is it alive, does it take messages, what has it counted, which version is it.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::metrics::Metrics;

use super::{super::Edge, json};

/// `GET /livez`: the process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it takes messages; 503 with the reason while it does not.
pub async fn ready(State(edge): State<Edge>) -> Response {
    match edge.host.failure() {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("nothing can be stored: {why}\n")).into_response(),
        None if edge.shutdown.has_begun() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response()
        }
        None => "ok\n".into_response(),
    }
}

/// `GET /metrics`, as OpenMetrics text.
pub async fn metrics(State(edge): State<Edge>) -> Response {
    if !edge.host.config.metrics.enabled {
        return StatusCode::NOT_FOUND.into_response();
    }
    edge.host.measure();
    ([(header::CONTENT_TYPE, Metrics::CONTENT_TYPE)], edge.host.metrics.render()).into_response()
}

/// `GET /version`.
pub async fn version() -> impl IntoResponse {
    json(format!("{{\"version\":\"{}\"}}", env!("CARGO_PKG_VERSION")))
}
