//! The host: the actors of this node, and what moves their events: submit, commit, publish, flush, replay.
//!
//! It knows conversations, homes, journal and tables; it knows no transport.

use std::sync::{
    Arc, OnceLock, Weak,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;
use tidings_proto::{ConversationId, UserId};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Clock,
    config::Config,
    conversation::{actor::Conversation, decide::Rules},
    data_folder::Lineage,
    home::{
        actor::Home,
        event::{HomeChange, Tell},
        presence::Presence,
        state::{Altered, HomeState},
    },
    journal::{
        Journal, Position,
        backlog::Permit,
        commit::{Closed, Committer, CommitterStatus},
    },
    maps::HashMap,
    metrics::{Metrics, gauge},
    session::outbox::Outbox,
    tables::{Footprint, Tables, TablesError},
};

pub mod act;
pub mod cursors;
pub mod event;
pub mod feed;
pub mod flush;
pub mod import;
mod large;
pub mod load;
#[cfg(feature = "next-format")]
mod next;
pub mod open;
pub mod own;
pub mod peers;
mod pending;
mod presence;
pub mod publish;
pub mod read;
pub mod read_only;
pub mod registry;
pub mod release;
pub(crate) mod route;
pub mod row;
pub mod shards;
mod taking;
#[cfg(test)]
mod tests;

use event::Submitted;
use peers::Peers;
use registry::{Cached, Registry};
use shards::{Place, Shards};

/// Everything a node hosts. One for the process, shared.
pub struct Host {
    /// Itself, for tasks that outlive a call.
    me: Weak<Self>,
    pub config: Config,
    pub rules: Rules,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub lineage: Lineage,
    /// Which shards are here; their epochs are the upper part of home versions.
    pub shards: Shards,
    pub(crate) tables: Arc<dyn Tables>,
    /// The other nodes, in a fleet.
    peers: OnceLock<Arc<Peers>>,
    pending: pending::Pending,
    /// `None`: it serves.
    taking: OnceLock<taking::Taking>,
    #[cfg(feature = "next-format")]
    pub next: next::Next,
    /// Of the last block that was asked for: of two the later has the higher.
    block_versions: AtomicU64,
    /// Held by whoever flushes; true while that, or an earlier flush, has not ended well.
    flushing: tokio::sync::Mutex<bool>,
    /// Set when the journal's past is in the tables and it takes commits.
    running: OnceLock<Running>,
    pub(crate) conversations: Registry<ConversationId, Conversation>,
    pub(crate) homes: Registry<UserId, Home>,
    pub(crate) dormant: Dormant,
    pub(crate) unflushed: Mutex<Unflushed>,
    /// Held while what follows from one submission is done: whoever takes it finds no event committed and not yet told.
    pub(crate) publishing: Mutex<()>,
    pub(crate) receipts: crate::home::receipts::Pending,
    pub(crate) shown_receipts: crate::home::receipts::Shown,
    pub presence: Presence,
    /// Counts the sessions that are attached.
    live: TaskTracker,
    /// Counts sweeps of the caches; what was asked for since the last one stays.
    pub(crate) sweep: AtomicU64,
    /// Nothing new is taken (see `read_only`).
    is_read_only: AtomicBool,
    /// Once true nothing is acked any more: journal or tables failed.
    failed: OnceLock<String>,
}

/// The journal, and who appends to it.
pub(crate) struct Running {
    pub journal: Arc<dyn Journal>,
    pub committer: Committer<Submitted>,
}

/// What the next flush writes.
#[derive(Default)]
pub(crate) struct Unflushed {
    pub conversations: Vec<Arc<Conversation>>,
    pub homes: Vec<Arc<Home>>,
    /// All events up to here are in the actors above.
    pub position: Position,
    /// About how many bytes of commits they came in.
    pub bytes: usize,
    /// When the first of them was published, and the first of those that a flush under way writes.
    pub since: Option<Instant>,
    pub flushing_since: Option<Instant>,
}

/// Changes of homes that are not in memory. They wait, coalesced, for the home to be loaded or for the next flush.
#[derive(Default)]
pub(crate) struct Dormant {
    users: Mutex<HashMap<UserId, Vec<Waiting>>>,
    /// Taken by the flush that is under way: a home loaded meanwhile may not find them in the tables yet.
    flushing: Mutex<Flushing>,
}

#[derive(Default)]
struct Flushing {
    changes: HashMap<UserId, Arc<[Waiting]>>,
    /// How many flushes have ended.
    ended: u64,
}

/// A change for a home, of its own events or told by a conversation.
#[derive(Clone, Debug)]
pub(crate) enum Waiting {
    Change(HomeChange),
    Tell(Tell),
}

impl Waiting {
    pub fn apply(&self, state: &mut HomeState) -> Altered {
        match self {
            Self::Change(change) => state.apply(change),
            Self::Tell(tell) => state.tell(tell),
        }
    }
}

impl Dormant {
    pub fn push(&self, user: &UserId, waiting: Waiting) {
        self.users.lock().entry_ref(user).or_default().push(waiting);
    }

    /// How many flushes have ended by now.
    pub fn flushes(&self) -> u64 {
        self.flushing.lock().ended
    }

    /// What waits for this user, in order; nothing waits afterwards. `None`, and it goes on waiting: another flush ended since
    /// `flushes` were counted.
    pub fn wake(&self, user: &UserId, flushes: u64) -> Option<Vec<Waiting>> {
        // Held until both were looked at: a flush that begins moves everything from the one to the other.
        let flushing = self.flushing.lock();
        if flushing.ended != flushes {
            return None;
        }
        let mut waiting: Vec<_> = flushing.changes.get(user).map(|flushing| flushing.to_vec()).unwrap_or_default();
        waiting.extend(self.users.lock().remove(user).unwrap_or_default());
        Some(waiting)
    }

