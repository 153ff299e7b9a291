//! An MQTT client that sends what it is told, right or wrong: packets are made and read here by hand, so that the server is not
//! held against its own library.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Message, client::IntoClientRequest},
};

use crate::{
    contract,
    support::{PATIENCE, TestServer},
};

/// Nothing more comes, if nothing came for so long. Only to see that something is absent.
const SILENCE: Duration = Duration::from_millis(300);

pub const V4: u8 = 4;
pub const V5: u8 = 5;

pub struct Mqtt {
    stream: TcpStream,
    pub version: u8,
}

/// A packet from the server.
#[derive(Debug, PartialEq)]
pub enum Packet {
    Connack {
        present: bool,
        code: u8,
        properties: Vec<(u8, Vec<u8>)>,
    },
    Publish {
        topic: String,
        packet_id: Option<u16>,
        properties: Vec<(u8, Vec<u8>)>,
        payload: Value,
    },
    Puback {
        packet_id: u16,
        code: u8,
        user: Vec<(String, String)>,
    },
    Suback {
        packet_id: u16,
        codes: Vec<u8>,
    },
    Unsuback {
        packet_id: u16,
    },
    Pong,
    Disconnect(u8),
    /// The server has closed the connection.
    Closed,
}

/// What CONNECT says.
#[derive(Clone)]
pub struct Hello {
    pub version: u8,
    pub user: &'static str,
    pub device: &'static str,
    pub is_clean: bool,
    pub keep_alive_s: u16,
    /// Only in version 5: whole properties.
    pub properties: Vec<u8>,
}

impl Hello {
    pub fn new(version: u8, user: &'static str, device: &'static str) -> Self {
        Self { version, user, device, is_clean: true, keep_alive_s: 0, properties: Vec::new() }
    }

    /// A session that stays.
    pub fn kept(version: u8, user: &'static str, device: &'static str) -> Self {
        let properties = if version == V5 { vec![17, 0xff, 0xff, 0xff, 0xff] } else { Vec::new() };
        Self { is_clean: false, properties, ..Self::new(version, user, device) }
    }

    pub fn packet(&self) -> Vec<u8> {
        let mut body = b"\0\x04MQTT".to_vec();
        body.extend([self.version, 0x80 | u8::from(self.is_clean) << 1]);
        body.extend(self.keep_alive_s.to_be_bytes());
        if self.version == V5 {
            body.push(u8::try_from(self.properties.len()).expect("they are short"));
            body.extend(&self.properties);
        }
        body.extend(text(self.device));
        body.extend(text(self.user));
        packet(0x10, &body)
    }
}

impl Mqtt {
    pub async fn open(server: &TestServer, version: u8) -> Self {
        let address = server.mqtt.expect("the test has set mqtt.listen");
        Self { stream: TcpStream::connect(address).await.expect("it listens"), version }
    }

