//! One home in memory: its state with all items, and the live sessions of its user.
//!
//! A tell is applied and handed to the sessions under one lock; a session that registers reads what it missed under the same
//! lock. So between what it reads and what it is told nothing is lost.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use tidings_proto::{CloseCode, ConversationId, DeviceId, UserId};
use tokio_util::task::task_tracker::TaskTrackerToken;

use crate::session::{
    outbox::{Class, Outbox, SessionId, Wakes},
    rate::{Bucket, DeviceBuckets},
};

use crate::maps::HashSet;

use super::state::{Altered, HomeState};

#[derive(Debug)]
pub struct Home {
    pub user: UserId,
    epoch: u64,
    inner: Mutex<Inner>,
    /// When it was last asked for, in sweeps of the cache.
    pub used: AtomicU64,
    /// Spent sends, for the user's rate.
    pub send_rate: Bucket,
    /// Spent requests, for the rates of the devices.
    pub request_rates: DeviceBuckets,
}

#[derive(Debug)]
pub struct Inner {
    pub state: HomeState,
    pub sessions: Vec<Session>,
    /// Rows to be written by the next flush.
    pub changed: Changed,
}

/// A live session of the home's user.
#[derive(Clone, Debug)]
pub struct Session {
    pub device: DeviceId,
    pub outbox: Arc<Outbox>,
    /// Counts it among the node's sessions while it lives.
    pub alive: TaskTrackerToken,
}

#[derive(Debug, Default)]
pub struct Changed {
    /// The home stands in the list of what the next flush writes.
    pub listed: bool,
    /// Its row changed; it does with every item, whose version it counts.
    pub row: bool,
    pub items: HashSet<ConversationId>,
}

impl Home {
    pub fn new(state: HomeState) -> Self {
        Self {
            user: state.user.clone(),
            epoch: state.epoch,
            inner: Mutex::new(Inner { state, sessions: Vec::new(), changed: Changed::default() }),
            used: AtomicU64::new(0),
            send_rate: Bucket::default(),
            request_rates: DeviceBuckets::default(),
        }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Of its shard, when it was loaded.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub fn touch(&self, sweep: u64) {
        self.used.store(sweep, Ordering::Relaxed);
    }
}

impl Inner {
    /// Notes which rows a change altered. True: the home is to be put on the flusher's list.
    pub fn note(&mut self, altered: Altered) -> bool {
        match altered {
            Altered::Nothing => return false,
            Altered::Row => {}
            Altered::Item(conversation) | Altered::Cursor(conversation) => {
                self.changed.items.insert(conversation);
            }
        }
        self.changed.row = true;
        !std::mem::replace(&mut self.changed.listed, true)
    }

    /// Hands a frame to all sessions, but to the one that has it already.
    pub fn deliver(&self, frame: &Bytes, class: Class, except: Option<SessionId>) -> usize {
        let mut count = 0;
        for session in self.sessions.iter().filter(|session| Some(session.outbox.session) != except) {
            session.outbox.push(frame.clone(), class);
            count += 1;
        }
        count
    }

    /// As [`Inner::deliver`], for what is part of an order; the connections write it when `wakes` is dropped.
    pub fn deliver_among(&self, frame: &Bytes, except: Option<SessionId>, wakes: &mut Wakes) -> usize {
        let others = || self.sessions.iter().filter(|session| Some(session.outbox.session) != except);
        others().for_each(|session| wakes.push(&session.outbox, frame.clone(), Class::Durable));
        others().count()
    }

    /// Adds a session; of a device that has too many the oldest is closed.
    pub fn register(&mut self, session: Session, connections_a_device: usize) {
        let same_device = || self.sessions.iter().filter(|other| other.device == session.device);
        if same_device().count() >= connections_a_device {
            let oldest = same_device().next().map(|oldest| oldest.outbox.clone());
            if let Some(oldest) = oldest {
                oldest.close(CloseCode::Replaced);
                self.unregister(oldest.session);
            }
        }
        self.sessions.push(session);
    }

    pub fn unregister(&mut self, session: SessionId) {
        self.sessions.retain(|other| other.outbox.session != session);
    }

    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && !self.changed.row
    }
}
