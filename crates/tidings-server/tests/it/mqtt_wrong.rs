//! MQTT: what a client must not do, and what becomes of it. Others never notice.

use serde_json::json;
use tempfile::tempdir;

use crate::{
    metrics::figures,
    mqtt_client::{Hello, Mqtt, Packet, V4, V5, packet, publish, subscribe, text},
    support::{PATIENCE, start_mqtt},
};

/// CONNECT with these flags and this body behind the client id.
fn connect(version: u8, flags: u8, properties: &[u8], rest: &[&[u8]]) -> Vec<u8> {
    let mut body = b"\0\x04MQTT".to_vec();
    body.extend([version, flags, 0, 60]);
    if version == V5 {
        body.push(u8::try_from(properties.len()).expect("they are short"));
        body.extend(properties);
    }
    body.extend(rest.concat());
    packet(0x10, &body)
}

#[tokio::test]
async fn who_must_not_come_in_is_told_why() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let (phone, ada, none) = (&text("phone")[..], &text("ada")[..], &[][..]);
    let will = &[&text("tidings/to/eve")[..], &text("bye")].concat()[..];
    let will_v5 = &[&[0][..], will].concat()[..];
    let long = text(&"x".repeat(65));
    let cases: &[(u8, Vec<u8>, u8)] = &[
        (V4, connect(V4, 0x86, none, &[phone, will, ada]), 5),
        (V5, connect(V5, 0x86, none, &[phone, will_v5, ada]), 0x90),
        (V5, connect(V5, 0xa6, none, &[phone, will_v5, ada]), 0x9a),
        (V5, connect(V5, 0x96, none, &[phone, will_v5, ada]), 0x9b),
        (V4, connect(V4, 0x02, none, &[phone]), 4),
        (V5, connect(V5, 0x02, none, &[phone]), 0x86),
        (V5, connect(V5, 0x82, none, &[phone, &text("a b")]), 0x86),
        (V4, connect(V4, 0x80, none, &[&text(""), ada]), 2),
        (V4, connect(V4, 0x82, none, &[&long, ada]), 2),
        (V5, connect(V5, 0x82, none, &[&long, ada]), 0x85),
        (V5, connect(V5, 0x82, &[21, 0, 1, b'x'], &[phone, ada]), 0x8c),
        (V5, connect(V5, 0xc2, none, &[phone, ada, &text("tdo1_forged.token")]), 0x86),
        (V5, connect(V5, 0x83, none, &[phone, ada]), 0x81),
        (V5, connect(V5, 0x82, &[33, 0, 0], &[phone, ada]), 0x82),
        (V4, connect(6, 0x82, none, &[phone, ada]), 1),
        (V4, connect(3, 0x82, none, &[phone, ada]), 1),
    ];
    for (version, bytes, expected) in cases {
        let mut client = Mqtt::open(&server, *version).await;
        client.send(bytes).await;
        match client.next().await {
            Packet::Connack { present: false, code, .. } => assert_eq!(code, *expected, "{bytes:02x?}"),
            other => panic!("{bytes:02x?}: {other:?}"),
        }
        assert_eq!(client.next().await, Packet::Closed);
    }
    // A token of the open mode counts, and names the device.
    let http = server.log_in("ada", "phone").await;
    let token = http.token.expect("a token");
    for (device, code) in [("phone", 0), ("other", 0x85)] {
        let mut client = Mqtt::open(&server, V5).await;
        client.send(&connect(V5, 0xc2, none, &[&text(device), &text("whoever"), &text(&token)])).await;
        assert!(matches!(client.next().await, Packet::Connack { code: found, .. } if found == code), "{device}");
    }
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_speak_mqtt_is_cut() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let cases: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n\r\n",
        &[0xc0, 0],
        &publish(V4, 0x30, None, "tidings/to/eve", &[], b"hi"),
        &[0x10, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[0x10, 0xff, 0xff, 0x7f],
        &[0x11, 0],
        &[0x10, 0],
        &packet(0x10, &[0; 5_000]),
    ];
    for bytes in cases {
        let mut client = Mqtt::open(&server, V4).await;
        client.throw(bytes).await;
        let packet = client.next().await;
        assert!(matches!(packet, Packet::Closed | Packet::Connack { code: 1.., .. }), "{packet:?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn what_breaks_the_rules_ends_the_connection_with_a_reason() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let hello = Hello::new(V5, "ada", "phone");
    let to = "tidings/to/eve";
    let cases: &[(Vec<u8>, u8)] = &[
        (publish(V5, 0x34, Some(1), to, &[], b"exactly once"), 0x9b),
        (publish(V5, 0x33, Some(1), to, &[], b"retained"), 0x9a),
        (publish(V5, 0x36, Some(1), to, &[], b"no such quality"), 0x81),
        (publish(V5, 0x38, None, to, &[], b"a repeat of what is not repeated"), 0x81),
        (publish(V5, 0x32, Some(0), to, &[], b"no packet id"), 0x82),
        (publish(V5, 0x30, None, "", &[], b"no topic"), 0x82),
        (publish(V5, 0x30, None, "", &[35, 0, 1], b"an unknown number"), 0x94),
        (publish(V5, 0x30, None, to, &[35, 0, 17], b"too large a number"), 0x94),
        (publish(V5, 0x30, None, to, &[11, 1], b"a subscription's number"), 0x82),
        (hello.packet(), 0x82),
        (packet(0x80, &subscribe(V5, 1, "tidings/inbox", 1)[2..]), 0x81),
        (packet(0x82, &[0, 1, 0]), 0x82),
        (packet(0x50, &[0, 1]), 0x82),
        (packet(0x62, &[0, 1]), 0x82),
        (packet(0xf0, &[]), 0x82),
        (packet(0xc0, &[0]), 0x81),
        (packet(0x20, &[0, 0, 0]), 0x82),
        (vec![0x30, 0xff, 0xff, 0xff, 0x7f], 0x95),
        (packet(0xe0, &[0, 5, 17, 0, 0, 0, 9]), 0x82),
    ];
    for (bytes, expected) in cases {
        let (mut client, _) = Mqtt::connect(&server, &hello).await;
        client.throw(bytes).await;
        match client.next().await {
            Packet::Disconnect(code) => assert_eq!(code, *expected, "{bytes:02x?}"),
            other => panic!("{bytes:02x?}: {other:?}"),
        }
        assert_eq!(client.next().await, Packet::Closed);
    }
    // Version 3.1.1 has no way to say why.
    let hello = Hello::new(V4, "ada", "phone");
    for bytes in [
        publish(V4, 0x34, Some(1), to, &[], b"exactly once"),
        publish(V4, 0x31, None, to, &[], b"retained"),
        hello.packet(),
        packet(0xf0, &[]),
        vec![0x30, 0xff, 0xff, 0xff, 0x7f],
    ] {
        let (mut client, _) = Mqtt::connect(&server, &hello).await;
        client.throw(&bytes).await;
        assert_eq!(client.next().await, Packet::Closed, "{bytes:02x?}");
    }
    server.stop().await;
}

#[tokio::test]
async fn nobody_listens_to_others() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let mut eve = server.connect("eve", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::new(V5, "ada", "phone")).await;
    for (filter, code) in [
        ("#", 0x87),
        ("+/inbox", 0x87),
        ("tidings/#", 0x87),
        ("tidings/to/eve", 0x87),
        ("$SYS/#", 0x87),
        ("a#", 0x8f),
        ("$share/g/tidings/inbox", 0x9e),
        ("tidings/live", 0),
        ("tidings/answer", 0),
        ("tidings/inbox", 1),
    ] {
        assert_eq!(ada.subscribe(filter, 2).await, code, "{filter}");
    }
    let body = [&[0, 3, 2, 11, 5][..], &text("tidings/inbox"), &[1]].concat();
    ada.send(&packet(0x82, &body)).await;
    assert_eq!(ada.next().await, Packet::Suback { packet_id: 3, codes: vec![0xa1] });
    let (mut old, _) = Mqtt::connect(&server, &Hello::new(V4, "ada", "old")).await;
    assert_eq!(old.subscribe("#", 0).await, 0x80);
    // An acknowledgement of nothing harms nobody.
    ada.ack(99).await;
    eve.send("ada", "e-1", "hi").await;
    assert_eq!(ada.text().await, "hi");
    server.stop().await;
}

