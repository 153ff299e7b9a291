//! A line as plain bytes, for a client that another node serves: what its packets are does not matter here.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use axum::extract::ws::{Message, WebSocket};
use bytes::{Buf, Bytes};
use futures_util::{Sink, Stream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::line::Line;

pub struct Carried {
    line: Line,
    /// Of a WebSocket's message, what is not taken yet.
    message: Bytes,
}

impl Carried {
    pub fn new(line: Line) -> Self {
        Self { line, message: Bytes::new() }
    }
}

impl AsyncRead for Carried {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { line, message } = self.get_mut();
        let socket = match line {
            Line::Tcp(stream) => return Pin::new(stream).poll_read(context, into),
            Line::Secure(stream) => return Pin::new(stream).poll_read(context, into),
            Line::WebSocket(socket) => &mut **socket,
        };
        while message.is_empty() {
            match ready!(Pin::new(&mut *socket).poll_next(context)) {
                Some(Ok(Message::Binary(bytes))) => *message = bytes,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Poll::Ready(Ok(())),
                // MQTT 5 section 6: other frames end the connection.
                Some(Ok(Message::Text(_))) => return Poll::Ready(Err(io::ErrorKind::InvalidData.into())),
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
            }
        }
        let taken = message.len().min(into.remaining());
        into.put_slice(&message[..taken]);
        message.advance(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Carried {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let socket = match &mut self.get_mut().line {
            Line::Tcp(stream) => return Pin::new(stream).poll_write(context, bytes),
            Line::Secure(stream) => return Pin::new(stream).poll_write(context, bytes),
            Line::WebSocket(socket) => &mut **socket,
        };
        ready!(Pin::new(&mut *socket).poll_ready(context)).map_err(io::Error::other)?;
        let message = Message::Binary(Bytes::copy_from_slice(bytes));
        Pin::new(socket).start_send(message).map_err(io::Error::other)?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            Line::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Line::Secure(stream) => Pin::new(stream).poll_flush(context),
            Line::WebSocket(socket) => Pin::new(&mut **socket).poll_flush(context).map_err(io::Error::other),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().line {
            Line::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Line::Secure(stream) => Pin::new(stream).poll_shutdown(context),
            Line::WebSocket(socket) => close(socket, context),
        }
    }
}

/// Says that this is the end, once.
fn close(socket: &mut WebSocket, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    Pin::new(socket).poll_close(context).map_err(io::Error::other)
}
