//! The frames: one JSON object each, with a string `type`.
//!
//! `client` is what clients say, `server` what they are told, `parse` turns bytes into the first with errors that
//! name the field, `check` holds a request against the limits.

pub mod check;
pub mod client;
pub mod parse;
pub mod server;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{codes::Code, limits::REQUEST_ID_BYTES};

/// A request's name for its answer (`id`, repeated as `re`): an integer or a string of at most 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RequestId {
    Number(i64),
    Text(String),
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => text.fmt(f),
        }
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = RequestId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an integer or a string of at most {REQUEST_ID_BYTES} bytes")
            }
            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<RequestId, E> {
                Ok(RequestId::Number(number))
            }
            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<RequestId, E> {
                let number =
                    number.try_into().map_err(|_| E::invalid_value(serde::de::Unexpected::Unsigned(number), &self))?;
                Ok(RequestId::Number(number))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<RequestId, E> {
                if text.len() > REQUEST_ID_BYTES {
                    return Err(E::invalid_length(text.len(), &self));
                }
                Ok(RequestId::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A request that is refused before anybody decides about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct FrameError {
    /// The request's id, where it could be read.
    pub id: Option<RequestId>,
    pub code: Code,
    /// What to do about it, naming the field.
    pub message: String,
}
