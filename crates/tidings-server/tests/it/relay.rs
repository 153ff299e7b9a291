//! Clients that come to a node which does not host them: they are served as if it did.

use serde_json::{Value, json};
use tidings_server::host::shards::Slot;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    http_live::events,
    mqtt_client::{Hello, Mqtt, Packet, V4, V5},
    nodes::{FAR_URL, Nodes, there},
    support::PATIENCE,
};

#[tokio::test]
async fn whoever_says_hello_to_the_wrong_node_talks_all_the_same() {
    let nodes = Nodes::start(&[]).await;
    let (mut ada, welcome) = nodes.near.hello(json!({"type": "hello", "username": "Ada", "device": "laptop"})).await;
    assert_eq!((&welcome["user"], &welcome["prefer"]), (&json!("ada"), &json!(FAR_URL)));
    let (mut bob, welcome) = nodes.far.hello(json!({"type": "hello", "username": "bob", "device": "phone"})).await;
    assert_eq!(welcome["prefer"], Value::Null, "bob is where he belongs");
    let sent = ada.send("bob", "a-1", "hi Bob").await;
    assert_eq!(bob.next_of("entry").await["text"], "hi Bob");
    bob.send("ada", "b-1", "hi Ada").await;
    assert_eq!(ada.next_of("entry").await["text"], "hi Ada");
    // A long answer, and many frames at once in both directions.
    for at in 0..50 {
        bob.send("ada", &format!("b-many-{at}"), &"x".repeat(10_000)).await;
    }
    assert_eq!(ada.texts(&sent["conversation"]).await.len(), 52);
    nodes.becomes("tidings_relayed{transport=\"websocket\"}", 1).await;
    // What the far node has to say at the end comes as it was said.
    ada.throw("not JSON").await;
    assert_eq!(ada.next_of("error").await["code"], "bad_frame");
    ada.say(&json!({"type": "hello", "username": "ada"})).await;
    let closed = ada.closed().await;
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (3500, "bad_frame"));
    let mut ada = nodes.near.connect("ada", "laptop").await;
    ada.throw(&"x".repeat(70_000)).await;
    assert_eq!(u16::from(ada.closed().await.code), 3500, "too long a frame");
    nodes.stop().await;
}

#[tokio::test]
async fn tokens_and_tickets_find_the_right_node_with_the_first_byte() {
    let nodes = Nodes::start(&[]).await;
    let bob = nodes.near.log_in("bob", "phone").await;
    let token = format!("Bearer {}", bob.token.as_deref().unwrap());
    let mut with_token = nodes.near.open_with("/v1/ws", &[("authorization", &token)]).await;
    with_token.say(&json!({"type": "hello"})).await;
    assert_eq!(with_token.next().await["prefer"], FAR_URL);
    // Tickets are made on one node and shown on either, once.
    for maker in [&nodes.near, &nodes.far] {
        let maker = maker.with_token(bob.token.as_deref().unwrap());
        for shown in [&nodes.near, &nodes.far] {
            let ticket = maker.post("/v1/tickets", json!({})).await.ok()["ticket"].as_str().unwrap().to_owned();
            let mut with_ticket = shown.open_with(&format!("/v1/ws?ticket={ticket}"), &[]).await;
            with_ticket.say(&json!({"type": "hello"})).await;
            assert_eq!(with_ticket.next().await["user"], "bob");
            let again = nodes.near.nobody().get(&format!("/v1/events?ticket={ticket}")).await;
            again.problem(401, "unauthenticated");
        }
    }
    let mut mqtt = Mqtt::open_websocket(&nodes.near, V5, &[("authorization", &token)]).await;
    mqtt.send(&Hello::new(V5, "bob", "phone").packet()).await;
    assert!(matches!(mqtt.next().await, Packet::Connack { code: 0, .. }));
    nodes.becomes("tidings_relayed{transport=\"mqtt\"}", 1).await;
    let mut last = nodes.far.connect("eve", "laptop").await;
    last.send("bob", "e-1", "hi").await;
    assert_eq!(with_token.next_of("entry").await["text"], "hi");
    nodes.stop().await;
}

