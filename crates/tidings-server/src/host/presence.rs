//! Presence and typing: who is told, and who may know.

use std::sync::Arc;

use bytes::Bytes;
use tidings_proto::{
    ConversationId, UserId,
    frames::server::{self, PresenceState, Receipt, ServerFrame},
};
use tokio::time::Instant;

use crate::{
    conversation::decide::Refusal,
    home::{actor::Home, event::Audience, presence::LAST_SEEN_STEP, state::HomeState},
    maps::HashMap,
    node::NodeId,
    session::outbox::{Class, Outbox, SessionId},
};

use super::{
    Host,
    act::ActError,
    feed::is_contact,
    peers::wire::{Ask, Notice, Reached, Said},
    shards::Place,
};

impl Host {
    /// Tells those who watch a user that it came or went.
    pub(super) fn publish_presence(&self, home: &Home) {
        let watchers = self.presence.watchers(&home.user);
        let inner = home.lock();
        let shown = |asker: &UserId| ServerFrame::Presence(self.presence_for(&inner.state, asker)).to_json();
        for watcher in watchers {
            if let Some(outbox) = watcher.outbox.upgrade() {
                outbox.push(Bytes::from(shown(&watcher.user)), Class::Ephemeral);
            }
        }
        self.send_presence(&home.user, shown);
    }

    /// Sets whom a session watches, and tells it how they are now.
    pub async fn watch(&self, user: &UserId, outbox: &Arc<Outbox>, users: &[UserId]) -> Result<(), ActError> {
        self.presence.watch(user, outbox, users);
        for watched in users {
            let frame = self.presence_frame(watched, user).await?;
            outbox.push(Bytes::from(frame), Class::Ephemeral);
        }
        Ok(())
    }

    /// How `asker` sees a user's presence.
    pub async fn presence_of(&self, user: &UserId, asker: &UserId) -> Result<server::Presence, ActError> {
        if self.shards.is_here(user.shard()) {
            let home = self.home(user).await?;
            let inner = home.lock();
            return Ok(self.presence_for(&inner.state, asker));
        }
        let frame = self.presence_frame(user, asker).await?;
        Ok(serde_json::from_str(&frame).expect("a presence frame has the fields of a presence"))
    }

    /// The same as a frame, from the node that has the user's home.
    pub(super) async fn presence_frame(&self, user: &UserId, asker: &UserId) -> Result<String, ActError> {
        if self.shards.is_here(user.shard()) {
            match self.presence_here(user, asker).await {
                Err(ActError::Elsewhere) => {}
                frame => return frame,
            }
        }
        match self.ask_host(user.shard(), Ask::Presence { user: user.clone(), asker: asker.clone() }).await? {
            Said::Presence(frame) => Ok(frame),
            said => Err(said.misplaced()),
        }
    }

    pub(super) async fn presence_here(&self, user: &UserId, asker: &UserId) -> Result<String, ActError> {
        let home = self.home(user).await?;
        let inner = home.lock();
        Ok(ServerFrame::Presence(self.presence_for(&inner.state, asker)).to_json())
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
        match self.locate(id.shard()).await? {
            Place::Here | Place::Moving => self.typing_here(user, id, Some(session)).await,
            Place::There(node) => {
                self.peers().notify(node.id, Notice::Typing { conversation: id, user: user.clone() });
                Ok(())
            }
        }
    }

    pub(super) async fn typing_here(
        &self,
        user: &UserId,
        id: ConversationId,
        session: Option<SessionId>,
    ) -> Result<(), ActError> {
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
        let others = state.members.iter().map(|(member, _)| member).filter(|member| *member != user);
        self.send_ephemeral(others.cloned().collect(), user, frame, session);
        Ok(())
    }

    /// Hands a frame about `from` to the sessions of these users, wherever they are, but of those who block `from`.
    fn send_ephemeral(&self, users: Vec<UserId>, from: &UserId, frame: String, except: Option<SessionId>) {
        let notice = |users| Notice::Ephemeral { users, from: from.clone(), frame: frame.clone(), receipt: None };
        let here = self.send_there(users, notice);
        self.deliver_ephemeral(&here, from, &Bytes::from(frame), except);
    }

    /// Sends a notice to the nodes of these users. Returns those who are here.
    fn send_there(&self, users: Vec<UserId>, notice: impl Fn(Vec<UserId>) -> Notice) -> Vec<UserId> {
        let (here, there): (Vec<_>, Vec<_>) = users.into_iter().partition(|user| self.shards.is_here(user.shard()));
        let mut nodes: HashMap<NodeId, Vec<UserId>> = HashMap::default();
        for user in there {
            if let Place::There(node) = self.shards.place(user.shard()) {
                nodes.entry(node.id).or_default().push(user);
            }
        }
        for (node, users) in nodes {
            self.peers().notify(node, notice(users));
        }
        here
    }

    /// Hands it to the sessions here of these users, but for that one, and those of who blocks `from`.
    pub(super) fn deliver_ephemeral(&self, users: &[UserId], from: &UserId, frame: &Bytes, except: Option<SessionId>) {
        for home in users.iter().filter_map(|user| self.homes.get(user)) {
            let inner = home.lock();
            if !inner.state.row.blocks(from) {
                inner.deliver(frame, Class::Ephemeral, except);
            }
        }
    }

    /// Hands the receipts of groups that gathered to the other members' sessions. To be called once a second.
    pub async fn publish_receipts(&self) {
        for (conversation, receipt) in self.receipts.take() {
            // Who is blocked is not told how far the blocker is.
            let Ok(rows) = self.home_rows_anywhere(std::slice::from_ref(&receipt.user)).await else { continue };
            let blocks = |user: &UserId| rows.iter().any(|row| row.blocks(user));
            let members = conversation.state().members;
            let others = members.iter().map(|(user, _)| user).filter(|user| **user != receipt.user && !blocks(user));
            let notice = |users| Notice::Ephemeral {
                users,
                from: receipt.user.clone(),
                frame: ServerFrame::Receipt(receipt.clone()).to_json(),
                receipt: Some(Reached::of(&receipt)),
            };
            let here = self.send_there(others.cloned().collect(), notice);
            self.show_receipt(&here, receipt);
        }
    }

    /// Hands a receipt of a group to the sessions here of these users, if it is no older one that comes late.
    pub(super) fn show_receipt(&self, users: &[UserId], receipt: Receipt) {
        self.shown_receipts.pass(receipt, Instant::now(), |receipt| {
            let from = receipt.user.clone();
            self.deliver_ephemeral(users, &from, &Bytes::from(ServerFrame::Receipt(receipt).to_json()), None);
        });
    }
}

/// Whether two people share a group, as far as memory tells without reading: groups of both are in the asker's home, if it is here.
fn shares_group(host: &Host, state: &HomeState, asker: &UserId) -> bool {
    state.items.iter().filter(|(_, item)| item.group.is_some() && !item.gone).any(|(id, _)| {
        let conversation = host.conversations.get(id);
        conversation.is_some_and(|conversation| conversation.state().members.get(asker).is_some())
    })
}
