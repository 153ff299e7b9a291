//! `tidings migrate`: a server that works alone moves into a cluster, while it serves.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tidings_client::{
    ClientError,
    http::{
        Http,
        admin::{BeginMigration, Migration},
    },
};
use tidings_server::config::{BlobStore, Config, Store};

use crate::{
    cli::{Migrate, Shared},
    commands,
    failure::{Failure, Result},
    output,
};

const ASK_EVERY: Duration = Duration::from_millis(500);

/// How often it is said how far a phase is.
const SAY_EVERY: Duration = Duration::from_secs(5);

pub async fn run(shared: &Shared, command: Migrate) -> Result<()> {
    let Migrate::EmbeddedToCassandra(command) = command;
    let http = commands::operator(shared, &command.operator)?;
    let target = commands::config(command.settings, None)?;
    if target.store != Store::Cassandra {
        return Err(Failure::usage("the settings of the servers to come must have store = \"cassandra\""));
    }
    let mut state = begin(&http, &target, command.rate).await?;
    let mut told = Told::default();
    while !matches!(state.phase.as_str(), "following" | "done" | "failed") {
        told.tell(&state, shared.json)?;
        tokio::time::sleep(ASK_EVERY).await;
        state = http.migration().await?;
    }
    told.tell(&state, shared.json)?;
    if let ("failed", Some(error)) = (state.phase.as_str(), &state.error) {
        return Err(Failure::refused(format!("{error}; the same command again goes on where it ended")));
    }
    if command.no_switch {
        if !shared.json {
            output::line("the target follows; the same command without --no-switch hands over")?;
        }
        return Ok(());
    }
    let done = http.switch_migration().await?;
    if shared.json {
        return Ok(output::json(&done)?);
    }
    output::line(&format!(
        "handed over: nothing was taken for {} ms. The server stops now; start the new ones: tidings serve --config FILE \
         with the settings that you gave here",
        done.read_only_ms.unwrap_or_default()
    ))?;
    Ok(())
}

/// Begins, or joins the one that is under way.
async fn begin(http: &Http, target: &Config, rows_per_s: u64) -> Result<Migration> {
    let state = http.migration().await?;
    if !matches!(state.phase.as_str(), "idle" | "failed") {
        return Ok(state);
    }
    let begin = BeginMigration { settings: settings(target), rows_per_s };
    http.begin_migration(&begin).await.map_err(|error: ClientError| error.into())
}

/// Where to, as the server reads it.
fn settings(target: &Config) -> BTreeMap<String, String> {
    let Config { cassandra, s3, .. } = target;
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let secret = |secret: &Option<tidings_server::config::Secret>| secret.as_ref().map(|it| it.expose().to_owned());
    let blobs = if target.blobs == BlobStore::S3 { "s3" } else { "local" };
    let given = [
        ("blobs", Some(blobs.to_owned())),
        ("cassandra.nodes", Some(cassandra.nodes.join(", "))),
        ("cassandra.keyspace", Some(cassandra.keyspace.clone())),
        ("cassandra.user", cassandra.user.clone()),
        ("cassandra.password", secret(&cassandra.password)),
        ("cassandra.tls", Some(cassandra.tls.to_string())),
        ("cassandra.ca_file", path(&cassandra.ca_file)),
        ("cassandra.cert_file", path(&cassandra.cert_file)),
        ("cassandra.key_file", path(&cassandra.key_file)),
        ("cassandra.replicas", Some(cassandra.replicas.to_string())),
        ("cassandra.requests", Some(cassandra.requests.to_string())),
        ("s3.endpoint", s3.endpoint.clone()),
        ("s3.bucket", s3.bucket.clone()),
        ("s3.region", Some(s3.region.clone())),
        ("s3.access_key_id", s3.access_key_id.clone()),
        ("s3.secret_access_key", secret(&s3.secret_access_key)),
        ("s3.allow_http", Some(s3.allow_http.to_string())),
    ];
    given.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// What was said last, and when.
#[derive(Default)]
struct Told {
    phase: String,
    at: Option<Instant>,
}

impl Told {
    /// A line for each phase, and now and then one more.
    fn tell(&mut self, state: &Migration, json: bool) -> Result<()> {
        let is_due = self.at.is_none_or(|at| at.elapsed() >= SAY_EVERY);
        if state.phase == self.phase && !is_due {
            return Ok(());
        }
        (self.phase, self.at) = (state.phase.clone(), Some(Instant::now()));
        let shown = if json { output::json(state) } else { output::line(&said(state)) };
        Ok(shown?)
    }
}

fn said(state: &Migration) -> String {
    let Migration { phase, done, units, rows, bytes, mended, behind, .. } = state;
    let to = state.target.as_deref().unwrap_or("the target");
    match phase.as_str() {
        "copying" => format!("copying to {to}: {done} of {units} conversations and homes, {rows} rows, {bytes} bytes"),
        "checking" => format!("checking: {done} of {units} conversations and homes, {mended} rows were written again"),
        "following" => format!("{to} has everything; {behind} rows behind"),
        phase => phase.to_owned(),
    }
}
