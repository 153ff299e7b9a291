//! The address of a server, as people write it, and what is derived from it.

use http::Uri;

use crate::error::ClientError;

/// Where a server is: `http://host[:port][/prefix]`, also with `ws`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    port: u16,
    prefix: String,
}

impl Endpoint {
    pub fn parse(url: &str) -> Result<Self, ClientError> {
        let wrong = |reason: &str| ClientError::Address { url: url.to_owned(), reason: reason.to_owned() };
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = with_scheme.parse().map_err(|error| wrong(&format!("{error}")))?;
        match uri.scheme_str() {
            Some("http" | "ws") => {}
            Some("https" | "wss") => {
                return Err(wrong("this build knows no TLS: put a proxy on this machine before it"));
            }
            _ => return Err(wrong("it must begin with http://")),
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(|| wrong("it names no host"))?;
        Ok(Self {
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(80),
            prefix: uri.path().trim_end_matches('/').to_owned(),
        })
    }

    /// `host:port`, fit to be connected to.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The address of a WebSocket at a path that begins with `/`.
    pub fn websocket(&self, path: &str) -> String {
        format!("ws://{}{}{path}", self.authority(), self.prefix)
    }

    /// The address of a path that begins with `/`.
    pub fn path(&self, path: &str) -> String {
        format!("http://{}{}{path}", self.authority(), self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let read = |url: &str| Endpoint::parse(url).map(|endpoint| endpoint.websocket("/v1/ws"));
        assert_eq!(read("http://127.0.0.1:8080").unwrap(), "ws://127.0.0.1:8080/v1/ws");
        assert_eq!(read("localhost:9/").unwrap(), "ws://localhost:9/v1/ws");
        assert_eq!(read("ws://[::1]:9/chat/").unwrap(), "ws://[::1]:9/chat/v1/ws");
        for wrong in ["", "ftp://a", "https://a", "http://", "http://a b"] {
            assert!(matches!(read(wrong), Err(ClientError::Address { .. })), "{wrong}");
        }
    }
}