#[tokio::test]
async fn who_is_silent_beyond_the_keep_alive_is_cut() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    for version in [V5, V4] {
        let hello = Hello { keep_alive_s: 1, ..Hello::new(version, "ada", "phone") };
        let (mut ada, _) = Mqtt::connect(&server, &hello).await;
        if version == V5 {
            assert_eq!(ada.next().await, Packet::Disconnect(0x8d));
        }
        assert_eq!(ada.next().await, Packet::Closed);
    }
    server.stop().await;
}

/// A client that stalls loses its line, not what it is owed; nobody else waits.
#[tokio::test]
async fn who_reads_nothing_is_cut_and_comes_back() {
    let folder = tempdir().unwrap();
    let settings = [("mqtt.listen", "127.0.0.1:0"), ("limits.outbox_bytes", "64 KiB"), ("rates.sends_burst", "100000")];
    let server = crate::support::TestServer::start(folder.path(), &settings).await;
    let mut eve = server.connect("eve", "laptop").await;
    let (mut ada, _) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
    // Without acknowledgements nothing holds the server back but the line.
    ada.subscribe("tidings/inbox", 0).await;
    let text = "x".repeat(16_000);
    let lagging = "tidings_connections_closed_total{reason=\"lagging\"}";
    let until = tokio::time::Instant::now() + PATIENCE * 3;
    let mut count = 0;
    loop {
        let send = json!({"type": "send", "to": {"user": "ada"}, "client_msg_id": format!("e-{count}"), "text": text});
        assert_eq!(eve.ask(send).await["type"], "sent");
        count += 1;
        if count % 50 == 0 && figures(&server).await[lagging] > 0.0 {
            break;
        }
        assert!(tokio::time::Instant::now() < until, "{count} messages, and nobody was cut");
    }
    let (mut last, mut is_first) = (0, true);
    while last < count {
        match ada.next().await {
            Packet::Publish { payload, .. } => {
                let seq = payload["seq"].as_u64().unwrap();
                assert!(is_first || seq == last + 1, "{seq} after {last}");
                (last, is_first) = (seq, false);
            }
            Packet::Disconnect(0x97) | Packet::Closed => {
                let present;
                (ada, present) = Mqtt::connect(&server, &Hello::kept(V5, "ada", "phone")).await;
                assert!(present);
                is_first = true;
            }
            other => panic!("{other:?}"),
        }
    }
    server.stop().await;
}
