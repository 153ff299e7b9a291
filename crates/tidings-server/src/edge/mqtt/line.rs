//! The bytes of one connection, over TCP, under TLS, or in the binary frames of a WebSocket. A packet may begin in one frame and end in
//! another.

use std::io;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::super::door::Stream;

/// Read at once.
const READ_BYTES: usize = 4 * 1024;

pub enum Line {
    Tcp(TcpStream),
    /// Under TLS.
    Secure(Box<Stream>),
    WebSocket(Box<WebSocket>),
}

impl Line {
    /// Puts what came behind `into`; false: that was all. May be dropped at any time, nothing is lost then.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => loop {
                stream.readable().await?;
                // On the stack while there is something to read: an idle connection keeps no buffer.
                let mut buffer = [0; READ_BYTES];
                match stream.try_read(&mut buffer) {
                    Ok(count) => {
                        into.extend_from_slice(&buffer[..count]);
                        return Ok(count > 0);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            },
            Self::Secure(stream) => {
                into.reserve(READ_BYTES);
                Ok(stream.read_buf(into).await? > 0)
            }
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        into.extend_from_slice(&bytes);
                        return Ok(true);
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(_))) | None => return Ok(false),
                    // MQTT 5 section 6: other frames end the connection.
                    Some(Ok(Message::Text(_))) => return Err(io::ErrorKind::InvalidData.into()),
                    Some(Err(error)) => return Err(io::Error::other(error)),
                }
            },
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Secure(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
            Self::WebSocket(socket) => {
                let message = Message::Binary(Bytes::copy_from_slice(bytes));
                socket.send(message).await.map_err(io::Error::other)
            }
        }
    }

    /// Ends it, and waits until the other side has read why. To be given a limit of time.
    pub async fn close(mut self) {
        let mut rest = Vec::new();
        match &mut self {
            Self::Tcp(stream) => {
                if stream.shutdown().await.is_err() {
                    return;
                }
            }
            Self::Secure(stream) => {
                if stream.shutdown().await.is_err() {
                    return;
                }
            }
            Self::WebSocket(socket) => {
                if socket.send(Message::Close(None)).await.is_err() {
                    return;
                }
            }
        }
        while matches!(self.read(&mut rest).await, Ok(true)) {
            rest.clear();
        }
    }
}
