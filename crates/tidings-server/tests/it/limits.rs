//! What no client may do, and that it harms nobody else: too much, too fast, nonsense, nothing at all.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, client_async,
    tungstenite::{self, Message, client::IntoClientRequest},
};

use crate::{
    metrics::figures_when,
    support::{PATIENCE, TestClient, TestServer},
};

/// Waits until a connection was closed for that reason.
async fn until_closed(server: &TestServer, reason: &str) {
    let name = format!("tidings_connections_closed_total{{reason=\"{reason}\"}}");
    figures_when(server, |figures| figures.get(&name).is_some_and(|count| *count > 0.0)).await;
}

/// A connection whose client takes little before it has read.
async fn narrow(server: &TestServer, user: &str) -> TestClient {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a size");
    let stream = socket.connect(server.address).await.expect("the server takes connections");
    let mut request = format!("ws://{}/v1/ws", server.address).into_client_request().expect("a right address");
    request.headers_mut().insert("sec-websocket-protocol", "tidings.v1.json".parse().expect("a header"));
    let (socket, _) = client_async(request, MaybeTlsStream::Plain(stream)).await.expect("the server takes connections");
    let mut client = TestClient::new(socket);
    client.say(&json!({"type": "hello", "username": user, "device": "narrow"})).await;
    assert_eq!(client.next().await["type"], "welcome");
    client
}

#[tokio::test]
async fn a_reader_that_stalls_is_closed_and_the_others_feel_nothing() {
    const MESSAGES: u64 = 400;
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("rates.sends_burst", "100000")]).await;
    let mut stalled = narrow(&server, "eve").await;
    let sync = stalled.ask(json!({"type": "sync"})).await["sync"].clone();
    let mut bob = server.connect("bob", "phone").await;
    let mut ada = server.connect("ada", "laptop").await;
    let create = json!({"type": "create", "client_msg_id": "g", "name": "Three", "members": ["bob", "eve"]});
    let group = ada.ask(create).await["conversation"].clone();
    let text = "x".repeat(16_000);
    let reading = tokio::spawn(async move {
        for seq in 1..=MESSAGES {
            assert_eq!(bob.next_of("entry").await["seq"], seq, "in order, none left out");
        }
    });
    for n in 2..=MESSAGES {
        let to = json!({"conversation": group});
        let sent = ada.ask(json!({"type": "send", "to": to, "client_msg_id": format!("c-{n}"), "text": text})).await;
        assert_eq!(sent["seq"], n, "{sent}");
    }
    timeout(PATIENCE, reading).await.expect("bob reads on").unwrap();
    until_closed(&server, "lagging").await;

    // It comes back with its token and finds what it missed.
    let hello = json!({"type": "hello", "username": "eve", "device": "narrow", "sync": sync});
    let (mut again, _) = server.hello(hello).await;
    let changes = again.next_of("changes").await;
    assert_eq!(changes["items"][0]["last_seq"], MESSAGES);
    drop(stalled);
    server.stop().await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_is_cut() {
    const MESSAGES: u64 = 400;
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("rates.sends_burst", "100000")]).await;
    let token = server.log_in("eve", "narrow").await.token.unwrap();
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(server.address).await.unwrap();
    let request = format!("GET /v1/events HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(r#""type":"welcome""#) {
        assert!(timeout(PATIENCE, stream.read_buf(&mut read)).await.unwrap().unwrap() > 0);
    }
    let mut ada = server.connect("ada", "laptop").await;
    let text = "x".repeat(16_000);
    for n in 1..=MESSAGES {
        assert_eq!(ada.send("eve", &format!("c-{n}"), &text).await["seq"], n);
    }
    // It is not waited for until it reads again: its session has ended, and its line with it.
    figures_when(&server, |figures| figures["tidings_sessions"] == 1.0).await;
    let rest = async { while stream.read_buf(&mut read).await.is_ok_and(|count| count > 0) {} };
    timeout(PATIENCE, rest).await.expect("the line is at its end");
    assert!(!read.ends_with(b"0\r\n\r\n"), "no good end: something is missing");
    server.stop().await;
}

