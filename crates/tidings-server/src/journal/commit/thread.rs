//! The committer's thread: takes what has gathered, appends it, hands it on, and confirms when nothing comes. It makes
//! no batch and counts no backlog.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use parking_lot::MutexGuard;
use tokio::{
    runtime::Handle,
    sync::{mpsc, watch},
};

use super::{Appended, Batch, Committed, CommitterOptions, Failed, Gathering, Outcome, Shared};
use crate::journal::{AppendError, Journal, Position};

pub(super) struct Parts<T> {
    pub shared: Arc<Shared<T>>,
    pub journal: Arc<dyn Journal>,
    pub runtime: Handle,
    pub options: CommitterOptions,
    pub outcomes: mpsc::Sender<Outcome<T>>,
    /// Set when the thread ends; dropped with it if it panics.
    pub stopped: watch::Sender<bool>,
}

pub(super) fn start<T: Send + 'static>(parts: Parts<T>) {
    let thread = CommitterThread {
        parts,
        broken: None,
        position: Position::NONE,
        unconfirmed: false,
        usual_items: 0.0,
        usual_append: Duration::ZERO,
    };
    std::thread::Builder::new()
        .name("committer".into())
        .spawn(move || thread.run())
        .expect("a thread can be started while the server starts");
}

/// With fewer in the usual commit it is hardly more than a lone sender.
const FEW_ITEMS: usize = 4;
/// A commit of so many costs each of them next to nothing already.
const ENOUGH_ITEMS: usize = 128;
/// Below what the timer can do.
const SHORTEST_GATHER: Duration = Duration::from_micros(20);

struct CommitterThread<T> {
    parts: Parts<T>,
    broken: Option<Arc<AppendError>>,
    position: Position,
    /// An append was not followed by a confirm yet.
    unconfirmed: bool,
    /// Moving averages, to judge whether waiting for more pays.
    usual_items: f64,
    usual_append: Duration,
}

enum Next<T> {
    Batch(Batch<T>),
    /// Nothing was submitted for a while after an append.
    Idle,
    Stop,
}

impl<T> CommitterThread<T> {
    fn run(mut self) {
        loop {
            let (outcome, is_over) = match self.next() {
                Next::Batch(batch) => (Some(self.commit(batch)), false),
                Next::Idle => (self.confirm(), false),
                Next::Stop => (if self.unconfirmed { self.confirm() } else { None }, true),
            };
            let is_heard = outcome.is_none_or(|outcome| self.hand_on(outcome).is_ok());
            if is_over || !is_heard {
                break;
            }
        }
        self.end();
    }

    fn next(&mut self) -> Next<T> {
        let shared = Arc::clone(&self.parts.shared);
        let mut gathering = shared.gathering.lock();
        loop {
            if gathering.waiting_items() > 0 {
                self.gather(&mut gathering);
                return Next::Batch(gathering.take().expect("there were items and only this thread takes them"));
            }
            if gathering.stopping {
                gathering.ended = true;
                return Next::Stop;
            }
            gathering.wake_at = Some(1);
            if self.unconfirmed {
                let waited = shared.submitted.wait_for(&mut gathering, self.parts.options.confirm_after);
                if waited.timed_out() && gathering.waiting_items() == 0 && !gathering.stopping {
                    gathering.wake_at = None;
                    return Next::Idle;
                }
            } else {
                shared.submitted.wait(&mut gathering);
            }
            gathering.wake_at = None;
        }
    }

    /// Waits a moment for as many items as usual, if several senders are active and fewer have come so far.
    fn gather(&self, gathering: &mut MutexGuard<'_, Gathering<T>>) {
        let usual_items = (self.usual_items as usize).min(ENOUGH_ITEMS);
        // A wait that is long beside the append itself would cost more latency than it saves work.
        let longest = self.parts.options.gather.min(self.usual_append / 2);
        if usual_items < FEW_ITEMS || gathering.waiting_items() >= usual_items || longest < SHORTEST_GATHER {
            return;
        }
        let until = Instant::now() + longest;
        gathering.wake_at = Some(usual_items);
        while gathering.wake_at.is_some() && !gathering.stopping {
            // A stop notifies too; what it finds is committed at once.
            if self.parts.shared.submitted.wait_until(gathering, until).timed_out() {
                break;
            }
        }
        gathering.wake_at = None;
    }

