//! Frames over MQTT 5, for where that is the way through, or a device speaks it anyway. What happens comes by the device's session
//! (`tidings/inbox`, `tidings/live`), what is said goes out as publishes, in one order; a message's acknowledgement is its answer. What only reads
//! (history, inbox, sync) is a call, so that long answers do not stand in the way of what happens.
//!
//! `line` carries the bytes, `wire` knows the packets, `publishes` what is not acknowledged, `link` is the link made of them.

mod line;
mod link;
mod publishes;
mod wire;

use std::{collections::VecDeque, future::poll_fn, sync::Arc, task::Poll};

use async_trait::async_trait;
use tidings_proto::{
    Code,
    frames::{
        client::Hello,
        server::{Refused, ServerFrame},
    },
};
use tokio::{net::TcpStream, sync::Mutex};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use super::{Link, Transport, http::token, polls, websocket};
use crate::{
    endpoint::Endpoint,
    error::{ClientError, Lost},
    http::{Http, Login},
};
use line::Line;
use link::{MqttLink, Open};
use publishes::Publishes;
use wire::{Connect, Granted, Incoming, Qos, Reason, Wire, put_connect, put_subscribe};

/// The subprotocol of MQTT over WebSocket (MQTT 5 section 6).
const SUBPROTOCOL: &str = "mqtt";
/// The session outlives a cut by so much, and brings what it was not acknowledged. Whoever stays away longer has the sync token.
const EXPIRY_S: u32 = 300;
/// The server hears something from us at least this often.
const KEEP_ALIVE_S: u16 = 90;
/// Nothing is heard for so long: the session asks whether the line stands.
const HEARTBEAT_S: u64 = 30;
/// Deliveries that are not with the application yet. What is beyond waits in the server's log.
const RECEIVE_MAXIMUM: u16 = 64;
/// Answers are at most 1 MiB; twice that leaves room for what surrounds them.
const PACKET_BYTES_MAX: usize = 2 * 1024 * 1024;
/// What surrounds a frame in its packet: the topic, mostly.
const AROUND_FRAME_BYTES: usize = 1024;
const BUFFER_BYTES: usize = 16 * 1024;

/// A way to a server by MQTT.
pub struct Mqtt {
    reached: Reached,
    /// For what only reads, and to log in.
    http: Http,
    /// Of a user whom a name was enough for: logged in once.
    login: Arc<Mutex<Option<Login>>>,
}

/// Where MQTT is spoken.
#[derive(Clone, Debug)]
enum Reached {
    /// At the server's own address.
    WebSocket(Endpoint),
    /// `host:port`.
    Tcp(String),
}

impl Mqtt {
    /// Over a WebSocket at the server's address.
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let reached = Reached::WebSocket(Endpoint::parse(url)?);
        Ok(Self { reached, http: Http::new(url)?, login: Arc::default() })
    }

    /// At the port of the server's `mqtt.listen`, `host:port`; calls go to `url`.
    pub fn over_tcp(url: &str, address: &str) -> Result<Self, ClientError> {
        Ok(Self { reached: Reached::Tcp(address.to_owned()), http: Http::new(url)?, login: Arc::default() })
    }
}

#[async_trait]
impl Transport for Mqtt {
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost> {
        let (reached, http, login) = (self.reached.clone(), self.http.clone(), self.login.clone());
        Ok(Box::new(MqttLink::new(Opening { reached, http, login, listens })))
    }
}

/// All it takes to open a line, once `hello` is said.
struct Opening {
    reached: Reached,
    http: Http,
    login: Arc<Mutex<Option<Login>>>,
    listens: bool,
}

impl Opening {
    async fn open(self, hello: Hello) -> Result<Open, Lost> {
        let token = token(&self.http, &self.login, &hello).await?;
        let http = self.http.with_token(&token);
        let mut welcome = polls::welcome(&http, &hello, HEARTBEAT_S).await?;
        if let Some(device) = &hello.device {
            welcome.device = device.clone();
        }
        let mut talk = Talk {
            line: self.reached.connect().await?,
            wire: Wire::new(PACKET_BYTES_MAX),
            input: Vec::new(),
            out: Vec::new(),
            frames: VecDeque::new(),
            deliveries: VecDeque::new(),
        };
        // Who shows no sync token begins with what there is now: a session of before would bring what was.
        let clean_start = hello.sync.is_none() || !self.listens;
        let connect = Connect {
            client_id: welcome.device.as_str(),
            username: welcome.user.as_str(),
            token: &token,
            clean_start,
            expiry_s: if self.listens { EXPIRY_S } else { 0 },
            keep_alive_s: KEEP_ALIVE_S,
            receive_maximum: RECEIVE_MAXIMUM,
        };
        let granted = talk.connect(&connect).await?;
        talk.subscribe(self.listens).await?;
        welcome.limits.frame_bytes =
            welcome.limits.frame_bytes.min(granted.max_packet_bytes.saturating_sub(AROUND_FRAME_BYTES));
        // What is missed comes before what came meanwhile: it says where conversations begin that are not known here.
        if let (Some(sync), true) = (&hello.sync, self.listens) {
            let missed = polls::missed(&http, sync, hello.tail.unwrap_or(0)).await?;
            talk.frames.push_front(ServerFrame::Changes(missed).to_json());
        }
        talk.frames.push_front(ServerFrame::Welcome(welcome).to_json());
        Ok(Open::new(talk, Publishes::default(), granted.receive_maximum, http))
    }
}

