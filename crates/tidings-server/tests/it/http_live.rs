//! What comes of its own accord over HTTP: events, and polls that wait.

use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    contract,
    http_client::{Answer, Caller},
    metrics::figures_when,
    support::{PATIENCE, TestServer},
};

/// Events as a browser reads them: id and data.
pub struct Events<B> {
    body: B,
    text: String,
}

impl<B: BodyExt<Data = Bytes, Error: std::fmt::Debug> + Unpin> Events<B> {
    /// The next event; `None`: the stream ended.
    pub async fn next(&mut self) -> Option<(String, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                if let Some(data) = field("data:") {
                    let id = field("id:").unwrap_or_default().to_owned();
                    let frame = serde_json::from_str(data).expect("data is JSON");
                    contract::check_frame("events", &frame);
                    return Some((id, frame));
                }
                continue;
            }
            let frame = timeout(PATIENCE, self.body.frame()).await.expect("something comes")?.expect("the line stands");
            self.text += std::str::from_utf8(frame.data_ref().expect("data")).expect("UTF-8");
        }
    }

    pub async fn next_of(&mut self, kind: &str) -> (String, Value) {
        loop {
            let (id, frame) = self.next().await.expect("the stream goes on");
            if frame["type"] == kind {
                return (id, frame);
            }
        }
    }
}

pub async fn events(
    caller: &Caller,
    query: &str,
    headers: &[(&str, &str)],
) -> Events<impl BodyExt<Data = Bytes, Error: std::fmt::Debug> + Unpin + use<>> {
    let response = caller.open("GET", &format!("/v1/events{query}"), headers, Bytes::new()).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    Events { body: response.into_body(), text: String::new() }
}

async fn start() -> (tempfile::TempDir, TestServer, Caller, Caller) {
    let folder = tempdir().expect("a folder");
    let server = TestServer::start(folder.path(), &[("store", "memory")]).await;
    let (ada, bob) = (server.log_in("ada", "laptop").await, server.log_in("bob", "phone").await);
    (folder, server, ada, bob)
}

async fn send(caller: &Caller, to: &str, text: &str) -> Value {
    caller.post("/v1/messages", json!({"to": {"user": to}, "client_msg_id": text, "text": text})).await.ok()
}

#[tokio::test]
async fn events_resume_where_they_were_cut() {
    let (_folder, server, ada, bob) = start().await;
    let mut stream = events(&bob, "", &[]).await;
    let (id, welcome) = stream.next().await.unwrap();
    assert_eq!((&welcome["type"], &welcome["user"], &welcome["sync"]), (&json!("welcome"), &json!("bob"), &json!(id)));
    send(&ada, "bob", "one").await;
    assert_eq!(stream.next_of("changes").await.1["items"][0]["with"], "ada");
    let (id, entry) = stream.next_of("entry").await;
    assert_eq!((&entry["seq"], &entry["text"]), (&json!(1), &json!("one")));
    drop(stream);

    send(&ada, "bob", "two").await;
    let mut stream = events(&bob, "?tail=5&sync=older", &[("last-event-id", &id)]).await;
    assert_eq!(stream.next().await.unwrap().1["type"], "welcome");
    let (after, changes) = stream.next().await.unwrap();
    assert_eq!((&changes["full"], &changes["items"][0]["unread"]), (&json!(false), &json!(2)));
    assert_eq!(changes["items"][0]["tail"][1]["text"], "two");
    send(&ada, "bob", "three").await;
    assert_eq!(stream.next_of("entry").await.1["text"], "three");
    drop(stream);

    // Cut behind the changes: nothing of them comes again, but what followed does.
    let mut stream = events(&bob, &format!("?tail=1&sync={after}"), &[]).await;
    stream.next_of("welcome").await;
    let (id, changes) = stream.next().await.unwrap();
    assert_eq!(changes["items"][0]["tail"][0]["text"], "three");
    drop(stream);
    // Nothing is new, and a token that nobody can read does not lock anybody out.
    let mut stream = events(&bob, &format!("?sync={id}"), &[]).await;
    assert_eq!((stream.next().await.unwrap().0, &stream.next().await.unwrap().1["items"]), (id, &json!([])));
    let mut stream = events(&bob, "", &[("last-event-id", "nonsense")]).await;
    assert_eq!(stream.next_of("changes").await.1["full"], true);

    bob.get("/v1/events?tail=21").await.problem(400, "bad_request");
    server.nobody().get("/v1/events").await.problem(401, "unauthenticated");
    server.stop().await;
}

