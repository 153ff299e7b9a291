//! Presence: who is online, and who wants to know. Ephemeral: nothing here is stored but a coarse last-seen, by the home.
//!
//! A user is online while a session lives and for a grace period after the last one ended. Whether an asker may know is the
//! caller's to decide, for each asker, before telling.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tidings_proto::UserId;

use crate::{
    maps::{HashMap, HashSet},
    session::outbox::{Outbox, SessionId},
};

/// One session that watches, and whose it is.
#[derive(Clone)]
pub struct Watcher {
    pub user: UserId,
    pub outbox: Weak<Outbox>,
}

#[derive(Default)]
pub struct Presence {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    online: HashMap<UserId, Online>,
    watchers: HashMap<UserId, HashMap<SessionId, Watcher>>,
    watched: HashMap<SessionId, HashSet<UserId>>,
}

#[derive(Default)]
struct Online {
    sessions: usize,
    /// Raised whenever a session comes: an end of grace that was begun before it is void.
    generation: u64,
}

/// What a session's end means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Others of the user's live.
    Others,
    /// It was the last: after the grace period call [`Presence::end_grace`] with this.
    Last { generation: u64 },
}

impl Presence {
    /// A session of `user` begins. True: the user was offline until now.
    pub fn enter(&self, user: &UserId) -> bool {
        let mut inner = self.inner.lock();
        let was_offline = !inner.online.contains_key(user);
        let online = inner.online.entry_ref(user).or_default();
        online.sessions += 1;
        online.generation += 1;
        was_offline
    }

    pub fn leave(&self, user: &UserId) -> Left {
        let mut inner = self.inner.lock();
        let Some(online) = inner.online.get_mut(user) else { return Left::Others };
        online.sessions = online.sessions.saturating_sub(1);
        if online.sessions == 0 { Left::Last { generation: online.generation } } else { Left::Others }
    }

    /// The grace period is over. True: nobody came back, the user is offline now.
    pub fn end_grace(&self, user: &UserId, generation: u64) -> bool {
        let mut inner = self.inner.lock();
        let is_over =
            inner.online.get(user).is_some_and(|online| online.sessions == 0 && online.generation == generation);
        if is_over {
            inner.online.remove(user);
        }
        is_over
    }

    pub fn is_online(&self, user: &UserId) -> bool {
        self.inner.lock().online.contains_key(user)
    }

    /// From now on this session is told of these users, and of no others.
    pub fn watch(&self, watcher: &UserId, outbox: &Arc<Outbox>, users: &[UserId]) {
        self.unwatch(outbox.session);
        if users.is_empty() {
            return;
        }
        let mut inner = self.inner.lock();
        let watcher = Watcher { user: watcher.clone(), outbox: Arc::downgrade(outbox) };
        for user in users {
            inner.watchers.entry_ref(user).or_default().insert(outbox.session, watcher.clone());
        }
        inner.watched.insert(outbox.session, users.iter().cloned().collect());
    }

    pub fn unwatch(&self, session: SessionId) {
        let mut inner = self.inner.lock();
        for user in inner.watched.remove(&session).unwrap_or_default() {
            if let Some(watchers) = inner.watchers.get_mut(&user) {
                watchers.remove(&session);
                if watchers.is_empty() {
                    inner.watchers.remove(&user);
                }
            }
        }
    }

    /// Who is watched, and by whom.
    pub fn watched(&self) -> Vec<(UserId, UserId)> {
        let inner = self.inner.lock();
        let all = inner
            .watchers
            .iter()
            .flat_map(|(user, watchers)| watchers.values().map(move |watcher| (user.clone(), watcher.user.clone())));
        let mut all: Vec<_> = all.collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub fn watchers(&self, user: &UserId) -> Vec<Watcher> {
        self.inner.lock().watchers.get(user).map(|watchers| watchers.values().cloned().collect()).unwrap_or_default()
    }
}

/// How coarse a last-seen is.
pub const LAST_SEEN_STEP: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_comes_back_within_the_grace_period_was_never_offline() {
        let (presence, ada) = (Presence::default(), UserId::new("ada").unwrap());
        assert!(presence.enter(&ada));
        assert!(!presence.enter(&ada));
        assert_eq!(presence.leave(&ada), Left::Others);
        let Left::Last { generation } = presence.leave(&ada) else { panic!("it was the last") };
        assert!(!presence.enter(&ada), "still in grace");
        assert!(!presence.end_grace(&ada, generation));
        let Left::Last { generation } = presence.leave(&ada) else { panic!("it was the last") };
        assert!(presence.is_online(&ada));
        assert!(presence.end_grace(&ada, generation));
        assert!(!presence.is_online(&ada));
    }
}
