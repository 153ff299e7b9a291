//! The committer: what many actors submit at once becomes one commit. It owns the order of a node's commits, the one
//! caller of [`Journal::append`], and the back-pressure on senders. It knows no event's meaning.
//!
//! While one commit is under way the next one gathers. Everything comes out at the [`CommittedReceiver`] in the order
//! in which it was submitted, either committed or failed; after a failure everything comes out failed, for ever.

use std::{collections::VecDeque, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use smallvec::SmallVec;
use tokio::{
    runtime::Handle,
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use super::{
    AppendError, Journal, Pace, Position,
    backlog::{Backlog, Permit},
    framing,
};
use writer::Writer;

mod task;
mod thread;
mod writer;

/// What an item counts beside its events' bytes, for what it holds in memory until it is flushed.
const ITEM_BYTES: usize = 64;

pub struct CommitterOptions {
    /// What the journal says, unless a test or a measurement says otherwise.
    pub pace: Pace,
    /// The bound on what is submitted and not yet flushed; see [`Committer::reserve`].
    pub backlog_bytes: usize,
    /// How many outcomes may wait for the receiver. When they are that many the committer waits for it.
    pub waiting_outcomes: usize,
    /// Called by the committer after each append; for metrics.
    pub on_append: Option<OnAppend>,
    pub runs_as: RunsAs,
}

/// Where the committer, or the flusher, does its work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RunsAs {
    /// On a thread of its own: what it calls may block.
    #[default]
    Thread,
    /// As a task of the runtime, by whose clock it waits: for simulations.
    Task,
}

impl Default for CommitterOptions {
    fn default() -> Self {
        Self {
            pace: Pace::LOCAL,
            backlog_bytes: 64 << 20,
            waiting_outcomes: 4,
            on_append: None,
            runs_as: RunsAs::Thread,
        }
    }
}

pub type OnAppend = Box<dyn Fn(&Appended) + Send + Sync>;

/// One append that succeeded, for metrics.
#[derive(Clone, Copy, Debug)]
pub struct Appended {
    pub bytes: usize,
    pub items: usize,
    pub took: Duration,
}

/// What an actor submits: events that become durable together, and a payload that is handed on afterwards.
pub struct Submission<T> {
    /// Encoded events, in order. None: the payload only has to come after all that was submitted before it.
    pub events: SmallVec<[Vec<u8>; 2]>,
    pub payload: T,
    /// From [`Committer::reserve`]. Without one the submission is taken all the same (for what must not wait).
    pub permit: Option<Permit>,
}

/// What became of submissions, in the order in which they were submitted.
#[derive(Debug)]
pub enum Outcome<T> {
    Committed(Committed<T>),
    Failed(Failed<T>),
}

#[derive(Debug)]
pub struct Committed<T> {
    /// This commit's position; if there was nothing to append, that of the last commit before (`NONE`: there was none
    /// since the start).
    pub position: Position,
    /// The commit as it stands in the journal. Empty if there was nothing to append.
    pub commit: Bytes,
    pub items: Vec<CommittedItem<T>>,
}

#[derive(Debug)]
pub struct CommittedItem<T> {
    pub payload: T,
    /// Where the item's events lie in the commit.
    pub ranges: SmallVec<[Range<u32>; 2]>,
}

impl<T> CommittedItem<T> {
    /// The item's events as slices of its commit; nothing is copied.
    pub fn events(&self, commit: &Bytes) -> impl Iterator<Item = Bytes> {
        self.ranges.iter().map(|range| commit.slice(range.start as usize..range.end as usize))
    }
}

/// Nothing of these may be acknowledged. Whether they are durable is unknown, unless the error is `TooLarge`: then
/// they are not, and others are not concerned. There are none if the journal failed while nothing was submitted.
#[derive(Debug)]
pub struct Failed<T> {
    pub payloads: Vec<T>,
    pub error: Arc<AppendError>,
}

/// Nothing is taken: the journal failed or does not answer now, or the committer stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the committer takes nothing more")]
pub struct Closed;

#[derive(Clone, Debug, Default)]
pub struct CommitterStatus {
    pub commits: u64,
    pub items: u64,
    pub bytes: u64,
    pub last_append: Duration,
    /// When the append began that is under way.
    pub appending_since: Option<Instant>,
    /// Since when nothing has shown that nobody else has sealed the journal: when the last append or confirm began that succeeded.
    pub confirmed_at: Option<Instant>,
    /// The last position that was committed.
    pub position: Position,
    /// Submitted and not yet flushed.
    pub backlog_bytes: u64,
    /// Once set it stays: nothing is committed any more.
    pub broken: Option<Arc<AppendError>>,
}

/// The handle. When the last clone is dropped the committer stops as by [`Committer::stop`].
pub struct Committer<T> {
    inner: Arc<Inner<T>>,
}

impl<T> Clone for Committer<T> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

/// The other end: one task reads it until `None`, which comes when the committer has stopped.
#[derive(Debug)]
pub struct CommittedReceiver<T> {
    outcomes: mpsc::Receiver<Outcome<T>>,
}

impl<T> CommittedReceiver<T> {
    pub async fn recv(&mut self) -> Option<Outcome<T>> {
        self.outcomes.recv().await
    }

    /// The next one, if it is there already.
    pub fn try_recv(&mut self) -> Option<Outcome<T>> {
        self.outcomes.try_recv().ok()
    }
}

struct Inner<T> {
    shared: Arc<Shared<T>>,
    stopped: watch::Receiver<bool>,
}

/// What handles and committer share.
struct Shared<T> {
    gathering: Mutex<Gathering<T>>,
    /// Wakes the committer.
    submitted: Wake,
    backlog: Arc<Backlog>,
    status: Mutex<CommitterStatus>,
    refuse_after: Option<Duration>,
    /// The same of a journal that another may seal.
    doubt_after: Option<Duration>,
}

impl<T: Send + 'static> Committer<T> {
    /// Starts the committer. `runtime` drives what the journal awaits. Nobody else may append to `journal`.
    pub fn start(
        journal: Arc<dyn Journal>,
        options: CommitterOptions,
        runtime: Handle,
    ) -> (Self, CommittedReceiver<T>) {
        let (outcomes_tx, outcomes) = mpsc::channel(options.waiting_outcomes.max(1));
        let (stopped_tx, stopped) = watch::channel(false);
        let max_bytes = journal.max_commit_bytes();
        let limits = Limits {
            target_bytes: options.pace.target_commit_bytes.clamp(1, max_bytes),
            max_bytes,
            max_items: options.pace.max_commit_items.max(1),
        };
        let shared = Arc::new(Shared {
            gathering: Mutex::new(Gathering::new(limits)),
            submitted: Wake::default(),
            backlog: Backlog::new(options.backlog_bytes),
            status: Mutex::new(CommitterStatus { confirmed_at: Some(Instant::now()), ..CommitterStatus::default() }),
            refuse_after: options.pace.refuse_after,
            doubt_after: options.pace.refuse_after.filter(|_| options.pace.confirm_every.is_some()),
        });
        let runs_as = options.runs_as;
        let writer = Writer::new(writer::Parts {
            shared: Arc::clone(&shared),
            journal,
            options,
            outcomes: outcomes_tx,
            stopped: stopped_tx,
        });
        match runs_as {
            RunsAs::Thread => thread::start(writer, runtime),
            RunsAs::Task => drop(runtime.spawn(task::run(writer))),
        }
        (Self { inner: Arc::new(Inner { shared, stopped }) }, CommittedReceiver { outcomes })
    }

    /// Waits for room for about `bytes` of events, first come, first served. As the backlog passes the half of its
    /// bound this slows senders down to the pace of the flush. Closed also while an append takes too long
    /// ([`Pace::refuse_after`](super::Pace)). To be called before an actor is locked.
    pub async fn reserve(&self, bytes: usize) -> Result<Permit, Closed> {
        if self.inner.shared.is_stuck() {
            return Err(Closed);
        }
        self.reserve_patiently(bytes).await
    }

    /// The same for what has to be committed however long it takes: closed only when the journal has failed or stops.
    pub async fn reserve_patiently(&self, bytes: usize) -> Result<Permit, Closed> {
        self.inner.shared.backlog.reserve(bytes + ITEM_BYTES).await.map_err(|_| Closed)
    }

    /// Takes a submission. Cheap and without waiting: call it while the actor is locked, so that its submissions keep
    /// their order. It comes out at the receiver exactly once, unless the committer has stopped: then it is dropped.
    pub fn submit(&self, submission: Submission<T>) {
        let shared = &*self.inner.shared;
        let Submission { events, payload, permit } = submission;
        let framed_bytes = events.iter().map(|event| framing::framed_bytes(event.len())).sum::<usize>();
        let charged = (framed_bytes + ITEM_BYTES) as u64;
        shared.backlog.charge(permit, charged);
        let enough = {
            let mut gathering = shared.gathering.lock();
            if gathering.ended {
                drop(gathering);
                shared.backlog.give_back(charged);
                return;
            }
            gathering.push(&events, framed_bytes, charged, payload);
            gathering.take_wake()
        };
        if enough {
            shared.submitted.notify_one();
        }
    }

    /// Tells that all up to `position` is in the tables: gives its bytes back to the senders.
    pub fn flushed(&self, position: Position) {
        self.inner.shared.backlog.flushed(position);
    }

    pub fn status(&self) -> CommitterStatus {
        let backlog_bytes = self.inner.shared.backlog.used_bytes();
        CommitterStatus { backlog_bytes, ..self.inner.shared.status.lock().clone() }
    }

    /// Nothing has been heard of the journal for so long ([`Pace::refuse_after`](super::Pace)) that another may have sealed it, and
    /// serve what this process knows no more of: it was paused, or cut off.
    pub fn is_out_of_touch(&self) -> bool {
        let Some(doubt_after) = self.inner.shared.doubt_after else { return false };
        self.inner.shared.status.lock().confirmed_at.is_some_and(|at| at.elapsed() > doubt_after)
    }

    /// Commits what was submitted, confirms, and ends. The receiver must be read until `None` meanwhile.
    pub async fn stop(&self) {
        self.inner.shared.stop();
        // An error means that the thread has gone, which is what is waited for.
        let _ = self.inner.stopped.clone().wait_for(|stopped| *stopped).await;
    }
}