#[tokio::test]
async fn calls_and_what_comes_of_its_own_accord_are_answered_by_the_right_node() {
    let nodes = Nodes::start(&[("http.allowed_origins", "https://app.example")]).await;
    let login = nodes.near.nobody().post("/v1/login", json!({"username": "Ada", "device": "laptop"})).await.ok();
    assert_eq!((&login["user"], &login["prefer"]), (&json!("ada"), &json!(FAR_URL)));
    let ada = nodes.near.with_token(login["token"].as_str().unwrap());
    let bob = nodes.far.log_in("bob", "phone").await;
    let mut stream = events(&ada, "", &[]).await;
    assert_eq!(stream.next_of("welcome").await.1["prefer"], FAR_URL);
    let sync = ada.get("/v1/sync").await.ok()["sync"].as_str().unwrap().to_owned();
    let path = format!("/v1/sync?sync={sync}&wait=30");
    let (polled, sent) = tokio::join!(ada.get(&path), async {
        bob.post("/v1/messages", json!({"to": {"user": "ada"}, "client_msg_id": "b-1", "text": "hi"})).await.ok()
    });
    assert_eq!(polled.ok()["items"][0]["last"]["text"], "hi");
    assert_eq!(stream.next_of("entry").await.1["text"], "hi");
    let conversation = sent["conversation"].as_str().unwrap();
    let entries = format!("/v1/conversations/{conversation}/entries");
    for caller in [ada.clone(), nodes.near.over_http_2(&ada)] {
        let page = caller.call("GET", &entries, &[("origin", "https://app.example")], None).await;
        assert_eq!(page.header("access-control-allow-origin"), "https://app.example");
        assert_eq!(page.headers.get_all("access-control-allow-origin").iter().count(), 1);
        let etag = page.header("etag").to_owned();
        assert_eq!(page.ok()["entries"][0]["text"], "hi");
        assert_eq!(caller.call("GET", &entries, &[("if-none-match", &etag)], None).await.status, 304);
        caller.get("/v1/conversations/nonsense").await.problem(400, "bad_request");
        let large = json!({"to": {"user": "bob"}, "client_msg_id": "a-1", "text": "x".repeat(100_000)});
        caller.post("/v1/messages", large).await.problem(413, "too_large");
        caller
            .call("GET", "/v1/conversations", &[("origin", "https://evil.example")], None)
            .await
            .problem(403, "forbidden");
    }
    nodes.becomes("tidings_relayed{transport=\"sse\"}", 1).await;
    // The login, and of each caller three: what is refused at once is not relayed.
    nodes.becomes("tidings_relayed_begun_total{transport=\"http\"}", 7).await;
    drop(stream);
    nodes.stop().await;
}

#[tokio::test]
async fn mqtt_is_carried_whole_with_a_port_of_its_own_and_over_websocket() {
    let nodes = Nodes::start(&[]).await;
    let mut bob = nodes.far.connect("bob", "laptop").await;
    for version in [V4, V5] {
        let mut direct = Mqtt::open(&nodes.near, version).await;
        let mut framed = Mqtt::open_websocket(&nodes.near, version, &[]).await;
        for (client, device) in [(&mut direct, "phone"), (&mut framed, "tablet")] {
            client.send(&Hello::new(version, "ada", device).packet()).await;
            assert!(matches!(client.next().await, Packet::Connack { code: 0, .. }));
            client.subscribe("tidings/inbox", 1).await;
            assert_eq!(client.publish(1, "tidings/to/bob", device).await.0, 0);
            assert_eq!(bob.next_of("entry").await["text"], device);
        }
        let text = "y".repeat(16_000);
        bob.send("ada", &format!("b-{version}"), &text).await;
        for client in [&mut direct, &mut framed] {
            while client.delivery("tidings/inbox").await.1["text"] != text {}
        }
        nodes.becomes("tidings_relayed{transport=\"mqtt\"}", 2).await;
        drop((direct, framed));
    }
    nodes.stop().await;
}

#[tokio::test]
async fn a_gateways_word_is_passed_on_and_nobody_elses() {
    let header = [("x-tidings-user", "ada"), ("tidings-device", "web")];
    let nodes = Nodes::start(&[("auth.mode", "header"), ("auth.gateways", "127.0.0.0/8")]).await;
    let devices = nodes.near.nobody().call("GET", "/v1/me/devices", &header, None).await.ok();
    assert_eq!(devices["devices"][0]["device"], "web", "{devices}");
    let mut socket = nodes.near.open_with("/v1/ws", &header).await;
    socket.say(&json!({"type": "hello"})).await;
    assert_eq!(socket.next().await["user"], "ada");
    nodes.stop().await;
    let nodes = Nodes::start(&[("auth.mode", "header"), ("auth.gateways", "192.0.2.0/24")]).await;
    let refused = nodes.near.nobody().call("GET", "/v1/me/devices", &header, None).await;
    refused.problem(401, "unauthenticated");
    // Whose ticket it is does not show who calls.
    let ticket = "A".repeat(35);
    let refused = nodes.near.nobody().call("GET", &format!("/v1/events?ticket={ticket}"), &header, None).await;
    refused.problem(401, "unauthenticated");
    nodes.stop().await;
}

