//! Presence over nodes: a node asks for those whom its sessions watch, again and again, and is told of changes meanwhile.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_proto::UserId;
use tokio::time::Instant;

use crate::{host::Host, maps::HashMap, node::NodeId, session::outbox::Class};

use super::wire::Notice;

/// How often those are asked for who are watched.
pub const RENEW: Duration = Duration::from_secs(20);
const FORGOTTEN: Duration = Duration::from_secs(60);

/// Who watches somebody, and when each asked last.
type Watching = HashMap<(NodeId, UserId), Instant>;

#[derive(Default)]
pub struct Watchers {
    /// Of users whose homes are here: who elsewhere watches them.
    watching: Mutex<HashMap<UserId, Watching>>,
    /// What was last told here of users elsewhere, for each asker.
    told: Mutex<HashMap<(UserId, UserId), String>>,
}

impl Watchers {
    pub fn note(&self, user: &UserId, node: NodeId, asker: &UserId) {
        self.watching.lock().entry_ref(user).or_default().insert((node, asker.clone()), Instant::now());
    }

    pub fn of(&self, user: &UserId) -> Vec<(NodeId, UserId)> {
        let mut all = self.watching.lock();
        let Some(watching) = all.get_mut(user) else { return Vec::new() };
        watching.retain(|_, asked| asked.elapsed() < FORGOTTEN);
        let watchers = watching.keys().cloned().collect();
        if watching.is_empty() {
            all.remove(user);
        }
        watchers
    }

    /// Whether this is news.
    fn is_new(&self, user: &UserId, asker: &UserId, frame: &str) -> bool {
        let key = (user.clone(), asker.clone());
        self.told.lock().insert(key, frame.to_owned()).is_none_or(|before| before != frame)
    }

    /// Keeps what was told of those who are watched still.
    fn keep(&self, watched: &[(UserId, UserId)]) {
        let watched: crate::maps::HashSet<_> = watched.iter().collect();
        self.told.lock().retain(|key, _| watched.contains(key));
    }
}

impl Host {
    /// Tells sessions here of a user elsewhere.
    pub(in crate::host) fn deliver_presence(&self, user: &UserId, asker: &UserId, frame: String) {
        if !self.peers().watchers.is_new(user, asker, &frame) {
            return;
        }
        let frame = Bytes::from(frame);
        for watcher in self.presence.watchers(user).into_iter().filter(|watcher| watcher.user == *asker) {
            if let Some(outbox) = watcher.outbox.upgrade() {
                outbox.push(frame.clone(), Class::Ephemeral);
            }
        }
    }

    /// Tells nodes elsewhere of a user here. `shown` is how an asker sees it.
    pub(in crate::host) fn send_presence(&self, user: &UserId, shown: impl Fn(&UserId) -> String) {
        let Some(peers) = self.peers.get() else { return };
        for (node, asker) in peers.watchers.of(user) {
            let frame = shown(&asker);
            peers.notify(node, Notice::Presence { user: user.clone(), asker, frame });
        }
    }

    /// Asks for all who are watched here and are elsewhere.
    pub(in crate::host) async fn renew_watches(self: &Arc<Self>) {
        let mut watched = self.presence.watched();
        watched.retain(|(user, _)| !self.shards.is_here(user.shard()));
        self.peers().watchers.keep(&watched);
        for (user, asker) in watched {
            // Whoever cannot be asked now is asked the next time.
            if let Ok(frame) = self.presence_frame(&user, &asker).await {
                self.deliver_presence(&user, &asker, frame);
            }
        }
    }
}
