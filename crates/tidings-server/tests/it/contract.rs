//! Holds what goes over the wire in all these tests against the documents that the server gives of itself. Every answer and
//! every frame passes through here, so that a field, a status or a code that is not described fails whichever test sees it.
//!
//! The documents let objects have more fields than they name, for later versions. Here that is forbidden: what is not described
//! is found.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, LazyLock, Mutex},
};

use jsonschema::Validator;
use serde_json::{Value, json};
use tidings_proto::frames::client::Request;
use tidings_server::edge::http::documents::{ASYNCAPI, OPENAPI};

use crate::http_client::Answer;

/// The call that a request makes: its description, and the path as it stands in the document.
pub fn call_of(method: &str, target: &str) -> Option<(&'static str, &'static Value)> {
    let path = target.split('?').next().unwrap_or_default();
    let parts: Vec<&str> = path.split('/').collect();
    let is_it = |template: &str| {
        let names: Vec<&str> = template.split('/').collect();
        names.len() == parts.len()
            && names.iter().zip(&parts).all(|(name, part)| name == part || name.starts_with('{') && !part.is_empty())
    };
    // A path without names in it goes first, as in the router.
    let paths = OPENAPI["paths"].as_object().expect("paths");
    let mut found: Vec<_> = paths.iter().filter(|(template, _)| is_it(template)).collect();
    found.sort_by_key(|(template, _)| template.matches('{').count());
    let (template, item) = found.first()?;
    item.get(method.to_lowercase()).map(|call| (template.as_str(), call))
}