    /// Over WebSocket, with headers.
    pub async fn open_websocket(server: &TestServer, version: u8, headers: &[(&'static str, &str)]) -> Self {
        let mut request = format!("ws://{}/v1/mqtt", server.address).into_client_request().expect("a right address");
        request.headers_mut().insert("sec-websocket-protocol", "mqtt".parse().expect("a header"));
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let (socket, _) = tokio_tungstenite::connect_async(request).await.expect("the server takes connections");
        // The rest of this client reads a TCP stream: its other end goes into the socket.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let near = TcpStream::connect(listener.local_addr().expect("it listens"));
        let (near, far) = tokio::join!(near, listener.accept());
        tokio::spawn(carry(far.expect("it is taken").0, socket));
        Self { stream: near.expect("it connects"), version }
    }

    /// Connects, and tells whether there was a session.
    pub async fn connect(server: &TestServer, hello: &Hello) -> (Self, bool) {
        let mut client = Self::open(server, hello.version).await;
        client.send(&hello.packet()).await;
        match client.next().await {
            Packet::Connack { present, code: 0, .. } => (client, present),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the line stands");
    }

    /// As [`Mqtt::send`], to a server that may close it meanwhile.
    pub async fn throw(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes).await;
    }

    pub async fn subscribe(&mut self, filter: &str, options: u8) -> u8 {
        self.send(&subscribe(self.version, 9, filter, options)).await;
        match self.next().await {
            Packet::Suback { packet_id: 9, codes } => codes[0],
            other => panic!("{other:?}"),
        }
    }

    /// Publishes and waits for the acknowledgement: its code and user properties.
    pub async fn publish(&mut self, packet_id: u16, topic: &str, payload: &str) -> (u8, Vec<(String, String)>) {
        self.send(&publish(self.version, 0x32, Some(packet_id), topic, &[], payload.as_bytes())).await;
        self.acked(packet_id).await
    }

    /// The acknowledgement of a publish; deliveries before it are acknowledged and passed over.
    pub async fn acked(&mut self, wanted: u16) -> (u8, Vec<(String, String)>) {
        loop {
            match self.next().await {
                Packet::Puback { packet_id, code, user } if packet_id == wanted => return (code, user),
                Packet::Publish { packet_id: Some(packet_id), .. } => self.ack(packet_id).await,
                Packet::Publish { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn ack(&mut self, packet_id: u16) {
        self.send(&packet(0x40, &packet_id.to_be_bytes())).await;
    }

    /// The next delivery on a topic: its packet id and payload. Others are passed over.
    pub async fn delivery(&mut self, wanted: &str) -> (Option<u16>, Value) {
        loop {
            match self.next().await {
                Packet::Publish { topic, packet_id, payload, .. } if topic == wanted => return (packet_id, payload),
                Packet::Publish { .. } => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The text of the next entry, which is acknowledged.
    pub async fn text(&mut self) -> String {
        let (packet_id, entry) = self.delivery("tidings/inbox").await;
        self.ack(packet_id.expect("with quality of service 1")).await;
        entry["text"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned()
    }

    /// Nothing comes.
    pub async fn is_silent(&mut self) {
        let mut byte = [0];
        let heard = timeout(SILENCE, self.stream.peek(&mut byte)).await;
        assert!(heard.is_err(), "{:?}", self.next().await);
    }

    /// The next packet, however long that takes.
    pub async fn next_ever(&mut self) -> Packet {
        let _ = self.stream.peek(&mut [0]).await;
        self.next().await
    }

    pub async fn next(&mut self) -> Packet {
        let Some(first) = self.byte().await else { return Packet::Closed };
        let mut length = 0;
        for shift in [0, 7, 14, 21] {
            let Some(byte) = self.byte().await else { return Packet::Closed };
            length |= usize::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        match timeout(PATIENCE, self.stream.read_exact(&mut body)).await.expect("the rest comes") {
            Ok(_) => self.read(first, &body),
            // In the middle of a packet.
            Err(_) => Packet::Closed,
        }
    }

    async fn byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        match timeout(PATIENCE, self.stream.read_exact(&mut byte)).await.expect("something comes") {
            Ok(_) => Some(byte[0]),
            Err(_) => None,
        }
    }

    fn read(&self, first: u8, body: &[u8]) -> Packet {
        let is_v5 = self.version == V5;
        let id = |at: usize| u16::from_be_bytes([body[at], body[at + 1]]);
        match first >> 4 {
            2 => {
                let properties = if is_v5 && body.len() > 2 { properties(&body[2..]).0 } else { Vec::new() };
                Packet::Connack { present: body[0] == 1, code: body[1], properties }
            }
            3 => {
                let length = usize::from(id(0));
                let topic = String::from_utf8(body[2..2 + length].to_vec()).expect("it is UTF-8");
                let mut rest = 2 + length;
                let packet_id = (first & 6 != 0).then(|| id(rest));
                rest += if packet_id.is_some() { 2 } else { 0 };
                let (found, taken) = if is_v5 { properties(&body[rest..]) } else { (Vec::new(), 0) };
                let payload: Value = serde_json::from_slice(&body[rest + taken..]).expect("payloads are JSON");
                let channel = match topic.as_str() {
                    "tidings/live" => "mqttLive",
                    // Answers come on topics of one's own, too; entries also by an alias.
                    _ if payload["type"] != "entry" => "mqttAnswer",
                    _ => "mqttInbox",
                };
                contract::check_frame(channel, &payload);
                Packet::Publish { topic, packet_id, properties: found, payload }
            }
            4 => {
                let found = if body.len() > 3 { properties(&body[3..]).0 } else { Vec::new() };
                let user = found.iter().filter(|(id, _)| *id == 38).map(|(_, value)| pair(value)).collect();
                Packet::Puback { packet_id: id(0), code: body.get(2).copied().unwrap_or(0), user }
            }
            9 => {
                let skip = if is_v5 { properties(&body[2..]).1 } else { 0 };
                Packet::Suback { packet_id: id(0), codes: body[2 + skip..].to_vec() }
            }
            11 => Packet::Unsuback { packet_id: id(0) },
            13 => Packet::Pong,
            14 => Packet::Disconnect(body.first().copied().unwrap_or(0)),
            kind => panic!("a packet of type {kind}"),
        }
    }
}

/// Carries bytes into the messages of a WebSocket and back, until either side ends.
async fn carry(mut stream: TcpStream, socket: WebSocketStream<MaybeTlsStream<TcpStream>>) {
    let (mut saying, mut hearing) = socket.split();
    let (mut from, mut to) = stream.split();
    let mut bytes = vec![0; 4096];
    loop {
        tokio::select! {
            read = from.read(&mut bytes) => match read {
                Ok(count @ 1..) => {
                    if saying.send(Message::binary(bytes[..count].to_vec())).await.is_err() {
                        return;
                    }
                }
                _ => return,
            },
            heard = hearing.next() => match heard {
                Some(Ok(Message::Binary(bytes))) => if to.write_all(&bytes).await.is_err() {
                    return;
                },
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                _ => return,
            },
        }
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut length = body.len();
    loop {
        let byte = u8::try_from(length & 0x7f).expect("seven bits");
        length >>= 7;
        packet.push(if length > 0 { byte | 0x80 } else { byte });
        if length == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

pub fn text(text: &str) -> Vec<u8> {
    let mut bytes = u16::try_from(text.len()).expect("it is short").to_be_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub fn subscribe(version: u8, packet_id: u16, filter: &str, options: u8) -> Vec<u8> {
    let mut body = packet_id.to_be_bytes().to_vec();
    body.extend((version == V5).then_some(0));
    body.extend(text(filter));
    body.push(options);
    packet(0x82, &body)
}

/// `first` has the flags.
pub fn publish(
    version: u8,
    first: u8,
    packet_id: Option<u16>,
    topic: &str,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = text(topic);
    body.extend(packet_id.into_iter().flat_map(u16::to_be_bytes));
    if version == V5 {
        body.push(u8::try_from(properties.len()).expect("they are short"));
        body.extend(properties);
    }
    body.extend(payload);
    packet(first, &body)
}

/// Properties by their ids, as bytes, and how long they were.
fn properties(bytes: &[u8]) -> (Vec<(u8, Vec<u8>)>, usize) {
    let (length, mut at) = if bytes[0] & 0x80 == 0 {
        (usize::from(bytes[0]), 1)
    } else {
        (usize::from(bytes[0] & 0x7f) | usize::from(bytes[1]) << 7, 2)
    };
    let end = at + length;
    let mut found = Vec::new();
    while at < end {
        let id = bytes[at];
        at += 1;
        let string = |at: usize| 2 + usize::from(u16::from_be_bytes([bytes[at], bytes[at + 1]]));
        let size = match id {
            1 | 23 | 25 | 36 | 37 | 40 | 41 | 42 => 1,
            19 | 33 | 34 | 35 => 2,
            2 | 17 | 24 | 39 => 4,
            38 => string(at) + string(at + string(at)),
            _ => string(at),
        };
        found.push((id, bytes[at..at + size].to_vec()));
        at += size;
    }
    (found, end)
}

fn pair(value: &[u8]) -> (String, String) {
    let length = usize::from(u16::from_be_bytes([value[0], value[1]]));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
    (text(&value[2..2 + length]), text(&value[4 + length..]))
}
