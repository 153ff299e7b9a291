//! MQTT: people talk over it, with each other and with those on other transports, with clients as they are.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    mqtt_client::{Hello, Mqtt, Packet, V4, V5, packet, publish, text},
    support::{TestServer, start_mqtt},
};

fn user(properties: &[(String, String)], key: &str) -> String {
    properties.iter().find(|(other, _)| other == key).map(|(_, value)| value.clone()).unwrap_or_default()
}

#[tokio::test]
async fn a_message_goes_over_mqtt_to_every_transport_and_back() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    for version in [V4, V5] {
        let (mut ada, present) = Mqtt::connect(&server, &Hello::new(version, "ada", "phone")).await;
        assert!(!present);
        assert_eq!(ada.subscribe("tidings/inbox", 1).await, 1);
        let (code, told) = ada.publish(1, "tidings/to/eve", "hi \"Eve\"").await;
        assert_eq!(code, 0);
        let heard = eve.next_of("entry").await;
        assert_eq!((&heard["from"], &heard["text"]), (&json!("ada"), &json!("hi \"Eve\"")));
        if version == V5 {
            assert_eq!(user(&told, "conversation"), heard["conversation"].as_str().unwrap());
            assert_eq!(user(&told, "seq"), heard["seq"].to_string());
        }
        let answer = eve.send("ada", &format!("e-{version}"), "hi Ada").await;
        let conversation = answer["conversation"].as_str().unwrap();
        let (packet_id, entry) = ada.delivery("tidings/inbox").await;
        assert_eq!((&entry["text"], &entry["seq"]), (&json!("hi Ada"), &answer["seq"]));
        assert_eq!((&entry["type"], &entry["conversation"]), (&json!("entry"), &answer["conversation"]));
        ada.ack(packet_id.unwrap()).await;
        let receipt = eve.next_of("receipt").await;
        assert_eq!(receipt["delivered_seq"], answer["seq"], "an acknowledgement is a receipt");
        assert_eq!(ada.publish(2, &format!("tidings/send/{conversation}"), "bye").await.0, 0);
        assert_eq!(eve.next_of("entry").await["text"], "bye");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_gets_back_what_one_sends_unless_one_says_no_local() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    server.connect("eve", "laptop").await;
    let mut elsewhere = server.connect("ada", "laptop").await;
    for (version, options, has_echo) in [(V4, 1, true), (V5, 1, true), (V5, 5, false)] {
        let (mut ada, _) = Mqtt::connect(&server, &Hello::new(version, "ada", "phone")).await;
        ada.subscribe("tidings/inbox", options).await;
        for packet_id in 1..=3 {
            ada.send(&publish(version, 0x32, Some(packet_id), "tidings/to/eve", &[], b"from here")).await;
        }
        elsewhere.send("eve", &format!("e-{version}-{options}"), "from elsewhere").await;
        let mut heard = Vec::new();
        // Three acknowledgements, and what is delivered.
        for _ in 0..if has_echo { 7 } else { 4 } {
            match ada.next().await {
                Packet::Publish { payload, packet_id, .. } => {
                    ada.ack(packet_id.unwrap()).await;
                    heard.push((payload["seq"].as_u64(), payload["text"].as_str().unwrap().to_owned()));
                }
                Packet::Puback { code, .. } => assert_eq!(code, 0),
                other => panic!("{other:?}"),
            }
        }
        assert!(heard.is_sorted_by_key(|(seq, _)| *seq), "{heard:?}");
        assert_eq!(heard.iter().filter(|(_, text)| text == "from here").count(), if has_echo { 3 } else { 0 });
        ada.is_silent().await;
    }
    server.stop().await;
}

