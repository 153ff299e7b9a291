//! Who may call what: every call of the document, by everybody. Who is no member of a conversation gets the same answer as if
//! it had never been; who is blocked gets the same as who is not.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    access::{BLOCKED, Cells, MEMBER, WHO, World, likeness},
    contract,
    http_client::Answer,
};

const A: &str = "401 unauthenticated";
const F: &str = "403 forbidden";
const U: &str = "404 unknown_conversation";

/// Of a conversation: its members alone.
const fn members(outcome: &'static str) -> Cells {
    [outcome, U, U, outcome, A, A]
}

/// Of whoever is logged in.
const fn users(outcome: &'static str) -> Cells {
    [outcome, outcome, outcome, outcome, A, A]
}

const fn anybody(outcome: &'static str) -> Cells {
    [outcome; 6]
}

/// Of the admin token, which nobody here has.
const OPERATORS: Cells = [A; 6];

/// A call with a body where it needs one. Rows go from top to bottom, each for everybody.
#[rustfmt::skip]
const ROWS: &[(&str, &str, &str, Cells)] = &[
    ("GET", "/livez", "", anybody("200")),
    ("GET", "/readyz", "", anybody("200")),
    ("GET", "/metrics", "", anybody("200")),
    ("GET", "/version", "", anybody("200")),
    ("GET", "/openapi.json", "", anybody("200")),
    ("GET", "/asyncapi.json", "", anybody("200")),
    ("POST", "/v1/login", r#"{"username":"somebody","device":"d"}"#, anybody("200")),
    // Who one is stands in the frame that follows; a device that was signed out is refused then.
    ("GET", "/v1/ws", "", anybody("101")),
    ("GET", "/v1/mqtt", "", anybody("101")),
    ("GET", "/v1/events", "", users("200")),
    ("GET", "/v1/sync", "", users("200")),
    ("POST", "/v1/tickets", "", users("200")),
    ("POST", "/v1/frames", r#"{"frames":[]}"#, users("200")),
    ("POST", "/v1/messages", r#"{"to":{"conversation":"GROUP"},"text":"hi"}"#, members("201")),
    ("POST", "/v1/messages", r#"{"to":{"user":"owner"},"text":"hi"}"#, users("201")),
    ("POST", "/v1/fetch", r#"{"conversation":"GROUP"}"#, members("200")),
    ("GET", "/v1/conversations", "", users("200")),
    ("POST", "/v1/conversations", r#"{"name":"Mine"}"#, users("201")),
    ("GET", "/v1/conversations/GROUP", "", members("200")),
    ("PATCH", "/v1/conversations/GROUP", r#"{"name":"Of ME"}"#, members("200")),
    ("GET", "/v1/conversations/GROUP/members", "", members("200")),
    ("PUT", "/v1/conversations/GROUP/members/new", "", members(F)),
    ("DELETE", "/v1/conversations/GROUP/members/owner", "", members(F)),
    ("PUT", "/v1/conversations/GROUP/read", r#"{"seq":1}"#, members("204")),
    ("PATCH", "/v1/conversations/GROUP/settings", r#"{"pinned":true}"#, members("204")),
    ("GET", "/v1/conversations/GROUP/entries", "", members("200")),
    ("PATCH", "/v1/conversations/GROUP/entries/2", r#"{"text":"x"}"#, members(F)),
    ("DELETE", "/v1/conversations/GROUP/entries/2", "", members(F)),
    ("GET", "/v1/conversations/GROUP/entries/4/receipts", "", members("200")),
    ("PUT", "/v1/conversations/GROUP/entries/2/reactions/x", "", members("200")),
    ("DELETE", "/v1/conversations/GROUP/entries/2/reactions/x", "", members("200")),
    ("GET", "/v1/users?ids=owner", "", users("200")),
    ("GET", "/v1/users/owner", "", users("200")),
    ("GET", "/v1/me", "", users("200")),
    ("PATCH", "/v1/me", r#"{"picture":"p"}"#, users("200")),
    ("GET", "/v1/me/devices", "", users("200")),
    ("PATCH", "/v1/me/devices/spare", r#"{"name":"Old one"}"#, users("200")),
    ("DELETE", "/v1/me/devices/spare", "", users("204")),
    ("DELETE", "/v1/me/devices/of-somebody-else", "", users("404 not_found")),
    ("PUT", "/v1/blocks/new", "", users("204")),
    ("GET", "/v1/blocks", "", users("200")),
    ("DELETE", "/v1/blocks/new", "", users("204")),
    ("POST", "/v1/admin/import", r#"{"conversation":{"name":"Old"}}"#, OPERATORS),
    ("POST", "/v1/admin/users/resolve", r#"{"names":[]}"#, OPERATORS),
    ("PUT", "/v1/admin/users/owner", "{}", OPERATORS),
    ("POST", "/v1/admin/send", r#"{"as":"owner","to":{"user":"new"},"text":"hi"}"#, OPERATORS),
    ("GET", "/v1/admin/archive", "", OPERATORS),
    ("POST", "/v1/admin/archive", "", OPERATORS),
    ("GET", "/v1/admin/cluster", "", OPERATORS),
    ("POST", "/v1/admin/cluster/drain", r#"{"node":"node-1"}"#, OPERATORS),
    ("POST", "/v1/admin/cluster/remove", r#"{"node":"node-1"}"#, OPERATORS),
    ("GET", "/v1/admin/migration", "", OPERATORS),
    ("POST", "/v1/admin/migration", r#"{"settings":{}}"#, OPERATORS),
    ("POST", "/v1/admin/migration/switch", "", OPERATORS),
    ("GET", "/v1/admin/conversations?name=Team", "", OPERATORS),
    ("GET", "/v1/admin/conversations/GROUP/entries", "", OPERATORS),
    // The last thing one does here.
    ("DELETE", "/v1/conversations/GROUP/members/ME", "", members("200")),
    ("GET", "/v1/conversations/GROUP", "", [U, U, U, U, A, A]),
];

/// What makes a call of these two an upgrade.
fn upgrade(path: &str) -> Vec<(&'static str, &'static str)> {
    let protocol = match path {
        "/v1/ws" => "tidings.v1.json",
        "/v1/mqtt" => "mqtt",
        _ => return Vec::new(),
    };
    vec![
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-protocol", protocol),
    ]
}

async fn call(world: &World, who: usize, method: &str, path: &str, body: &str) -> Answer {
    let caller = &world.callers[who];
    let (path, body) = (world.fill(path, who), world.fill(body, who));
    if path == "/v1/events" && caller.get("/v1/me").await.status == 200 {
        // It does not end.
        let events = caller.open(method, &path, &[], bytes::Bytes::new()).await;
        let (status, headers) = (events.status().as_u16(), events.headers().clone());
        return Answer { status, headers, body: Value::Null };
    }
    caller.raw(method, &path, &upgrade(&path), body.into()).await
}

fn outcome(answer: &Answer) -> String {
    match answer.body["code"].as_str() {
        Some(code) => format!("{} {code}", answer.status),
        None => answer.status.to_string(),
    }
}

#[test]
fn every_call_has_a_row() {
    let called: BTreeSet<String> = ROWS
        .iter()
        .map(|(method, path, ..)| {
            let path = path.replace("GROUP", "g").replace("ME", "me");
            let (template, _) =
                contract::call_of(method, &path).unwrap_or_else(|| panic!("there is no {method} {path}"));
            format!("{method} {template}")
        })
        .collect();
    assert_eq!(contract::calls().into_iter().collect::<BTreeSet<_>>(), called);
}

#[tokio::test]
async fn everybody_may_what_the_matrix_says() {
    let world = World::new().await;
    let never = "a".repeat(26);
    let mut wrong = Vec::new();
    for (method, path, body, cells) in ROWS {
        let mut answers = Vec::new();
        for who in 0..WHO.len() {
            let answer = call(&world, who, method, path, body).await;
            if outcome(&answer) != cells[who] {
                wrong.push(format!("{method} {path}: {} gets {}, not {}", WHO[who], outcome(&answer), cells[who]));
            }
            if outcome(&answer) == U {
                // The same words as for one that never was: ids tell nothing.
                let (path, body) = (path.replace("GROUP", &never), body.replace("GROUP", &never));
                let other = call(&world, who, method, &path, &body).await;
                assert_eq!(answer.body, other.body, "{method} {path}: {}", WHO[who]);
            }
            answers.push(answer);
        }
        let [member, blocked] = [MEMBER, BLOCKED].map(|who| likeness(&answers[who].body));
        if member != blocked {
            wrong.push(format!("{method} {path}: who is blocked gets\n{blocked}\nand who is not\n{member}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // Whoever was not a member has nothing of it in the inbox.
    for who in [1, 2] {
        let items = world.callers[who].get("/v1/conversations").await.ok()["items"].clone();
        assert!(!items.to_string().contains(&world.group), "{items}");
    }
    world.server.stop().await;
}

#[test]
fn a_difference_is_seen() {
    let answer = json!({"user": "twin-1", "seq": 3, "items": [{"text": "hi", "read": 1}, {"text": "hi", "read": 2}]});
    let same = json!({"user": "twin-2", "seq": 9, "items": [{"text": "hi", "read": 5}]});
    assert_eq!(likeness(&answer), likeness(&same));
    let other = json!({"user": "twin-2", "seq": 9, "items": [{"text": "hi", "read": 5, "blocked": true}]});
    assert_ne!(likeness(&answer), likeness(&other));
}
