//! A small benchmark of the committer over a journal in memory or in files: many senders, each with some submissions
//! under way, and what it costs. Prints one line a run.
//!
//! `cargo run --release -p tidings-server --example committer -- file|memory [senders] [window] [gather us] [seconds]`
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a command, not part of the server")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use smallvec::smallvec;
use tidings_server::journal::{
    Journal, Pace, Position,
    commit::{CommittedReceiver, Committer, CommitterOptions, Outcome, Submission},
    file::{FileJournal, FileJournalOptions},
    memory::MemoryJournal,
};
use tokio::{runtime::Handle, sync::mpsc};

const EVENT_BYTES: usize = 200;

struct Sent {
    sender: usize,
    at: Instant,
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_else(|| "file".into());
    let mut number = |default: u64| arguments.next().map_or(default, |text| text.parse().unwrap());
    let (senders, window, gather_us, seconds) = (number(64), number(1), number(100), number(5));

    let folder = std::env::current_dir().unwrap().join("target/committer-bench");
    let journal: Arc<dyn Journal> = if kind == "memory" {
        Arc::new(MemoryJournal::new())
    } else {
        let _ = std::fs::remove_dir_all(&folder);
        let recovered = FileJournal::open(&folder, FileJournalOptions::default()).unwrap();
        Arc::new(recovered.start(Position::NONE).unwrap())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let options = CommitterOptions {
        pace: Pace { gather: Duration::from_micros(gather_us), ..Pace::LOCAL },
        ..Default::default()
    };
    let (committer, receiver) = Committer::start(Arc::clone(&journal), options, runtime.handle().clone());
    let run = Run { committer, journal, senders: senders as usize, window: window as usize, stop: Arc::default() };
    let cpu_before = cpu_s();
    let started = Instant::now();
    let mut waits_us = runtime.block_on(run.drive(receiver, Duration::from_secs(seconds)));
    let (took_s, cpu_s) = (started.elapsed().as_secs_f64(), cpu_s() - cpu_before);

    let status = run.committer.status();
    waits_us.sort_unstable();
    let at = |share: f64| waits_us[((waits_us.len() - 1) as f64 * share) as usize];
    println!(
        "{kind} senders {senders} window {window} gather {gather_us} us: {:.0}/s, commits {:.0}/s of {:.1}, p50 {} us, p99 {} us, max {} us, cpu {:.2} us each",
        status.items as f64 / took_s,
        status.commits as f64 / took_s,
        status.items as f64 / status.commits as f64,
        at(0.5),
        at(0.99),
        at(1.0),
        cpu_s * 1e6 / status.items as f64,
    );
    drop(run);
    let _ = std::fs::remove_dir_all(&folder);
}

struct Run {
    committer: Committer<Sent>,
    journal: Arc<dyn Journal>,
    senders: usize,
    window: usize,
    stop: Arc<AtomicU64>,
}

impl Run {
    async fn drive(&self, mut receiver: CommittedReceiver<Sent>, length: Duration) -> Vec<u32> {
        let mut acks = Vec::new();
        for sender in 0..self.senders {
            let (ack_tx, mut ack_rx) = mpsc::channel::<()>(self.window);
            acks.push(ack_tx);
            let (committer, stop, window) = (self.committer.clone(), Arc::clone(&self.stop), self.window);
            tokio::spawn(async move {
                let mut under_way = 0;
                while stop.load(Ordering::Relaxed) == 0 {
                    let permit = Some(committer.reserve(EVENT_BYTES + 2).await.unwrap());
                    let events = smallvec![vec![7; EVENT_BYTES]];
                    committer.submit(Submission { events, payload: Sent { sender, at: Instant::now() }, permit });
                    under_way += 1;
                    if under_way == window {
                        if ack_rx.recv().await.is_none() {
                            return;
                        }
                        under_way -= 1;
                        while ack_rx.try_recv().is_ok() {
                            under_way -= 1;
                        }
                    }
                }
            });
        }
        let until = Instant::now() + length;
        let mut waits_us = Vec::new();
        while Instant::now() < until {
            let Some(Outcome::Committed(batch)) = receiver.recv().await else { panic!("the journal failed") };
            for item in batch.items {
                acks[item.payload.sender].try_send(()).unwrap();
                waits_us.push(item.payload.at.elapsed().as_micros() as u32);
            }
            // As a flush would, a little behind.
            if batch.position.0.is_multiple_of(64) {
                self.committer.flushed(batch.position);
                let journal = Arc::clone(&self.journal);
                Handle::current().spawn_blocking(move || Handle::current().block_on(journal.trim(batch.position)));
            }
        }
        self.stop.store(1, Ordering::Relaxed);
        waits_us
    }
}

/// User and system time of this process.
fn cpu_s() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit(')').next().unwrap().split_whitespace().collect::<Vec<_>>();
    let ticks = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}