    fn commit(&mut self, batch: Batch<T>) -> Outcome<T> {
        let Batch { commit, items, charged_bytes, too_large } = batch;
        let appended = if let Some(error) = &self.broken {
            Err(Arc::clone(error))
        } else if let Some(bytes) = too_large {
            Err(Arc::new(AppendError::TooLarge { bytes, max: self.parts.journal.max_commit_bytes() }))
        } else if commit.is_empty() {
            Ok((self.position, Bytes::new()))
        } else {
            let commit = into_bytes(commit);
            self.append(&commit, items.len()).map(|position| (position, commit))
        };
        let backlog = &self.parts.shared.backlog;
        match appended {
            Ok((position, commit)) => {
                if commit.is_empty() {
                    backlog.give_back(charged_bytes);
                } else {
                    backlog.committed(position, charged_bytes);
                }
                Outcome::Committed(Committed { position, commit, items })
            }
            Err(error) => {
                backlog.give_back(charged_bytes);
                Outcome::Failed(Failed { payloads: items.into_iter().map(|item| item.payload).collect(), error })
            }
        }
    }

    fn append(&mut self, commit: &Bytes, items: usize) -> Result<Position, Arc<AppendError>> {
        let started = Instant::now();
        let appended = self.parts.runtime.block_on(self.parts.journal.append(commit.clone()));
        let took = started.elapsed();
        let position = appended.map_err(|error| self.fail(error))?;
        debug_assert_eq!(position, if self.position == Position::NONE { position } else { self.position.next() });
        self.position = position;
        self.unconfirmed = true;
        self.usual_items = self.usual_items * 0.75 + items as f64 * 0.25;
        // One that was held up, by the disk or by other threads, must not count for much.
        let ordinary = took.min(self.usual_append * 2 + Duration::from_micros(5));
        self.usual_append = self.usual_append.mul_f32(0.75) + ordinary.mul_f32(0.25);
        {
            let mut status = self.parts.shared.status.lock();
            status.commits += 1;
            status.items += items as u64;
            status.bytes += commit.len() as u64;
            status.last_append = took;
            status.position = position;
        }
        if let Some(on_append) = &self.parts.options.on_append {
            on_append(&Appended { bytes: commit.len(), items, took });
        }
        Ok(position)
    }

    /// A failure comes out although nobody submitted anything: nothing that could fail later is taken any more.
    fn confirm(&mut self) -> Option<Outcome<T>> {
        self.unconfirmed = false;
        self.usual_items = 0.0;
        if self.broken.is_some() {
            return None;
        }
        let error = self.parts.runtime.block_on(self.parts.journal.confirm()).err()?;
        Some(Outcome::Failed(Failed { payloads: Vec::new(), error: self.fail(error) }))
    }

    /// From here on nothing is appended.
    fn fail(&mut self, error: AppendError) -> Arc<AppendError> {
        tracing::error!(%error, position = %self.position, "the journal failed: nothing more is acknowledged");
        let error = Arc::new(error);
        self.broken = Some(Arc::clone(&error));
        self.unconfirmed = false;
        self.parts.shared.status.lock().broken = Some(Arc::clone(&error));
        self.parts.shared.backlog.close();
        error
    }

    /// Waits while the receiver is behind. `Err`: there is none any more.
    fn hand_on(&self, outcome: Outcome<T>) -> Result<(), ()> {
        match self.parts.outcomes.try_send(outcome) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
            Err(mpsc::error::TrySendError::Full(outcome)) => {
                self.parts.runtime.block_on(self.parts.outcomes.send(outcome)).map_err(|_| ())
            }
        }
    }

    fn end(self) {
        let Parts { shared, outcomes, stopped, .. } = self.parts;
        shared.backlog.close();
        let abandoned = {
            let mut gathering = shared.gathering.lock();
            gathering.ended = true;
            std::iter::from_fn(|| gathering.take()).collect::<Vec<_>>()
        };
        drop((abandoned, outcomes));
        // Nobody may be waiting for it.
        let _ = stopped.send(true);
    }
}

/// The commit lives on, in slices, until it is flushed: it must not hold much more than its bytes.
fn into_bytes(mut commit: Vec<u8>) -> Bytes {
    if commit.capacity() > commit.len() * 2 + 4_096 {
        commit.shrink_to_fit();
    }
    Bytes::from(commit)
}
