//! The `store` bench: journal and tables alone, as the server uses them, against the same rows written straight into
//! the LSM. No sessions, no sockets, no homes: what is left is what a durable message costs.
//!
//! 64 senders, each with 16 messages in flight; a message is 216 bytes of content (150 of text, ids, time), the state of
//! its conversation and two inbox rows. Included: the repeats index, the overlay of what is not flushed, flush, closing
//! of chunks, and compaction until nothing is owed. Load and store share this process, on both sides of the comparison.

mod baseline;
mod flusher;
mod load;

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tidings_server::{
    journal::{
        Journal, Position,
        commit::{Committer, CommitterOptions},
        file::{FileJournal, FileJournalOptions},
    },
    tables::embedded::{EmbeddedOptions, EmbeddedTables},
};

use self::{
    baseline::Straight,
    flusher::{Flusher, Sink},
    load::Load,
};
use super::{
    process::Usage,
    report::{Figure, median, percentile},
};

/// Of each scenario of the store.
const SENDERS: usize = 64;
/// Messages in flight a sender.
const WINDOW: usize = 16;
/// What is submitted and not yet flushed, at most; as the server's default.
const BACKLOG_BYTES: usize = 192 << 20;

/// What one run of the store is made of.
#[derive(Clone, Debug)]
struct Plan {
    /// A folder for the run; what the bench makes below it, it removes.
    folder: PathBuf,
    conversations: u32,
    spread: Spread,
    messages: u64,
    window: usize,
    cache_bytes: u64,
}

/// Which conversations are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Spread {
    Uniform,
    /// The n-th conversation gets 1/n of what the first one gets.
    Zipf,
}

#[derive(Clone, Debug, Default)]
struct Figures {
    messages: u64,
    /// Durable messages a second until the last one was acknowledged.
    acknowledged_per_s: f64,
    /// The same, until all was flushed and compaction owed nothing.
    sustained_per_s: f64,
    p50_us: f64,
    p99_us: f64,
    /// The longest time without any acknowledgement.
    longest_stall_ms: f64,
    cpu_us: f64,
    /// Written to the device, journal included.
    device_bytes: f64,
    /// Of tables, when settled.
    disk_bytes: f64,
}

/// Runs the store and its baseline in turn, with few conversations and with a million, or as many as were asked for.
pub async fn run(options: &super::Options, report: &mut super::Report) -> anyhow::Result<()> {
    let sizes = options.conversations.map_or(vec![(10_000, (3.0, 5.0)), (1_000_000, (1.5, 3.0))], |conversations| {
        let goal = if conversations < 100_000 { (3.0, 5.0) } else { (1.5, 3.0) };
        vec![(conversations, goal)]
    });
    for (conversations, goal) in sizes {
        let plan = Plan {
            folder: options.folder.clone(),
            conversations,
            spread: options.spread,
            messages: options.messages,
            window: options.window.unwrap_or(WINDOW),
            cache_bytes: options.cache_bytes,
        };
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for round in 1..=options.rounds {
            report.progress(&format!("store, {conversations} conversations: round {round} of {}", options.rounds))?;
            ours.push(run_tables(&plan).await?);
            report.progress("the same rows straight into the tables")?;
            theirs.push(run_baseline(&plan).await?);
        }
        tell(&plan, goal, &ours, &theirs, report)?;
    }
    Ok(())
}

/// A figure's name, its unit, and where it stands.
type Row = (&'static str, &'static str, fn(&Figures) -> f64);

const ROWS: &[Row] = &[
    ("durable until the last ack", "/s", |figures| figures.acknowledged_per_s),
    ("acknowledged, p50", "us", |figures| figures.p50_us),
    ("acknowledged, p99", "us", |figures| figures.p99_us),
    ("longest stall", "ms", |figures| figures.longest_stall_ms),
    ("CPU a message", "us", |figures| figures.cpu_us),
    ("device bytes a message", "B", |figures| figures.device_bytes),
    ("tables, a message, settled", "B", |figures| figures.disk_bytes),
];

fn tell(
    plan: &Plan,
    (least, aim): (f64, f64),
    ours: &[Figures],
    theirs: &[Figures],
    report: &mut super::Report,
) -> anyhow::Result<()> {
    let of = |figures: &[Figures], value: fn(&Figures) -> f64| median(figures.iter().map(value).collect());
    let how = format!("{} {:?}", plan.conversations, plan.spread).to_lowercase();
    let figure = |what: &str, unit, value| {
        let what = format!("{what}, {how}");
        Figure::new("store", what, of(ours, value), unit).against("straight into tables", of(theirs, value))
    };
    report.add(figure("sustained messages", "/s", |figures| figures.sustained_per_s).goal(least, aim))?;
    for (what, unit, value) in ROWS {
        report.add(figure(what, unit, *value))?;
    }
    Ok(())
}