#[tokio::test]
async fn a_client_that_asks_and_does_not_read_is_given_up() {
    let folder = tempdir().unwrap();
    let settings = [("limits.heartbeat_s", "1"), ("rates.sends_burst", "100000")];
    let server = TestServer::start(folder.path(), &settings).await;
    server.connect("bob", "phone").await;
    let mut ada = narrow(&server, "ada").await;
    let text = "x".repeat(16_000);
    for n in 0..60 {
        ada.send("bob", &format!("c-{n}"), &text).await;
    }
    let conversation = ada.ask(json!({"type": "inbox"})).await["items"][0]["conversation"].clone();
    // About 1 MiB each; no new frame comes for this session, and it says something all the time.
    let fetch = json!({"type": "fetch", "id": "f", "conversation": conversation, "limit": 200}).to_string();
    let (mut saying, _not_read) = ada.socket.split();
    let talking = tokio::spawn(async move { while saying.send(Message::text(&fetch)).await.is_ok() {} });
    until_closed(&server, "lagging").await;
    timeout(PATIENCE, talking).await.expect("the line is cut").unwrap();
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_answer_is_gone_after_two_and_a_half_heartbeats() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("limits.heartbeat_s", "1")]).await;
    let mut half_open = server.connect("ada", "laptop").await;
    let mut alive = server.connect("bob", "phone").await;
    let mut pings = 0;
    let gone = async {
        while let Some(Ok(message)) = half_open.socket.next().await {
            let Message::Text(text) = message else { panic!("dropped, with nobody to tell: {message:?}") };
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["type"], "ping");
            pings += 1;
        }
    };
    let answering = async {
        loop {
            if alive.next().await["type"] == "ping" {
                alive.say(&json!({"type": "pong"})).await;
            }
        }
    };
    tokio::select! {
        is_gone = timeout(PATIENCE, gone) => is_gone.expect("it is given up"),
        () = answering => unreachable!("it answers for ever"),
    }
    assert!(pings >= 1, "it was asked before");
    assert_eq!(alive.ask(json!({"type": "inbox"})).await["type"], "inbox", "who answers stays");
    server.stop().await;
}

#[tokio::test]
async fn a_fifth_connection_of_a_device_replaces_the_oldest() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut oldest = server.connect("ada", "laptop").await;
    let mut others = Vec::new();
    for _ in 0..4 {
        others.push(server.connect("ada", "laptop").await);
    }
    let mut other_device = server.connect("ada", "phone").await;
    assert_eq!(u16::from(oldest.closed().await.code), 3503);
    for client in others.iter_mut().chain([&mut other_device]) {
        assert_eq!(client.ask(json!({"type": "inbox"})).await["type"], "inbox");
    }
    server.stop().await;
}

#[tokio::test]
async fn sends_above_the_rate_wait_and_are_then_refused() {
    let folder = tempdir().unwrap();
    let settings = [("rates.sends_per_s", "1"), ("rates.sends_burst", "5"), ("rates.slow_read_max_ms", "0")];
    let server = TestServer::start(folder.path(), &settings).await;
    server.connect("bob", "phone").await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut laptop = server.connect("ada", "tablet").await;
    let send = |n: u32| json!({"type": "send", "to": {"user": "bob"}, "client_msg_id": format!("c-{n}"), "text": "hi"});
    let mut answers = Vec::new();
    for n in 0..20 {
        let device = if n % 2 == 0 { &mut ada } else { &mut laptop };
        answers.push(device.ask(send(n)).await);
    }
    let refused = answers.iter().find(|answer| answer["code"] == "rate_limited").expect("twenty at once are too many");
    assert!(refused["retry_after_ms"].as_u64().unwrap() > 0, "{refused}");
    assert!(answers[..5].iter().all(|answer| answer["type"] == "sent"), "the burst is free, over all devices");
    server.stop().await;

    let settings = [("rates.sends_per_s", "50"), ("rates.sends_burst", "5")];
    let server = TestServer::start(folder.path(), &settings).await;
    let mut ada = server.connect("ada", "laptop").await;
    for n in 100..130 {
        assert_eq!(ada.ask(send(n)).await["type"], "sent", "a little too fast is read more slowly");
    }
    server.stop().await;
}

