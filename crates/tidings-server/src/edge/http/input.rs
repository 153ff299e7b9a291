//! What comes with a call: path, query and body. Whatever is wrong with them is told as a problem document that names it.

use std::borrow::Cow;

use axum::{
    body::to_bytes,
    extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request},
    http::request::Parts,
    response::Response,
};
use bytes::Bytes;
use http_body_util::LengthLimitError;
use serde::{
    de::{
        DeserializeOwned, Deserializer, Error as _, IntoDeserializer, Visitor,
        value::{self, MapDeserializer},
    },
    forward_to_deserialize_any,
};
use tidings_proto::{Code, percent};

use crate::session::reply::Answer;

use super::{super::Edge, problem};

/// How long a body may be, where that is not a frame's length: an extension of the routes concerned.
#[derive(Clone, Copy, Debug)]
pub struct BodyLimit(pub usize);

/// The names in the path, percent-decoded.
pub struct Named<T>(pub T);

/// The query's parameters; unknown ones are ignored.
pub struct Asked<T>(pub T);

/// A JSON body, whatever its content type says.
pub struct Body<T>(pub T);

/// A JSON body, or none.
pub struct OptionalBody<T>(pub T);

/// A body, for [`parse`].
pub struct Raw(pub Bytes);

/// The `Idempotency-Key` header: by it a repeat of a call is known where the body has no `client_msg_id`.
pub struct RepeatId(Option<String>);

fn wrong(message: impl Into<String>) -> Response {
    problem::of(&Answer::refused(Code::BadRequest, message))
}

impl<T: DeserializeOwned + Send> FromRequestParts<Edge> for Named<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        let params = RawPathParams::from_request_parts(parts, edge).await;
        let params = params.map_err(|error| wrong(error.body_text()))?;
        let named = params.iter().map(|(name, value)| (name, Segment(value)));
        match serde_path_to_error::deserialize(MapDeserializer::<_, value::Error>::new(named)) {
            Ok(named) => Ok(Self(named)),
            Err(error) => Err(wrong(format!("{}: {}", error.path(), error.inner()))),
        }
    }
}

/// One part of a path, as text or, where one is asked for, as a number.
struct Segment<'a>(&'a str);

impl<'de> IntoDeserializer<'de, value::Error> for Segment<'de> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Segment<'de> {
    type Error = value::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        visitor.visit_borrowed_str(self.0)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
        let number = self.0.parse().map_err(|_| value::Error::custom(format!("{:?} is no number", self.0)))?;
        visitor.visit_u64(number)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Self::Error> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}

impl<T: DeserializeOwned + Send> FromRequestParts<Edge> for Asked<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        match Query::from_request_parts(parts, edge).await {
            Ok(Query(asked)) => Ok(Self(asked)),
            Err(error) => {
                let text = error.body_text();
                Err(wrong(text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text)))
            }
        }
    }
}

/// The parameters of a query, one after the other, decoded: for a call that comes so often that a general reader is too slow.
pub fn parameters(query: &str) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    query.split('&').map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if value.contains(['%', '+']) {
            // What is wrongly encoded is no value of anything, and refused as that.
            let decoded = percent::decoded(&value.replace('+', " "));
            return (name, Cow::Owned(decoded.unwrap_or_else(|| value.to_owned())));
        }
        (name, Cow::Borrowed(value))
    })
}

impl<T: DeserializeOwned> FromRequest<Edge> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Response> {
        parse(&read(request, edge).await?).map(Self).map_err(wrong)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Edge> for OptionalBody<T> {
    type Rejection = Response;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Response> {
        let bytes = read(request, edge).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self).map_err(wrong) }
    }
}

impl FromRequest<Edge> for Raw {
    type Rejection = Response;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Response> {
        read(request, edge).await.map(Self)
    }
}

impl FromRequestParts<Edge> for RepeatId {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &Edge) -> Result<Self, Response> {
        let Some(value) = parts.headers.get("idempotency-key") else { return Ok(Self(None)) };
        let text = value.to_str().map_err(|_| wrong("Idempotency-Key: it is no ASCII text"))?;
        // The draft of the IETF has it in quotes.
        let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
        Ok(Self(Some(quoted.unwrap_or(text).to_owned())))
    }
}

impl RepeatId {
    /// The `client_msg_id`: of the body, else of the header, else a new one.
    pub fn or_given(self, given: Option<String>) -> String {
        given.or(self.0).unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()))
    }
}

/// The bytes of a body, if they are not too many.
async fn read(request: Request, edge: &Edge) -> Result<Bytes, Response> {
    let BodyLimit(max_bytes) =
        request.extensions().get().copied().unwrap_or(BodyLimit(edge.host.config.limits.frame_bytes));
    let bytes = to_bytes(request.into_body(), max_bytes).await.map_err(|error| {
        if std::error::Error::source(&error).is_some_and(|cause| cause.is::<LengthLimitError>()) {
            let why = "the body is larger than this call takes; send it in parts";
            return problem::of(&Answer::refused(Code::TooLarge, why));
        }
        wrong(format!("the body could not be read: {error}"))
    })?;
    edge.host.metrics.received_bytes.inc_by(bytes.len() as u64);
    Ok(bytes)
}

/// Reads JSON; `Err` says what is wrong, beginning with the field's path.
pub fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        if path == "." { error.inner().to_string() } else { format!("{path}: {}", error.inner()) }
    })?;
    json.end().map_err(|error| error.to_string())?;
    Ok(value)
}
