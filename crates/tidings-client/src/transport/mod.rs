//! How frames travel. A transport opens links; a link carries JSON texts both ways, in order, and knows nothing of what
//! they mean: resume, retries and order are the session's.

pub mod websocket;

use async_trait::async_trait;
use futures_util::{Sink, Stream};

use crate::error::Lost;

/// A way to reach a server.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// Opens a link on which nothing was said yet: `hello` is the first frame. An error says that nothing was sent.
    async fn open(&self) -> Result<Box<dyn Link>, Lost>;
}

/// An open link. As a sink it may gather what is fed until it is flushed; its stream ends with the error that tells why.
pub trait Link: Stream<Item = Result<String, Lost>> + Sink<String, Error = Lost> + Send + Unpin {}
