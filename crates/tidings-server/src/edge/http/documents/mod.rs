//! What the server says of itself to tools: OpenAPI of its calls, AsyncAPI of its frames. Both are made from the types that are
//! read and written, and the tests hold against them what really goes over the wire.

mod asyncapi;
mod call;

use std::sync::LazyLock;

use axum::response::IntoResponse;
use serde_json::{Value, json};
use tidings_proto::{
    frames::{
        client::Command,
        server::{Problem, ServerFrame},
    },
    schema::Schemas,
};

pub use call::{Call, Calls};

use super::{
    super::{long_poll, mqtt, sse, websocket},
    account, admin, archive, cluster, conversations, frames, history, json as body, migration, operators, people, send,
};

/// The name of a client's frame among the schemas.
fn of_client(kind: &str) -> String {
    format!("client.{kind}")
}

/// The name of a server's frame among the schemas.
fn of_server(kind: &str) -> String {
    format!("server.{kind}")
}

/// Names the schemas of all frames, and of any of each side.
fn name_frames(schemas: &mut Schemas) {
    for (side, name, frames) in [
        ("ClientFrame", of_client as fn(&str) -> String, Command::schemas(schemas)),
        ("ServerFrame", of_server as fn(&str) -> String, ServerFrame::schemas(schemas)),
    ] {
        let frames: Vec<Value> = frames.into_iter().map(|(kind, schema)| schemas.name(&name(kind), schema)).collect();
        schemas.name(side, json!({ "oneOf": frames }));
    }
}

/// OpenAPI 3.1: every call with what it takes, what it answers and how it refuses.
pub static OPENAPI: LazyLock<Value> = LazyLock::new(|| {
    let mut schemas = Schemas::default();
    name_frames(&mut schemas);
    schemas.refer::<Problem>();
    let mut calls = Calls::new(schemas);
    let all: [fn(&mut Calls); 15] = [
        websocket::describe,
        mqtt::describe,
        sse::describe,
        long_poll::describe,
        account::describe,
        send::describe,
        frames::describe,
        conversations::describe,
        history::describe,
        people::describe,
        operators::describe,
        admin::describe,
        archive::describe,
        cluster::describe,
        migration::describe,
    ];
    all.iter().for_each(|describe| describe(&mut calls));
    calls.into_document()
});

/// AsyncAPI 3: which frames go over which channel, in which direction.
pub static ASYNCAPI: LazyLock<Value> = LazyLock::new(asyncapi::document);

static OPENAPI_TEXT: LazyLock<String> = LazyLock::new(|| OPENAPI.to_string());
static ASYNCAPI_TEXT: LazyLock<String> = LazyLock::new(|| ASYNCAPI.to_string());

/// `GET /openapi.json`.
pub async fn openapi() -> impl IntoResponse {
    body(OPENAPI_TEXT.as_str())
}

/// `GET /asyncapi.json`.
pub async fn asyncapi() -> impl IntoResponse {
    body(ASYNCAPI_TEXT.as_str())
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use axum::{Router, routing::get};

    use super::{
        super::{super::Edge, call_routes},
        *,
    };

    /// What a router has, as it shows itself: each path with its methods.
    fn routes(router: &Router<Edge>) -> BTreeSet<String> {
        let shown = format!("{router:?}");
        let (methods, paths) = shown.split_once("paths: {").expect("a router shows its paths");
        let paths = paths.split_once("\"}").map_or("", |(paths, _)| paths);
        let endpoints: BTreeMap<&str, &str> =
            methods.split("RouteId(").skip(1).filter_map(|one| one.split_once("): MethodRouter(")).collect();
        let mut found = BTreeSet::new();
        for entry in paths.split(", RouteId(") {
            let (id, path) = entry.trim_start_matches("RouteId(").split_once("): ").expect("a number and a path");
            for method in ["get", "post", "put", "patch", "delete"] {
                if !endpoints[id].contains(&format!(" {method}: None")) {
                    found.insert(format!("{method} {}", path.trim_matches('"')));
                }
            }
        }
        found
    }

    #[test]
    fn every_route_is_described_and_nothing_else() {
        let router = call_routes();
        let paths = OPENAPI["paths"].as_object().expect("paths");
        let described = paths.iter().flat_map(|(path, item)| {
            item.as_object().expect("methods").keys().map(move |method| format!("{method} {path}"))
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), routes(&router));
        let more = router.route("/v1/surprise", get(openapi).delete(openapi));
        assert!(routes(&more).is_superset(&["get /v1/surprise".to_owned(), "delete /v1/surprise".to_owned()].into()));
    }
}
