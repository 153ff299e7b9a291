//! Large conversations tell no home of their entries: a node that has listening members asks their host to send them, again
//! and again, and finds out so what it may have missed.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId};
use tokio::time::Instant;

use crate::{
    conversation::entry::Entry,
    home::actor::Home,
    host::{Host, shards::Place},
    maps::HashMap,
    node::NodeId,
    session::{outbox::SessionId, reply::Sender},
};

use super::wire::{Ask, AskedPage, Item, Said};

/// How often a host is asked to go on.
pub const RENEW: Duration = Duration::from_secs(4);
/// Who has not asked for so long is sent nothing more.
const FORGOTTEN: Duration = Duration::from_secs(20);
/// Of more missed entries the clients ask themselves: they see the gap.
const CAUGHT_UP: u32 = 200;

#[derive(Default)]
pub struct Listeners {
    /// Of conversations hosted here: which nodes listen, and when each asked last.
    nodes: Mutex<HashMap<ConversationId, HashMap<NodeId, Instant>>>,
    /// Of conversations hosted elsewhere: who listens here.
    heard: Mutex<HashMap<ConversationId, Listening>>,
}

#[derive(Default)]
struct Listening {
    homes: HashMap<UserId, Arc<Home>>,
    /// The last entry that came.
    last: Seq,
}

impl Listeners {
    pub fn note(&self, conversation: ConversationId, node: NodeId) {
        self.nodes.lock().entry(conversation).or_default().insert(node, Instant::now());
    }

    fn nodes(&self, conversation: ConversationId) -> Vec<NodeId> {
        let mut all = self.nodes.lock();
        let Some(nodes) = all.get_mut(&conversation) else { return Vec::new() };
        nodes.retain(|_, asked| asked.elapsed() < FORGOTTEN);
        let listening = nodes.keys().copied().collect();
        if nodes.is_empty() {
            all.remove(&conversation);
        }
        listening
    }

    /// True: it is the first one here.
    pub fn add(&self, conversation: ConversationId, home: &Arc<Home>) -> bool {
        let mut heard = self.heard.lock();
        let listening = heard.entry(conversation).or_default();
        listening.homes.insert(home.user.clone(), home.clone());
        listening.homes.len() == 1
    }

    pub fn remove(&self, conversation: ConversationId, user: &UserId) {
        let mut heard = self.heard.lock();
        if let Some(listening) = heard.get_mut(&conversation) {
            listening.homes.remove(user);
            if listening.homes.is_empty() {
                heard.remove(&conversation);
            }
        }
    }

    /// Whom a new entry is for. None if it came before.
    fn take(&self, conversation: ConversationId, seq: Seq) -> Vec<Arc<Home>> {
        let mut heard = self.heard.lock();
        match heard.get_mut(&conversation) {
            Some(listening) if seq > listening.last => {
                listening.last = seq;
                listening.homes.values().cloned().collect()
            }
            _ => Vec::new(),
        }
    }

    fn all(&self) -> Vec<(ConversationId, Seq, Option<UserId>)> {
        let heard = self.heard.lock();
        heard.iter().map(|(id, listening)| (*id, listening.last, listening.homes.keys().next().cloned())).collect()
    }

    /// From here on entries count as missed.
    fn begin(&self, conversation: ConversationId, last: Seq) {
        if let Some(listening) = self.heard.lock().get_mut(&conversation) {
            listening.last = listening.last.max(last);
        }
    }
}

impl Host {
    /// Sends an entry of a large conversation to the nodes that listen.
    pub(in crate::host) fn send_to_listeners(
        &self,
        conversation: ConversationId,
        entry: &Arc<Entry>,
        sender: Option<&Sender>,
    ) {
        let Some(peers) = self.peers.get() else { return };
        for node in peers.listeners.nodes(conversation) {
            let sender = match sender {
                Some(Sender::There { node: from, command }) if *from == node => Some(*command),
                _ => None,
            };
            peers.push_to(node, Item::Entry { conversation, entry: entry.clone(), sender });
        }
    }

    /// Whom an entry of a large conversation elsewhere is for.
    pub(in crate::host) fn listening(&self, conversation: ConversationId, seq: Seq) -> Vec<Arc<Home>> {
        self.peers.get().map(|peers| peers.listeners.take(conversation, seq)).unwrap_or_default()
    }

    /// A home with sessions listens to a large conversation elsewhere, or one without them no longer.
    pub(in crate::host) fn listen(&self, conversation: ConversationId, home: &Arc<Home>) {
        let listeners = &self.peers().listeners;
        if home.lock().sessions.is_empty() {
            listeners.remove(conversation, &home.user);
        } else if listeners.add(conversation, home) {
            let (Some(host), user) = (self.me.upgrade(), home.user.clone()) else { return };
            tokio::spawn(async move { host.renew_listening(conversation, Seq::NONE, Some(user)).await });
        }
    }

    /// Asks all hosts to go on; to be called now and then, and when conversations have moved.
    pub(in crate::host) async fn renew_all_listening(self: &Arc<Self>) {
        let all = self.peers().listeners.all();
        let renewed = all.into_iter().map(|(id, last, user)| self.renew_listening(id, last, user));
        futures_util::future::join_all(renewed).await;
    }

    async fn renew_listening(self: &Arc<Self>, conversation: ConversationId, last: Seq, user: Option<UserId>) {
        let Ok(Place::There(node)) = self.locate(conversation.shard()).await else { return };
        let asked = self.peers().ask(&node, conversation.shard(), Ask::Listen(conversation)).await;
        let Ok(Said::Last(now)) = asked else { return };
        if last == Seq::NONE {
            return self.peers().listeners.begin(conversation, now);
        }
        let Some(user) = user.filter(|_| now > last) else { return };
        // Something was missed, or is on its way.
        let page = AskedPage { before: None, after: Some(last), around: None, limit: Some(CAUGHT_UP) };
        let ask = Ask::Page { conversation, user, page };
        if let Ok(Said::Page(page)) = self.peers().ask(&node, conversation.shard(), ask).await {
            for entry in page.entries {
                self.publish_heard(conversation, &entry, None::<SessionId>);
            }
        }
    }
}
