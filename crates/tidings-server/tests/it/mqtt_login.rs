//! Who one is over MQTT where a login service or a gateway says it: tokens as passwords, their end, and new ones while the
//! connection stands.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    login_service::{now_s, server, token, token_of},
    mqtt_client::{Hello, Mqtt, Packet, V4, V5, length_of, packet, text},
    support::TestServer,
};

const MQTT: (&str, &str) = ("mqtt.listen", "127.0.0.1:0");

fn with_password(version: u8, device: &'static str, token: &str) -> Hello {
    Hello { password: Some(token.to_owned()), ..Hello::new(version, "whoever", device) }
}

/// The properties of a login by the method `token`.
fn shown(method: &str, token: &str) -> Vec<u8> {
    [&[21][..], &text(method), &[22], &text(token)].concat()
}

/// AUTH with this reason code.
fn auth(reason: u8, properties: &[u8]) -> Vec<u8> {
    let body = [&[reason][..], &length_of(properties), properties].concat();
    packet(0xf0, &body)
}

/// How CONNECT is answered.
async fn answer(server: &TestServer, hello: &Hello) -> u8 {
    let mut client = Mqtt::open(server, hello.version).await;
    client.send(&hello.packet()).await;
    match client.next().await {
        Packet::Connack { code, .. } => code,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_is_the_password() {
    let server = server(&[MQTT]).await;
    let bob = server.with_token(&token("bob"));
    bob.get("/v1/me").await.ok();
    for version in [V4, V5] {
        let good = token_of(json!({"sub": "ada"}));
        let (mut ada, _) = Mqtt::connect(&server, &with_password(version, "phone", &good)).await;
        ada.subscribe("tidings/inbox", 1).await;
        bob.post("/v1/messages", json!({"to": {"user": "ada"}, "text": "hi"})).await.ok();
        assert_eq!(ada.text().await, "hi");
        let (bad_login, other_device) = if version == V4 { (4, 2) } else { (0x86, 0x85) };
        let bound = token_of(json!({"sub": "ada", "device": "tablet"}));
        for (hello, code) in [
            (with_password(version, "phone", "nonsense"), bad_login),
            (with_password(version, "phone", &token_of(json!({"sub": "ada", "exp": now_s() - 1}))), bad_login),
            (Hello::new(version, "ada", "phone"), bad_login),
            (with_password(version, "phone", &bound), other_device),
            (with_password(version, "tablet", &bound), 0),
        ] {
            assert_eq!(answer(&server, &hello).await, code, "{version} {:?}", hello.password);
        }
    }
    let by_method = |method, token: &str| Hello { properties: shown(method, token), ..Hello::new(V5, "ada", "phone") };
    assert_eq!(answer(&server, &by_method("token", &token("ada"))).await, 0);
    assert_eq!(answer(&server, &by_method("token", "nonsense")).await, 0x86);
    assert_eq!(answer(&server, &by_method("SCRAM-SHA-1", &token("ada"))).await, 0x8c);
    server.stop().await;
}

async fn warned(client: &mut Mqtt, topic: &str) {
    let (_, warning) = client.delivery(topic).await;
    assert_eq!(warning["type"], "expiring");
    assert!((1..=6).contains(&warning["in_s"].as_u64().expect("a time")), "{warning}");
}

#[tokio::test]
async fn the_end_of_a_token_is_told_before_and_a_new_one_goes_on() {
    let server = server(&[MQTT]).await;
    let short = |user: &str| token_of(json!({"sub": user, "exp": now_s() + 6}));
    let (mut old, _) = Mqtt::connect(&server, &with_password(V4, "old", &short("ada"))).await;
    old.subscribe("tidings/answer", 0).await;
    let (mut ends, _) = Mqtt::connect(&server, &with_password(V5, "ends", &short("ada"))).await;
    ends.subscribe("tidings/live", 0).await;
    let (mut asks, _) = Mqtt::connect(&server, &with_password(V5, "asks", &short("ada"))).await;
    asks.subscribe("tidings/answer", 0).await;
    let hello = |device, token: &str| Hello { properties: shown("token", token), ..Hello::new(V5, "ada", device) };
    let (mut again, _) = Mqtt::connect(&server, &hello("again", &short("ada"))).await;
    let (mut wrong, _) = Mqtt::connect(&server, &hello("wrong", &short("ada"))).await;

    warned(&mut old, "tidings/answer").await;
    warned(&mut ends, "tidings/live").await;
    warned(&mut asks, "tidings/answer").await;
    let request = json!({"type": "auth", "id": 1, "token": token("ada")}).to_string();
    assert_eq!(asks.publish(1, "tidings/request", &request).await.0, 0);
    again.send(&auth(0x19, &shown("token", &token("ada")))).await;
    assert_eq!(again.next().await, Packet::Auth(0));
    // Somebody else's ends the connection; so does a login that was not begun as one, or goes another way.
    wrong.send(&auth(0x19, &shown("token", &token("bob")))).await;
    assert_eq!(wrong.next().await, Packet::Disconnect(0x87));
    for (hello, packet) in [
        (with_password(V5, "plain", &token("ada")), auth(0x19, &shown("token", &token("ada")))),
        (hello("other", &token("ada")), auth(0x19, &shown("other", &token("ada")))),
        (hello("other", &token("ada")), auth(0x18, &shown("token", &token("ada")))),
    ] {
        let (mut client, _) = Mqtt::connect(&server, &hello).await;
        client.send(&packet).await;
        assert_eq!(client.next().await, Packet::Disconnect(0x82));
    }

    assert_eq!(ends.next().await, Packet::Disconnect(0x87));
    assert_eq!(old.next().await, Packet::Closed);
    for client in [&mut asks, &mut again] {
        client.send(&packet(0xc0, &[])).await;
        while client.next().await != Packet::Pong {}
    }
    server.stop().await;
}

#[tokio::test]
async fn a_gateway_speaks_for_its_clients_over_websocket_alone() {
    let folder = tempdir().unwrap();
    let settings = [("store", "memory"), ("auth.mode", "header"), ("auth.gateways", "127.0.0.1"), MQTT];
    let server = TestServer::start(folder.path(), &settings).await;
    let hello = Hello::new(V5, "ada", "phone");
    assert_eq!(answer(&server, &hello).await, 0x86, "nobody vouches for it");
    for (headers, code) in [(&[("x-tidings-user", "ada")][..], 0), (&[], 0x86)] {
        let mut client = Mqtt::open_websocket(&server, V5, headers).await;
        client.send(&hello.packet()).await;
        let answer = client.next().await;
        assert!(matches!(answer, Packet::Connack { code: found, .. } if found == code), "{answer:?}");
    }
    let devices = server.nobody().call("GET", "/v1/me/devices", &[("x-tidings-user", "ada")], None).await.ok();
    assert_eq!(devices["devices"][0]["device"], "phone", "{devices}");
    server.stop().await;
}

/// What a part of a stream says.
fn told(data: Option<bytes::Bytes>) -> String {
    String::from_utf8(data.expect("there are no trailers").to_vec()).expect("UTF-8")
}

/// Whether a stream of events goes on: it hears what is sent now.
fn has_entry(text: &str, wanted: &str) -> bool {
    let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
    frames.filter_map(|data| serde_json::from_str::<Value>(data).ok()).any(|frame| frame["text"] == wanted)
}

#[tokio::test]
async fn a_call_renews_the_token_of_a_stream_and_of_a_poll() {
    use http_body_util::BodyExt;

    let server = server(&[]).await;
    let short = |device: &str| token_of(json!({"sub": "ada", "device": device, "exp": now_s() + 6}));
    let long = |device: &str| token_of(json!({"sub": "ada", "device": device}));
    let [ends, streams, polls] = ["ends", "streams", "polls"].map(|device| server.with_token(&short(device)));
    let bob = server.with_token(&token("bob"));
    bob.get("/v1/me").await.ok();
    let sync = polls.get("/v1/sync").await.ok()["sync"].as_str().expect("a token").to_owned();
    let polled = tokio::spawn(async move { polls.get(&format!("/v1/sync?wait=60&sync={sync}")).await });
    let mut ended = ends.open("GET", "/v1/events", &[], bytes::Bytes::new()).await.into_body();
    let mut stream = streams.open("GET", "/v1/events", &[], bytes::Bytes::new()).await.into_body();
    let mut read = String::new();
    while !read.contains("expiring") {
        read += &told(stream.frame().await.expect("it goes on").expect("the line stands").into_data().ok());
    }
    let is_polling = async || {
        let devices = streams.get("/v1/me/devices").await.ok();
        let mut devices = devices["devices"].as_array().expect("devices").clone().into_iter();
        devices.any(|device| device["device"] == "polls" && device["connected"] == true)
    };
    while !is_polling().await {}

    for device in ["streams", "polls"] {
        let renewing = server.with_token(&long(device));
        let renew = |token: String| json!({"frames": [{"type": "auth", "id": 1, "token": token}]});
        for wrong in [long("ends"), token("bob")] {
            let refused = renewing.post("/v1/frames", renew(wrong)).await.ok();
            assert_eq!(refused["answers"][0]["code"], "forbidden");
        }
        let renewed = renewing.post("/v1/frames", renew(long(device))).await.ok();
        assert_eq!(renewed["answers"][0], json!({"type": "ok", "re": 1}));
    }

    // When the other one's token has ended, this one's would have, too.
    let mut rest = String::new();
    while let Some(frame) = ended.frame().await {
        rest += &told(frame.expect("the line stands").into_data().ok());
    }
    assert!(rest.contains("3003"), "{rest}");
    bob.post("/v1/messages", json!({"to": {"user": "ada"}, "text": "still there?"})).await.ok();
    while !has_entry(&read, "still there?") {
        read += &told(stream.frame().await.expect("it goes on").expect("the line stands").into_data().ok());
    }
    assert_eq!(polled.await.unwrap().ok()["items"][0]["with"], "bob");
    server.stop().await;
}
