//! The one binary of Tidings: the server, a command line client for people and scripts, and what operators need.
//!
//! `cli` says which words there are, `commands` holds one file for each, `chat` the full-screen client, `bench` the
//! measurements. Nothing here decides about messages: the server is `tidings-server`, the protocol's client
//! `tidings-client`.

mod account;
mod bench;
mod chat;
mod cli;
mod commands;
mod failure;
mod names;
mod output;

use std::process::ExitCode;

use clap::Parser;

/// Measured against the system's (see bench/README.md): less CPU a message.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = cli::Cli::parse();
    let json = cli.shared.json;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failure::Failure::from(error).tell(json),
    };
    let done = runtime.block_on(commands::run(cli));
    // A task that is stuck in a system call must not keep the process.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(json),
    }
}
