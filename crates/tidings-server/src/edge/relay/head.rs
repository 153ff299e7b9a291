//! The head of a relayed connection: the PROXY protocol, version 2, with the client's address as the source, and in two fields
//! of our own what shows that a node of this fleet speaks, and the other end of the client's socket (which is a gateway or a
//! proxy, where there is one: what its calls say of the client is believed or not as it was on the first node).

use std::net::{IpAddr, SocketAddr};

use tokio::{
    io::{self, AsyncReadExt},
    net::TcpStream,
};

use super::super::addresses::{Peer, V2_BYTES_MAX, V2_SIGNATURE, v2_client};

/// PROXY protocol 2.2.7: types for what is one's own.
const KEY: u8 = 0xE0;
const SOCKET: u8 = 0xE1;

const COMMAND_PROXY: u8 = 0x21;
const TCP_4: u8 = 0x11;
const TCP_6: u8 = 0x21;

pub fn write(peer: &Peer, key: &blake3::Hash) -> Vec<u8> {
    let (family, mut body) = match peer.client.ip().to_canonical() {
        // The address that the client called is of no use to anybody: it stays empty.
        IpAddr::V4(ip) => (TCP_4, [&ip.octets()[..], &[0; 4]].concat()),
        IpAddr::V6(ip) => (TCP_6, [&ip.octets()[..], &[0; 16]].concat()),
    };
    body.extend_from_slice(&peer.client.port().to_be_bytes());
    body.extend_from_slice(&[0; 2]);
    for (kind, value) in [(KEY, &key.as_bytes()[..]), (SOCKET, peer.socket.to_string().as_bytes())] {
        body.push(kind);
        body.extend_from_slice(&length(value));
        body.extend_from_slice(value);
    }
    let mut head = V2_SIGNATURE.to_vec();
    head.extend_from_slice(&[COMMAND_PROXY, family]);
    head.extend_from_slice(&length(&body));
    head.append(&mut body);
    head
}

fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).expect("addresses and a key are short").to_be_bytes()
}

/// Who the client is. An error: it is no node of this fleet that speaks.
pub async fn read(stream: &mut TcpStream, key: &blake3::Hash) -> io::Result<Peer> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it is no node of this fleet");
    let mut head = [0; 16];
    stream.read_exact(&mut head).await?;
    let length = usize::from(u16::from_be_bytes([head[14], head[15]]));
    if !head.starts_with(V2_SIGNATURE) || length > V2_BYTES_MAX {
        return Err(wrong());
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    peer(head[12], head[13], &body, key).ok_or_else(wrong)
}

fn peer(version_command: u8, family: u8, body: &[u8], key: &blake3::Hash) -> Option<Peer> {
    let client = v2_client(version_command, family, body)??;
    let mut fields = body.get(if family == TCP_4 { 12 } else { 36 }..)?;
    let (mut is_known, mut socket) = (false, None);
    while !fields.is_empty() {
        let length = usize::from(u16::from_be_bytes([*fields.get(1)?, *fields.get(2)?]));
        let (kind, value) = (fields[0], fields.get(3..3 + length)?);
        match kind {
            // Hashes are compared in the same time wherever they differ.
            KEY => is_known = blake3::Hash::from(<[u8; 32]>::try_from(value).ok()?) == *key,
            SOCKET => socket = Some(std::str::from_utf8(value).ok()?.parse::<SocketAddr>().ok()?),
            _ => {}
        }
        fields = &fields[3 + length..];
    }
    is_known.then_some(Peer { socket: socket?, client, is_relayed: true })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(head: &[u8], key: &blake3::Hash) -> Option<Peer> {
        peer(head[12], head[13], &head[16..], key)
    }

    #[test]
    fn a_head_tells_both_addresses_to_whom_the_key_is_known() {
        let (key, other) = (blake3::hash(b"one"), blake3::hash(b"other"));
        for (client, socket) in [
            ("203.0.113.7:41000", "10.0.0.1:8080"),
            ("[2001:db8::7]:41000", "[fd00::1]:8080"),
            ("[::ffff:203.0.113.7]:1", "10.0.0.1:2"),
        ] {
            let peer = Peer { client: client.parse().unwrap(), socket: socket.parse().unwrap(), is_relayed: false };
            let head = write(&peer, &key);
            assert_eq!(usize::from(u16::from_be_bytes([head[14], head[15]])), head.len() - 16);
            let read = read_back(&head, &key).unwrap();
            assert_eq!((read.client.ip(), read.client.port()), (peer.client.ip().to_canonical(), peer.client.port()));
            assert_eq!((read.socket, read.is_relayed), (peer.socket, true));
            assert!(read_back(&head, &other).is_none(), "another fleet");
            // Cut anywhere, or of another proxy that knows no key.
            assert!((16..head.len()).all(|end| read_back(&head[..end], &key).is_none()));
        }
    }
}
