//! What comes with a call: path, query and body. Whatever is wrong with them is told as a problem document that names it.

use axum::{
    extract::{
        FromRequest, FromRequestParts, Path, Query, Request,
        path::ErrorKind,
        rejection::{BytesRejection, PathRejection},
    },
    http::{StatusCode, request::Parts},
    response::Response,
};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use tidings_proto::Code;

use crate::session::reply::Answer;

use super::{super::Edge, problem};

/// The names in the path, percent-decoded.
pub struct Named<T>(pub T);

/// The query's parameters; unknown ones are ignored.
pub struct Asked<T>(pub T);

/// A JSON body, whatever its content type says.
pub struct Body<T>(pub T);

fn wrong(message: impl Into<String>) -> Response {
    problem::of(&Answer::refused(Code::BadRequest, message))
}

impl<T: DeserializeOwned + Send> FromRequestParts<Edge> for Named<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        match Path::from_request_parts(parts, edge).await {
            Ok(Path(named)) => Ok(Self(named)),
            Err(PathRejection::FailedToDeserializePathParams(failed)) => Err(wrong(match failed.into_kind() {
                ErrorKind::DeserializeError { key, message, .. } => format!("{key}: {message}"),
                ErrorKind::ParseErrorAtKey { key, value, .. } => format!("{key}: {value:?} is no number"),
                ErrorKind::InvalidUtf8InPathParam { key } => format!("{key}: it is not UTF-8"),
                other => other.to_string(),
            })),
            Err(other) => Err(wrong(other.body_text())),
        }
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

impl<T: DeserializeOwned> FromRequest<Edge> for Body<T> {
    type Rejection = Response;

    async fn from_request(request: Request, edge: &Edge) -> Result<Self, Response> {
        let bytes = read(request, edge).await?;
        parse(&bytes).map(Self).map_err(|message| problem::of(&Answer::refused(Code::BadRequest, message)))
    }
}

/// The bytes of a body, if they are not too many.
async fn read(request: Request, edge: &Edge) -> Result<Bytes, Response> {
    Bytes::from_request(request, edge).await.map_err(|error| match error {
        BytesRejection::FailedToBufferBody(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
            problem::of(&Answer::refused(Code::TooLarge, "the body is larger than this call takes; send it in parts"))
        }
        other => wrong(format!("the body could not be read: {other}")),
    })
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