async fn run_tables(plan: &Plan) -> anyhow::Result<Figures> {
    let folder = Folder::make(plan, "store")?;
    let opened = FileJournal::open(&folder.0.join("journal"), FileJournalOptions::default())?;
    let journal: Arc<dyn Journal> = Arc::new(opened.start(Position::NONE)?);
    let tables_folder = folder.0.join("tables");
    let open = EmbeddedOptions { path: tables_folder, cache_bytes: plan.cache_bytes };
    let tables = EmbeddedTables::open(open).await?;

    let before = Reading::now()?;
    let (committer, outcomes) = start(Arc::clone(&journal));
    let flusher = Flusher::start(tables.clone(), Arc::clone(&journal), committer.clone());
    let mut figures = Load::new(plan).drive(&committer, outcomes, Sink::Flusher(flusher)).await?;
    tables.settle().await?;
    figures.complete(&before, tables.status().disk_bytes)?;
    committer.stop().await;
    Ok(figures)
}

async fn run_baseline(plan: &Plan) -> anyhow::Result<Figures> {
    let folder = Folder::make(plan, "baseline")?;
    let straight = Arc::new(Straight::open(&folder.0, plan.cache_bytes)?);
    let before = Reading::now()?;
    let (committer, outcomes) = start(Arc::clone(&straight) as Arc<dyn Journal>);
    let mut figures = Load::new(plan).drive(&committer, outcomes, Sink::None).await?;
    straight.settle();
    figures.complete(&before, straight.disk_bytes())?;
    committer.stop().await;
    Ok(figures)
}

fn start<T: Send + 'static>(
    journal: Arc<dyn Journal>,
) -> (Committer<T>, tidings_server::journal::commit::CommittedReceiver<T>) {
    let options = CommitterOptions { backlog_bytes: BACKLOG_BYTES, ..CommitterOptions::default() };
    Committer::start(journal, options, tokio::runtime::Handle::current())
}

/// What this process has used, and when.
struct Reading {
    at: Instant,
    usage: Usage,
}

impl Reading {
    fn now() -> anyhow::Result<Self> {
        Ok(Self { at: Instant::now(), usage: Usage::of(std::process::id())? })
    }
}

impl Figures {
    /// `self` knows the time until the last acknowledgement; the rest ends now.
    fn complete(&mut self, before: &Reading, disk_bytes: u64) -> anyhow::Result<()> {
        let now = Reading::now()?;
        let used = now.usage.since(before.usage);
        let messages = self.messages as f64;
        self.sustained_per_s = messages / (now.at - before.at).as_secs_f64();
        self.cpu_us = used.cpu.as_secs_f64() * 1e6 / messages;
        self.device_bytes = used.device_bytes as f64 / messages;
        self.disk_bytes = disk_bytes as f64 / messages;
        Ok(())
    }
}

/// Times of acknowledgements.
struct Clock {
    start: Instant,
    last_ack: Instant,
    longest_stall: Duration,
    latencies_us: Vec<u32>,
}

impl Clock {
    fn start(messages: usize) -> Self {
        let now = Instant::now();
        let latencies_us = Vec::with_capacity(messages);
        Self { start: now, last_ack: now, longest_stall: Duration::ZERO, latencies_us }
    }

    fn commit(&mut self, now: Instant) {
        self.longest_stall = self.longest_stall.max(now - self.last_ack);
        self.last_ack = now;
    }

    fn figures(mut self) -> Figures {
        self.latencies_us.sort_unstable();
        let of_latency = |share| percentile(&self.latencies_us, share).map_or(f64::NAN, f64::from);
        let messages = self.latencies_us.len() as u64;
        Figures {
            messages,
            acknowledged_per_s: messages as f64 / (self.last_ack - self.start).as_secs_f64(),
            p50_us: of_latency(0.5),
            p99_us: of_latency(0.99),
            longest_stall_ms: self.longest_stall.as_secs_f64() * 1e3,
            ..Figures::default()
        }
    }
}

/// A folder that goes when the run is over.
struct Folder(PathBuf);

impl Folder {
    fn make(plan: &Plan, name: &str) -> std::io::Result<Self> {
        let path = plan.folder.join(name);
        std::fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left-overs of a bench are no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
