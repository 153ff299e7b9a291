//! The few packets of MQTT 5 that a load says and counts, as bytes: built and read here, because a client would cost as much CPU
//! as the server under test.

use std::time::Duration;

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const READ_BYTES: usize = 4 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH_QOS_1: u8 = 0x32;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// What came, as far as a load wants to know it.
#[derive(Debug, PartialEq, Eq)]
pub enum Came {
    /// The acknowledgement of a publish; whether it was refused.
    Puback {
        is_refused: bool,
    },
    /// A publish to be acknowledged.
    Publish {
        packet_id: u16,
    },
    Other {
        kind: u8,
    },
}

/// A connection: what is queued goes out with `flush`.
pub struct Packets {
    stream: TcpStream,
    read: Vec<u8>,
    out: Vec<u8>,
}

impl Packets {
    /// Connects with a new session that stays for an hour, as a device would.
    pub async fn connect(address: &str, user: &str, client_id: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut packets = Self { stream, read: Vec::new(), out: Vec::new() };
        let mut body = Vec::new();
        text(&mut body, "MQTT");
        let (version, user_and_clean_start) = (5, 0x82);
        body.extend_from_slice(&[version, user_and_clean_start]);
        // No keep-alive; the properties: session expiry.
        body.extend_from_slice(&[0, 0, 5, 0x11]);
        body.extend_from_slice(&3_600_u32.to_be_bytes());
        text(&mut body, client_id);
        text(&mut body, user);
        packets.put(CONNECT, &body);
        packets.flush().await?;
        packets.wait_for(CONNACK).await?;
        Ok(packets)
    }

    pub async fn subscribe(&mut self, topic: &str) -> anyhow::Result<()> {
        let mut body = vec![0, 1, 0];
        text(&mut body, topic);
        body.push(1);
        self.put(SUBSCRIBE, &body);
        self.flush().await?;
        self.wait_for(SUBACK).await
    }

    /// Queues a publish that is to be acknowledged, with correlation data that names it.
    pub fn publish(&mut self, topic: &str, packet_id: u16, name: &[u8; 16], payload: &str) {
        let mut body = Vec::with_capacity(topic.len() + payload.len() + 32);
        text(&mut body, topic);
        body.extend_from_slice(&packet_id.to_be_bytes());
        body.extend_from_slice(&[19, 0x09, 0, 16]);
        body.extend_from_slice(name);
        body.extend_from_slice(payload.as_bytes());
        self.put(PUBLISH_QOS_1, &body);
    }

    pub fn puback(&mut self, packet_id: u16) {
        self.put(PUBACK, &packet_id.to_be_bytes());
    }

    pub fn has_queued(&self) -> bool {
        !self.out.is_empty()
    }

    /// Not to be cancelled: half a packet may be out.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Reads more. May be cancelled.
    pub async fn fill(&mut self) -> anyhow::Result<()> {
        self.read.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the server hung up");
        }
        Ok(())
    }

    /// All that was read whole.
    pub fn take(&mut self) -> anyhow::Result<Vec<Came>> {
        let (mut came, mut at) = (Vec::new(), 0);
        while let Some((head, body)) = packet(&self.read[at..])? {
            let kind = self.read[at];
            came.push(read(kind, &self.read[at + head..at + head + body])?);
            at += head + body;
        }
        self.read.drain(..at);
        Ok(came)
    }

    async fn wait_for(&mut self, kind: u8) -> anyhow::Result<()> {
        loop {
            match self.take()?.into_iter().next() {
                Some(Came::Other { kind: found }) if found == kind => return Ok(()),
                Some(other) => bail!("not what was waited for: {other:?}"),
                None => {}
            }
            timeout(PATIENCE, self.fill()).await.context("no answer")??;
        }
    }

    fn put(&mut self, kind: u8, body: &[u8]) {
        self.out.push(kind);
        let mut rest = body.len();
        loop {
            let low = (rest % 128) as u8;
            rest /= 128;
            self.out.push(if rest > 0 { low | 0x80 } else { low });
            if rest == 0 {
                break;
            }
        }
        self.out.extend_from_slice(body);
    }
}

fn text(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_be_bytes());
    body.extend_from_slice(text.as_bytes());
}

/// How long head and body of the first packet are, if it is there whole.
fn packet(bytes: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for place in 1..=4 {
        let Some(&byte) = bytes.get(place) else { return Ok(None) };
        length |= usize::from(byte & 0x7f) << (7 * (place - 1));
        if byte & 0x80 == 0 {
            let head = place + 1;
            return Ok((bytes.len() >= head + length).then_some((head, length)));
        }
    }
    bail!("a length of more than four bytes")
}

fn read(kind: u8, body: &[u8]) -> anyhow::Result<Came> {
    let number = |at: usize| {
        let bytes = body.get(at..at + 2).context("a packet that ends too early")?;
        anyhow::Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    };
    Ok(match kind {
        PUBACK => Came::Puback { is_refused: body.get(2).is_some_and(|reason| *reason >= 0x80) },
        PUBLISH_QOS_1 => Came::Publish { packet_id: number(2 + usize::from(number(0)?))? },
        CONNACK if body.get(1) != Some(&0) => bail!("not let in: reason {:?}", body.get(1)),
        SUBACK if body.last().is_none_or(|reason| *reason >= 0x80) => bail!("a subscription was refused"),
        kind => Came::Other { kind },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_found_whole_or_not_at_all() {
        let publish = [PUBLISH_QOS_1, 6, 0, 1, b't', 0, 9, 0];
        assert_eq!(packet(&publish[..7]).unwrap(), None);
        assert_eq!(packet(&publish).unwrap(), Some((2, 6)));
        assert_eq!(read(PUBLISH_QOS_1, &publish[2..]).unwrap(), Came::Publish { packet_id: 9 });
        assert_eq!(packet(&[0x30, 0x80, 1]).unwrap(), None);
        assert!(packet(&[0x30, 0x80, 0x80, 0x80, 0x80]).is_err());
    }
}
