//! `disk`: what a stored message takes when everything has settled, inbox rows included, the journal apart, against the
//! bytes that are its own. `restart`: how long a server that was killed under load needs until it takes messages again.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Options, fill,
    load::{Pairs, Span},
    report::{Figure, Report, median},
    server::Server,
    text::TEXT_BYTES,
};

/// Text, conversation, sender, `client_msg_id` and time of a message.
const OWN_BYTES: f64 = (TEXT_BYTES + 16 + 8 + 32 + 6) as f64;
const PAIRS: usize = 50;
const WINDOW: usize = 16;
/// Longer than a flush gathers: the server is killed in the middle of the next one.
const LOAD: Duration = Duration::from_secs(5);

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let data = filled(options, report).await?;
    // A start and a stop leave nothing unwritten.
    let server = Server::start(&data, &[]).await?;
    server.settle().await?;
    server.stop().await?;
    let bytes = bytes_of(&data.join("tables"))? as f64 / options.messages as f64;
    report.add(
        Figure::new("disk", "a message, settled", bytes, "B").against("its own bytes", OWN_BYTES).goal(1.0, 0.65),
    )?;
    report.add(Figure::new(
        "disk",
        "its journal, settled",
        bytes_of(&data.join("journal"))? as f64 / 1048576.0,
        "MiB",
    ))?;
    Ok(())
}

pub async fn run_restart(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let data = filled(options, report).await?;
    let mut seconds = Vec::new();
    for round in 1..=options.rounds {
        report.progress(&format!("restart: round {round} of {}", options.rounds))?;
        let server = Server::start(&data, &[]).await?;
        let pairs = Pairs::connect(&server.url, PAIRS, WINDOW).await?;
        let load = pairs.run(Span::after(Duration::ZERO, LOAD * 2));
        // The load cannot end before the time is over; it is given up with the server under it.
        if let Ok(ended) = tokio::time::timeout(LOAD, load).await {
            ended?;
        }
        server.kill().await?;
        let began = Instant::now();
        let server = Server::start(&data, &[]).await?;
        get_ready(&server.url).await?;
        seconds.push(began.elapsed().as_secs_f64());
        server.stop().await?;
    }
    report.add(Figure::new("restart", "kill -9 to /readyz", median(seconds), "s").goal(3.0, 1.0))?;
    Ok(())
}

/// A data folder with many messages, made once.
async fn filled(options: &Options, report: &Report) -> anyhow::Result<PathBuf> {
    let data = options.folder.join("filled");
    if !data.exists() {
        let server = Server::start(&data, &[]).await?;
        fill::conversations(&server, options.messages, report).await?;
        server.settle().await?;
        server.stop().await?;
    }
    Ok(data)
}

/// What the files below a folder take on the disk.
fn bytes_of(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let data = entry.metadata()?;
        bytes += if data.is_dir() { bytes_of(&entry.path())? } else { data.blocks() * 512 };
    }
    Ok(bytes)
}

async fn get_ready(url: &str) -> anyhow::Result<()> {
    let address = url.strip_prefix("http://").context("no address")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    if !answer.starts_with("HTTP/1.1 200") {
        bail!("the server is not ready: {answer}");
    }
    Ok(())
}
