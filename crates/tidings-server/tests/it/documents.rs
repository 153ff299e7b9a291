//! The documents of calls and frames are whole, and say what the golden frames say. Whatever these tests send and hear besides is
//! held against them in `contract.rs`.

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::{Value, json};
use tempfile::tempdir;
use tidings_proto::frames::{client::Command, server::ServerFrame};
use tidings_server::edge::http::documents::{ASYNCAPI, OPENAPI};

use crate::{
    contract::{self, frame_findings},
    http_client::Answer,
    support::TestServer,
};

fn golden(side: &str) -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/frames").join(side);
    let read = |file: std::io::Result<fs::DirEntry>| {
        let path = file.expect("the folder can be read").path();
        let text = fs::read_to_string(&path).expect("the file can be read");
        (path.display().to_string(), serde_json::from_str(&text).expect("it is JSON"))
    };
    fs::read_dir(folder).expect("the fixtures are there").map(read).collect()
}

/// Where a frame of this side may be heard.
fn channel(side: &str, frame: &Value) -> &'static str {
    if side == "server" && frame["type"] == "close" { "events" } else { "websocket" }
}

#[test]
fn the_schemas_take_every_golden_frame_and_no_other() {
    for side in ["client", "server"] {
        for (name, frame) in golden(side) {
            let channel = channel(side, &frame);
            assert_eq!(frame_findings(channel, side, &frame), [""; 0], "{name}");
            // A field that nobody described, or one of another type, is found.
            for field in frame.as_object().expect("an object").keys() {
                let mut wrong = frame.clone();
                wrong[field] = json!({ "a": ["stranger"] });
                if field != "data" {
                    assert_ne!(frame_findings(channel, side, &wrong), [""; 0], "{name}: {field} of another type");
                }
            }
            if side == "server" {
                let mut more = frame.clone();
                more["surprise"] = json!(1);
                assert_ne!(frame_findings(channel, side, &more), [""; 0], "{name}: a field more");
            }
        }
    }
    let nameless = json!({"type": "presence", "state": "online", "last_seen": null});
    assert_ne!(frame_findings("websocket", "server", &nameless), [""; 0], "a field less");
}

#[test]
fn every_frame_goes_over_some_channel() {
    let channels = ASYNCAPI["channels"].as_object().expect("channels");
    let said: BTreeSet<&str> = channels
        .values()
        .flat_map(|one| one["messages"].as_object().expect("messages").keys())
        .map(String::as_str)
        .collect();
    let client = Command::TYPES.iter().map(|kind| format!("client.{kind}"));
    let server = ServerFrame::TYPES.iter().map(|kind| format!("server.{kind}"));
    let all: Vec<String> = client.chain(server).collect();
    assert_eq!(all.iter().filter(|name| !said.contains(name.as_str())).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(said.len(), all.len());
}

/// All that is referred to by `$ref` in a document.
fn references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            found.extend(object.get("$ref").and_then(Value::as_str).map(str::to_owned));
            object.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn what_the_documents_refer_to_is_there() {
    for document in [&*OPENAPI, &*ASYNCAPI] {
        let mut found = Vec::new();
        references(document, &mut found);
        assert!(found.len() > 50);
        for place in found {
            assert!(document.pointer(place.trim_start_matches('#')).is_some(), "{place}");
        }
    }
}

#[test]
fn every_call_has_a_name_and_says_how_it_refuses() {
    let mut names = BTreeSet::new();
    for call in contract::calls() {
        let (method, path) = call.split_once(' ').expect("a method");
        let (_, described) = contract::call_of(method, path).expect("it is there");
        assert!(names.insert(described["operationId"].as_str().expect("a name")), "{call}: its name stands twice");
        assert!(!described["summary"].as_str().expect("a summary").is_empty(), "{call}");
        let responses = described["responses"].as_object().expect("responses");
        assert!(responses.keys().any(|status| status.starts_with(['1', '2'])), "{call}: nothing goes well");
        if described.get("security").is_some() {
            assert!(responses.contains_key("401"), "{call}");
        }
    }
}

#[test]
fn an_answer_that_is_not_described_is_found() {
    let problem = |status: u16, code: &str, headers: &[(&'static str, &'static str)]| {
        let body = json!({"code": code, "title": "t", "detail": "d", "status": status});
        let headers = headers.iter().chain(&[("content-type", "application/problem+json")]);
        let headers = headers.map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
        Answer { status, headers, body }
    };
    let wrong = |answer: &Answer| contract::answer_findings("GET", "/v1/me", answer, b"{}");
    let waits = ("retry-after", "1");
    let how = ("www-authenticate", "Bearer");
    assert_eq!(wrong(&problem(401, "unauthenticated", &[how])), [""; 0]);
    assert_eq!(wrong(&problem(503, "unavailable", &[waits])), [""; 0]);
    for answer in [
        problem(503, "unavailable", &[]),
        problem(418, "unavailable", &[waits]),
        problem(401, "unauthenticated", &[]),
        problem(401, "internal", &[how]),
        Answer { body: json!({"code": "unauthenticated", "status": 401}), ..problem(401, "", &[how]) },
        Answer { status: 200, ..problem(401, "unauthenticated", &[how]) },
    ] {
        assert_ne!(wrong(&answer), [""; 0], "{answer:?}");
    }
    let me = json!({"user": "ada", "device": "d", "name": null, "picture": null, "presence": "contacts"});
    let mut answer = problem(200, "", &[]);
    answer.headers.insert("content-type", "application/json".parse().unwrap());
    answer.body = me;
    assert_eq!(wrong(&answer), [""; 0]);
    answer.body["surprise"] = json!(1);
    assert_ne!(wrong(&answer), [""; 0]);
}

#[tokio::test]
async fn the_documents_are_served() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("store", "memory")]).await;
    let nobody = server.nobody();
    assert_eq!(nobody.get("/openapi.json").await.ok(), *OPENAPI);
    assert_eq!(nobody.get("/asyncapi.json").await.ok(), *ASYNCAPI);
    server.stop().await;
}
