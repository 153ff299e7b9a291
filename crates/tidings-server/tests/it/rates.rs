//! Too much of one user, device or address, and too many at once: on every transport it is refused in that transport's words,
//! with a time to wait.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite;

use crate::{
    mqtt_client::{Hello, Mqtt, Packet, V4, V5, pair},
    support::{PATIENCE, TestClient, TestServer},
};

/// Tried so often until it is refused.
const TRIES: usize = 30;

/// The ways to ask for something.
const ASKING: &[&str] = &["websocket", "http", "frames", "mqtt_3", "mqtt_5"];

/// One device that sends messages.
enum Sender {
    Socket(TestClient),
    Http(crate::http_client::Caller),
    Frames(crate::http_client::Caller),
    Mqtt(Mqtt),
}

impl Sender {
    async fn open(server: &TestServer, way: &'static str, device: &'static str) -> Self {
        match way {
            "websocket" => Self::Socket(server.connect(way, device).await),
            "http" => Self::Http(server.log_in(way, device).await),
            "frames" => Self::Frames(server.log_in(way, device).await),
            way => {
                let version = if way == "mqtt_3" { V4 } else { V5 };
                let (mut client, _) = Mqtt::connect(server, &Hello::new(version, way, device)).await;
                assert_eq!(client.subscribe("tidings/answer", 0).await, 0);
                Self::Mqtt(client)
            }
        }
    }

    /// Sends; `Some`: it was refused with this code, to be tried again after so many milliseconds.
    async fn send(&mut self) -> Option<(String, u64)> {
        let send = json!({"type": "send", "to": {"user": "eve"}, "client_msg_id": new_id(), "text": "hi"});
        match self {
            Self::Socket(client) => refusal(&client.ask(send).await),
            Self::Http(caller) => {
                let answer = caller.post("/v1/messages", send).await;
                if answer.status == 201 {
                    return None;
                }
                assert_eq!(answer.status, 429, "{answer:?}");
                let seconds: u64 = answer.header("retry-after").parse().expect("a time");
                Some((answer.body["code"].as_str().expect("a code").to_owned(), seconds * 1_000))
            }
            Self::Frames(caller) => {
                let answer = caller.post("/v1/frames", json!({"frames": [{"type": "ping"}, send]})).await;
                if answer.status == 429 {
                    return Some(("rate_limited".to_owned(), 1));
                }
                refusal(&answer.ok()["answers"][1])
            }
            Self::Mqtt(client) => {
                let (code, user) = client.publish_heard(1, "tidings/to/eve", "hi").await;
                match code {
                    Ok(0) => None,
                    Ok(code) => {
                        assert_eq!(code, 0x97);
                        let user: HashMap<_, _> = user.into_iter().collect();
                        Some((user["code"].clone(), user["retry_after_ms"].parse().expect("a number")))
                    }
                    Err(error) => refusal(&error),
                }
            }
        }
    }

    async fn send_until_refused(&mut self) -> (String, u64) {
        for _ in 0..TRIES {
            if let Some(refused) = self.send().await {
                return refused;
            }
        }
        panic!("{TRIES} at once are not too many");
    }
}

fn new_id() -> String {
    format!("{:x}", rand::random::<u64>())
}

fn refusal(answer: &Value) -> Option<(String, u64)> {
    if answer["type"] != "error" {
        return None;
    }
    let after_ms = answer["retry_after_ms"].as_u64().unwrap_or_else(|| panic!("{answer}"));
    Some((answer["code"].as_str().expect("a code").to_owned(), after_ms))
}

