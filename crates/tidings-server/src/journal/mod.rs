//! The journal: a node's append-only stream of commits, durable and in order. It knows no conversation and no session:
//! a commit is bytes.
//!
//! `commit` gathers what actors submit into commits (laid out by `framing`, bounded by `backlog`). `memory` is the
//! reference, `file` the embedded implementation, `cassandra` the one of a fleet; `conformance` is the suite that every
//! one passes.

pub mod backlog;
pub mod cassandra;
pub mod commit;
#[cfg(any(test, feature = "testing"))]
pub mod conformance;
pub mod file;
pub mod framing;
pub mod memory;
pub mod unflushed;

use std::{fmt, io, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;

pub use backlog::Permit;

use crate::node::NodeId;

/// A commit's number in its journal: 1, 2, 3 …, dense. `NONE` is before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

impl Position {
    pub const NONE: Self = Self(0);
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One append-only stream of commits.
///
/// A single caller (the committer) appends, one commit at a time. An implementation may block the calling thread
/// in `append` and `confirm`, for the committer runs on a thread of its own, and in `trim` and `seal`, each for some syncs.
#[async_trait]
pub trait Journal: Send + Sync + 'static {
    /// Makes `commit` durable at the next position. When this returns `Ok`, no crash of process, machine or power loses
    /// the commit, and every commit before it is durable too.
    ///
    /// After any error but `TooLarge` the outcome is unknown and nothing is ever appended to this journal again by this process: every
    /// later call fails in the same way. Where the store is elsewhere and does not answer, this waits until it does.
    /// `commit` is never empty and at most [`Journal::max_commit_bytes`] long.
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError>;

    /// Shows that the last append is known to be good: embedded, by a record behind it, so that a torn tail can only
    /// be an unacknowledged commit; in a fleet, by reading that no seal stands there. Called when the journal has been idle for
    /// a moment, and before a clean stop. Takes no position; a second call without an append between does nothing.
    async fn confirm(&self) -> Result<(), AppendError>;

    /// The commits after `after`, in order and without a hole, until about `max_bytes` are reached (at least one if
    /// there is one). Empty: there is none yet. Fails if `after` is below what was trimmed.
    async fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError>;

    /// Gives up all commits at or below `up_to`; some of them may be kept for longer. Never gives up one above.
    async fn trim(&self, up_to: Position) -> Result<(), AppendError>;

    /// Ends this journal for ever and tells its last position. From then on each append, by whomever, is `Fenced`.
    /// Repeating it answers the same.
    async fn seal(&self) -> Result<Position, AppendError>;

    fn max_commit_bytes(&self) -> usize;

    /// How the committer gets on with it best.
    fn pace(&self) -> Pace {
        Pace::LOCAL
    }

    /// How many files of this machine hold commits, for operators; none where the journal is elsewhere.
    fn segments(&self) -> usize {
        0
    }
}

/// The journals of all nodes of a fleet, in the store that they share: to end, read and give up those of others. Calls wait until
/// the store answers.
#[async_trait]
pub trait SharedJournals: Send + Sync + 'static {
    /// Ends a journal for ever, and tells its last position. When it returns the seal holds. Again, or by another: the same.
    async fn seal(&self, id: NodeId) -> io::Result<Position>;

    /// Its last position, if it was sealed and the seal holds.
    async fn sealed(&self, id: NodeId) -> io::Result<Option<Position>>;

    /// Up to which position the tables have all its events.
    async fn flushed(&self, id: NodeId) -> io::Result<Position>;

    /// As [`Journal::read`].
    async fn read(&self, id: NodeId, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError>;

    /// Gives a journal up, when all its events are in the tables and nobody will replay it any more. It takes nothing ever after.
    async fn retire(&self, id: NodeId) -> io::Result<()>;
}

/// What the committer does as it likes, and a journal knows better.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A commit grows to about this; only a submission that is larger by itself may pass it, up to what the journal takes.
    pub target_commit_bytes: usize,
    pub max_commit_items: usize,
    /// The longest that a commit waits for more to come while several senders are active: at most half of what an append
    /// takes. A lone sender never waits.
    pub gather: Duration,
    /// How long nothing is submitted before the last commit is confirmed.
    pub confirm_after: Duration,
    /// How often it is confirmed besides while nothing comes: where another may seal it, an idle host learns it so.
    pub confirm_every: Option<Duration>,
    /// While an append has been under way for longer, new senders are refused instead of waiting with the others.
    pub refuse_after: Option<Duration>,
}

impl Pace {
    /// Of a disk of this machine. Measured with 64 senders that wait for each ack: with this gathering 60 instead of 40 a
    /// commit, 20 to 30 % less CPU each, and a lower 99th percentile.
    pub const LOCAL: Self = Self {
        target_commit_bytes: 1 << 20,
        max_commit_items: 8_192,
        gather: Duration::from_micros(100),
        confirm_after: Duration::from_millis(50),
        confirm_every: None,
        refuse_after: None,
    };
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The journal was sealed: another node hosts what this one did.
    #[error("the journal is sealed")]
    Fenced,
    #[error("the commit has {bytes} bytes, more than {max}")]
    TooLarge { bytes: usize, max: usize },
    /// The disk failed, or the store that keeps it. What is durable is not known until the next opening.
    #[error("the journal failed: {0}")]
    Failed(std::sync::Arc<io::Error>),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("position {asked} was trimmed, the journal begins after {trimmed}")]
    Trimmed { asked: Position, trimmed: Position },
    /// Bytes that were once durable are wrong. `place` names file and offset.
    #[error("the journal is damaged at {place}: {what}")]
    Damaged { place: String, what: String },
    #[error("the journal cannot be read: {0}")]
    Failed(#[from] io::Error),
}