impl<T> Drop for Inner<T> {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl<T> Shared<T> {
    fn is_stuck(&self) -> bool {
        let Some(refuse_after) = self.refuse_after else { return false };
        self.status.lock().appending_since.is_some_and(|since| since.elapsed() > refuse_after)
    }

    fn stop(&self) {
        self.backlog.close();
        self.gathering.lock().stopping = true;
        self.submitted.notify_one();
    }
}

/// Wakes a thread, or a task.
#[derive(Default)]
struct Wake {
    thread: parking_lot::Condvar,
    task: Notify,
}

impl Wake {
    fn notify_one(&self) {
        self.thread.notify_one();
        self.task.notify_one();
    }
}

#[derive(Clone, Copy)]
struct Limits {
    target_bytes: usize,
    max_bytes: usize,
    max_items: usize,
}

/// What was submitted and not yet taken by the committer.
struct Gathering<T> {
    limits: Limits,
    /// Batches that are full, in order; `open` comes behind them.
    full: VecDeque<Batch<T>>,
    open: Batch<T>,
    /// How many items must be there to wake the committer; `None`: it is awake.
    wake_at: Option<usize>,
    stopping: bool,
    /// The committer has taken the last: nothing is handed on any more.
    ended: bool,
}

/// What becomes one commit.
struct Batch<T> {
    /// The commit, framed as it is gathered. Empty: no events.
    commit: Vec<u8>,
    items: Vec<CommittedItem<T>>,
    /// What the backlog gets back when this is flushed.
    charged_bytes: u64,
    /// The single submission in it is larger than the journal takes.
    too_large: Option<usize>,
}

impl<T> Batch<T> {
    fn with_capacity(bytes: usize, items: usize) -> Self {
        Self { commit: Vec::with_capacity(bytes), items: Vec::with_capacity(items), charged_bytes: 0, too_large: None }
    }
}

impl<T> Gathering<T> {
    fn new(limits: Limits) -> Self {
        Self {
            limits,
            full: VecDeque::new(),
            open: Batch::with_capacity(0, 0),
            wake_at: None,
            stopping: false,
            ended: false,
        }
    }

