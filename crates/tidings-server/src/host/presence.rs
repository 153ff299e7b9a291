//! Presence and typing: who is told, and who may know.

use std::sync::Arc;

use bytes::Bytes;
use tidings_proto::{
    ConversationId, UserId,
    frames::server::{self, PresenceState, ServerFrame},
};

use crate::{
    conversation::decide::Refusal,
    home::{actor::Home, event::Audience, presence::LAST_SEEN_STEP, state::HomeState},
    session::outbox::{Class, Outbox, SessionId},
};

use super::{Host, act::ActError, feed::is_contact};

impl Host {
    /// Tells those who watch a user that it came or went.
    pub(super) fn publish_presence(&self, home: &Home) {
        let watchers = self.presence.watchers(&home.user);
        if watchers.is_empty() {
            return;
        }
        let inner = home.lock();
        for watcher in watchers {
            if let Some(outbox) = watcher.outbox.upgrade() {
                let presence = self.presence_for(&inner.state, &watcher.user);
                outbox.push(Bytes::from(ServerFrame::Presence(presence).to_json()), Class::Ephemeral);
            }
        }
    }

    /// Sets whom a session watches, and tells it how they are now.
    pub async fn watch(&self, user: &UserId, outbox: &Arc<Outbox>, users: &[UserId]) -> Result<(), ActError> {
        self.presence.watch(user, outbox, users);
        for watched in users {
            let presence = self.presence_of(watched, user).await?;
            outbox.push(Bytes::from(ServerFrame::Presence(presence).to_json()), Class::Ephemeral);
        }
        Ok(())
    }

    /// How `asker` sees a user's presence.
    pub async fn presence_of(&self, user: &UserId, asker: &UserId) -> Result<server::Presence, ActError> {
        let home = self.home(user).await?;
        let inner = home.lock();
        Ok(self.presence_for(&inner.state, asker))
    }

    fn presence_for(&self, state: &HomeState, asker: &UserId) -> server::Presence {
        let may_know = state.user == *asker
            || !state.row.blocks(asker)
                && match state.row.audience {
                    Audience::Everyone => true,
                    Audience::Contacts => is_contact(state, asker) || shares_group(self, state, asker),
                    Audience::Nobody => false,
                };
        let is_online = may_know && self.presence.is_online(&state.user);
        let step = u64::try_from(LAST_SEEN_STEP.as_millis()).unwrap_or(u64::MAX);
        let seen = state.row.last_seen_ms / step * step;
        server::Presence {
            user: state.user.clone(),
            state: if is_online { PresenceState::Online } else { PresenceState::Offline },
            last_seen: (may_know && !is_online && seen > 0).then_some(seen),
        }
    }

    /// Tells the other members of a small conversation that somebody types. Who is no member is refused.
    pub async fn typing(&self, user: &UserId, id: ConversationId, session: SessionId) -> Result<(), ActError> {
        let state = self.conversation(id).await?.state();
        if state.members.get(user).is_none() {
            return Err(Refusal::unknown_conversation().into());
        }
        if !state.members.is_small() || state.is_blocked(user) {
            return Ok(());
        }
        // A blocker tells the blocked one nothing, either.
        let blocks_other = state.blocks.iter().any(|block| block.on && block.by == *user);
        if blocks_other {
            return Ok(());
        }
        let frame = ServerFrame::Typing(server::Typing { conversation: id, user: user.clone() }).to_json();
        let frame = Bytes::from(frame);
        for (member, _) in state.members.iter().filter(|(member, _)| *member != user) {
            if let Some(home) = self.homes.get(member) {
                let inner = home.lock();
                if !inner.state.row.blocks(user) {
                    inner.deliver(&frame, Class::Ephemeral, Some(session));
                }
            }
        }
        Ok(())
    }
}

/// Whether two people share a group, as far as memory tells without reading: groups of both are in the asker's home, if it is here.
fn shares_group(host: &Host, state: &HomeState, asker: &UserId) -> bool {
    state.items.iter().filter(|(_, item)| item.group.is_some() && !item.gone).any(|(id, _)| {
        let conversation = host.conversations.get(id);
        conversation.is_some_and(|conversation| conversation.state().members.get(asker).is_some())
    })
}
