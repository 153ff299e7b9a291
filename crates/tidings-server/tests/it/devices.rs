//! One's devices: how they are shown, and that a revoked one and a removed member hear nothing more, whatever they listen by.

use std::time::Duration;

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{sync::mpsc, time::timeout};

use crate::{
    http_client::Caller,
    mqtt_client::{Hello, Mqtt, Packet, V4, V5},
    support::{PATIENCE, TestServer},
};

#[tokio::test]
async fn devices_have_names_that_any_of_them_gives() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let ada = server.log_in("ada", "laptop").await;
    let mut phone = server.connect("ada", "phone").await;
    assert_eq!(phone.ask(json!({"type": "device", "platform": "Tidings on Android"})).await["type"], "ok");
    let named = ada.patch("/v1/me/devices/phone", json!({"name": "Ada's phone"})).await.ok();
    assert_eq!(
        (&named["name"], &named["platform"], &named["connected"]),
        (&json!("Ada's phone"), &json!("Tidings on Android"), &json!(true))
    );
    let laptop = json!({"type": "device", "device": "laptop", "name": "Work", "platform": "x"});
    assert_eq!(phone.ask(laptop).await["type"], "ok", "any device names any");
    assert_eq!(phone.ask(json!({"type": "device", "device": "laptop", "platform": ""})).await["type"], "ok");
    for wrong in [json!({"name": "x".repeat(129)}), json!({"platform": "x".repeat(129)}), json!({"name": 7})] {
        ada.patch("/v1/me/devices/phone", wrong).await.problem(400, "bad_request");
    }
    ada.patch("/v1/me/devices/other", json!({"name": "x"})).await.problem(404, "not_found");
    let bob = server.log_in("bob", "laptop").await;
    bob.patch("/v1/me/devices/phone", json!({"name": "mine"})).await.problem(404, "not_found");
    server.stop().await;

    // It lasts, and a device that comes back is called as before.
    let server = TestServer::start(folder.path(), &[]).await;
    let ada = server.log_in("ada", "laptop").await;
    let devices = ada.get("/v1/me/devices").await.ok();
    let shown = |name: &str| {
        let devices = devices["devices"].as_array().unwrap();
        let device = devices.iter().find(|device| device["device"] == name).unwrap();
        (device["name"].clone(), device["platform"].clone())
    };
    assert_eq!(shown("phone"), (json!("Ada's phone"), json!("Tidings on Android")));
    assert_eq!(shown("laptop"), (json!("Work"), json!(null)));
    server.stop().await;
}

const POLL_AGAIN: Duration = Duration::from_millis(20);

/// All ways to listen.
const TRANSPORTS: &[&str] =
    &["websocket", "sse", "long_poll", "poll", "mqtt_3", "mqtt_5", "mqtt_3_websocket", "mqtt_5_websocket"];

/// What a listener says that it hears.
#[derive(Debug, PartialEq)]
enum Heard {
    Ready,
    Text(String),
    /// It was told to go, or finds that it is nobody any more; in the transport's own words.
    Ended(String),
}

/// A device that listens, and tells what it hears.
struct Listener {
    transport: &'static str,
    user: &'static str,
    heard: mpsc::Receiver<Heard>,
}

impl Listener {
    async fn start(server: &TestServer, transport: &'static str) -> Self {
        let user = transport;
        let (tell, heard) = mpsc::channel(100);
        let mut listener = Self { transport, user, heard };
        match transport {
            "websocket" => {
                let client = server.connect(user, "d").await;
                tokio::spawn(by_websocket(client, tell));
            }
            "sse" => {
                let caller = server.log_in(user, "d").await;
                tokio::spawn(async move { by_events(&caller, tell).await });
            }
            "long_poll" | "poll" => {
                let caller = server.log_in(user, "d").await;
                let wait = if transport == "poll" { 0 } else { 60 };
                tokio::spawn(async move { by_polls(&caller, wait, tell).await });
            }
            _ => {
                let version = if transport.starts_with("mqtt_3") { V4 } else { V5 };
                let mut client = if transport.ends_with("websocket") {
                    Mqtt::open_websocket(server, version, &[]).await
                } else {
                    Mqtt::open(server, version).await
                };
                client.send(&Hello::new(version, user, "d").packet()).await;
                assert!(matches!(client.next().await, Packet::Connack { code: 0, .. }));
                assert_eq!(client.subscribe("tidings/inbox", 1).await, 1);
                tokio::spawn(by_mqtt(client, tell));
            }
        }
        assert_eq!(listener.next().await, Heard::Ready);
        listener
    }

    async fn next(&mut self) -> Heard {
        let heard = timeout(PATIENCE, self.heard.recv()).await;
        heard.unwrap_or_else(|_| panic!("{} hears nothing", self.transport)).expect("it ends with a word")
    }

    /// What it hears next is this text.
    async fn hears(&mut self, text: &str) {
        assert_eq!(self.next().await, Heard::Text(text.to_owned()), "{}", self.transport);
    }
}

async fn by_websocket(mut client: crate::support::TestClient, tell: mpsc::Sender<Heard>) {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::Message;

    let _ = tell.send(Heard::Ready).await;
    while let Some(Ok(message)) = client.socket.next().await {
        let heard = match message {
            Message::Text(text) => text_of(&serde_json::from_str(&text).expect("frames are JSON")),
            Message::Close(Some(close)) => Some(Heard::Ended(u16::from(close.code).to_string())),
            _ => None,
        };
        if let Some(heard) = heard {
            let _ = tell.send(heard).await;
        }
    }
}

