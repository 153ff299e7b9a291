//! The `store` bench: journal and tables alone, as the server uses them, against the same rows written straight into
//! the LSM. No sessions, no sockets, no homes: what is left is what a durable message costs.
//!
//! 64 senders, each with `window` messages in flight; a message is 216 bytes of content (150 of text, ids, time) and two
//! inbox rows. Included: the repeats index, the overlay of what is not flushed, flush, closing of chunks, and compaction
//! until nothing is owed.

mod baseline;
mod flusher;
mod load;
mod usage;

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use serde::Serialize;
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
    usage::Usage,
};

/// Text, conversation, sender, client id and time of a message.
pub const OWN_BYTES: u64 = 150 + 16 + 8 + 36 + 6;

#[derive(Clone, Debug)]
pub struct Options {
    /// A folder for the run; what the bench makes below it, it removes.
    pub folder: PathBuf,
    pub conversations: u32,
    pub spread: Spread,
    pub messages: u64,
    pub senders: usize,
    /// Messages in flight a sender.
    pub window: usize,
    pub cache_bytes: u64,
    pub with_baseline: bool,
}

/// Which conversations are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Spread {
    Uniform,
    /// The n-th conversation gets 1/n of what the first one gets.
    Zipf,
}

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub conversations: u32,
    pub spread: Spread,
    pub window: usize,
    pub tables: Figures,
    pub baseline: Option<Figures>,
    /// Sustained messages a second against the baseline's.
    pub ratio: Option<f64>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Figures {
    pub messages: u64,
    /// Durable messages a second until the last one was acknowledged.
    pub acknowledged_per_s: f64,
    /// The same, until all was flushed and compaction owed nothing.
    pub sustained_per_s: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    /// The longest time without any acknowledgement.
    pub longest_stall_ms: u64,
    pub cpu_us_a_message: f64,
    /// Written to the device, journal included.
    pub device_bytes_a_message: f64,
    /// Of tables, when settled.
    pub disk_bytes_a_message: f64,
    pub disk_to_own_bytes: f64,
    /// Of the CPU time, what decoding, packing and closing of log rows took.
    pub pack_us_a_message: f64,
}

/// Runs the bench and, if asked for, its baseline. Takes tens of seconds for millions of messages.
pub fn run(options: &Options) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let tables = runtime.block_on(run_tables(options))?;
    let baseline = options.with_baseline.then(|| runtime.block_on(run_baseline(options))).transpose()?;
    let ratio = baseline.as_ref().map(|baseline| tables.sustained_per_s / baseline.sustained_per_s);
    let Options { conversations, spread, window, .. } = *options;
    Ok(Report { conversations, spread, window, tables, baseline, ratio })
}

async fn run_tables(options: &Options) -> anyhow::Result<Figures> {
    let folder = Folder::make(options, "store-bench")?;
    let opened = FileJournal::open(&folder.0.join("journal"), FileJournalOptions::default())?;
    let journal: Arc<dyn Journal> = Arc::new(opened.start(Position::NONE)?);
    let tables_folder = folder.0.join("tables");
    let open = EmbeddedOptions { path: tables_folder, cache_bytes: options.cache_bytes };
    let tables = EmbeddedTables::open(open).await?;

    let before = Usage::now()?;
    let (committer, outcomes) = start(Arc::clone(&journal));
    let flusher = Flusher::start(tables.clone(), Arc::clone(&journal), committer.clone());
    let mut figures = Load::new(options).drive(&committer, outcomes, Sink::Flusher(flusher)).await?;
    tables.settle().await?;
    let disk_bytes = tables.status().disk_bytes;
    figures.complete(&before, disk_bytes)?;
    Ok(figures)
}

async fn run_baseline(options: &Options) -> anyhow::Result<Figures> {
    let folder = Folder::make(options, "store-bench-baseline")?;
    let straight = Arc::new(Straight::open(&folder.0, options.cache_bytes)?);
    let before = Usage::now()?;
    let (committer, outcomes) = start(Arc::clone(&straight) as Arc<dyn Journal>);
    let mut figures = Load::new(options).drive(&committer, outcomes, Sink::None).await?;
    straight.settle();
    figures.complete(&before, straight.disk_bytes())?;
    Ok(figures)
}

fn start<T: Send + 'static>(
    journal: Arc<dyn Journal>,
) -> (Committer<T>, tidings_server::journal::commit::CommittedReceiver<T>) {
    let options = CommitterOptions { backlog_bytes: 192 << 20, ..CommitterOptions::default() };
    Committer::start(journal, options, tokio::runtime::Handle::current())
}

impl Figures {
    /// `self` knows the time until the last acknowledgement; the rest ends now.
    fn complete(&mut self, before: &Usage, disk_bytes: u64) -> anyhow::Result<()> {
        let used = Usage::now()?.since(before);
        let messages = self.messages as f64;
        self.sustained_per_s = messages / used.elapsed.as_secs_f64();
        self.cpu_us_a_message = used.cpu.as_secs_f64() * 1e6 / messages;
        self.device_bytes_a_message = used.device_bytes as f64 / messages;
        self.disk_bytes_a_message = disk_bytes as f64 / messages;
        self.disk_to_own_bytes = self.disk_bytes_a_message / OWN_BYTES as f64;
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
        let messages = self.latencies_us.len();
        self.latencies_us.sort_unstable();
        let percentile = |part: usize| self.latencies_us.get(messages * part / 100).copied().unwrap_or(0).into();
        Figures {
            messages: messages as u64,
            acknowledged_per_s: messages as f64 / (self.last_ack - self.start).as_secs_f64(),
            p50_us: percentile(50),
            p99_us: percentile(99),
            longest_stall_ms: u64::try_from(self.longest_stall.as_millis()).unwrap_or(u64::MAX),
            ..Figures::default()
        }
    }
}

/// A folder that goes when the run is over.
struct Folder(PathBuf);

impl Folder {
    fn make(options: &Options, name: &str) -> std::io::Result<Self> {
        let path = options.folder.join(format!("{name}-{}", std::process::id()));
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

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "store: {} conversations, {:?}, window {}", self.conversations, self.spread, self.window)?;
        writeln!(f, "  journal and tables: {}", self.tables)?;
        if let (Some(baseline), Some(ratio)) = (&self.baseline, self.ratio) {
            writeln!(f, "  straight into LSM:  {baseline}")?;
            writeln!(f, "  ratio: {ratio:.2}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { acknowledged_per_s, sustained_per_s, p50_us, p99_us, longest_stall_ms, .. } = self;
        write!(
            f,
            "{sustained_per_s:.0}/s sustained ({acknowledged_per_s:.0}/s until the last ack); p50 {p50_us} us, p99 {p99_us} us, \
             longest stall {longest_stall_ms} ms; CPU {:.1} us ({:.1} packing), device {:.0} B, disk {:.0} B a message \
             ({:.2} of its own)",
            self.cpu_us_a_message,
            self.pack_us_a_message,
            self.device_bytes_a_message,
            self.disk_bytes_a_message,
            self.disk_to_own_bytes,
        )
    }
}
