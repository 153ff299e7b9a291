//! How frames travel. A transport opens links; a link carries JSON texts both ways, in order, and knows nothing of what
//! they mean: resume, retries and order are the session's.

mod calls;
mod events;
pub mod http;
pub mod mqtt;
mod polls;
pub mod several;
pub mod websocket;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::{Sink, Stream};

use crate::{
    endpoint::Endpoint,
    error::{ClientError, Lost},
};

/// The ways to a server that this client knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Way {
    #[default]
    WebSocket,
    /// Server-sent events in, calls out.
    Events,
    /// Polls that wait in, calls out.
    Polls,
    /// MQTT 5 over a WebSocket; what only reads are calls.
    Mqtt,
}

impl Way {
    pub const ALL: [Self; 4] = [Self::WebSocket, Self::Events, Self::Polls, Self::Mqtt];

    /// This way to the server at an address.
    pub fn to(self, url: &str) -> Result<Arc<dyn Transport>, ClientError> {
        Ok(match self {
            Self::WebSocket => Arc::new(websocket::WebSocket::new(Endpoint::parse(url)?)),
            Self::Events => Arc::new(http::OverHttp::events(url)?),
            Self::Polls => Arc::new(http::OverHttp::polls(url)?),
            Self::Mqtt => Arc::new(mqtt::Mqtt::new(url)?),
        })
    }

    /// This way to whichever of a fleet's servers lets in.
    pub(crate) fn to_any(self, urls: &[String]) -> Result<Arc<dyn Transport>, ClientError> {
        Ok(Arc::new(several::Several::new(urls, move |url| self.to(url))?))
    }
}

/// A way to reach a server.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Opens a link on which nothing was said yet: `hello` is the first frame. An error says that nothing was sent. Unless somebody
    /// `listens`, what happens need not be brought: the answers are enough.
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost>;

    /// How many servers this leads to. Each `open` may go to another; whoever opens so often has tried all.
    fn servers(&self) -> usize {
        1
    }

    /// The link that was opened last was let in, and this is where the user is best served, if not there.
    fn welcomed(&self, _prefer: Option<&str>) {}
}

/// An open link. As a sink it may gather what is fed until it is flushed; its stream ends with the error that tells why.
pub trait Link: Stream<Item = Result<String, Lost>> + Sink<String, Error = Lost> + Send + Unpin {
    /// Whether each entry that it brings is to be acknowledged, when it is with the application.
    fn acknowledges(&self) -> bool {
        false
    }

    /// The oldest entry that it brought and that was not acknowledged is with the application.
    fn acknowledge(&mut self) -> Result<(), Lost> {
        Ok(())
    }
}
