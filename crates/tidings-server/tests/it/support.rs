//! A server to talk to, and a client that says and hears plain JSON.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_server::{
    config::Config,
    host::{Host, shards::Shards},
    serve,
    shutdown::Shutdown,
};
use tokio::{net::TcpStream, task::JoinHandle, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, client::IntoClientRequest, protocol::CloseFrame},
};

use crate::contract;

/// Longer than anything here takes: a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct TestServer {
    pub address: SocketAddr,
    /// Where MQTT listens, with the setting `mqtt.listen`.
    pub mqtt: Option<SocketAddr>,
    /// The same under TLS, with `mqtt.tls_listen`.
    pub mqtt_tls: Option<SocketAddr>,
    /// Where other nodes connect, if it is one of several.
    pub node: Option<SocketAddr>,
    pub host: Arc<Host>,
    shutdown: Shutdown,
    serving: JoinHandle<Result<(), serve::ServeError>>,
}

impl TestServer {
    /// Serves the data in `folder` until it is stopped. `settings` are dotted names with values.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_start(folder, settings).await.expect("the server starts")
    }

    /// The same where it may refuse to: what it says then.
    pub async fn try_start(folder: &Path, settings: &[(&str, &str)]) -> Result<Self, String> {
        Self::try_start_with(folder, settings, None).await
    }

    /// One node of several: it hosts nothing until its host's shards are set.
    pub async fn start_node(folder: &Path, settings: &[(&str, &str)]) -> Self {
        Self::try_start_with(folder, settings, Some(Shards::of_fleet())).await.expect("the server starts")
    }

    async fn try_start_with(folder: &Path, settings: &[(&str, &str)], shards: Option<Shards>) -> Result<Self, String> {
        let data = folder.to_str().expect("test folders have plain names").to_owned();
        let base =
            [("listen", "127.0.0.1:0"), ("data", &data), ("drain_ms", "200"), ("journal.segment_bytes", "8 MiB")];
        let settings = base.into_iter().chain(settings.iter().copied());
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load(None, settings).expect("the test's settings are right");
        let shutdown = Shutdown::default();
        let (ready_tx, ready) = tokio::sync::oneshot::channel();
        let stopping = shutdown.clone();
        let mut serving = tokio::spawn(async move {
            let on_ready = |listening, host: &Arc<Host>| {
                assert!(ready_tx.send((listening, host.clone())).is_ok(), "the test waits");
            };
            serve::run_with(config, stopping, shards, on_ready).await
        });
        let started = async {
            tokio::select! {
                biased;
                Ok(ready) = ready => Ok(ready),
                ended = &mut serving => Err(ended.expect("it does not panic").expect_err("nobody stopped it").to_string()),
            }
        };
        let (listening, host) = timeout(PATIENCE, started).await.expect("the server starts or says why not")?;
        let serve::Listening { http: address, mqtt, mqtt_tls, node } = listening;
        Ok(Self { address, mqtt, mqtt_tls, node, host, shutdown, serving })
    }

    /// Stops as SIGTERM does.
    pub async fn stop(self) {
        self.shutdown.begin();
        let served = timeout(PATIENCE, self.serving).await.expect("the server stops");
        served.expect("it does not panic").expect("it served");
    }

    pub async fn connect(&self, user: &str, device: &str) -> TestClient {
        self.hello(json!({"type": "hello", "username": user, "device": device})).await.0
    }

    /// Says hello as given; the welcome comes with the client.
    pub async fn hello(&self, hello: Value) -> (TestClient, Value) {
        let mut client = self.open().await;
        client.say(&hello).await;
        let welcome = client.next().await;
        assert_eq!(welcome["type"], "welcome", "{welcome}");
        (client, welcome)
    }

    /// A connection that has said nothing.
    pub async fn open(&self) -> TestClient {
        self.open_with("/v1/ws", &[]).await
    }

    /// The same, with headers.
    pub async fn open_with(&self, path: &str, headers: &[(&'static str, &str)]) -> TestClient {
        let mut request = format!("ws://{}{path}", self.address).into_client_request().expect("a right address");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        request.headers_mut().insert("sec-websocket-protocol", "tidings.v1.json".parse().expect("a header"));
        let (socket, _) = connect_async(request).await.expect("the server takes connections");
        TestClient::new(socket)
    }
}

/// One that speaks MQTT on a port of its own as well.
pub async fn start_mqtt(folder: &Path) -> TestServer {
    TestServer::start(folder, &[("mqtt.listen", "127.0.0.1:0")]).await
}

pub struct TestClient {
    pub socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    last_id: u64,
}

impl TestClient {
    pub fn new(socket: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { socket, last_id: 0 }
    }

    pub async fn say(&mut self, frame: &Value) {
        self.say_text(&frame.to_string()).await;
    }

    pub async fn say_text(&mut self, text: &str) {
        contract::check_said("websocket", text);
        self.socket.send(Message::text(text)).await.expect("the line stands");
    }

    /// Says it to a line that may be closed already.
    pub async fn throw(&mut self, text: &str) {
        let _ = self.socket.send(Message::text(text)).await;
    }

    /// The next frame.
    pub async fn next(&mut self) -> Value {
        match self.next_message().await {
            Message::Text(text) => {
                let frame = serde_json::from_str(&text).expect("frames are JSON");
                contract::check_frame("websocket", &frame);
                frame
            }
            other => panic!("not a frame: {other:?}"),
        }
    }

    /// The next frame of this type; others are passed over.
    pub async fn next_of(&mut self, kind: &str) -> Value {
        loop {
            let frame = self.next().await;
            if frame["type"] == kind {
                return frame;
            }
        }
    }

    /// How the server closes the connection.
    pub async fn closed(&mut self) -> CloseFrame {
        loop {
            if let Message::Close(frame) = self.next_message().await {
                return frame.expect("the server says why");
            }
        }
    }

    async fn next_message(&mut self) -> Message {
        loop {
            let message = timeout(PATIENCE, self.socket.next()).await.expect("something comes");
            match message.expect("the line stands").expect("the line is right") {
                Message::Ping(_) | Message::Pong(_) => {}
                message => return message,
            }
        }
    }

    /// Asks, and waits for the answer; live frames before it are passed over.
    pub async fn ask(&mut self, mut frame: Value) -> Value {
        let id = self.start(&mut frame).await;
        loop {
            let answer = self.next().await;
            if answer["re"] == id {
                return answer;
            }
        }
    }

    /// Asks, and leaves the answer to come.
    pub async fn start(&mut self, frame: &mut Value) -> u64 {
        self.last_id += 1;
        frame["id"] = self.last_id.into();
        self.say(frame).await;
        self.last_id
    }

    /// Sends a text to a user; the answer is the `sent`.
    pub async fn send(&mut self, to: &str, client_msg_id: &str, text: &str) -> Value {
        let send = json!({"type": "send", "to": {"user": to}, "client_msg_id": client_msg_id, "text": text});
        let sent = self.ask(send).await;
        assert_eq!(sent["type"], "sent", "{sent}");
        sent
    }

    /// The inbox's item of a conversation.
    pub async fn item(&mut self, conversation: &Value) -> Value {
        let inbox = self.ask(json!({"type": "inbox", "limit": 1000})).await;
        let items = inbox["items"].as_array().expect("items");
        items.iter().find(|item| item["conversation"] == *conversation).cloned().unwrap_or(Value::Null)
    }

    /// The texts of a conversation's newest entries.
    pub async fn texts(&mut self, conversation: &Value) -> Vec<String> {
        let page = self.ask(json!({"type": "fetch", "conversation": conversation, "limit": 200})).await;
        let entries = page["entries"].as_array().unwrap_or_else(|| panic!("{page}"));
        entries.iter().map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()).collect()
    }
}