#[tokio::test]
async fn a_ticket_opens_events_once_and_a_planned_end_is_told() {
    let (_folder, server, _ada, bob) = start().await;
    let ticket = bob.post("/v1/tickets", json!({})).await.ok();
    let query = format!("?ticket={}", ticket["ticket"].as_str().unwrap());
    let nobody = server.nobody();
    let mut stream = events(&nobody, &query, &[]).await;
    assert_eq!(stream.next().await.unwrap().1["user"], "bob");
    nobody.get(&format!("/v1/events{query}")).await.problem(401, "unauthenticated");

    bob.delete("/v1/me/devices/phone").await.ok();
    assert_eq!(stream.next_of("close").await.1["code"], 3502);
    assert!(stream.next().await.is_none());

    let bob = server.log_in("bob", "tablet").await;
    let mut stream = events(&bob, "", &[]).await;
    stream.next_of("welcome").await;
    let stopping = tokio::spawn(server.stop());
    stream.next_of("move").await;
    assert_eq!(stream.next_of("close").await.1["reason"], "draining");
    assert!(stream.next().await.is_none());
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_stream_goes_over_a_line_that_was_used_before_and_its_clients_end_is_noticed() {
    let (_folder, server, ada, bob) = start().await;
    let mut line = TcpStream::connect(server.address).await.unwrap();
    let token = bob.token.clone().unwrap();
    let say = async |line: &mut TcpStream, path: &str| {
        let origin = format!("http://{}", server.address);
        let head = format!("GET {path} HTTP/1.1\r\nhost: {}\r\norigin: {origin}\r\n", server.address);
        let request = format!("{head}authorization: Bearer {token}\r\n\r\n");
        line.write_all(request.as_bytes()).await.unwrap();
    };
    let read_until = async |line: &mut TcpStream, end: &str| {
        let mut read = Vec::new();
        while !String::from_utf8_lossy(&read).contains(end) {
            let count = timeout(PATIENCE, line.read_buf(&mut read)).await.expect("something comes").unwrap();
            assert!(count > 0, "{}", String::from_utf8_lossy(&read));
        }
        String::from_utf8(read).unwrap()
    };
    say(&mut line, "/v1/me").await;
    assert!(read_until(&mut line, "}").await.starts_with("HTTP/1.1 200 OK\r\n"));
    say(&mut line, "/v1/events").await;
    let begin = read_until(&mut line, r#""type":"welcome""#).await;
    let (head, _) = begin.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\ndate: "), "{head}");
    for header in ["content-type: text/event-stream", "transfer-encoding: chunked", "connection: close"] {
        assert!(head.contains(header), "{head}");
    }
    // What is said meanwhile is of no account.
    say(&mut line, "/v1/me").await;
    send(&ada, "bob", "one").await;
    read_until(&mut line, r#""text":"one""#).await;
    assert_eq!(figures_when(&server, |_| true).await["tidings_sessions"], 1.0);
    drop(line);
    figures_when(&server, |figures| figures["tidings_sessions"] == 0.0).await;

    // One that was there when the server stops hears its end.
    let mut line = TcpStream::connect(server.address).await.unwrap();
    say(&mut line, "/v1/events").await;
    read_until(&mut line, r#""type":"welcome""#).await;
    let stopping = tokio::spawn(server.stop());
    let end = read_until(&mut line, "\r\n0\r\n\r\n").await;
    assert!(end.contains(r#""reason":"draining""#), "{end}");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_poll_answers_what_differs_and_keeps_the_token_if_nothing_does() {
    let (_folder, server, ada, bob) = start().await;
    let full = bob.get("/v1/sync").await.ok();
    assert_eq!((&full["type"], &full["full"]), (&json!("changes"), &json!(true)));
    let token = full["sync"].as_str().unwrap().to_owned();
    let nothing = bob.get(&format!("/v1/sync?sync={token}&wait=0")).await;
    assert_eq!((nothing.status, nothing.body.clone()), (204, Value::Null));
    assert!(nothing.header("tidings-poll-after").parse::<u64>().unwrap() > 0);
    send(&ada, "bob", "one").await;
    let changes = bob.get(&format!("/v1/sync?sync={token}&tail=1")).await.ok();
    assert_eq!((&changes["full"], &changes["items"][0]["tail"][0]["text"]), (&json!(false), &json!("one")));

    bob.get("/v1/sync?sync=nonsense").await.problem(400, "bad_sync");
    ada.get(&format!("/v1/sync?sync={token}")).await.problem(400, "bad_sync");
    for (query, name) in [("wait=61", "wait"), ("wait=x", "wait"), ("tail=21", "tail")] {
        let detail = bob.get(&format!("/v1/sync?{query}")).await.problem(400, "bad_request");
        assert!(detail.contains(name), "{detail}");
    }
    server.stop().await;
}

/// Begins a poll of the device `poller`, and comes back when it waits: the device is connected then.
async fn begin_poll(poller: &Caller, token: &str) -> tokio::task::JoinHandle<Answer> {
    let (polling, path) = (poller.clone(), format!("/v1/sync?sync={token}&wait=60"));
    let polling = tokio::spawn(async move { polling.get(&path).await });
    let waits = async {
        loop {
            let devices = poller.get("/v1/me/devices").await.ok();
            let mut devices = devices["devices"].as_array().expect("a list").iter();
            if devices.any(|device| device["device"] == "poller" && device["connected"] == true) {
                return;
            }
        }
    };
    timeout(PATIENCE, waits).await.expect("the poll waits");
    polling
}

#[tokio::test]
async fn a_waiting_poll_is_woken_by_news_and_not_by_deliveries() {
    let (_folder, server, ada, bob) = start().await;
    let sent = send(&bob, "ada", "first").await;
    let poller = server.log_in("ada", "poller").await;
    let read = format!("/v1/conversations/{}/read", sent["conversation"].as_str().unwrap());
    let token = async || poller.get("/v1/sync").await.ok()["sync"].as_str().unwrap().to_owned();

    // A message, a read elsewhere, and what the other one has read wake it.
    let polling = begin_poll(&poller, &token().await).await;
    send(&bob, "ada", "second").await;
    let answer = timeout(PATIENCE, polling).await.unwrap().unwrap().ok();
    assert_eq!(answer["items"][0]["last"]["text"], "second");
    let polling = begin_poll(&poller, &token().await).await;
    ada.put(&read, json!({"seq": 2})).await.ok();
    assert_eq!(timeout(PATIENCE, polling).await.unwrap().unwrap().ok()["items"][0]["unread"], 0);
    send(&ada, "bob", "third").await;
    let polling = begin_poll(&poller, &token().await).await;
    bob.put(&read, json!({"seq": 3})).await.ok();
    let answer = timeout(PATIENCE, polling).await.unwrap().unwrap().ok();
    assert_eq!(answer["items"][0]["peer"]["read_seq"], 3);

    // That something was delivered, here or there, does not: the poll still waits when the server stops.
    send(&ada, "bob", "fourth").await;
    let polling = begin_poll(&poller, &token().await).await;
    let ack = json!({"frames": [{"type": "ack", "id": 1, "conversation": sent["conversation"], "seq": 4}]});
    for caller in [&ada, &bob] {
        assert_eq!(caller.post("/v1/frames", ack.clone()).await.ok()["answers"][0]["type"], "ok");
    }
    // Both were published before what is answered after them.
    bob.patch("/v1/me", json!({"presence": "nobody"})).await.ok();
    server.stop().await;
    assert_eq!(timeout(PATIENCE, polling).await.unwrap().unwrap().status, 204);
}

#[tokio::test]
async fn events_polls_and_calls_go_over_http_2() {
    let (_folder, server, ada, bob) = start().await;
    let (ada, bob) = (server.over_http_2(&ada), server.over_http_2(&bob));
    let poller = server.over_http_2(&server.log_in("bob", "poller").await);
    let opened = bob.open("GET", "/v1/events", &[], Bytes::new()).await;
    assert_eq!(opened.version(), http::Version::HTTP_2);
    let mut stream = Events { body: opened.into_body(), text: String::new() };
    let (token, _) = stream.next_of("welcome").await;
    let polled = begin_poll(&poller, &token).await;
    send(&ada, "bob", "one").await;
    assert_eq!(polled.await.unwrap().ok()["items"][0]["unread"], 1);
    assert_eq!(stream.next_of("entry").await.1["text"], "one");
    send(&bob, "ada", "two").await;
    assert_eq!(bob.get(&format!("/v1/sync?sync={token}")).await.ok()["items"][0]["last"]["text"], "two");
    server.stop().await;
}
