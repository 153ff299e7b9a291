//! Where a client is. Behind a proxy the socket's other end is the proxy: what it says of the client (`X-Forwarded-For`, or the
//! PROXY protocol at the head of the connection) is believed if it is one of `http.trusted_proxies`, and from nobody else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;
use tokio::{
    io::{self, AsyncReadExt},
    net::TcpStream,
};

/// Both ends of a connection that say who it is.
#[derive(Clone, Copy, Debug)]
pub struct Peer {
    /// The other end of the socket.
    pub socket: SocketAddr,
    /// The client, as far as is known.
    pub client: SocketAddr,
    /// Another node told of both: the client came to that one, and is to be served here.
    pub is_relayed: bool,
}

impl Peer {
    /// The same, with the client that trusted proxies tell of in a call's head.
    #[must_use]
    pub fn resolved(self, headers: &HeaderMap, proxies: &[IpNet]) -> Self {
        let ip = forwarded_for(headers, self.client.ip(), proxies);
        Self { client: SocketAddr::new(ip, self.client.port()), ..self }
    }
}

pub fn is_in(address: IpAddr, networks: &[IpNet]) -> bool {
    networks.iter().any(|network| network.contains(&address.to_canonical()))
}

/// The nearest address that is no trusted proxy: each proxy adds on the right what it sees; further left anybody may write.
fn forwarded_for(headers: &HeaderMap, from: IpAddr, proxies: &[IpNet]) -> IpAddr {
    let mut client = from;
    if !is_in(client, proxies) {
        return client;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|line| line.to_str().ok()).collect();
    for told in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        if !is_in(client, proxies) {
            break;
        }
        match read_address(told.trim()) {
            Some(address) => client = address,
            None => break,
        }
    }
    client
}

/// An address, with a port or without.
fn read_address(text: &str) -> Option<IpAddr> {
    let plain = text.trim_start_matches('[').trim_end_matches(']').parse().ok();
    plain.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

pub(super) const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Of version 1, line end included; and of version 2's addresses and additions.
const V1_BYTES_MAX: usize = 107;
pub(super) const V2_BYTES_MAX: usize = 2_048;

/// Reads the head that the PROXY protocol (versions 1 and 2) puts in front: the client, or `None` where the proxy speaks for itself.
pub async fn read_proxy_head(stream: &mut TcpStream) -> io::Result<Option<SocketAddr>> {
    let wrong = || io::Error::new(io::ErrorKind::InvalidData, "it does not begin with the PROXY protocol");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await?;
    if head == *V2_SIGNATURE {
        let mut rest = [0; 4];
        stream.read_exact(&mut rest).await?;
        let length = usize::from(u16::from_be_bytes([rest[2], rest[3]]));
        if length > V2_BYTES_MAX {
            return Err(wrong());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        return v2_client(rest[0], rest[1], &body).ok_or_else(wrong);
    }
    let mut line = head.to_vec();
    if !line.starts_with(b"PROXY ") {
        return Err(wrong());
    }
    while !line.ends_with(b"\r\n") {
        if line.len() >= V1_BYTES_MAX {
            return Err(wrong());
        }
        line.push(stream.read_u8().await?);
    }
    std::str::from_utf8(&line).ok().and_then(v1_client).ok_or_else(wrong)
}

fn v1_client(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.trim_end().split(' ').skip(1);
    match words.next()? {
        "UNKNOWN" => Some(None),
        "TCP4" | "TCP6" => {
            let (ip, _, port) = (words.next()?.parse().ok()?, words.next()?, words.next()?.parse().ok()?);
            Some(Some(SocketAddr::new(ip, port)))
        }
        _ => None,
    }
}

pub(super) fn v2_client(version_command: u8, family: u8, body: &[u8]) -> Option<Option<SocketAddr>> {
    let port = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    match (version_command, family) {
        // LOCAL: the proxy asks for itself, as a health check does.
        (0x20, _) => Some(None),
        (0x21, 0x11) => {
            let ip: [u8; 4] = body.get(..4)?.try_into().ok()?;
            Some(Some(SocketAddr::new(Ipv4Addr::from(ip).into(), port(8)?)))
        }
        (0x21, 0x21) => {
            let ip: [u8; 16] = body.get(..16)?.try_into().ok()?;
            Some(Some(SocketAddr::new(Ipv6Addr::from(ip).into(), port(32)?)))
        }
        (0x21, _) => Some(None),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        let proxies: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|network| network.parse().unwrap()).collect();
        let client = |from: &str, lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append("x-forwarded-for", line.parse().unwrap());
            }
            forwarded_for(&headers, from.parse().unwrap(), &proxies).to_string()
        };
        assert_eq!(client("192.0.2.1", &["198.51.100.7"]), "192.0.2.1", "nobody we know");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["198.51.100.7"]), "198.51.100.7");
        assert_eq!(client("10.0.0.1", &["1.1.1.1, 198.51.100.7"]), "198.51.100.7", "the left one is the client's word");
        assert_eq!(client("10.0.0.1", &["1.1.1.1", "198.51.100.7, 10.0.0.2"]), "198.51.100.7", "two proxies");
        assert_eq!(client("10.0.0.1", &["198.51.100.7, nonsense"]), "10.0.0.1");
        assert_eq!(client("::ffff:10.0.0.1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("fd00::1", &["198.51.100.7:1234"]), "198.51.100.7");
    }

    #[test]
    fn heads_of_the_proxy_protocol_are_read() {
        let at = |text: &str| Some(Some(text.parse().unwrap()));
        assert_eq!(v1_client("PROXY TCP4 198.51.100.7 10.0.0.1 5000 443\r\n"), at("198.51.100.7:5000"));
        assert_eq!(v1_client("PROXY TCP6 2001:db8::1 ::1 5000 443\r\n"), at("[2001:db8::1]:5000"));
        assert_eq!(v1_client("PROXY UNKNOWN\r\n"), Some(None));
        for wrong in
            ["PROXY\r\n", "PROXY TCP4 x y 1 2\r\n", "PROXY TCP4 1.2.3.4 1.2.3.4 70000 1\r\n", "PROXY UDP4 1 2 3 4\r\n"]
        {
            assert_eq!(v1_client(wrong), None, "{wrong}");
        }
        let v4 = [198, 51, 100, 7, 10, 0, 0, 1, 0x13, 0x88, 1, 0xbb];
        assert_eq!(v2_client(0x21, 0x11, &v4), at("198.51.100.7:5000"));
        assert_eq!(v2_client(0x20, 0, &[]), Some(None));
        assert_eq!(v2_client(0x21, 0x11, &v4[..9]), None);
        assert_eq!(v2_client(0x11, 0x11, &v4), None);
    }
}
