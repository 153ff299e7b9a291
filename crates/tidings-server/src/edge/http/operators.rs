//! For operators: is it alive, does it take messages, what has it counted, which version is it.

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::metrics::Metrics;

use super::{
    super::{Edge, websocket::PROTOCOL},
    documents::Calls,
    object,
};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let text = "text/plain; charset=utf-8";
    calls.on("get", "/livez", "Whether the process answers").gives_text(200, text, "It does");
    let ready = calls.on("get", "/readyz", "Whether it takes messages").gives_text(200, text, "It does");
    ready.gives_text(503, text, "It does not, and why");
    let metrics = calls.on("get", "/metrics", "What was counted").gives_text(200, Metrics::CONTENT_TYPE, "OpenMetrics");
    metrics.gives_nothing(404, "Metrics are switched off");
    calls.on("get", "/version", "Which version it is").gives::<Version>(200, "The version");
    for path in ["/openapi.json", "/asyncapi.json"] {
        let object = serde_json::json!({ "type": "object" });
        calls.on("get", path, "What the server says of itself to tools").gives_schema(200, &object, "The document");
    }
}

#[derive(utoipa::ToSchema, serde::Serialize)]
struct Version {
    version: &'static str,
    /// That of the wire.
    protocol: &'static str,
}

/// `GET /livez`: the process answers.
pub async fn live() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: it takes messages; 503 with the reason while it does not.
pub async fn ready(State(edge): State<Edge>) -> Response {
    match edge.host.failure() {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("nothing can be stored: {why}\n")).into_response(),
        None if edge.host.is_read_only() => {
            (StatusCode::SERVICE_UNAVAILABLE, "nothing is taken: the data are being moved\n").into_response()
        }
        None if edge.shutdown.has_begun() => {
            (StatusCode::SERVICE_UNAVAILABLE, "the server is stopping\n").into_response()
        }
        // It serves on until others have all of it; who is new should come to them.
        None if edge.fleet.as_ref().is_some_and(|member| member.is_draining()) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the server hands over to others\n").into_response()
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
    object(&Version { version: env!("CARGO_PKG_VERSION"), protocol: PROTOCOL })
}
