//! Large conversations tell no home of their entries: whoever has sessions listens.

use std::sync::Arc;

use tidings_proto::ConversationId;

use crate::{
    conversation::{
        actor::Conversation,
        entry::{Body, Entry},
    },
    home::actor::Home,
    session::reply::Sender,
};

use super::{Host, publish::EntryFrames};

impl Host {
    /// Hands the entry to all members of a large conversation that have sessions here.
    pub(super) fn fan_out(
        &self,
        conversation: &Conversation,
        entry: &Arc<Entry>,
        frames: &mut EntryFrames<'_>,
        sender: Option<Sender>,
    ) {
        let sender = sender.and_then(|sender| self.session_of(sender));
        let mut inner = conversation.lock();
        if let Body::Members(change) = &entry.body {
            for user in &change.removed {
                inner.subscribers.remove(user);
            }
            for (user, _) in &change.added {
                if let Some(home) = self.homes.get(user).filter(|home| !home.lock().sessions.is_empty()) {
                    inner.subscribers.insert(user.clone(), home);
                }
            }
        }
        for home in inner.subscribers.values() {
            self.deliver_entry(&home.lock(), entry, frames, sender);
        }
    }

    /// Makes all members of a large conversation that have sessions its subscribers.
    pub(super) fn subscribe_members(&self, conversation: &Arc<Conversation>) {
        let members = conversation.state().members;
        if members.is_small() {
            return;
        }
        let online = members.iter().filter_map(|(user, _)| {
            let home = self.homes.get(user)?;
            let has_sessions = !home.lock().sessions.is_empty();
            has_sessions.then(|| (user.clone(), home))
        });
        let online: Vec<_> = online.collect();
        conversation.lock().subscribers.extend(online);
    }

    /// Makes a home a subscriber of its large conversations if it has sessions, and else no longer.
    pub(super) fn subscribe_home(&self, home: &Arc<Home>) {
        let large: Vec<ConversationId> = {
            let inner = home.lock();
            inner.state.items.iter().filter(|(_, item)| item.is_large() && !item.gone).map(|(id, _)| *id).collect()
        };
        for id in large {
            if !self.shards.is_here(id.shard()) {
                self.listen(id, home);
                continue;
            }
            // One that is not in memory looks for its members' sessions when it is loaded.
            let Some(conversation) = self.conversations.get(&id) else { continue };
            let mut inner = conversation.lock();
            // Asked under this lock: whoever comes or goes at the same time asks after us, or we after them.
            let is_online = !home.lock().sessions.is_empty();
            if is_online {
                inner.subscribers.insert(home.user.clone(), home.clone());
            } else {
                inner.subscribers.remove(&home.user);
            }
        }
    }
}
