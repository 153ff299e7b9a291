//! MQTT sessions that outlive their connections: what was missed comes from the log, over restarts too; a publish that is
//! sent again becomes one message; and there is one connection a client id.

use std::path::Path;

use serde_json::json;
use tempfile::tempdir;

use crate::{
    mqtt_client::{Hello, Mqtt, Packet, V4, V5, packet, publish},
    support::{TestClient, TestServer, start_mqtt},
};

const DISCONNECT: [u8; 2] = [0xe0, 0];

async fn send(eve: &mut TestClient, from: u32, to: u32) {
    for n in from..=to {
        eve.send("ada", &format!("e-{n}"), &format!("number {n}")).await;
    }
}

/// Takes and acknowledges what comes, which must be these.
async fn expect(ada: &mut Mqtt, from: u32, to: u32) {
    for n in from..=to {
        assert_eq!(ada.text().await, format!("number {n}"));
    }
}

/// A subscription of Ada's phone, which then leaves.
async fn subscribe(server: &TestServer, version: u8) {
    let (mut ada, present) = Mqtt::connect(server, &Hello::kept(version, "ada", "phone")).await;
    assert!(!present);
    assert_eq!(ada.subscribe("tidings/inbox", 1).await, 1);
    ada.send(&DISCONNECT).await;
    assert_eq!(ada.next().await, Packet::Closed);
}

#[tokio::test]
async fn who_was_away_gets_what_was_missed_in_order_and_once() {
    for version in [V4, V5] {
        let folder = tempdir().unwrap();
        let server = start_mqtt(folder.path()).await;
        let mut eve = server.connect("eve", "laptop").await;
        server.connect("ada", "laptop").await;
        send(&mut eve, 1, 3).await;
        subscribe(&server, version).await;
        // More than may be under way at once, and in more than one conversation.
        send(&mut eve, 4, 150).await;
        server.connect("bob", "laptop").await.send("ada", "b", "from Bob").await;
        let (mut ada, present) = Mqtt::connect(&server, &Hello::kept(version, "ada", "phone")).await;
        assert!(present);
        let (mut from_eve, mut from_bob) = (Vec::new(), 0);
        while from_eve.len() + from_bob < 148 {
            let text = ada.text().await;
            if text == "from Bob" { from_bob += 1 } else { from_eve.push(text) }
        }
        assert_eq!(from_eve, (4..=150).map(|n| format!("number {n}")).collect::<Vec<_>>());
        send(&mut eve, 151, 153).await;
        expect(&mut ada, 151, 153).await;
        ada.send(&DISCONNECT).await;
        assert_eq!(ada.next().await, Packet::Closed);
        // What was acknowledged is not told again; the subscription stands.
        let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(version, "ada", "phone")).await;
        send(&mut eve, 154, 154).await;
        expect(&mut ada, 154, 154).await;
        // A clean start forgets it all.
        drop(ada);
        let (mut ada, present) = Mqtt::connect(&server, &Hello::new(version, "ada", "phone")).await;
        assert!(!present);
        send(&mut eve, 155, 155).await;
        ada.is_silent().await;
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_also_after_a_restart() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    server.connect("ada", "laptop").await;
    subscribe(&server, V5).await;
    send(&mut eve, 1, 5).await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    expect(&mut ada, 1, 2).await;
    for _ in 3..=5 {
        ada.delivery("tidings/inbox").await;
    }
    ada.send(&DISCONNECT).await;
    assert_eq!(ada.next().await, Packet::Closed);
    server.stop().await;

    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    send(&mut eve, 6, 6).await;
    let (mut ada, present) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    assert!(present);
    expect(&mut ada, 3, 6).await;
    ada.is_silent().await;
    server.stop().await;
}

#[tokio::test]
async fn large_groups_are_no_exception() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    let names: Vec<String> = (0..70).map(|n| format!("user-{n}")).chain(["ada".to_owned()]).collect();
    for name in &names {
        server.log_in(name, "laptop").await;
    }
    let create = json!({"type": "create", "client_msg_id": "g", "name": "All", "members": names});
    let group = eve.ask(create).await["conversation"].clone();
    let mut post = async |from: u32, to: u32| {
        for n in from..=to {
            let to = json!({"conversation": group});
            let client_msg_id = format!("g-{n}");
            let send = json!({"type": "send", "to": to, "client_msg_id": client_msg_id, "text": format!("number {n}")});
            assert_eq!(eve.ask(send).await["type"], "sent");
        }
    };
    post(1, 2).await;
    subscribe(&server, V5).await;
    post(3, 5).await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    expect(&mut ada, 3, 5).await;
    post(6, 7).await;
    expect(&mut ada, 6, 7).await;
    drop(ada);
    server.stop().await;
    let server = start_mqtt(folder.path()).await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    ada.is_silent().await;
    server.stop().await;
}

