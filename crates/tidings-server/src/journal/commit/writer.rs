//! What the committer does with what has gathered: appends it, hands it on, and confirms when nothing comes. It makes no
//! batch, counts no backlog and waits for nobody who submits: that is its thread's, or its task's.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Appended, Batch, Committed, CommitterOptions, Failed, Outcome, Shared};
use crate::journal::{AppendError, Journal, Position};

pub(super) struct Parts<T> {
    pub shared: Arc<Shared<T>>,
    pub journal: Arc<dyn Journal>,
    pub options: CommitterOptions,
    pub outcomes: mpsc::Sender<Outcome<T>>,
    /// Set when the committer ends; dropped with it if it panics.
    pub stopped: watch::Sender<bool>,
}

pub(super) struct Writer<T> {
    parts: Parts<T>,
    broken: Option<Arc<AppendError>>,
    position: Position,
    /// An append was not followed by a confirm yet.
    unconfirmed: bool,
    /// Moving averages, to judge whether waiting for more pays.
    usual_items: f64,
    usual_append: Duration,
}

pub(super) enum Next<T> {
    Batch(Batch<T>),
    /// Nothing was submitted for a while.
    Idle,
    Stop,
}

impl<T> Writer<T> {
    pub fn new(parts: Parts<T>) -> Self {
        Self {
            parts,
            broken: None,
            position: Position::NONE,
            unconfirmed: false,
            usual_items: 0.0,
            usual_append: Duration::ZERO,
        }
    }

    pub fn shared(&self) -> &Arc<Shared<T>> {
        &self.parts.shared
    }

    /// After how long without anything submitted the journal is confirmed.
    pub fn confirm_after(&self) -> Option<Duration> {
        let pace = &self.parts.options.pace;
        if self.unconfirmed { Some(pace.confirm_after) } else { pace.confirm_every.filter(|_| self.broken.is_none()) }
    }

    pub fn usual_items(&self) -> usize {
        self.usual_items as usize
    }

    /// How long a commit may wait for more.
    pub fn longest_gather(&self) -> Duration {
        self.parts.options.pace.gather.min(self.usual_append / 2)
    }

    /// `false`: it was the last step.
    pub async fn step(&mut self, next: Next<T>) -> bool {
        let (outcome, is_over) = match next {
            Next::Batch(batch) => (Some(self.commit(batch).await), false),
            Next::Idle => (self.confirm().await, false),
            Next::Stop => (if self.unconfirmed { self.confirm().await } else { None }, true),
        };
        let is_heard = match outcome {
            Some(outcome) => self.hand_on(outcome).await.is_ok(),
            None => true,
        };
        is_heard && !is_over
    }

    async fn commit(&mut self, batch: Batch<T>) -> Outcome<T> {
        let Batch { commit, items, charged_bytes, too_large } = batch;
        let appended = if let Some(error) = &self.broken {
            Err(Arc::clone(error))
        } else if let Some(bytes) = too_large {
            Err(Arc::new(AppendError::TooLarge { bytes, max: self.parts.journal.max_commit_bytes() }))
        } else if commit.is_empty() {
            Ok((self.position, Bytes::new()))
        } else {
            let commit = into_bytes(commit);
            self.append(&commit, items.len()).await.map(|position| (position, commit))
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

    async fn append(&mut self, commit: &Bytes, items: usize) -> Result<Position, Arc<AppendError>> {
        let started = Instant::now();
        self.parts.shared.status.lock().appending_since = Some(started);
        let appended = self.parts.journal.append(commit.clone()).await;
        let took = started.elapsed();
        self.parts.shared.status.lock().appending_since = None;
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
            status.confirmed_at = Some(started);
        }
        if let Some(on_append) = &self.parts.options.on_append {
            on_append(&Appended { bytes: commit.len(), items, took });
        }
        Ok(position)
    }

    /// A failure comes out although nobody submitted anything: nothing that could fail later is taken any more.
    async fn confirm(&mut self) -> Option<Outcome<T>> {
        self.unconfirmed = false;
        self.usual_items = 0.0;
        if self.broken.is_some() {
            return None;
        }
        let started = Instant::now();
        let Err(error) = self.parts.journal.confirm().await else {
            self.parts.shared.status.lock().confirmed_at = Some(started);
            return None;
        };
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
    async fn hand_on(&self, outcome: Outcome<T>) -> Result<(), ()> {
        match self.parts.outcomes.try_send(outcome) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(()),
            Err(mpsc::error::TrySendError::Full(outcome)) => self.parts.outcomes.send(outcome).await.map_err(|_| ()),
        }
    }

    pub fn end(self) {
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