async fn by_events(caller: &Caller, tell: mpsc::Sender<Heard>) {
    let mut body = caller.open("GET", "/v1/events", &[], bytes::Bytes::new()).await.into_body();
    let mut text = String::new();
    while let Some(Ok(frame)) = body.frame().await {
        text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        while let Some((line, rest)) = text.split_once('\n') {
            let frame = line.strip_prefix("data: ").map(|data| serde_json::from_str::<Value>(data).expect("JSON"));
            let heard = match frame {
                Some(frame) if frame["type"] == "welcome" => Some(Heard::Ready),
                Some(frame) if frame["type"] == "close" => Some(Heard::Ended(frame["code"].to_string())),
                Some(frame) => text_of(&frame),
                None => None,
            };
            text = rest.to_owned();
            if let Some(heard) = heard {
                let _ = tell.send(heard).await;
            }
        }
    }
}

async fn by_polls(caller: &Caller, wait: u64, tell: mpsc::Sender<Heard>) {
    let mut sync = caller.get("/v1/sync").await.ok()["sync"].as_str().expect("a token").to_owned();
    let _ = tell.send(Heard::Ready).await;
    let mut seen = std::collections::HashMap::new();
    loop {
        let answer = caller.get(&format!("/v1/sync?sync={sync}&wait={wait}&tail=20")).await;
        if answer.status == 401 {
            let _ = tell.send(Heard::Ended(answer.status.to_string())).await;
            return;
        }
        let changes = answer.ok();
        for item in changes["items"].as_array().into_iter().flatten() {
            let last = seen.entry(item["conversation"].to_string()).or_insert(0);
            for entry in item["tail"].as_array().into_iter().flatten() {
                let seq = entry["seq"].as_u64().expect("a seq");
                if seq > *last {
                    *last = seq;
                    if let Some(text) = entry["text"].as_str() {
                        let _ = tell.send(Heard::Text(text.to_owned())).await;
                    }
                }
            }
        }
        if let Some(newer) = changes["sync"].as_str() {
            newer.clone_into(&mut sync);
        }
        // A plain poll comes again when it likes.
        tokio::time::sleep(POLL_AGAIN).await;
    }
}

async fn by_mqtt(mut client: Mqtt, tell: mpsc::Sender<Heard>) {
    let _ = tell.send(Heard::Ready).await;
    loop {
        let heard = match client.next_ever().await {
            Packet::Publish { packet_id, payload, .. } => {
                if let Some(packet_id) = packet_id {
                    client.ack(packet_id).await;
                }
                text_of(&payload)
            }
            Packet::Disconnect(code) => Some(Heard::Ended(format!("{code:#x}"))),
            Packet::Closed => {
                let _ = tell.send(Heard::Ended("closed".to_owned())).await;
                return;
            }
            _ => None,
        };
        if let Some(heard) = heard {
            let _ = tell.send(heard).await;
        }
    }
}

fn text_of(frame: &Value) -> Option<Heard> {
    frame["text"].as_str().map(|text| Heard::Text(text.to_owned()))
}

async fn listeners() -> (tempfile::TempDir, TestServer, Vec<Listener>) {
    let folder = tempdir().expect("a folder");
    let server = TestServer::start(folder.path(), &[("store", "memory"), ("mqtt.listen", "127.0.0.1:0")]).await;
    let mut listeners = Vec::new();
    for transport in TRANSPORTS {
        listeners.push(Listener::start(&server, transport).await);
    }
    (folder, server, listeners)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_device_hears_nothing_more_on_any_transport() {
    let (_folder, server, mut listeners) = listeners().await;
    let mut eve = server.connect("eve", "laptop").await;
    for listener in &mut listeners {
        let (user, transport) = (listener.user, listener.transport);
        eve.send(user, "c-1", "before").await;
        listener.hears("before").await;

        let other = server.log_in(user, "other").await;
        assert_eq!(other.delete("/v1/me/devices/d").await.status, 204);
        // From the answer on: that is sooner than the five seconds which are promised.
        eve.send(user, "c-2", "secret").await;
        let ended = listener.next().await;
        let expected = match transport {
            "websocket" | "sse" => "3502",
            "long_poll" | "poll" => "401",
            transport if transport.starts_with("mqtt_3") => "closed",
            _ => "0x98",
        };
        assert_eq!(ended, Heard::Ended(expected.to_owned()), "{transport}");
        let devices = other.get("/v1/me/devices").await.ok();
        assert!(devices["devices"].as_array().unwrap().iter().all(|device| device["device"] != "d"), "{devices}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_member_hears_nothing_more_on_any_transport() {
    let (_folder, server, mut listeners) = listeners().await;
    let mut eve = server.connect("eve", "laptop").await;
    let users: Vec<_> = listeners.iter().map(|listener| listener.user).collect();
    let create = json!({"type": "create", "client_msg_id": "g", "name": "Team", "members": users});
    let group = eve.ask(create).await["conversation"].clone();
    let say = |id: &str, text: &str| json!({"type": "send", "to": {"conversation": group}, "client_msg_id": id, "text": text});
    assert_eq!(eve.ask(say("c-1", "before")).await["type"], "sent");
    for listener in &mut listeners {
        listener.hears("before").await;
    }
    let remove = json!({"type": "members", "client_msg_id": "r", "conversation": group, "remove": users});
    assert_eq!(eve.ask(remove).await["type"], "sent");
    assert_eq!(eve.ask(say("c-2", "secret")).await["type"], "sent");
    for listener in &mut listeners {
        eve.send(listener.user, "c-3", "after").await;
        listener.hears("after").await;
    }
    server.stop().await;
}
