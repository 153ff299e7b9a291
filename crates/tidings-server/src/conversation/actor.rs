//! One conversation in memory: its decided and its committed state, what is not flushed yet, and the index of repeats.
//!
//! `decide` uses the decided state; every answer and read uses the committed one. Submissions are made while the lock is
//! held, so the journal has them in the order in which they were decided.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    conversation::{
        decide::{Action, Decision, Rules, Wish, decide},
        entry::Entry,
        event::{Change, ConversationEvent, Created},
        fold,
        repeats::{Fingerprint, Repeats},
        state::State,
    },
    home::actor::Home,
    maps::{HashMap, HashSet},
    tables::flush::OpenTail,
};

#[derive(Debug)]
pub struct Conversation {
    pub id: ConversationId,
    /// Of its shard, when it was loaded.
    pub epoch: u64,
    inner: Mutex<Inner>,
    /// When it was last asked for, in sweeps of the cache.
    pub used: AtomicU64,
}

#[derive(Debug)]
pub struct Inner {
    decided: State,
    committed: State,
    /// Decided and not committed, ascending.
    uncommitted: VecDeque<Arc<Entry>>,
    /// Committed and not in the tables, ascending and dense up to the committed `last_seq`.
    pub overlay: VecDeque<Arc<Entry>>,
    /// Those of the overlay that change others.
    pub changes: VecDeque<Arc<Entry>>,
    /// Loaded at the first send.
    repeats: Option<Repeats>,
    pub stored: Stored,
    /// Of a large conversation: whose rows are to be written.
    pub changed_members: HashSet<UserId>,
    /// It stands in the list of what the next flush writes.
    pub dirty: bool,
    /// Of a large conversation: the homes of its members that have sessions.
    pub subscribers: HashMap<UserId, Arc<Home>>,
}

/// What the tables have of this conversation.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub tail: OpenTail,
    /// The last seq that is in the tables.
    pub last_seq: Seq,
    /// The first seq of the run of fingerprints that is not in the tables.
    pub fingerprints_from: Seq,
    /// Raised by each flush: a read from the tables that a flush overtook is done again.
    pub flushes: u64,
}

/// Somebody's wish, with what came with it.
pub struct Proposal<'a> {
    pub action: &'a Action,
    /// The direct conversation to make if there is none.
    pub begin: Option<&'a Created>,
    /// Entries that were read because [`Verdict::Needs`] asked for them, and after how many flushes.
    pub fetched: &'a [Arc<Entry>],
    pub flushes: u64,
}

pub enum Verdict {
    /// To be committed; the last one holds the entry that answers.
    Events(Vec<ConversationEvent>),
    /// This entry was made by the same request before.
    Repeat(Arc<Entry>),
    Nothing,
    Refused(crate::conversation::decide::Refusal),
    /// First do this, then ask again.
    Needs(Needs),
}

pub enum Needs {
    /// Load the repeats index.
    Repeats,
    /// Read these entries; and the tables have been flushed so often.
    Entries(Vec<Seq>, u64),
}