#[tokio::test]
async fn one_address_may_not_connect_without_end() {
    let folder = tempdir().unwrap();
    let settings = [("rates.loopback_exempt", "false"), ("rates.logins_per_s", "1"), ("rates.logins_burst", "5")];
    let server = TestServer::start(folder.path(), &settings).await;
    let mut refused = None;
    for _ in 0..20 {
        let request = format!("ws://{}/v1/ws", server.address);
        match tokio_tungstenite::connect_async(request).await {
            Ok((mut socket, _)) => socket.close(None).await.unwrap(),
            Err(tungstenite::Error::Http(response)) => refused = Some(response),
            Err(error) => panic!("{error}"),
        }
    }
    let refused = refused.expect("twenty at once are too many");
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after"));
    server.stop().await;
}

#[tokio::test]
async fn nonsense_ends_a_connection_and_no_other() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    for _ in 0..9 {
        ada.say_text("[1, 2").await;
        assert_eq!(ada.next().await["code"], "bad_frame");
    }
    ada.say_text("[1, 2").await;
    assert_eq!(u16::from(ada.closed().await.code), 3500, "the tenth in a minute");

    let mut binary = server.connect("ada", "laptop").await;
    binary.socket.send(Message::binary(vec![0; 10])).await.unwrap();
    assert_eq!(u16::from(binary.closed().await.code), 3500);

    let mut twice = server.connect("ada", "laptop").await;
    twice.say(&json!({"type": "hello", "username": "bob"})).await;
    assert_eq!(u16::from(twice.closed().await.code), 3500, "nobody becomes another");

    let mut bob = server.connect("bob", "phone").await;
    for frame in [
        json!({"type": "shout"}),
        json!({"type": "fetch", "conversation": "nowhere"}),
        json!({"type": "fetch", "limit": 201}),
        json!({"type": "inbox", "limit": 1_001}),
        json!({"type": "watch", "users": vec!["ada"; 501]}),
        json!({"type": "send", "to": {"user": "ada"}, "client_msg_id": "c", "text": "x".repeat(16_385)}),
        json!({"type": "send", "to": {"user": "ada", "conversation": "x"}, "client_msg_id": "c", "text": "x"}),
        json!({"type": "send", "to": {"user": "ada"}, "client_msg_id": "c", "text": ""}),
    ] {
        let answer = bob.ask(frame.clone()).await;
        let code = answer["code"].as_str().unwrap_or_default().to_owned();
        assert!(["bad_request", "unknown_type"].contains(&&*code), "{frame} was answered {answer}");
    }
    assert_eq!(bob.send("ada", "c-1", &"x".repeat(16_384)).await["seq"], 1, "as much as is allowed");
    server.stop().await;
}

#[tokio::test]
async fn who_is_nobody_gets_little_time_and_few_bytes() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut talker = server.open().await;
    let some = json!({"type": "inbox", "padding": "x".repeat(1_500)});
    for _ in 0..2 {
        talker.say(&some).await;
        assert_eq!(talker.next().await["code"], "unauthenticated");
    }
    talker.say(&some).await;
    assert_eq!(u16::from(talker.closed().await.code), 3500, "the sum counts");
    server.stop().await;

    let server = TestServer::start(folder.path(), &[("limits.unauthenticated_ms", "100")]).await;
    let mut silent = server.open().await;
    assert_eq!(u16::from(silent.closed().await.code), 3500);
    server.stop().await;
}