/// Every call of the document, as `GET /v1/…`.
pub fn calls() -> Vec<String> {
    let paths = OPENAPI["paths"].as_object().expect("paths");
    let of_path = |(path, item): (&String, &Value)| {
        let methods = item.as_object().expect("methods").keys().cloned();
        let path = path.clone();
        methods.map(move |method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of_path).collect()
}

/// An answer is one of those that its call describes, and what was taken is what it describes, too.
#[track_caller]
pub fn check_answer(method: &str, target: &str, body: &[u8], answer: &Answer, said: &[u8]) {
    let mut wrong = answer_findings(method, target, answer, said);
    if (200..300).contains(&answer.status) {
        wrong.extend(body_findings(method, target, body));
    }
    assert!(wrong.is_empty(), "{method} {target}: {}\n{answer:?}", wrong.join("\n"));
}

/// What is wrong with an answer, a line each. `said` is its body as it came.
pub fn answer_findings(method: &str, target: &str, answer: &Answer, said: &[u8]) -> Vec<String> {
    let Some((template, call)) = call_of(method, target) else {
        // No call: that is refused, or outside of /v1 the page.
        let is_call = target.starts_with("/v1/") && !["OPTIONS", "HEAD"].contains(&method);
        let is_refused = [403, 404, 405].contains(&answer.status);
        return if is_call && !is_refused { vec!["it is not in the document".to_owned()] } else { Vec::new() };
    };
    let Some(described) = call["responses"].get(answer.status.to_string()) else {
        return vec![format!("the document has no status {} here", answer.status)];
    };
    let headers = described["headers"].as_object().into_iter().flatten().map(|(name, _)| name);
    let missing = headers.filter(|name| !answer.headers.contains_key(*name));
    let mut wrong: Vec<String> = missing.map(|name| format!("the header {name} is missing")).collect();
    match described["content"].as_object().and_then(|media| media.iter().next()) {
        None if said.is_empty() => {}
        None => wrong.push("it has a body".to_owned()),
        Some((media, _)) if answer.header("content-type") != media => wrong.push(format!("it should be {media}")),
        Some((media, content)) if media.contains("json") => {
            let name = format!("{method} {template} {}", answer.status);
            wrong.extend(findings(&name, || inlined(&OPENAPI, &content["schema"], true), &answer.body));
        }
        Some(_) => {}
    }
    wrong
}

/// What is wrong with a body that was taken. Within /v1/frames wrong ones are answered one by one.
fn body_findings(method: &str, target: &str, body: &[u8]) -> Vec<String> {
    let Some((template, call)) = call_of(method, target) else { return Vec::new() };
    let schema = &call["requestBody"]["content"]["application/json"]["schema"];
    if body.is_empty() || schema.is_null() || template == "/v1/frames" {
        return Vec::new();
    }
    let asked = serde_json::from_slice(body).expect("it was taken, so it is JSON");
    findings(&format!("{method} {template}"), || inlined(&OPENAPI, schema, false), &asked)
}

/// A frame is one that the server says on this channel of the AsyncAPI document.
#[track_caller]
pub fn check_frame(channel: &str, frame: &Value) {
    let wrong = frame_findings(channel, "server", frame);
    assert!(wrong.is_empty(), "{channel}: {frame}\n{}", wrong.join("\n"));
}

/// What this server takes as a frame is described as one.
#[track_caller]
pub fn check_said(channel: &str, text: &str) {
    if Request::parse(text).is_ok() {
        let frame = serde_json::from_str(text).expect("it was read");
        let wrong = frame_findings(channel, "client", &frame);
        assert!(wrong.is_empty(), "{channel}: {text}\n{}", wrong.join("\n"));
    }
}

/// What is wrong with a frame on a channel, a line each.
pub fn frame_findings(channel: &str, side: &str, frame: &Value) -> Vec<String> {
    let name = format!("{side}.{}", frame["type"].as_str().unwrap_or_default());
    if ASYNCAPI["channels"][channel]["messages"].get(&name).is_none() {
        return vec![format!("the channel has no message {name}")];
    }
    let schema = &ASYNCAPI["components"]["schemas"][&name];
    findings(&name, || inlined(&ASYNCAPI, schema, side == "server"), frame)
}

/// What a schema objects to. It is compiled once under its name.
fn findings(name: &str, schema: impl FnOnce() -> Value, value: &Value) -> Vec<String> {
    static COMPILED: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let compile = || {
        let schema = schema();
        Arc::new(jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{name}: {error}: {schema}")))
    };
    let validator =
        COMPILED.lock().expect("nobody panics with it").entry(name.to_owned()).or_insert_with(compile).clone();
    validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The schema with all that it refers to; `close`: objects have the fields that are named, and no others.
fn inlined(document: &Value, schema: &Value, close: bool) -> Value {
    let Some(object) = schema.as_object() else { return schema.clone() };
    if let Some(place) = object.get("$ref").and_then(Value::as_str) {
        let target = document.pointer(place.trim_start_matches('#')).unwrap_or_else(|| panic!("{place} is nowhere"));
        return inlined(document, target, close);
    }
    let is_choice = !["allOf", "properties"].iter().any(|key| object.contains_key(*key));
    let mut written = BTreeMap::new();
    for (key, value) in object {
        let value = match (key.as_str(), value) {
            ("properties", Value::Object(all)) => {
                all.iter().map(|(name, one)| (name.clone(), inlined(document, one, close))).collect()
            }
            ("items" | "additionalProperties" | "propertyNames", one) => inlined(document, one, close),
            // Parts of one object: it is closed as a whole. Choices are objects of their own.
            ("allOf" | "oneOf" | "anyOf", Value::Array(parts)) => {
                parts.iter().map(|part| part_of(document, part, close, is_choice)).collect()
            }
            (_, other) => other.clone(),
        };
        written.insert(key.clone(), value);
    }
    if close && !is_choice {
        written.insert("unevaluatedProperties".to_owned(), false.into());
    }
    json!(written)
}

/// A part of a schema: closed by itself if it is a choice, else by what it is a part of. What is within is closed either way.
fn part_of(document: &Value, part: &Value, close: bool, is_choice: bool) -> Value {
    let mut part = inlined(document, part, close);
    if !is_choice {
        open(&mut part);
    }
    part
}

/// Takes back that this object is closed, where it is one part of an object.
fn open(part: &mut Value) {
    if let Some(object) = part.as_object_mut() {
        object.remove("unevaluatedProperties");
        for key in ["allOf", "oneOf", "anyOf"] {
            object.get_mut(key).and_then(Value::as_array_mut).into_iter().flatten().for_each(open);
        }
    }
}