impl Reached {
    async fn connect(&self) -> Result<Line, Lost> {
        match self {
            Self::WebSocket(endpoint) => {
                let config = WebSocketConfig::default()
                    .read_buffer_size(BUFFER_BYTES)
                    .write_buffer_size(BUFFER_BYTES)
                    .max_frame_size(Some(PACKET_BYTES_MAX))
                    .max_message_size(Some(PACKET_BYTES_MAX));
                let socket = websocket::open_as(endpoint, "/v1/mqtt", SUBPROTOCOL, config).await?;
                Ok(Line::WebSocket { socket: Box::new(socket), needs_flush: false })
            }
            Self::Tcp(address) => {
                let unreachable = |error: std::io::Error| Lost::Unreachable(error.to_string());
                let stream = TcpStream::connect(address).await.map_err(unreachable)?;
                stream.set_nodelay(true).map_err(unreachable)?;
                Ok(Line::Tcp(stream))
            }
        }
    }
}

/// A line with its packets.
struct Talk {
    line: Line,
    wire: Wire,
    /// Read, and not taken yet.
    input: Vec<u8>,
    out: Vec<u8>,
    /// To be handed on.
    frames: VecDeque<String>,
    /// What came and is not acknowledged, the oldest first.
    deliveries: VecDeque<u16>,
}

impl Talk {
    async fn connect(&mut self, connect: &Connect<'_>) -> Result<Granted, Lost> {
        put_connect(&mut self.out, connect)?;
        loop {
            match self.next().await? {
                Incoming::Connack(Ok(granted)) => return Ok(granted),
                Incoming::Connack(Err(reason)) => return Err(not_let_in(reason)),
                packet => self.take(packet)?,
            }
        }
    }

    /// Who listens to nothing is told the answers alone.
    async fn subscribe(&mut self, listens: bool) -> Result<(), Lost> {
        const PACKET_ID: u16 = u16::MAX;
        let mut topics = vec![("tidings/answer", Qos::AtMostOnce)];
        if listens {
            topics.extend([("tidings/live", Qos::AtMostOnce), ("tidings/inbox", Qos::AtLeastOnce)]);
        }
        put_subscribe(&mut self.out, PACKET_ID, &topics)?;
        loop {
            match self.next().await? {
                Incoming::Suback { is_granted: true } => return Ok(()),
                Incoming::Suback { is_granted: false } => {
                    return Err(Lost::Broken("the server refused a subscription".to_owned()));
                }
                packet => self.take(packet)?,
            }
        }
    }

    /// Writes what there is to write, and waits for the next packet.
    async fn next(&mut self) -> Result<Incoming, Lost> {
        loop {
            if let Some(packet) = self.wire.read(&mut self.input)? {
                return Ok(packet);
            }
            poll_fn(|context| match self.line.poll_write(&mut self.out, context) {
                Poll::Ready(Err(lost)) => Poll::Ready(Err(lost)),
                _ => self.line.poll_read(&mut self.input, context),
            })
            .await?;
        }
    }

    /// Takes what may come at any time.
    fn take(&mut self, packet: Incoming) -> Result<(), Lost> {
        match packet {
            Incoming::Publish { packet_id, frame } => {
                self.deliveries.extend(packet_id);
                self.frames.push_back(frame);
                Ok(())
            }
            Incoming::Disconnect(reason) => Err(closed(reason)),
            _ => Ok(()),
        }
    }
}

/// CONNECT was refused.
fn not_let_in(Reason { code, why, retry_after_ms }: Reason) -> Lost {
    let code = match code {
        0x86 | 0x87 => Code::Unauthenticated,
        0x88 | 0x89 => Code::Unavailable,
        0x9f => Code::RateLimited,
        _ => Code::BadRequest,
    };
    Lost::Refused(Box::new(Refused {
        re: None,
        code,
        message: why,
        retry_after_ms,
        users: Vec::new(),
        login_url: None,
    }))
}

/// The server's reason to end the connection, as the code that a WebSocket would be closed with.
fn closed(Reason { code, why, .. }: Reason) -> Lost {
    use tidings_proto::CloseCode;
    let close = match code {
        0x8b => CloseCode::Draining,
        0x97 => CloseCode::Lagging,
        0x89 => CloseCode::TryLater,
        // With the token that `hello` will have by then, or not at all.
        0x87 => CloseCode::TokenExpired,
        0x98 => CloseCode::Revoked,
        0x8e => CloseCode::Replaced,
        _ => return Lost::Broken(format!("the server ended the connection: {why} (MQTT reason {code:#x})")),
    };
    let reason = if why.is_empty() { close.reason().to_owned() } else { why };
    Lost::Closed { code: close.number(), reason }
}