#[tokio::test]
async fn a_correlation_is_the_client_msg_id_and_a_refusal_says_why() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    server.connect("eve", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::new(V5, "ada", "phone")).await;
    let correlation = [&[9], &text("c-1")[..]].concat();
    for (packet_id, repeat) in [(1, ""), (2, "true")] {
        ada.send(&publish(V5, 0x32, Some(packet_id), "tidings/to/eve", &correlation, b"once")).await;
        let (code, told) = ada.acked(packet_id).await;
        assert_eq!((code, user(&told, "seq"), user(&told, "repeat")), (0, "1".to_owned(), repeat.to_owned()));
    }
    let send = json!({"type": "send", "client_msg_id": "c-1", "text": "other"}).to_string();
    let (_, told) = ada.publish(3, "tidings/to/eve", &send).await;
    assert_eq!(user(&told, "seq"), "1", "also as an object");
    for (topic, payload, code, name) in [
        ("tidings/to/nobody", "hi", 0x90, "unknown_user"),
        ("tidings/send/aaaaaaaaaaaaaaaaaaaaaaaaaa", "hi", 0x90, "unknown_conversation"),
        ("tidings/to/eve", "", 0x99, "bad_request"),
        ("tidings/elsewhere", "hi", 0x90, "not_found"),
        ("tidings/inbox", "hi", 0x90, "not_found"),
        ("tidings/request", "{", 0x99, "bad_frame"),
    ] {
        let (refused, told) = ada.publish(7, topic, payload).await;
        assert_eq!((refused, user(&told, "code")), (code, name.to_owned()), "{topic} {payload}");
    }
    // Version 3.1.1 has no way to refuse but a word beside it.
    let (mut old, _) = Mqtt::connect(&server, &Hello::new(V4, "ada", "old")).await;
    old.subscribe("tidings/answer", 1).await;
    for first in [0x32, 0x30] {
        let packet_id = (first == 0x32).then_some(5);
        old.send(&publish(V4, first, packet_id, "tidings/to/nobody", &[], b"hi")).await;
        let (_, error) = old.delivery("tidings/answer").await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!("unknown_user")));
        if let Some(packet_id) = packet_id {
            assert_eq!(old.acked(packet_id).await.0, 0);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn any_request_is_answered_where_the_client_listens() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::new(V4, "ada", "phone")).await;
    ada.subscribe("tidings/answer", 0).await;
    ada.subscribe("tidings/live", 0).await;
    let ask = async |ada: &mut Mqtt, frame: Value| -> Value {
        ada.send(&publish(V4, 0x30, None, "tidings/request", &[], frame.to_string().as_bytes())).await;
        ada.delivery("tidings/answer").await.1
    };
    let create = json!({"type": "create", "id": "g", "client_msg_id": "g", "name": "Team", "members": ["eve"]});
    let created = ask(&mut ada, create).await;
    assert_eq!((&created["type"], &created["re"]), (&json!("created"), &json!("g")));
    let inbox = ask(&mut ada, json!({"type": "inbox", "id": 2})).await;
    assert_eq!((&inbox["re"], &inbox["items"][0]["name"]), (&json!(2), &json!("Team")));
    let read =
        ask(&mut ada, json!({"type": "mark_read", "id": 3, "conversation": created["conversation"], "seq": 1})).await;
    assert_eq!(read, json!({"type": "ok", "re": 3}));
    let refused = ask(&mut ada, json!({"type": "shout", "id": 4})).await;
    assert_eq!((&refused["code"], &refused["re"]), (&json!("unknown_type"), &json!(4)));
    assert_eq!(ask(&mut ada, json!({"type": "watch", "id": 5, "users": ["eve"]})).await["type"], "ok");
    eve.say(&json!({"type": "typing", "conversation": created["conversation"]})).await;
    let typing = loop {
        let live = ada.delivery("tidings/live").await.1;
        if live["type"] == "typing" {
            break live;
        }
    };
    assert_eq!(typing["user"], "eve");

    // In version 5 the answer goes where the request says, with its correlation.
    let (mut new, _) = Mqtt::connect(&server, &Hello::new(V5, "ada", "tablet")).await;
    let properties = [&[8][..], &text("mine/7"), &[9], &text("k")].concat();
    let frame = json!({"type": "inbox", "limit": 1}).to_string();
    new.send(&publish(V5, 0x32, Some(4), "tidings/request", &properties, frame.as_bytes())).await;
    match new.next().await {
        Packet::Publish { topic, payload, properties, .. } => {
            assert_eq!((topic.as_str(), &payload["type"]), ("mine/7", &json!("inbox")));
            assert_eq!(properties, [(9, text("k"))]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(new.acked(4).await.0, 0);
    server.stop().await;
}

#[tokio::test]
async fn the_wire_is_as_version_5_wants_it() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    // Topic alias maximum 2, receive maximum 2, response information wanted; no client id.
    let properties = vec![34, 0, 2, 33, 0, 2, 25, 1];
    let mut ada = Mqtt::open(&server, V5).await;
    ada.send(&Hello { properties, ..Hello::new(V5, "ada", "") }.packet()).await;
    let Packet::Connack { present: false, code: 0, properties } = ada.next().await else { panic!("not let in") };
    let told = |id: u8| properties.iter().find(|(other, _)| *other == id).map(|(_, value)| value.clone());
    assert_eq!((told(36), told(37), told(26)), (Some(vec![1]), Some(vec![0]), Some(text("tidings/answer"))));
    assert!(told(18).unwrap().starts_with(b"\0\x12d-"), "the server names the device");
    assert!(told(33).is_some() && told(34).is_some() && told(39).is_some());
    ada.subscribe("tidings/inbox", 1).await;
    for n in 1..=5 {
        eve.send("ada", &format!("e-{n}"), &format!("number {n}")).await;
    }
    // Two at a time; the topic once, then its number.
    let mut waiting = Vec::new();
    for topic in ["tidings/inbox", ""] {
        let (packet_id, _) = ada.delivery(topic).await;
        waiting.push(packet_id.unwrap());
    }
    ada.is_silent().await;
    for n in 3..=5 {
        ada.ack(waiting.remove(0)).await;
        let (packet_id, entry) = ada.delivery("").await;
        assert_eq!(entry["text"], format!("number {n}"));
        waiting.push(packet_id.unwrap());
    }
    // Its own numbers for topics.
    ada.send(&publish(V5, 0x32, Some(1), "tidings/to/eve", &[35, 0, 3], b"one")).await;
    ada.send(&publish(V5, 0x32, Some(2), "", &[35, 0, 3], b"two")).await;
    assert_eq!((ada.acked(1).await.0, ada.acked(2).await.0), (0, 0));
    let conversation = eve.ask(json!({"type": "inbox"})).await["items"][0]["conversation"].clone();
    assert_eq!(eve.texts(&conversation).await.last().unwrap(), "two");
    ada.send(&packet(0xc0, &[])).await;
    while ada.next().await != Packet::Pong {}
    ada.send(&packet(0xa2, &[&[0, 3, 0][..], &text("tidings/inbox")].concat())).await;
    while ada.next().await != (Packet::Unsuback { packet_id: 3 }) {}
    eve.send("ada", "e-6", "unheard").await;
    ada.is_silent().await;
    server.stop().await;
}

#[tokio::test]
async fn it_is_spoken_over_websocket_too() {
    use futures_util::{SinkExt, StreamExt};
    use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut eve = server.connect("eve", "laptop").await;
    let mut request = format!("ws://{}/v1/mqtt", server.address).into_client_request().unwrap();
    request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().unwrap());
    let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "mqtt");
    let bytes =
        [Hello::new(V4, "ada", "page").packet(), publish(V4, 0x32, Some(1), "tidings/to/eve", &[], b"hi")].concat();
    // Packets and messages end where they like.
    for part in bytes.chunks(7) {
        socket.send(Message::binary(part.to_vec())).await.unwrap();
    }
    let mut heard = Vec::new();
    while heard.len() < 8 {
        match socket.next().await.expect("the line stands").unwrap() {
            Message::Binary(bytes) => heard.extend(bytes),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, [0x20, 2, 0, 0, 0x40, 2, 0, 1]);
    assert_eq!(eve.next_of("entry").await["text"], "hi");
    server.stop().await;
}
