//! A WebSocket server on a port of its own that does what the test says, line by line.

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tidings_client::{Client, ConversationId, Event, Events};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    WebSocketStream, accept_hdr_async,
    tungstenite::{
        Message,
        handshake::server::{ErrorResponse, Request, Response},
        protocol::CloseFrame,
    },
};

pub struct Script {
    listener: TcpListener,
    pub url: String,
}

impl Script {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self { listener, url }
    }

    /// The next connection, up to its `hello`, which is returned and not answered.
    pub async fn accept(&self) -> (Line, Value) {
        let (stream, _) = self.listener.accept().await.unwrap();
        stream.set_nodelay(true).unwrap();
        #[allow(clippy::result_large_err, reason = "the library's signature")]
        let echo = |request: &Request, mut response: Response| -> Result<Response, ErrorResponse> {
            let protocol = request.headers()["sec-websocket-protocol"].clone();
            response.headers_mut().insert("sec-websocket-protocol", protocol);
            Ok(response)
        };
        let mut line = Line { socket: accept_hdr_async(stream, echo).await.unwrap() };
        let hello = line.hears("hello").await;
        (line, hello)
    }

    /// Ada's client, connected, with an inbox of `items`, and the server's end of its line.
    pub async fn connect(&self, builder: tidings_client::Builder, items: Value) -> (Client, Events, Line) {
        let serve = async {
            let (mut line, _) = self.accept().await;
            line.welcome().await;
            let sync = line.hears("sync").await;
            line.says(json!({"type":"changes","re":sync["id"],"items":items,"removed":[],"sync":"t-0","more":false,"full":true}))
                .await;
            line
        };
        let (connected, line) = tokio::join!(builder.connect(), serve);
        let (client, mut events) = connected.unwrap();
        assert!(matches!(events.next().await, Some(Event::Changes(changes)) if changes.full));
        (client, events, line)
    }

    pub fn builder(&self) -> tidings_client::Builder {
        Client::builder(&self.url).user("ada").device("laptop")
    }
}

/// The server's end of one connection.
pub struct Line {
    socket: WebSocketStream<TcpStream>,
}

impl Line {
    pub async fn says(&mut self, frame: Value) {
        self.socket.send(Message::text(frame.to_string())).await.unwrap();
    }

    pub async fn welcome(&mut self) {
        self.welcome_preferring(None).await;
    }

    /// A welcome that says where the user is best served.
    pub async fn welcome_preferring(&mut self, prefer: Option<&str>) {
        self.says(json!({
            "type":"welcome","user":"ada","device":"laptop","session":"s-1","sync":"t-w","prefer":prefer,"heartbeat_s":25,
            "limits":{"text_bytes":16384,"of_a_later_version":1},"features":[]
        }))
        .await;
    }

    /// The client's next frame.
    pub async fn next(&mut self) -> Value {
        match self.socket.next().await.expect("the client is there").unwrap() {
            Message::Text(text) => serde_json::from_str(&text).unwrap(),
            other => panic!("the client sent {other:?}"),
        }
    }

    /// The client's next frame, which is of this type.
    pub async fn hears(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Answers a send.
    pub async fn sent(&mut self, send: &Value, seq: u64) {
        self.says(json!({"type":"sent","re":send["id"],"conversation":conversation(),"seq":seq,"at":1})).await;
    }

    /// A live message of bob's.
    pub async fn entry(&mut self, seq: u64) {
        self.says(with_conversation(message(seq))).await;
    }

    /// Answers a fetch of ranges with whatever was asked for, the log being 1 to `last`.
    pub async fn entries(&mut self, fetch: &Value, last: u64) {
        let range = &fetch["ranges"][0];
        assert_eq!(range["conversation"], conversation().to_string());
        let (after, limit) = (range["after"].as_u64().unwrap(), range["limit"].as_u64().unwrap());
        let entries: Vec<Value> = (after + 1..=last.min(after + limit)).map(message).collect();
        let page = json!({"conversation":conversation(),"entries":entries,"first_seq":1,"last_seq":last});
        self.says(json!({"type":"entries","re":fetch["id"],"ranges":[page]})).await;
    }

    pub async fn closes(mut self, code: u16, reason: &str) {
        self.socket.close(Some(CloseFrame { code: code.into(), reason: reason.into() })).await.unwrap();
        // The client says goodbye too; what it said before does not matter.
        while let Some(Ok(_)) = self.socket.next().await {}
    }

    /// Waits for the client to let go.
    pub async fn until_left(mut self) {
        while let Some(Ok(message)) = self.socket.next().await {
            if message.is_close() {
                return;
            }
        }
    }
}

/// Ada's conversation with bob.
pub fn conversation() -> ConversationId {
    ConversationId::direct(&"ada".parse().unwrap(), &"bob".parse().unwrap())
}

pub fn message(seq: u64) -> Value {
    json!({"seq":seq,"kind":"message","from":"bob","at":1,"client_msg_id":format!("b-{seq}"),"text":format!("number {seq}")})
}

fn with_conversation(mut entry: Value) -> Value {
    entry["type"] = json!("entry");
    entry["conversation"] = json!(conversation());
    entry
}

/// The inbox item of the conversation with bob, whose newest entries come as `tail`.
pub fn item(last_seq: u64, tail: Option<std::ops::RangeInclusive<u64>>) -> Value {
    let mut item = json!({
        "conversation":conversation(),"kind":"direct","with":"bob","with_name":null,"with_picture":null,
        "peer":{"delivered_seq":0,"read_seq":0},"last":message(last_seq),"last_seq":last_seq,"read_seq":0,"unread":last_seq,
        "mentions":0,"muted":false,"pinned":false,"archived":false,"blocked":false
    });
    if let Some(tail) = tail {
        item["tail"] = tail.map(message).collect();
    }
    item
}

/// The seqs of the next `count` entries that the client hands on.
pub async fn delivered(events: &mut Events, count: usize) -> Vec<u64> {
    let mut seqs = Vec::new();
    while seqs.len() < count {
        if let Event::Entry(live) = events.next().await.expect("the client lives") {
            assert_eq!(live.conversation, conversation());
            seqs.push(live.entry.seq.0);
        }
    }
    seqs
}
