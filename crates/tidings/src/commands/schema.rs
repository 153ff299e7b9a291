//! `tidings schema`: the tables in Cassandra. One explicit command, because servers that made them at once would race.

use tidings_server::serve::cassandra;

use crate::{
    cli::{ApplySchema, Schema},
    commands,
    failure::{Failure, Result},
    output,
};

pub async fn run(command: Schema, json: bool) -> Result<()> {
    let Schema::Apply(ApplySchema { dry_run, settings }) = command;
    let config = commands::config(settings, None)?;
    let statements = cassandra::schema(&config.cassandra);
    if !dry_run {
        cassandra::apply_schema(&config.cassandra).await.map_err(|error| Failure::refused(error.to_string()))?;
    }
    if json {
        return Ok(output::json(&serde_json::json!({ "applied": !dry_run, "statements": statements }))?);
    }
    if dry_run {
        statements.iter().try_for_each(|statement| output::line(&format!("{statement};")))?;
    } else {
        output::line(&format!("the keyspace {} has all its tables", config.cassandra.keyspace))?;
    }
    Ok(())
}
