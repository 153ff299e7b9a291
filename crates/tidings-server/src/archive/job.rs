//! When rounds happen: every few hours, and when an operator asks.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_proto::ShardId;
use tokio::sync::Mutex as Turn;

use super::{Archive, Report, RoundError, round::Archiver};
use crate::{clock::Clock, metrics::Part, shutdown::Shutdown, tables::Tables};

/// Between two rounds: more often would make small segments.
const EVERY: Duration = Duration::from_secs(6 * 60 * 60);
/// After the start, so that whoever comes back after a restart is served first.
const AFTER_THE_START: Duration = Duration::from_secs(10 * 60);
/// For each part of the time that a round works it rests four.
const REST: u32 = 4;
const MONTH_MS: u64 = 2_629_746_000;

/// The archive's work, for the process. `None` of it happens while `archive.after_months` is 0.
pub struct Job {
    archiver: Archiver,
    clock: Clock,
    after_months: u64,
    /// Held by the round under way.
    turn: Turn<()>,
    status: Mutex<Status>,
}

/// What the job has done since the start.
#[derive(Clone, Debug, Default, serde::Serialize, utoipa::ToSchema)]
pub struct Status {
    /// 0: nothing is archived.
    pub after_months: u64,
    pub is_running: bool,
    pub rounds: u64,
    /// What the last round did that came to its end.
    pub last: Option<Report>,
    /// When it ended.
    pub last_at_ms: Option<u64>,
    /// Why the last round ended before its end, if it did.
    pub error: Option<String>,
    /// Where segments are.
    pub place: String,
}

impl Job {
    /// `tables` are those in front, without the archive under them.
    pub fn new(tables: Arc<dyn Tables>, archive: Arc<Archive>, after_months: u64, shutdown: Shutdown) -> Arc<Self> {
        let status = Status { after_months, place: archive.blobs.place().to_owned(), ..Status::default() };
        let archiver = Archiver::new(tables, archive, shutdown, REST);
        let clock = Clock::system();
        Arc::new(Self { archiver, clock, after_months, turn: Turn::new(()), status: Mutex::new(status) })
    }

    /// Does rounds until the server stops. `epoch_of`: since which epoch this node hosts a shard, 0 if it does not.
    pub fn start(self: &Arc<Self>, epoch_of: impl Fn(ShardId) -> u64 + Send + Sync + 'static) {
        self.archiver.share(epoch_of);
        self.archiver.shutdown.spawn(self.clone().run());
    }

    async fn run(self: Arc<Self>) {
        if self.after_months == 0 {
            return;
        }
        let mut wait = AFTER_THE_START;
        loop {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.archiver.shutdown.begun() => return,
            }
            // What went wrong is in the log and in the status.
            let _ = self.round().await;
            wait = EVERY;
        }
    }

    /// Begins a round, unless one is under way, and does not wait for it. Refused while nothing is to be archived.
    pub fn begin(self: &Arc<Self>) -> Result<Status, RoundError> {
        if self.after_months == 0 {
            return Err(RoundError::Off);
        }
        let mut status = self.status.lock();
        if !status.is_running {
            status.is_running = true;
            let job = self.clone();
            self.archiver.shutdown.spawn(async move { job.round().await.map(drop) });
        }
        Ok(status.clone())
    }

    /// One round now, or after the one under way.
    async fn round(&self) -> Result<Report, RoundError> {
        let _turn = self.turn.lock().await;
        self.status.lock().is_running = true;
        let now_ms = self.clock.unix_ms();
        let outcome = self.archiver.round(now_ms.saturating_sub(self.after_months * MONTH_MS)).await;
        let mut status = self.status.lock();
        status.is_running = false;
        match &outcome {
            Ok(report) => {
                status.rounds += 1;
                (status.last, status.last_at_ms, status.error) = (Some(*report), Some(self.clock.unix_ms()), None);
                tracing::info!(
                    entries = report.entries,
                    segments = report.segments,
                    packed_bytes = report.packed_bytes,
                    "a round of the archive is done"
                );
            }
            Err(RoundError::Stopping) => {}
            Err(error) => {
                status.error = Some(error.to_string());
                self.archiver.archive.metrics.errors.of(Part::Archive).inc();
                tracing::error!(%error, "a round of the archive ended early; the next one goes on from there");
            }
        }
        drop(status);
        outcome
    }

    /// No round is under way while this is held; one that was is waited for.
    pub async fn pause(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }
}
