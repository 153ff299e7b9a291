//! A connection that only listens, over each transport: it counts entries without building them.

use std::time::Duration;

use anyhow::{Context, bail};
use memchr::memmem;
use tidings_client::{
    http::Http,
    raw::{Connection, PONG},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    load::connect,
    packets::{Came, Packets},
    server::Server,
};
use crate::cli::Transport;

/// What an entry of somebody's message is known by, wherever it stands.
const ENTRY: &[u8] = br#""type":"entry""#;
const READ_BYTES: usize = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

pub enum Listener {
    WebSocket(Connection),
    Sse(Events),
    Mqtt(Packets),
}

/// A stream of server-sent events, looked through for entries.
pub struct Events {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Listener {
    /// Logs a user in who hears all that happens.
    pub async fn connect(transport: Transport, server: &Server, user: &str) -> anyhow::Result<Self> {
        Ok(match transport {
            Transport::Ws => Self::WebSocket(connect(&server.url, user).await?),
            Transport::Sse => Self::Sse(Events::open(&server.url, user).await?),
            Transport::Mqtt => {
                let mut packets = Packets::connect(&server.mqtt, user, "bench").await?;
                packets.subscribe("tidings/inbox").await?;
                Self::Mqtt(packets)
            }
            Transport::Poll => bail!("polls do not listen: tidings bench poll measures them"),
        })
    }

    /// Waits for more, and tells how many entries are in it. May be cancelled.
    pub async fn entries(&mut self) -> anyhow::Result<u64> {
        match self {
            Self::WebSocket(connection) => {
                let mut count = 0;
                let mut frame = Some(connection.reader.next().await?);
                while let Some(found) = frame {
                    match found.kind() {
                        "entry" => count += 1,
                        "ping" => connection.writer.queue(PONG),
                        _ => {}
                    }
                    frame = connection.reader.try_next()?;
                }
                Ok(count)
            }
            Self::Sse(events) => events.entries().await,
            Self::Mqtt(packets) => {
                packets.fill().await?;
                let mut count = 0;
                for came in packets.take()? {
                    if let Came::Publish { packet_id } = came {
                        packets.puback(packet_id);
                        count += 1;
                    }
                }
                Ok(count)
            }
        }
    }

    /// Says what is to be said about what came. Not to be cancelled.
    pub async fn answer(&mut self) -> anyhow::Result<()> {
        match self {
            Self::WebSocket(connection) if connection.writer.queued_bytes() > 0 => {
                Ok(connection.writer.flush().await?)
            }
            Self::Mqtt(packets) if packets.has_queued() => packets.flush().await,
            _ => Ok(()),
        }
    }
}

impl Events {
    async fn open(url: &str, user: &str) -> anyhow::Result<Self> {
        let login = Http::new(url)?.login(user, Some("bench")).await?;
        let host = url.strip_prefix("http://").context("the server's address")?;
        let mut stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        let head = format!("GET /v1/events HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\r\n", login.token);
        stream.write_all(head.as_bytes()).await?;
        let mut events = Self { stream, read: Vec::new() };
        while memmem::find(&events.read, br#""type":"welcome""#).is_none() {
            timeout(PATIENCE, events.fill()).await.context("no welcome")??;
            if !events.read.starts_with(b"HTTP/1.1 200") {
                bail!("no stream of events: {}", String::from_utf8_lossy(&events.read));
            }
        }
        events.read.clear();
        Ok(events)
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the server hung up");
        }
        Ok(())
    }

    async fn entries(&mut self) -> anyhow::Result<u64> {
        self.fill().await?;
        let found: Vec<usize> = memmem::find_iter(&self.read, ENTRY).collect();
        // The beginning of one may stand at the end.
        let searched = found.last().map_or(0, |last| last + ENTRY.len());
        let keep = self.read.len().saturating_sub(ENTRY.len() - 1).max(searched);
        self.read.drain(..keep);
        Ok(found.len() as u64)
    }
}