    /// What waits of the user's own changes, in order; it goes on waiting.
    pub fn own_changes(&self, user: &UserId) -> Vec<HomeChange> {
        let own = |waiting: &Waiting| match waiting {
            Waiting::Change(change) => Some(change.clone()),
            Waiting::Tell(_) => None,
        };
        let flushing = self.flushing.lock();
        let taken = flushing.changes.get(user).into_iter().flat_map(|all| all.iter());
        let mut changes: Vec<_> = taken.filter_map(own).collect();
        changes.extend(self.users.lock().get(user).into_iter().flatten().filter_map(own));
        changes
    }

    pub fn begin_flush(&self) -> Vec<(UserId, Arc<[Waiting]>)> {
        let mut flushing = self.flushing.lock();
        debug_assert!(flushing.changes.is_empty(), "one flush at a time");
        flushing.changes = self.users.lock().drain().map(|(user, waiting)| (user, waiting.into())).collect();
        flushing.changes.iter().map(|(user, waiting)| (user.clone(), waiting.clone())).collect()
    }

    pub fn end_flush(&self) {
        let mut flushing = self.flushing.lock();
        flushing.changes.clear();
        flushing.ended += 1;
    }
}

impl Host {
    /// Says that nothing can be stored any more, and why; it stays so until a restart. When this returns the last ack was given.
    pub(crate) fn fail(&self, why: String) {
        let publishing = self.publishing.lock();
        let is_first = self.failed.set(why).is_ok();
        drop(publishing);
        if is_first {
            tracing::error!(
                why = self.failure(),
                "nothing is acknowledged from now on; restart when the cause is mended"
            );
        }
    }

    /// Another may serve for this node since a while, and what is known here be old: nobody is told what is new.
    fn is_out_of_touch(&self) -> bool {
        self.running.get().is_some_and(|running| running.committer.is_out_of_touch())
    }

    /// Why nothing can be stored, if that is so. `/readyz` shows it.
    pub fn failure(&self) -> Option<&str> {
        self.failed.get().map(String::as_str)
    }

    /// Room for about `bytes` of events; waits while the flush is behind, or other nodes are. Closed once nothing can be stored
    /// any more, and while nothing is to be.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Permit, Closed> {
        if let Some(peers) = self.peers.get() {
            peers.room().await;
        }
        let permit = self.committer()?.reserve(bytes).await?;
        // Looked at behind the reservation: who finds it false is waited for by whoever sets it.
        if self.is_read_only() { Err(Closed) } else { Ok(permit) }
    }

    /// The same for what other nodes wait for: two that waited for each other would wait for ever. And it is not given up while the
    /// journal takes long: nobody would do it again.
    pub(crate) async fn reserve_for_peers(&self, bytes: usize) -> Result<Permit, Closed> {
        self.committer()?.reserve_patiently(bytes).await
    }

    /// As long as it takes anything.
    fn committer(&self) -> Result<&Committer<Submitted>, Closed> {
        let running = self.running.get().filter(|_| self.failure().is_none());
        running.map(|running| &running.committer).ok_or(Closed)
    }

    /// What the committer has done and has before it. `None`: it was not started yet.
    pub fn committer_status(&self) -> Option<CommitterStatus> {
        Some(self.running.get()?.committer.status())
    }

    /// The tables that this host reads and writes, for one that replays another node's journal into them.
    pub fn shared_tables(&self) -> Arc<dyn Tables> {
        self.tables.clone()
    }

    /// Up to which position of the journal the tables have everything.
    pub async fn flushed(&self) -> Result<Position, TablesError> {
        self.tables.flushed().await
    }

    /// Where the home of this user is.
    pub fn place_of(&self, user: &UserId) -> Place {
        self.shards.place(user.shard())
    }

    /// Calls `visit` with the outbox of every live session.
    pub fn for_each_session(&self, mut visit: impl FnMut(&Outbox)) {
        self.homes.for_each(|home| home.lock().sessions.iter().for_each(|session| visit(&session.outbox)));
    }

    /// Ready when no session is attached.
    pub async fn sessions_ended(&self) {
        self.live.close();
        self.live.wait().await;
    }

    /// Brings the gauges up to date that nobody moves.
    pub fn measure(&self) {
        if let Some(status) = self.committer_status() {
            self.metrics.backlog_bytes.set(gauge(status.backlog_bytes));
        }
        if let Some(running) = self.running.get() {
            self.metrics.journal_segments.set(gauge(running.journal.segments() as u64));
        }
        let Footprint { disk_bytes, unmerged_bytes } = self.tables.footprint();
        self.metrics.tables_disk_bytes.set(gauge(disk_bytes));
        self.metrics.tables_unmerged_bytes.set(gauge(unmerged_bytes));
        let oldest = {
            let unflushed = self.unflushed.lock();
            unflushed.flushing_since.or(unflushed.since)
        };
        self.metrics.flush_lag.set(oldest.map_or(0.0, |since| since.elapsed().as_secs_f64()));
    }

    /// A conversation or home was asked for: it stays in memory for a while.
    fn sweep_now(&self) -> u64 {
        self.sweep.load(Ordering::Relaxed)
    }
}

impl Cached for Conversation {
    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    fn weight(&self) -> usize {
        self.lock().weight()
    }
    fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }
}

impl Cached for Home {
    fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }
    fn weight(&self) -> usize {
        self.lock().state.weight()
    }
    fn is_idle(&self) -> bool {
        self.lock().is_idle()
    }
}