impl Conversation {
    pub fn new(id: ConversationId, epoch: u64, state: State, stored: Stored) -> Self {
        let inner = Inner {
            decided: state.clone(),
            committed: state,
            uncommitted: VecDeque::new(),
            overlay: VecDeque::new(),
            changes: VecDeque::new(),
            repeats: None,
            stored,
            changed_members: HashSet::default(),
            dirty: false,
            subscribers: HashMap::default(),
        };
        Self { id, epoch, inner: Mutex::new(inner), used: AtomicU64::new(0) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    pub fn touch(&self, sweep: u64) {
        self.used.store(sweep, Ordering::Relaxed);
    }

    /// The committed state; cheap.
    pub fn state(&self) -> State {
        self.inner.lock().committed.clone()
    }
}

impl Inner {
    /// Decides about a proposal. Events of a verdict are part of the decided state from now on: the caller submits them
    /// before it lets go of the lock.
    pub fn decide(&mut self, id: ConversationId, proposal: &Proposal<'_>, rules: &Rules) -> Verdict {
        let action = proposal.action;
        let Some(repeats) = &self.repeats else { return Verdict::Needs(Needs::Repeats) };
        let fingerprint = Fingerprint::of(&action.by, &action.client_msg_id);
        for seq in repeats.find(fingerprint, self.decided.last_seq) {
            match self.entry_at(seq, proposal) {
                Some(entry) if is_made_by(&entry, action) => return Verdict::Repeat(entry),
                Some(_) => {}
                None => return Verdict::Needs(Needs::Entries(vec![seq], self.stored.flushes)),
            }
        }
        let target = match action.wish.target() {
            Some(seq) if (Seq::FIRST..=self.decided.last_seq).contains(&seq) => match self.entry_at(seq, proposal) {
                Some(entry) => Some(self.fold_decided(entry)),
                None => return Verdict::Needs(Needs::Entries(vec![seq], self.stored.flushes)),
            },
            _ => None,
        };
        let begin = proposal.begin.filter(|_| self.decided.created.is_none()).cloned().map(Change::Created);
        // It begins with its first message only: one that is refused makes nothing.
        let decision = match &begin {
            Some(begin) => {
                let mut begun = self.decided.clone();
                begun.apply(begun.version + 1, begin);
                decide(&begun, action, target.as_deref(), rules)
            }
            None => decide(&self.decided, action, target.as_deref(), rules),
        };
        match decision {
            Decision::Events(changes) => {
                Verdict::Events(begin.into_iter().chain(changes).map(|change| self.take_decided(id, change)).collect())
            }
            Decision::Nothing => Verdict::Nothing,
            Decision::Refused(refusal) => Verdict::Refused(refusal),
        }
    }

    /// Makes a change part of the decided state, as the conversation's next event.
    pub fn take_decided(&mut self, conversation: ConversationId, change: Change) -> ConversationEvent {
        let version = self.decided.version + 1;
        self.decided.apply(version, &change);
        for entry in change.entries() {
            self.uncommitted.push_back(entry.clone());
            if let (Some(repeats), Some(id)) = (&mut self.repeats, &entry.client_msg_id) {
                repeats.insert(Fingerprint::of(&entry.from, id), entry.seq);
            }
        }
        ConversationEvent { conversation, version, change }
    }

    /// Makes a committed event part of the committed state. False: it was already (a replay).
    pub fn take_committed(&mut self, event: &ConversationEvent) -> bool {
        if event.version <= self.committed.version {
            return false;
        }
        let was_small = self.committed.members.is_small();
        self.committed.apply(event.version, &event.change);
        if was_small && !self.committed.members.is_small() {
            // From now on members are rows of their own.
            self.changed_members = self.committed.members.iter().map(|(user, _)| user.clone()).collect();
        }
        if self.decided.version < self.committed.version {
            // A replay: nothing was decided here.
            self.decided = self.committed.clone();
        }
        for entry in event.change.entries() {
            if self.uncommitted.front().is_some_and(|front| front.seq == entry.seq) {
                self.uncommitted.pop_front();
            }
            self.overlay.push_back(entry.clone());
            if fold::targets(entry).next().is_some() {
                self.changes.push_back(entry.clone());
            }
        }
        self.note_changed_members(&event.change);
        true
    }

    /// Forgets what was decided and cannot be committed any more.
    pub fn drop_decided(&mut self) {
        self.decided = self.committed.clone();
        self.uncommitted.clear();
        self.repeats = None;
    }

    pub fn committed(&self) -> &State {
        &self.committed
    }

    pub fn decided(&self) -> &State {
        &self.decided
    }

    /// Whether an answer given now may rest on what is not committed.
    pub fn is_ahead(&self) -> bool {
        self.decided.version > self.committed.version
    }

    pub fn has_repeats(&self) -> bool {
        self.repeats.is_some()
    }

    /// Takes the index as loaded from the tables up to `to`, and adds what is only in memory.
    pub fn set_repeats(&mut self, mut repeats: Repeats, to: Seq) {
        for entry in self.overlay.iter().chain(&self.uncommitted).filter(|entry| entry.seq > to) {
            if let Some(id) = &entry.client_msg_id {
                repeats.insert(Fingerprint::of(&entry.from, id), entry.seq);
            }
        }
        self.repeats = Some(repeats);
    }

    /// Seqs whose entries may have been made by `user` with this id; to be confirmed by the entry. `None`: load the repeats index.
    pub fn may_repeat(&self, user: &UserId, client_msg_id: &str) -> Option<SmallVec<[Seq; 1]>> {
        let repeats = self.repeats.as_ref()?;
        Some(repeats.find(Fingerprint::of(user, client_msg_id), self.decided.last_seq))
    }

    /// An entry that is not in the tables yet, decided or committed.
    pub fn in_memory(&self, seq: Seq) -> Option<&Arc<Entry>> {
        at(&self.uncommitted, seq).or_else(|| self.overlaid(seq))
    }

    /// An entry of the overlay.
    pub fn overlaid(&self, seq: Seq) -> Option<&Arc<Entry>> {
        at(&self.overlay, seq)
    }

    /// Gives up what the tables have up to `seq`, and everything read from the tables before.
    pub fn flushed(&mut self, tail: OpenTail, last_seq: Seq, fingerprints_from: Seq) {
        while self.overlay.front().is_some_and(|entry| entry.seq <= last_seq) {
            self.overlay.pop_front();
        }
        while self.changes.front().is_some_and(|entry| entry.seq <= last_seq) {
            self.changes.pop_front();
        }
        let flushes = self.stored.flushes + 1;
        self.stored = Stored { tail, last_seq, fingerprints_from, flushes };
    }

    pub fn is_idle(&self) -> bool {
        !self.dirty && !self.is_ahead() && self.overlay.is_empty() && self.subscribers.is_empty()
    }

    /// About how many bytes this takes in memory.
    pub fn weight(&self) -> usize {
        1_000 + self.committed.members.weight() + self.repeats.as_ref().map_or(0, Repeats::weight)
    }

    fn entry_at(&self, seq: Seq, proposal: &Proposal<'_>) -> Option<Arc<Entry>> {
        if let Some(entry) = self.in_memory(seq) {
            return Some(entry.clone());
        }
        // What was read before a flush may lack what that flush took out of the overlay.
        let fetched = proposal.fetched.iter().find(|entry| entry.seq == seq)?;
        (proposal.flushes == self.stored.flushes).then(|| fetched.clone())
    }

    fn fold_decided(&self, mut entry: Arc<Entry>) -> Arc<Entry> {
        for change in self.changes.iter().chain(&self.uncommitted) {
            if fold::targets(change).any(|target| target == entry.seq) {
                fold::apply(Arc::make_mut(&mut entry), change);
            }
        }
        entry
    }

    fn note_changed_members(&mut self, change: &Change) {
        if self.committed.members.is_small() {
            return;
        }
        match change {
            Change::Created(created) => {
                self.changed_members.extend(created.members.iter().map(|(user, _)| user.clone()))
            }
            Change::Entry(entry) => {
                self.changed_members.insert(entry.from.clone());
                if let crate::conversation::entry::Body::Members(change) = &entry.body {
                    let named = change.added.iter().chain(&change.roles).map(|(user, _)| user).chain(&change.removed);
                    self.changed_members.extend(named.cloned());
                }
            }
            Change::Receipt { user, .. } => {
                self.changed_members.insert(user.clone());
            }
            Change::Imported { members, .. } => self.changed_members.extend(members.iter().cloned()),
            Change::Blocked { .. } => {}
        }
    }
}

/// The entry with this seq among some that are dense.
fn at(entries: &VecDeque<Arc<Entry>>, seq: Seq) -> Option<&Arc<Entry>> {
    let first = entries.front()?.seq;
    entries.get(usize::try_from(seq.0.checked_sub(first.0)?).ok()?)
}

fn is_made_by(entry: &Entry, action: &Action) -> bool {
    entry.from == action.by && entry.client_msg_id.as_deref() == Some(&*action.client_msg_id)
}

/// Whether this wish makes a conversation, and is answered as such.
pub fn is_creation(wish: &Wish) -> bool {
    matches!(wish, Wish::Create(_))
}
