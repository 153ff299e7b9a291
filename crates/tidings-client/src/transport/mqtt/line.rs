//! Bytes to and from a server that speaks MQTT: in the binary frames of a WebSocket, or over TCP.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_tungstenite::{WebSocketStream, tungstenite::Message};

use crate::error::Lost;

/// Read at once.
const READ_BYTES: usize = 8 * 1024;

pub(super) enum Line {
    WebSocket {
        socket: Box<WebSocketStream<TcpStream>>,
        /// Something was handed to it and may not be out yet.
        needs_flush: bool,
    },
    Tcp(TcpStream),
}

impl Line {
    /// Puts what comes behind `into`. The end of the line is an error.
    pub fn poll_read(&mut self, into: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        match self {
            Self::WebSocket { socket, .. } => loop {
                match ready!(socket.poll_next_unpin(context)) {
                    Some(Ok(Message::Binary(bytes))) => {
                        into.extend_from_slice(&bytes);
                        return Poll::Ready(Ok(()));
                    }
                    Some(Ok(Message::Close(_))) | None => return Poll::Ready(Err(hung_up())),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(lost(&error))),
                }
            },
            Self::Tcp(stream) => {
                let mut bytes = [0; READ_BYTES];
                let mut buffer = ReadBuf::new(&mut bytes);
                ready!(Pin::new(stream).poll_read(context, &mut buffer)).map_err(|error| lost(&error))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Err(hung_up()));
                }
                into.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(()))
            }
        }
    }

    /// Writes `out` from its front. Ready when all of it is out.
    pub fn poll_write(&mut self, out: &mut Vec<u8>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        match self {
            Self::WebSocket { socket, needs_flush } => {
                if !out.is_empty() {
                    ready!(socket.poll_ready_unpin(context)).map_err(|error| lost(&error))?;
                    let message = Message::Binary(Bytes::from(std::mem::take(out)));
                    socket.start_send_unpin(message).map_err(|error| lost(&error))?;
                    *needs_flush = true;
                }
                if *needs_flush {
                    ready!(socket.poll_flush_unpin(context)).map_err(|error| lost(&error))?;
                    *needs_flush = false;
                }
                Poll::Ready(Ok(()))
            }
            Self::Tcp(stream) => {
                while !out.is_empty() {
                    let count =
                        ready!(Pin::new(&mut *stream).poll_write(context, out)).map_err(|error| lost(&error))?;
                    out.drain(..count);
                }
                Poll::Ready(Ok(()))
            }
        }
    }

    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        match self {
            Self::WebSocket { socket, .. } => socket.poll_close_unpin(context).map_err(|error| lost(&error)),
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context).map_err(|error| lost(&error)),
        }
    }
}

fn hung_up() -> Lost {
    Lost::Broken("the server hung up".to_owned())
}

fn lost(error: &dyn std::error::Error) -> Lost {
    Lost::Broken(error.to_string())
}
