//! `tidings serve`: the server, until SIGTERM or Ctrl-C.

use std::io::IsTerminal;

use tidings_server::{
    config::{self, LogFormat},
    serve::{self, Listening},
    shutdown::{Shutdown, StopSignals},
};
use tracing_subscriber::EnvFilter;

use crate::{
    cli::Serve,
    commands,
    failure::{Failure, Result},
    output,
};

pub async fn run(flags: Serve) -> Result<()> {
    let named = [("listen", flags.listen), ("data", flags.data)];
    let named = named.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    let config = commands::config(flags.settings, named)?;
    begin_log(&config.log)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    let scheme = if config.tls.cert_file.is_some() { "https" } else { "http" };
    let shutdown = Shutdown::default();
    tokio::spawn(obey(StopSignals::catch()?, shutdown.clone()));
    serve::run(config, shutdown, |listening| announce(scheme, listening))
        .await
        .map_err(|error| Failure::refused(error.to_string()))
}

/// The first signal asks for the stop, and the next one says that nobody can wait for it.
async fn obey(mut signals: StopSignals, shutdown: Shutdown) {
    let signal = signals.next().await;
    tracing::info!(signal, "stopping: what was acknowledged is being stored");
    shutdown.begin();
    let signal = signals.next().await;
    tracing::info!(signal, "stopping at once");
    shutdown.hurry();
}

/// Tells people and scripts that it is ready.
fn announce(scheme: &str, listening: Listening) {
    if let Err(error) = output::line(&format!("listening on {scheme}://{}", listening.http)) {
        tracing::warn!(%error, "nobody reads the standard output");
    }
}

fn begin_log(log: &config::Log) -> Result<()> {
    let filter = EnvFilter::try_new(log.filter()).map_err(|error| Failure::usage(format!("log.level: {error}")))?;
    let colors = std::io::stderr().is_terminal();
    let log_to_stderr =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(colors);
    match log.format {
        LogFormat::Text => log_to_stderr.init(),
        LogFormat::Json => log_to_stderr.json().flatten_event(true).init(),
    }
    Ok(())
}
