//! One file for each command; here is what they share.

mod archive;
mod cluster;
mod config;
mod dev_login;
mod devices;
mod export;
mod fsck;
mod history;
mod import;
mod inbox;
mod login;
mod migrate;
mod schema;
mod send;
mod serve;
mod tail;

use std::path::Path;

use tidings_client::{Builder, Client, http::Http};
use tidings_server::config::Config;

use crate::{
    account, bench, chat,
    cli::{Cli, Command, Operator, Settings, Shared},
    failure::{Failure, Result},
};

/// Devices that were never named share one: each command would otherwise be an installation of its own.
const UNNAMED_DEVICE: &str = "command-line";

pub async fn run(cli: Cli) -> Result<()> {
    let shared = cli.shared;
    match cli.command {
        Command::Serve(flags) => serve::run(flags).await,
        Command::Login { user } => login::run(&shared, &user).await,
        Command::Send(send) => send::run(&shared, send).await,
        Command::Tail(tail) => tail::run(&shared, tail).await,
        Command::History(history) => history::run(&shared, history).await,
        Command::Inbox => inbox::run(&shared).await,
        Command::Devices { act } => devices::run(&shared, act.as_ref()).await,
        Command::Chat { conversation } => chat::run(&shared, conversation.as_deref()).await,
        Command::Import(import) => import::run(&shared, import).await,
        Command::Export(export) => export::run(&shared, export).await,
        Command::Archive(command) => archive::run(&shared, command).await,
        Command::Cluster(command) => cluster::run(&shared, command).await,
        Command::Migrate(command) => migrate::run(&shared, command).await,
        Command::Fsck(command) => fsck::run(command, shared.json).await,
        Command::Bench(flags) => bench::run(flags, shared.transport, shared.json)
            .await
            .map_err(|error| Failure::refused(format!("{error:#}"))),
        Command::DevLogin(flags) => dev_login::run(flags).await,
        Command::Schema(command) => schema::run(command, shared.json).await,
        Command::Config(config) => config::run(&config, shared.json),
    }
}

/// The server's settings: the file's, above them those by words of their own, above all what is given by name.
pub fn config(settings: Settings, named: impl IntoIterator<Item = (String, String)>) -> Result<Config> {
    let Settings { config, set } = settings;
    Config::load(config.as_deref(), named.into_iter().chain(set)).map_err(|error| Failure::usage(error.to_string()))
}

/// Who this is: the flags, else who logged in last.
pub fn account(shared: &Shared) -> Result<account::Account> {
    let device = |remembered: Option<&str>| {
        shared.device.clone().unwrap_or_else(|| remembered.unwrap_or(UNNAMED_DEVICE).to_owned())
    };
    let remembered = account::remembered(&shared.url)?;
    match (&shared.user, remembered) {
        (Some(user), Some(account)) if *user == account.user => {
            Ok(account::Account { user: account.user, device: device(Some(&account.device)) })
        }
        (Some(user), _) => Ok(account::Account { user: user.clone(), device: device(None) }),
        (None, Some(account)) => Ok(account::Account { user: account.user, device: device(Some(&account.device)) }),
        (None, None) => Err(Failure::usage("log in first (tidings login USER), or say who this is with --user USER")),
    }
}

/// How to connect as this user.
pub fn builder(shared: &Shared) -> Result<Builder> {
    let account = account(shared)?;
    Ok(Client::builder(&shared.url).way(shared.transport.into()).user(&account.user).device(&account.device))
}

/// A connection for a command that only sends and asks. A server that is busy is asked again for some seconds.
pub async fn connect(shared: &Shared) -> Result<Client> {
    Ok(builder(shared)?.retries(5).connect_without_events().await?)
}

/// The operator's calls, with the operator's token.
pub fn operator(shared: &Shared, operator: &Operator) -> Result<Http> {
    let token = match &operator.admin_token {
        Some(token) => token.clone(),
        None => read_token(&operator.data.join("admin.token"))?,
    };
    Ok(Http::new(&shared.url)?.with_token(&token))
}

fn read_token(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!(
            "failed to read {}: {error}; give --admin-token, TIDINGS_ADMIN_TOKEN or the server's --data folder",
            path.display()
        ))
    })?;
    Ok(text.trim().to_owned())
}