    fn push(&mut self, events: &[Vec<u8>], framed_bytes: usize, charged_bytes: u64, payload: T) {
        let alone = framed_bytes >= self.limits.max_bytes;
        let over = self.open.commit.len() + framed_bytes >= self.limits.target_bytes
            || self.open.items.len() >= self.limits.max_items
            || alone;
        if over && !self.open.items.is_empty() {
            self.close_open();
        }
        let batch = &mut self.open;
        batch.charged_bytes += charged_bytes;
        let mut ranges = SmallVec::new();
        if alone {
            batch.too_large = Some(framed_bytes + 1);
        } else if !events.is_empty() {
            if batch.commit.is_empty() {
                batch.commit.push(framing::VERSION);
            }
            ranges.extend(events.iter().map(|event| framing::push(&mut batch.commit, event)));
        }
        batch.items.push(CommittedItem { payload, ranges });
        if alone {
            self.close_open();
        }
    }

    fn close_open(&mut self) {
        let next = Batch::with_capacity(self.open.commit.len(), self.open.items.len());
        self.full.push_back(std::mem::replace(&mut self.open, next));
    }

    /// The next batch; a new one that will hold as much takes its place.
    fn take(&mut self) -> Option<Batch<T>> {
        if let Some(batch) = self.full.pop_front() {
            return Some(batch);
        }
        if self.open.items.is_empty() {
            return None;
        }
        // A quarter more than the last one, so that it seldom grows while a submitter holds the lock.
        let next = Batch::with_capacity(self.open.commit.len() * 5 / 4, self.open.items.len() * 5 / 4);
        Some(std::mem::replace(&mut self.open, next))
    }

    /// The items waiting, or so many that nothing more is waited for.
    fn waiting_items(&self) -> usize {
        if self.full.is_empty() { self.open.items.len() } else { usize::MAX }
    }

    /// Whether the committer is to be woken now. Says so once.
    fn take_wake(&mut self) -> bool {
        let enough = self.wake_at.is_some_and(|wake_at| self.waiting_items() >= wake_at);
        if enough {
            self.wake_at = None;
        }
        enough
    }
}

#[cfg(test)]
mod tests;
