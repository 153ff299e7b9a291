//! What operators see of the archive, and how they begin a round of it.

use axum::{extract::State, response::Response};
use tidings_proto::Code;

use crate::{archive::Status, session::reply::Answer};

use super::{super::Edge, admin::Operator, documents::Calls, object, problem};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let status = calls.on("get", "/v1/admin/archive", "What was archived since the start").of_operators();
    status.gives::<Status>(200, "The work so far");
    let begin = calls.on("post", "/v1/admin/archive", "Begins a round of the archive, unless one is under way");
    let begin = begin.of_operators().gives::<Status>(200, "It has begun; ask how far it is");
    begin.refuses(&[Code::Conflict]);
}

pub async fn status(State(edge): State<Edge>, _: Operator) -> Response {
    object(&edge.archive.status())
}

pub async fn begin(State(edge): State<Edge>, _: Operator) -> Response {
    match edge.archive.begin() {
        Ok(status) => object(&status),
        Err(error) => problem::of(&Answer::refused(Code::Conflict, error.to_string())),
    }
}