#[tokio::test]
async fn too_many_sends_of_a_user_or_requests_of_a_device_are_refused_on_every_transport() {
    let slow = |name: &'static str| match name {
        "user" => [("rates.sends_per_s", "1"), ("rates.sends_burst", "3")],
        _ => [("rates.requests_per_s", "1"), ("rates.requests_burst", "6")],
    };
    for whose in ["user", "device"] {
        let base = [("store", "memory"), ("mqtt.listen", "127.0.0.1:0"), ("rates.slow_read_max_ms", "0")];
        let settings: Vec<_> = base.into_iter().chain(slow(whose)).collect();
        let folder = tempdir().unwrap();
        let server = TestServer::start(folder.path(), &settings).await;
        server.log_in("eve", "laptop").await;
        for way in ASKING {
            let mut first = Sender::open(&server, way, "first").await;
            let (code, after_ms) = first.send_until_refused().await;
            assert_eq!(code, "rate_limited", "{way} {whose}");
            assert!(after_ms > 0, "{way} {whose}");
            let mut other = Sender::open(&server, way, "other").await;
            let is_refused = other.send().await.is_some();
            // A second of a slow machine gives the user one more.
            let is_refused = is_refused || whose == "user" && other.send_until_refused().await.0 == "rate_limited";
            assert_eq!(
                is_refused,
                whose == "user",
                "{way}: a device slows the others of its user only by what they send"
            );
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn a_poll_counts_as_a_request() {
    let folder = tempdir().unwrap();
    let settings = [
        ("store", "memory"),
        ("rates.requests_per_s", "1"),
        ("rates.requests_burst", "3"),
        ("rates.slow_read_max_ms", "0"),
    ];
    let server = TestServer::start(folder.path(), &settings).await;
    let ada = server.log_in("ada", "laptop").await;
    let mut refused = None;
    for _ in 0..TRIES {
        let answer = ada.get("/v1/sync").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("thirty at once are too many");
    assert!(!refused.header("retry-after").is_empty());
    refused.problem(429, "rate_limited");
    server.stop().await;
}

#[tokio::test]
async fn a_poll_of_somebody_who_was_away_waits_its_turn_and_other_polls_go_on() {
    const USERS: usize = 30;
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut tokens = Vec::new();
    for user in 0..USERS {
        tokens.push(server.log_in(&format!("user{user}"), "d").await.token.expect("a token"));
    }
    server.stop().await;
    let crowd = [("rates.admissions_per_s", "1"), ("rates.admissions_burst", "2")];
    let server = TestServer::start(folder.path(), &crowd).await;
    let first = server.with_token(&tokens[0]);
    first.get("/v1/sync").await.ok();
    let mut refused = None;
    for token in &tokens[1..] {
        let caller = server.with_token(token);
        let answer = caller.get("/v1/sync").await;
        if answer.status != 200 {
            refused = Some((caller, answer));
            break;
        }
    }
    let (late, answer) = refused.expect("thirty at once are too many");
    assert!(answer.header("retry-after").parse::<u64>().expect("a time") > 0);
    answer.problem(503, "unavailable");
    // Whoever is here polls on; and a call that is no poll brings the other one in.
    first.get("/v1/sync").await.ok();
    late.get("/v1/me").await.ok();
    late.get("/v1/sync").await.ok();
    server.stop().await;
}

#[tokio::test]
async fn subscriptions_count_as_requests() {
    let folder = tempdir().unwrap();
    let settings = [
        ("store", "memory"),
        ("mqtt.listen", "127.0.0.1:0"),
        ("rates.requests_per_s", "1"),
        ("rates.requests_burst", "3"),
        ("rates.slow_read_max_ms", "0"),
    ];
    let server = TestServer::start(folder.path(), &settings).await;
    for (version, user, refusal) in [(V4, "ada", 0x80), (V5, "bob", 0x97)] {
        let (mut client, _) = Mqtt::connect(&server, &Hello::new(version, user, "d")).await;
        let mut answers = Vec::new();
        for _ in 0..TRIES {
            answers.push(client.subscribe("tidings/live", 0).await);
        }
        assert_eq!(answers[0], 0);
        assert!(answers.contains(&refusal), "{answers:?}");
    }
    server.stop().await;
}

/// The ways in.
const COMING_IN: &[&str] = &["login", "websocket", "sse", "mqtt_3", "mqtt_5", "mqtt_5_websocket"];

/// Comes in; `Some`: what was said instead, and after how many milliseconds it may be tried again.
async fn come_in(server: &TestServer, way: &str, token: &str) -> Option<(String, u64)> {
    let seconds = |header: &str| header.parse::<u64>().expect("a time") * 1_000;
    match way {
        "login" => {
            let answer = server.nobody().post("/v1/login", json!({"username": "ada"})).await;
            (answer.status != 200).then(|| (answer.status.to_string(), seconds(answer.header("retry-after"))))
        }
        "websocket" => come_in_by_socket(server).await,
        "sse" => {
            let caller = server.with_token(token);
            let opened = caller.open("GET", "/v1/events", &[], bytes::Bytes::new()).await;
            let status = opened.status().as_u16();
            if status != 200 {
                let after = opened.headers()["retry-after"].to_str().expect("ASCII").to_owned();
                return Some((status.to_string(), seconds(&after)));
            }
            let text = first_events(opened.into_body()).await;
            if text.contains(r#""type":"welcome""#) {
                return None;
            }
            let retry: u64 = text.lines().find_map(|line| line.strip_prefix("retry: ")?.parse().ok()).expect("a time");
            assert!(text.contains(&format!("\"retry_after_ms\":{retry}")), "{text}");
            assert!(text.contains(r#"{"type":"close","code":3004,"reason":"try_later"}"#), "{text}");
            Some(("3004".to_owned(), retry))
        }
        way => {
            let version = if way == "mqtt_3" { V4 } else { V5 };
            let mut client = match way {
                "mqtt_5_websocket" => Mqtt::open_websocket(server, version, &[]).await,
                _ => Mqtt::open(server, version).await,
            };
            client.send(&Hello::new(version, "ada", "").packet()).await;
            match client.next().await {
                Packet::Connack { code: 0, .. } => None,
                Packet::Connack { code, properties, .. } => {
                    let user = properties.iter().filter(|(id, _)| *id == 38).map(|(_, value)| pair(value));
                    let told: HashMap<_, _> = user.collect();
                    let after_ms = told.get("retry_after_ms").map_or(0, |ms| ms.parse().expect("a number"));
                    Some((format!("{code:#x}"), after_ms))
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

async fn come_in_by_socket(server: &TestServer) -> Option<(String, u64)> {
    let request = format!("ws://{}/v1/ws", server.address);
    let socket = match tokio_tungstenite::connect_async(request).await {
        Ok((socket, _)) => socket,
        Err(tungstenite::Error::Http(response)) => {
            let after = response.headers()["retry-after"].to_str().expect("ASCII").parse::<u64>().expect("a time");
            return Some((response.status().as_u16().to_string(), after * 1_000));
        }
        Err(error) => panic!("{error}"),
    };
    let mut client = TestClient::new(socket);
    client.throw(r#"{"type":"hello","username":"ada","device":"d"}"#).await;
    let first = client.next().await;
    if first["type"] == "welcome" {
        return None;
    }
    assert_eq!(first["code"], "unavailable", "{first}");
    Some((u16::from(client.closed().await.code).to_string(), first["retry_after_ms"].as_u64().expect("a time")))
}

/// What comes first, or all of it where that is little.
async fn first_events(
    mut body: impl http_body_util::BodyExt<Data = bytes::Bytes, Error: std::fmt::Debug> + Unpin,
) -> String {
    let mut text = String::new();
    while !text.contains(r#""type":"welcome""#) {
        match tokio::time::timeout(PATIENCE, body.frame()).await.expect("something comes") {
            Some(frame) => {
                text += std::str::from_utf8(frame.expect("the line stands").data_ref().expect("data")).expect("UTF-8")
            }
            None => break,
        }
    }
    text
}

#[tokio::test]
async fn too_many_from_one_address_and_too_many_at_once_are_told_when_to_come_back() {
    let address = vec![("rates.loopback_exempt", "false"), ("rates.logins_per_s", "1"), ("rates.logins_burst", "2")];
    let crowd = vec![("rates.admissions_per_s", "1"), ("rates.admissions_burst", "2")];
    for (whose, rates, expected) in [
        ("address", address, ["429", "429", "429", "0x3", "0x9f", "0x9f"]),
        ("crowd", crowd, ["503", "3004", "3004", "0x3", "0x89", "0x89"]),
    ] {
        let base = [("store", "memory"), ("mqtt.listen", "127.0.0.1:0")];
        let settings: Vec<_> = base.into_iter().chain(rates).collect();
        let folder = tempdir().unwrap();
        let server = TestServer::start(folder.path(), &settings).await;
        let token = server.log_in("ada", "d").await.token.expect("a token");
        for (way, expected) in COMING_IN.iter().zip(expected) {
            let mut refused = None;
            for _ in 0..TRIES {
                refused = come_in(&server, way, &token).await;
                if refused.is_some() {
                    break;
                }
            }
            let (said, after_ms) = refused.unwrap_or_else(|| panic!("{way}: {TRIES} at once are not too many"));
            assert_eq!(said, expected, "{way} {whose}");
            // Version 3.1.1 has no place for it.
            assert_eq!(after_ms > 0, *way != "mqtt_3", "{way} {whose}");
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_then_told_to_wait() {
    let folder = tempdir().unwrap();
    let settings = [
        ("store", "memory"),
        ("rates.loopback_exempt", "false"),
        ("rates.logins_per_s", "1"),
        ("rates.logins_burst", "3"),
    ];
    let server = TestServer::start(folder.path(), &settings).await;
    let ada = server.log_in("ada", "d").await;
    let guesser = server.with_token("tdo1_guessed.token");
    let mut statuses = Vec::new();
    for _ in 0..TRIES {
        statuses.push(guesser.get("/v1/me").await.status);
    }
    assert_eq!(statuses[0], 401);
    assert!(statuses.contains(&429), "{statuses:?}");
    ada.get("/v1/me").await.ok();
    server.stop().await;
}

/// All come at once, and each does as it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_reconnects_comes_in_one_after_the_other() {
    const CLIENTS: usize = 300;
    let folder = tempdir().unwrap();
    let settings = [("store", "memory"), ("rates.admissions_per_s", "200"), ("rates.admissions_burst", "50")];
    let server = std::sync::Arc::new(TestServer::start(folder.path(), &settings).await);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let server = server.clone();
        clients.spawn(async move {
            let mut tries = 1;
            while let Some((said, after_ms)) = come_in_by_socket(&server).await {
                assert_eq!(said, "3004");
                tokio::time::sleep(Duration::from_millis(after_ms)).await;
                tries += 1;
            }
            tries
        });
    }
    let tries = clients.join_all().await;
    assert_eq!(tries.len(), CLIENTS, "all are in");
    assert!(tries.iter().any(|tries| *tries > 1), "some had to wait");
    assert!(tries.iter().sum::<usize>() < CLIENTS * 5, "{tries:?}");
    std::sync::Arc::into_inner(server).expect("all have ended").stop().await;
}
