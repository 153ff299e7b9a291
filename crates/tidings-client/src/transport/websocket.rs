//! Frames as WebSocket text messages, subprotocol `tidings.v1.json`.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use async_trait::async_trait;
use futures_util::{Sink, SinkExt, Stream, StreamExt};
use http::{HeaderValue, header::SEC_WEBSOCKET_PROTOCOL};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{Link, Transport};
use crate::{endpoint::Endpoint, error::Lost};

pub(crate) const SUBPROTOCOL: &str = "tidings.v1.json";
/// Small buffers: one client has few connections, a test or a gateway has thousands.
const BUFFER_BYTES: usize = 16 * 1024;
/// Answers are at most 1 MiB; twice that leaves room for what surrounds them.
const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

pub struct WebSocket {
    endpoint: Endpoint,
}

impl WebSocket {
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }
}

#[async_trait]
impl Transport for WebSocket {
    async fn open(&self, _listens: bool) -> Result<Box<dyn Link>, Lost> {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(BUFFER_BYTES)
            .max_frame_size(Some(FRAME_BYTES_MAX))
            .max_message_size(Some(FRAME_BYTES_MAX));
        Ok(Box::new(WebSocketLink { socket: open(&self.endpoint, config).await? }))
    }
}

/// Connects and shakes hands; also for `raw`.
pub(crate) async fn open(endpoint: &Endpoint, config: WebSocketConfig) -> Result<WebSocketStream<TcpStream>, Lost> {
    open_as(endpoint, "/v1/ws", SUBPROTOCOL, config).await
}

/// The same for any path and what is spoken there.
pub(super) async fn open_as(
    endpoint: &Endpoint,
    path: &str,
    subprotocol: &'static str,
    config: WebSocketConfig,
) -> Result<WebSocketStream<TcpStream>, Lost> {
    let stream =
        TcpStream::connect(endpoint.authority()).await.map_err(|error| Lost::Unreachable(error.to_string()))?;
    // Frames are small and latency matters; gathering is done by whoever flushes.
    stream.set_nodelay(true).map_err(|error| Lost::Unreachable(error.to_string()))?;
    let mut request =
        endpoint.websocket(path).into_client_request().map_err(|error| Lost::Unreachable(error.to_string()))?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(subprotocol));
    match client_async_with_config(request, stream, Some(config)).await {
        Ok((socket, _response)) => Ok(socket),
        Err(error) => Err(Lost::Unreachable(format!("it does not speak {subprotocol}: {error}"))),
    }
}

struct WebSocketLink {
    socket: WebSocketStream<TcpStream>,
}

impl Link for WebSocketLink {}

impl Stream for WebSocketLink {
    type Item = Result<String, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let message = match ready!(self.socket.poll_next_unpin(context)) {
                Some(Ok(message)) => message,
                Some(Err(error)) => return Poll::Ready(Some(Err(lost(&error)))),
                None => return Poll::Ready(None),
            };
            match message {
                Message::Text(text) => return Poll::Ready(Some(Ok(text.as_str().to_owned()))),
                Message::Close(close) => {
                    let (code, reason) = close
                        .map_or((1005, String::new()), |close| (close.code.into(), close.reason.as_str().to_owned()));
                    return Poll::Ready(Some(Err(Lost::Closed { code, reason })));
                }
                // Pings are answered by tungstenite; the server sends no binary frames.
                Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }
}

impl Sink<String> for WebSocketLink {
    type Error = Lost;

    fn poll_ready(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.socket.poll_ready_unpin(context).map_err(|error| lost(&error))
    }

    fn start_send(mut self: Pin<&mut Self>, text: String) -> Result<(), Lost> {
        self.socket.start_send_unpin(Message::text(text)).map_err(|error| lost(&error))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.socket.poll_flush_unpin(context).map_err(|error| lost(&error))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        self.socket.poll_close_unpin(context).map_err(|error| lost(&error))
    }
}

fn lost(error: &tungstenite::Error) -> Lost {
    Lost::Broken(error.to_string())
}
