//! The journal in memory: the reference that the others are compared with, the baseline of benchmarks, and for tests a
//! journal whose commits can be held back, made to fail, or fenced. It survives nothing but [`MemoryJournal::reopen`].

use std::{collections::VecDeque, io, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{AppendError, Journal, Position, ReadError};

const MAX_COMMIT_BYTES: usize = 4 << 20;

#[derive(Debug, Default)]
pub struct MemoryJournal {
    state: Mutex<State>,
    gate: Arc<Gate>,
}

#[derive(Clone, Debug, Default)]
struct State {
    commits: VecDeque<Bytes>,
    trimmed: Position,
    sealed: bool,
    fail_next: Option<FailedCommit>,
    breaks: bool,
    broken: Option<Arc<io::Error>>,
}

/// What becomes of a commit whose append fails. Its sender cannot tell which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedCommit {
    Lost,
    /// It is durable all the same, and found after reopening.
    Kept,
}

impl MemoryJournal {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// For tests: lets no append go on until the answer is dropped. One at a time.
    pub fn hold(&self) -> Hold {
        self.gate.held.send_replace(true);
        Hold { gate: Arc::clone(&self.gate) }
    }

    /// For tests: the next append fails, and so every one after it.
    pub fn fail_next_append(&self, commit: FailedCommit) {
        self.state.lock().fail_next = Some(commit);
    }

    /// For tests: the next append succeeds, and everything after it fails.
    pub fn break_after_next_append(&self) {
        self.state.lock().breaks = true;
    }

    /// For tests: seals the journal, as another node would.
    pub fn fence(&self) -> Position {
        let mut state = self.state.lock();
        state.sealed = true;
        state.last()
    }

    /// What a new process finds: the same commits and seal, without the failure.
    #[must_use]
    pub fn reopen(&self) -> Self {
        let state = State { fail_next: None, breaks: false, broken: None, ..self.state.lock().clone() };
        Self { state: Mutex::new(state), gate: Arc::default() }
    }
}

/// Holds commits back while it lives.
#[derive(Debug)]
pub struct Hold {
    gate: Arc<Gate>,
}

impl Hold {
    /// Waits until an append is being held back.
    pub async fn reached(&self) {
        let mut waiting = self.gate.waiting.subscribe();
        waiting.wait_for(|waiting| *waiting > 0).await.expect("the gate lives as long as its hold");
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.gate.held.send_replace(false);
    }
}

#[derive(Debug)]
struct Gate {
    held: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
}

impl Default for Gate {
    fn default() -> Self {
        Self { held: watch::Sender::new(false), waiting: watch::Sender::new(0) }
    }
}

impl Gate {
    async fn pass(&self) {
        if !*self.held.borrow() {
            return;
        }
        self.waiting.send_modify(|waiting| *waiting += 1);
        let mut held = self.held.subscribe();
        held.wait_for(|held| !held).await.expect("the gate outlives who waits at it");
        self.waiting.send_modify(|waiting| *waiting -= 1);
    }
}

impl State {
    fn last(&self) -> Position {
        Position(self.trimmed.0 + self.commits.len() as u64)
    }

    fn check(&self) -> Result<(), AppendError> {
        match &self.broken {
            Some(error) => Err(AppendError::Failed(Arc::clone(error))),
            None if self.sealed => Err(AppendError::Fenced),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl Journal for MemoryJournal {
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError> {
        self.gate.pass().await;
        let mut state = self.state.lock();
        state.check()?;
        if commit.len() > MAX_COMMIT_BYTES {
            return Err(AppendError::TooLarge { bytes: commit.len(), max: MAX_COMMIT_BYTES });
        }
        let fate = state.fail_next.take();
        if fate != Some(FailedCommit::Lost) {
            state.commits.push_back(commit);
        }
        let last = state.last();
        if fate.is_some() || state.breaks {
            state.broken = Some(Arc::new(io::Error::other("made to fail by a test")));
        }
        if fate.is_some() {
            state.check()?;
        }
        Ok(last)
    }

    async fn confirm(&self) -> Result<(), AppendError> {
        self.state.lock().check()
    }

    async fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let state = self.state.lock();
        let Some(skipped) = after.0.checked_sub(state.trimmed.0) else {
            return Err(ReadError::Trimmed { asked: after, trimmed: state.trimmed });
        };
        let mut commits = Vec::new();
        let mut bytes = 0;
        for (index, commit) in state.commits.iter().enumerate().skip(skipped as usize) {
            if bytes >= max_bytes && !commits.is_empty() {
                break;
            }
            bytes += commit.len();
            commits.push((Position(state.trimmed.0 + index as u64 + 1), commit.clone()));
        }
        Ok(commits)
    }

    async fn trim(&self, up_to: Position) -> Result<(), AppendError> {
        let mut state = self.state.lock();
        let count = up_to.min(state.last()).0.saturating_sub(state.trimmed.0);
        state.commits.drain(..count as usize);
        state.trimmed.0 += count;
        Ok(())
    }

    async fn seal(&self) -> Result<Position, AppendError> {
        Ok(self.fence())
    }

    fn max_commit_bytes(&self) -> usize {
        MAX_COMMIT_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::conformance::{self, Place};

    #[derive(Default)]
    struct InMemory(Arc<MemoryJournal>);

    #[async_trait]
    impl Place for InMemory {
        async fn open(&mut self) -> (Vec<(Position, Bytes)>, Arc<dyn Journal>) {
            self.0 = Arc::new(self.0.reopen());
            let trimmed = self.0.state.lock().trimmed;
            (self.0.read(trimmed, usize::MAX).await.unwrap(), Arc::clone(&self.0) as _)
        }
    }

    #[tokio::test]
    async fn conforms() {
        conformance::run_all(InMemory::default).await;
    }

    #[tokio::test]
    async fn a_failed_append_is_kept_or_lost_and_ends_the_journal() {
        for (fate, kept) in [(FailedCommit::Lost, 1), (FailedCommit::Kept, 2)] {
            let journal = MemoryJournal::new();
            journal.append(Bytes::from_static(b"a")).await.unwrap();
            journal.fail_next_append(fate);
            assert!(matches!(journal.append(Bytes::from_static(b"b")).await, Err(AppendError::Failed(_))));
            assert!(matches!(journal.append(Bytes::from_static(b"c")).await, Err(AppendError::Failed(_))));
            let reopened = journal.reopen();
            assert_eq!(reopened.append(Bytes::from_static(b"d")).await.unwrap(), Position(kept + 1));
        }
    }
}