#[tokio::test]
async fn a_new_conversation_is_owed_from_its_first_entry() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    server.connect("ada", "laptop").await;
    subscribe(&server, V4).await;
    // Before she belongs to it, and after.
    let create = json!({"type": "create", "client_msg_id": "g", "name": "Team", "members": []});
    let group = eve.ask(create).await["conversation"].clone();
    let say = |n: u32| json!({"type": "send", "to": {"conversation": group}, "client_msg_id": format!("g-{n}"), "text": format!("number {n}")});
    eve.ask(say(1)).await;
    eve.ask(json!({"type": "members", "client_msg_id": "m", "conversation": group, "add": ["ada"]})).await;
    eve.ask(say(2)).await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V4, "ada", "phone")).await;
    let (packet_id, entry) = ada.delivery("tidings/inbox").await;
    assert_eq!((&entry["kind"], &entry["add"]), (&json!("members"), &json!(["ada"])));
    ada.ack(packet_id.unwrap()).await;
    expect(&mut ada, 2, 2).await;
    // Who is removed meanwhile is owed nothing more of it.
    ada.send(&DISCONNECT).await;
    assert_eq!(ada.next().await, Packet::Closed);
    eve.ask(say(3)).await;
    eve.ask(json!({"type": "members", "client_msg_id": "r", "conversation": group, "remove": ["ada"]})).await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V4, "ada", "phone")).await;
    ada.is_silent().await;
    server.stop().await;
}

/// Publishes as a client does that was cut before the acknowledgement, and tells the seqs of what became of it.
async fn repeat(folder: &Path, restart: bool) {
    let server = start_mqtt(folder).await;
    let mut eve = server.connect("eve", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V4, "ada", "phone")).await;
    ada.publish(7, "tidings/to/eve", "same").await;
    ada.publish(8, "tidings/to/eve", "same").await;
    // A new one with an old packet id is a new one.
    ada.publish(7, "tidings/to/eve", "same").await;
    let server = if restart {
        drop((ada, eve));
        server.stop().await;
        let server = start_mqtt(folder).await;
        eve = server.connect("eve", "laptop").await;
        server
    } else {
        drop(ada);
        server
    };
    let (mut ada, present) = Mqtt::connect(&server, &Hello::kept(V4, "ada", "phone")).await;
    assert!(present);
    for (packet_id, text) in [(7, "same"), (8, "same"), (9, "same"), (8, "other")] {
        ada.send(&publish(V4, 0x3a, Some(packet_id), "tidings/to/eve", &[], text.as_bytes())).await;
        ada.acked(packet_id).await;
    }
    let inbox = eve.ask(json!({"type": "inbox"})).await;
    let texts = eve.texts(&inbox["items"][0]["conversation"].clone()).await;
    assert_eq!(texts, ["same", "same", "same", "same", "other"], "9 was not known, and 8 was something else");
    server.stop().await;
}

#[tokio::test]
async fn a_publish_that_is_sent_again_is_one_message() {
    for restart in [false, true] {
        let folder = tempdir().unwrap();
        repeat(folder.path(), restart).await;
    }
}

#[tokio::test]
async fn a_client_id_has_one_connection_and_the_newest_wins() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    for version in [V5, V4] {
        let (mut first, _) = Mqtt::connect(&server, &Hello::new(version, "ada", "phone")).await;
        let (mut other, _) = Mqtt::connect(&server, &Hello::new(version, "ada", "tablet")).await;
        let (mut second, _) = Mqtt::connect(&server, &Hello::new(version, "ada", "phone")).await;
        if version == V5 {
            assert_eq!(first.next().await, Packet::Disconnect(0x8e));
        }
        assert_eq!(first.next().await, Packet::Closed);
        for client in [&mut second, &mut other] {
            client.send(&packet(0xc0, &[])).await;
            assert_eq!(client.next().await, Packet::Pong);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_when_its_client_says_so() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let kept_for = |seconds: u8| Hello { properties: vec![17, 0, 0, 0, seconds], ..Hello::kept(V5, "ada", "phone") };
    let (mut ada, _) = Mqtt::connect(&server, &kept_for(200)).await;
    ada.send(&packet(0xe0, &[0, 5, 17, 0, 0, 0, 0])).await;
    assert_eq!(ada.next().await, Packet::Closed);
    let (ada, present) = Mqtt::connect(&server, &kept_for(200)).await;
    assert!(!present, "its client gave it up");
    drop(ada);
    let (_, present) = Mqtt::connect(&server, &kept_for(200)).await;
    assert!(present);
    server.stop().await;
}

#[tokio::test]
async fn a_revoked_device_is_cut_and_a_stop_says_goodbye() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let http = server.log_in("ada", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    ada.subscribe("tidings/inbox", 1).await;
    assert_eq!(http.delete("/v1/me/devices/phone").await.status, 204);
    assert_eq!(ada.next().await, Packet::Disconnect(0x98));
    assert_eq!(ada.next().await, Packet::Closed);
    let (mut ada, present) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    assert!(!present, "nothing is kept of it");
    server.stop().await;
    assert_eq!(ada.next().await, Packet::Disconnect(0x8b));
    assert_eq!(ada.next().await, Packet::Closed);
}
