//! The benchmarks until the command line calls them: `bench [SCENARIO]`, and the `serve` they start.

#[path = "../src/bench/mod.rs"]
mod bench;

use clap::Parser;
use std::io::Write;
use tidings_server::{config::Config, serve, shutdown::{Shutdown, stop_signal}};

#[derive(Parser)]
enum Command {
    Bench {
        #[command(flatten)]
        bench: bench::BenchArgs,
        #[arg(long)]
        json: bool,
    },
    Serve {
        #[arg(long)]
        listen: String,
        #[arg(long)]
        data: String,
    },
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Command::parse() {
        Command::Bench { bench, json } => bench::run(bench, json).await,
        Command::Serve { listen, data } => {
            let config = Config::load(None, [("listen".to_owned(), listen), ("data".to_owned(), data)])?;
            tracing_subscriber::fmt().with_env_filter(&config.log.level).with_writer(std::io::stderr).init();
            let stop = stop_signal()?;
            let shutdown = Shutdown::when(async move {
                stop.await;
            });
            let announce = |address| {
                writeln!(std::io::stdout(), "listening on http://{address}").expect("the bench reads it");
            };
            Ok(serve::run(config, shutdown, announce).await?)
        }
    }
}
