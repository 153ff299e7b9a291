//! `tidings bench`: how fast this build is on this machine.
//!
//! The server under test is a child process of the same binary, so that its CPU, memory and disk are counted apart from the
//! load. Each scenario runs its baseline in the same invocation, in turn with the measurement and more than once: machines
//! differ and are noisy, so the ratio is what counts. Everything is bounded in time; children and folders go when it ends,
//! however it ends.

pub mod child;
mod cluster;
mod disk;
mod fanout;
mod fill;
mod history;
mod home;
mod idle;
mod listen;
mod load;
mod mqtt;
mod packets;
mod placement;
mod poll;
mod process;
mod relay;
mod report;
mod server;
mod store;
mod sync;
mod text;

use std::{path::PathBuf, time::Duration};

use anyhow::bail;
use clap::{Args, ValueEnum};

use crate::cli::Transport;
use report::Report;

/// `tidings bench` and its flags; `--json` is the command line's own.
#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    pub scenarios: Vec<Scenario>,
    /// How long a measured round takes
    #[arg(long, value_name = "SECONDS", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub seconds: u64,
    /// How often each is measured, in turn with its baseline; the median is shown
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    pub rounds: u64,
    /// relay, store: sends in flight a sender [default: of relay both 16 and 1, of store 16]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1024))]
    pub window: Option<u64>,
    /// store: how many conversations are written to [default: 10,000 and then 1,000,000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    pub conversations: Option<u32>,
    /// store: which of them get the messages
    #[arg(long, value_enum, default_value_t = store::Spread::Uniform)]
    pub spread: store::Spread,
    /// store: memory that the tables may use for what they have read
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub cache: u64,
    /// store: how many messages are sent; history, disk, restart: how many are stored first
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(10_000..))]
    pub messages: u64,
    /// cluster: all nodes of a Cassandra cluster of this machine, as address:port, separated by commas
    #[arg(long, value_name = "ADDRESSES", value_delimiter = ',')]
    pub cassandra: Vec<String>,
    /// cluster: NATS on this machine, as address:port
    #[arg(long, value_name = "ADDRESS")]
    pub nats: Option<String>,
    /// cluster: how many nodes of Tidings
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    pub nodes: u64,
    /// Where the servers keep their data meanwhile: it is this disk that is measured
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub folder: PathBuf,
    /// What a process is that this one has started
    #[arg(long, hide = true, value_enum)]
    pub child: Option<child::Kind>,
    #[arg(last = true, hide = true)]
    pub child_args: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Messages through the whole server: durable, acknowledged, delivered
    Relay,
    /// Journal and tables alone, against the same rows straight into tables
    Store,
    /// Memory of ten thousand connections that are silent
    Idle,
    /// Messages by MQTT, acknowledged with quality of service 1
    Mqtt,
    /// A group with a thousand members online
    Fanout,
    /// An account with a thousand conversations
    Home,
    /// A page from the middle of a long conversation
    History,
    /// Polls that bring nothing new
    Poll,
    /// Bytes on the disk a message
    Disk,
    /// From kill -9 under load until it takes messages again
    Restart,
    /// Messages through a Cassandra cluster, and their cost there
    Cluster,
    /// A fleet of 500 nodes, on paper: balance, moves, and how far messages go
    Placement,
}

impl Scenario {
    const ALL: &[Self] = &[
        Self::Relay,
        Self::Store,
        Self::Idle,
        Self::Fanout,
        Self::Home,
        Self::History,
        Self::Poll,
        Self::Mqtt,
        Self::Disk,
        Self::Restart,
        Self::Cluster,
        Self::Placement,
    ];

    async fn run(self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        match self {
            Self::Relay => relay::run(options, report).await,
            Self::Store => store::run(options, report).await,
            Self::Idle => idle::run(options, report).await,
            Self::Fanout => fanout::run(options, report).await,
            Self::Home => home::run(options, report).await,
            Self::History => history::run(options, report).await,
            Self::Poll => poll::run(options, report).await,
            Self::Mqtt => mqtt::run(options, report).await,
            Self::Disk => disk::run(options, report).await,
            Self::Restart => disk::run_restart(options, report).await,
            Self::Cluster => cluster::run(options, report).await,
            Self::Placement => placement::run(report),
        }
    }
}

/// What all scenarios need to know.
struct Options {
    round: Duration,
    rounds: usize,
    /// fanout, idle: how the members, or the silent ones, are connected.
    transport: Transport,
    window: Option<usize>,
    messages: u64,
    conversations: Option<u32>,
    spread: store::Spread,
    cache_bytes: u64,
    cassandra: Vec<String>,
    nats: Option<String>,
    nodes: usize,
    folder: PathBuf,
}

/// Measures what is asked for, and prints it: a table, or with `json` an object a line.
pub async fn run(args: BenchArgs, transport: Transport, json: bool) -> anyhow::Result<()> {
    if let Some(kind) = args.child {
        return child::run(kind, &args.child_args).await;
    }
    let scenarios = if args.scenarios.is_empty() { Scenario::ALL.to_vec() } else { args.scenarios };
    if cfg!(debug_assertions) && scenarios.iter().any(|scenario| *scenario != Scenario::Placement) {
        bail!("this build is not optimised, so its figures mean nothing: cargo run --release -- bench");
    }
    let folder = tempfile::Builder::new().prefix("tidings-bench-").tempdir_in(&args.folder)?;
    let options = Options {
        round: Duration::from_secs(args.seconds),
        rounds: usize::try_from(args.rounds)?,
        transport,
        window: args.window.map(usize::try_from).transpose()?,
        messages: args.messages,
        conversations: args.conversations,
        spread: args.spread,
        cache_bytes: args.cache << 20,
        cassandra: args.cassandra,
        nats: args.nats,
        nodes: usize::try_from(args.nodes)?,
        folder: folder.path().to_owned(),
    };
    let mut report = Report::begin(json, &args.folder)?;
    let measured = async {
        for scenario in scenarios {
            scenario.run(&options, &mut report).await?;
        }
        anyhow::Ok(())
    };
    // Whatever was started ends with its handle, so leaving this function is the whole of the cleaning up.
    let outcome = tokio::select! {
        outcome = measured => outcome,
        _ = tokio::signal::ctrl_c() => Err(anyhow::anyhow!("interrupted")),
    };
    report.end()?;
    outcome
}
