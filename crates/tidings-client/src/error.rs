//! Why a request did not get its answer, and why a connection ended.

use std::time::Duration;

use tidings_proto::{CloseCode, Code, frames::server::Refused};

/// Why a call of the client failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// The address given is none.
    #[error("wrong address {url}: {reason}")]
    Address { url: String, reason: String },
    /// Nothing was reached at the address; nothing was said.
    #[error("{url} is unreachable: {reason}")]
    Unreachable { url: String, reason: String },
    /// The server decided: no.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Box<Refused>),
    /// The server closed the connection and advised not to come back. What was unanswered may or may not have happened.
    #[error("the server closed the connection for good: {reason} ({code})")]
    Closed { code: u16, reason: String },
    /// The client was shut down before the answer. What was unanswered may or may not have happened.
    #[error("the client was shut down before the answer came")]
    Stopped,
    /// The frame is larger than this server takes.
    #[error("the request has {bytes} bytes, this server takes at most {max}")]
    TooLarge { bytes: usize, max: usize },
    /// An answer that this version does not understand.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl ClientError {
    /// The server's code, where it was the server who refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code),
            _ => None,
        }
    }
}

/// Why a connection is over.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lost {
    #[error("{0}")]
    Unreachable(String),
    #[error("closed by the server: {reason} ({code})")]
    Closed { code: u16, reason: String },
    #[error("{0}")]
    Broken(String),
    #[error("nothing was heard for two and a half heartbeats")]
    Silent,
    /// `hello` was refused.
    #[error("{}: {}", .0.code, .0.message)]
    Refused(Box<Refused>),
}

impl Lost {
    /// Whether connecting again can help.
    pub fn comes_back(&self) -> bool {
        match self {
            Self::Closed { code, .. } => CloseCode::is_reconnect(*code),
            Self::Refused(refused) => is_transient(refused.code),
            Self::Unreachable(_) | Self::Broken(_) | Self::Silent => true,
        }
    }

    /// Whether the server meant it: it stops, or another one serves this user now.
    pub(crate) fn is_planned(&self) -> bool {
        matches!(self, Self::Closed { code, .. } if *code == CloseCode::Draining.number())
    }

    /// How long the server wants to be left alone, if it said so.
    pub(crate) fn told_wait(&self) -> Option<Duration> {
        match self {
            Self::Refused(refused) => refused.retry_after_ms.map(Duration::from_millis),
            Self::Unreachable(_) | Self::Closed { .. } | Self::Broken(_) | Self::Silent => None,
        }
    }

    /// A call of HTTP that stood for a part of a connection failed.
    pub(crate) fn of_call(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refused) => Self::Refused(refused),
            ClientError::Closed { code, reason } => Self::Closed { code, reason },
            ClientError::Address { .. } | ClientError::Unreachable { .. } => Self::Unreachable(error.to_string()),
            ClientError::Stopped | ClientError::TooLarge { .. } | ClientError::Unexpected(_) => {
                Self::Broken(error.to_string())
            }
        }
    }

    /// As the error of a call that cannot be answered any more.
    pub(crate) fn into_error(self, url: &str) -> ClientError {
        match self {
            Self::Closed { code, reason } => ClientError::Closed { code, reason },
            Self::Refused(refused) => ClientError::Refused(refused),
            Self::Unreachable(_) | Self::Broken(_) | Self::Silent => {
                ClientError::Unreachable { url: url.to_owned(), reason: self.to_string() }
            }
        }
    }
}

/// Refusals that the same request may outlive.
pub(crate) fn is_transient(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::RateLimited)
}
