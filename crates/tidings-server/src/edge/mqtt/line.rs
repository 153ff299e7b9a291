//! The bytes of one connection, over TCP, under TLS, or in the binary frames of a WebSocket. A packet may begin in one frame and end in
//! another.

use std::{
    future::poll_fn,
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWriteExt, ReadBuf},
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

/// Puts what came behind `into`; false: that was all. The buffer is on the stack while there is something to read: an idle
/// connection keeps none.
fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    into: &mut Vec<u8>,
    context: &mut Context<'_>,
) -> Poll<io::Result<bool>> {
    let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
    let mut read = ReadBuf::uninit(&mut bytes);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    into.extend_from_slice(read.filled());
    Poll::Ready(Ok(!read.filled().is_empty()))
}

impl Line {
    /// Puts what came behind `into`; false: that was all. May be dropped at any time, nothing is lost then.
    pub async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::Tcp(stream) => poll_fn(|context| poll_read(stream, into, context)).await,
            Self::Secure(stream) => poll_fn(|context| poll_read(&mut **stream, into, context)).await,
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