#[tokio::test]
async fn the_door_for_nodes_takes_nobody_else() {
    let nodes = Nodes::start(&[]).await;
    let strange_head = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01\0\x01\0\x02";
    for said in [
        &b"GET /v1/conversations HTTP/1.1\r\nhost: x\r\n\r\n"[..],
        &strange_head[..],
        &[0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
    ] {
        let mut stream = TcpStream::connect(nodes.far.node.unwrap()).await.unwrap();
        stream.write_all(said).await.unwrap();
        let mut answer = Vec::new();
        // Closed or reset, but never answered.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is closed");
        assert_eq!(answer, b"");
    }
    nodes.stop().await;
}

#[tokio::test]
async fn whose_home_is_on_its_way_waits_and_is_then_served_or_told_to_come_back() {
    let nodes = Nodes::start(&[]).await;
    let ada = nodes.near.log_in("ada", "laptop").await;
    nodes.place(Slot::Unknown);
    let call = tokio::spawn({
        let ada = ada.clone();
        async move { ada.get("/v1/conversations").await }
    });
    let mut socket = nodes.near.open().await;
    socket.say(&json!({"type": "hello", "username": "ada"})).await;
    tokio::task::yield_now().await;
    nodes.place(there(2));
    call.await.unwrap().ok();
    assert_eq!(socket.next().await["type"], "welcome");
    // Nothing becomes known, or two nodes take each other for the host: both take a moment, and end the same way.
    let too_late = async || {
        let refused = ada.get("/v1/conversations");
        let mut mqtt = Mqtt::open(&nodes.near, V5).await;
        let mut socket = nodes.near.open().await;
        mqtt.send(&Hello::new(V5, "ada", "phone").packet()).await;
        socket.say(&json!({"type": "hello", "username": "ada"})).await;
        let (refused, connack) = tokio::join!(refused, mqtt.next());
        assert_eq!(refused.header("retry-after"), "1");
        refused.problem(503, "unavailable");
        assert!(matches!(connack, Packet::Connack { code: 0x88 | 0x89, .. }), "{connack:?}");
        assert_eq!(socket.next_of("error").await["code"], "unavailable");
        assert_eq!(u16::from(socket.closed().await.code), 3004);
    };
    nodes.place(Slot::Unknown);
    too_late().await;
    nodes.place(there(3));
    nodes.far_disagrees();
    too_late().await;
    nodes.stop().await;
}

#[tokio::test]
async fn an_import_goes_to_the_node_of_its_conversation() {
    let nodes = Nodes::start(&[]).await;
    let message =
        |line: u64| json!({"client_msg_id": format!("import:{line}"), "from": "ada", "at": line, "text": "old"});
    let users = json!([{"user": "ada", "name": "Ada"}]);
    let import = |lines: std::ops::RangeInclusive<u64>| {
        let messages: Vec<_> = lines.map(message).collect();
        json!({"conversation": {"name": "past"}, "users": users, "messages": messages})
    };
    let (near, far) = (nodes.near.operator(), nodes.far.operator());
    let first = near.post("/v1/admin/import", import(1..=3)).await.ok();
    assert_eq!((&first["imported"], &first["last_seq"]), (&json!(3), &json!(3)));
    let again = far.post("/v1/admin/import", import(1..=5)).await.ok();
    assert_eq!(
        (&again["imported"], &again["repeats"]),
        (&json!(2), &json!(3)),
        "the far node has what came by the near one"
    );
    nodes.near.nobody().post("/v1/admin/import", import(6..=6)).await.problem(401, "unauthenticated");
    // Where the nodes disagree nobody goes round in circles, and nothing is done.
    nodes.far_disagrees();
    near.post("/v1/admin/import", import(6..=6)).await.problem(503, "unavailable");
    nodes.stop().await;
}
