//! How operators move a server alone into a cluster: begin it, see how far it is, and hand over.

use std::collections::BTreeMap;

use axum::{extract::State, response::Response};
use serde::Deserialize;
use tidings_proto::Code;
use utoipa::ToSchema;

use crate::{
    migrate::{MigrateError, Options, Status},
    session::reply::Answer,
};

use super::{super::Edge, admin::Operator, documents::Calls, input::Body, object, problem};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let status = calls.on("get", "/v1/admin/migration", "How far the move into a cluster is").of_operators();
    status.gives::<Status>(200, "The phase and its progress");
    let begin = calls.on("post", "/v1/admin/migration", "Begins to move into a cluster, or goes on where it ended");
    let begin = begin.of_operators().takes::<Begin>().gives::<Status>(200, "It has begun; ask how far it is");
    begin.refuses(&[Code::Conflict]);
    let switch =
        calls.on("post", "/v1/admin/migration/switch", "Hands over: nothing is taken for seconds, then it stops");
    switch.of_operators().gives::<Status>(200, "The cluster has everything").refuses(&[Code::Conflict]);
}

#[derive(Deserialize, ToSchema)]
pub struct Begin {
    /// Where to, by the names of settings: those of `cassandra`, `blobs` and `s3`.
    settings: BTreeMap<String, String>,
    /// Rows written a second at most; 0: as fast as it goes.
    #[serde(default)]
    rows_per_s: u64,
}

pub async fn status(State(edge): State<Edge>, _: Operator) -> Response {
    object(&edge.migration.as_ref().map(|migration| migration.status()).unwrap_or_default())
}

pub async fn begin(State(edge): State<Edge>, _: Operator, Body(begin): Body<Begin>) -> Response {
    let Some(migration) = &edge.migration else { return refuse() };
    answer(migration.begin(begin.settings, Options { rows_per_s: begin.rows_per_s }).await)
}

pub async fn switch(State(edge): State<Edge>, _: Operator) -> Response {
    let Some(migration) = &edge.migration else { return refuse() };
    answer(migration.switch().await)
}

fn refuse() -> Response {
    let why = "only a server whose data are in its folder (store = \"embedded\") can move into a cluster";
    problem::of(&Answer::refused(Code::Conflict, why))
}

fn answer(outcome: Result<Status, MigrateError>) -> Response {
    match outcome {
        Ok(status) => object(&status),
        Err(error @ (MigrateError::Stopping | MigrateError::HostFailed)) => {
            problem::of(&Answer::refused(Code::Unavailable, error.to_string()))
        }
        Err(MigrateError::Settings(why)) => problem::of(&Answer::refused(Code::BadRequest, why)),
        Err(error) => problem::of(&Answer::refused(Code::Conflict, error.to_string())),
    }
}
