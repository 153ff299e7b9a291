//! What follows a commit, in its order: the committed state, what homes are told and sessions are handed, the answer.
//!
//! One task does it for the whole node, so that order needs no further thought. It never waits for a disk: what is told to a home that
//! is not in memory waits there (`Dormant`).

use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;
use tidings_proto::{
    ConversationId, Seq, ShardId, UserId,
    frames::server::{LiveEntry, Receipt, ServerFrame},
};
use tokio::time::Instant;

use crate::{
    conversation::{
        actor::Conversation,
        entry::Entry,
        event::{Change, ConversationEvent, Kind},
        state::State,
        tell::tells,
        view,
    },
    home::{
        actor::{Home, Inner as HomeInner},
        event::{HomeChange, HomeEvent, Tell, Told},
        state::Altered,
    },
    journal::{
        AppendError,
        commit::{Committed, CommittedReceiver, Outcome},
    },
    metrics,
    session::{
        outbox::{Class, SessionId, Wakes},
        reply::{Answer, Reply, Sender},
    },
};

use super::{
    Host, Waiting,
    event::{Heard, Hearsay, Part, Submitted},
};

/// Of a large commit, or of many that follow each other, the first do not wait for the last.
const WAKE_ITEMS: usize = 256;

/// What is published before the connections are woken that got some of it.
#[derive(Default)]
struct Batch {
    items: usize,
    wakes: Wakes,
}

impl Batch {
    /// Begins another item.
    fn next(&mut self) -> &mut Wakes {
        if self.items >= WAKE_ITEMS {
            self.items = 0;
            self.wakes.wake();
        }
        self.items += 1;
        &mut self.wakes
    }
}

impl Host {
    /// Runs until the committer has stopped.
    pub async fn publish_all(self: Arc<Self>, mut outcomes: CommittedReceiver<Submitted>) {
        while let Some(outcome) = outcomes.recv().await {
            let mut batch = Batch::default();
            let mut next = Some(outcome);
            while let Some(outcome) = next {
                self.publish_outcome(outcome, &mut batch);
                // What was committed meanwhile is written to the connections with it.
                next = if batch.items < WAKE_ITEMS { outcomes.try_recv() } else { None };
            }
        }
    }

    fn publish_outcome(&self, outcome: Outcome<Submitted>, batch: &mut Batch) {
        match outcome {
            Outcome::Committed(committed) => self.publish_commit(committed, batch),
            Outcome::Failed(failed) => {
                self.metrics.errors.of(metrics::Part::Journal).inc();
                let is_home = |part: &Part| matches!(part, Part::Home(_));
                let is_alone = failed.payloads.iter().all(|submitted| submitted.parts.iter().all(is_home));
                // What is too large was not appended, and concerns no others, unless they rest on its decisions.
                if is_alone && matches!(*failed.error, AppendError::TooLarge { .. }) {
                    tracing::error!(error = %failed.error, "a change of homes was refused");
                } else {
                    self.fail(failed.error.to_string());
                }
                for submitted in failed.payloads {
                    self.drop_submitted(submitted);
                }
            }
        }
    }

    fn publish_commit(&self, committed: Committed<Submitted>, batch: &mut Batch) {
        let Committed { position, commit, items } = committed;
        let mut has_failed = false;
        for item in items {
            let wakes = batch.next();
            let _publishing = self.publishing.lock();
            if self.failure().is_some() {
                // The tables failed meanwhile. The journal has it, and the next start will say so.
                has_failed = true;
                self.drop_submitted(item.payload);
                continue;
            }
            let Submitted { parts, answer } = item.payload;
            let (reply, answer) = answer.unzip();
            let sender = reply.as_ref().and_then(Reply::sender);
            let found: SmallVec<[Found; 2]> = parts
                .iter()
                .filter_map(|part| match part {
                    Part::Conversation(conversation, event) => Some(self.commit_event(conversation, event)),
                    Part::Home(_) | Part::Told(_) | Part::Heard(_) | Part::Left { .. } => None,
                })
                .collect();
            let mut found = found.into_iter();
            let mut left = Vec::new();
            let sender_in_fleet =
                self.shards.is_fleet().then(|| parts.iter().find_map(Part::sent_by).cloned()).flatten();
            for part in parts {
                match part {
                    Part::Conversation(conversation, event) => {
                        let found = found.next().expect("each of them was committed above");
                        left.extend(self.publish(&conversation, &event, found, Audience::Live(sender), wakes));
                    }
                    Part::Home(event) => self.change(&event, Audience::Live(None)),
                    Part::Told(hearsay) => left.extend(self.publish_hearsay(&hearsay, wakes)),
                    Part::Heard(heard) => self.publish_heard_among(&heard, wakes),
                    Part::Left { user, conversation } => {
                        left.extend(self.homes.get(&user).map(|home| (home, conversation)));
                    }
                }
            }
            // Behind the tells: who asks for the inbox after the answer finds there what was answered.
            if let (Some(reply), Some(answer)) = (reply, answer) {
                match sender_in_fleet {
                    // What was told before it waits for the home's next host.
                    Some(user) if !reply.is_of_peer() && !self.shards.is_here(user.shard()) => reply.ask_elsewhere(),
                    _ => reply.answer_among(answer, wakes),
                }
            }
            // The entry comes first, also where the answer stands for it: whoever leaves gets `sent`, then `removed`.
            for (home, conversation) in left {
                self.deliver_item(&home.lock(), conversation);
            }
        }
        if has_failed {
            // What was left out is in no actor: no flush may say that the tables have it.
            return;
        }
        let mut unflushed = self.unflushed.lock();
        unflushed.position = unflushed.position.max(position);
        unflushed.bytes += commit.len();
        if !commit.is_empty() {
            unflushed.since.get_or_insert_with(Instant::now);
        }
    }

    /// Nothing of it may be acknowledged: the answer is `unavailable`, and what was decided is forgotten.
    fn drop_submitted(&self, submitted: Submitted) {
        for part in &submitted.parts {
            if let Part::Conversation(conversation, _) = part {
                conversation.lock().drop_decided();
            }
        }
        if let Some((reply, _)) = submitted.answer {
            reply.answer(Answer::unavailable());
        }
    }

    /// Makes the event part of the committed state, and the conversation part of the next flush.
    pub(super) fn commit_event(&self, conversation: &Arc<Conversation>, event: &ConversationEvent) -> Found {
        let mut inner = conversation.lock();
        let was_small = inner.committed().members.is_small();
        let is_new = inner.take_committed(event);
        if is_new && !std::mem::replace(&mut inner.dirty, true) {
            self.unflushed.lock().conversations.push(conversation.clone());
        }
        let has_grown = was_small && !inner.committed().members.is_small();
        drop(inner);
        if has_grown {
            self.subscribe_members(conversation);
        }
        Found { is_new, was_small }
    }

    /// Tells homes and sessions of a committed event. One that the conversation had already was told, too: a flush writes
    /// a state together with all that it told. Returns whose sessions are still to be told that the conversation is gone.
    pub(super) fn publish(
        &self,
        conversation: &Arc<Conversation>,
        event: &ConversationEvent,
        found: Found,
        audience: Audience,
        wakes: &mut Wakes,
    ) -> Vec<(Arc<Home>, ConversationId)> {
        let mut left = Vec::new();
        if !found.is_new {
            return left;
        }
        let state = conversation.state();
        let entry = match &event.change {
            Change::Entry(entry) => Some(entry),
            _ => None,
        };
        let is_large = !state.members.is_small();
        let mut frames = EntryFrames::new(conversation.id, wakes);
        let sender = match audience {
            Audience::Live(sender) => sender,
            Audience::Replay => None,
        };
        for (user, tell) in tells(event, &state, found.was_small) {
            if !self.writes(user.shard()) {
                // Whoever takes the home replays this as well; one of a node that lives is told by whoever takes the conversation.
                if self.writes(conversation.id.shard()) {
                    self.peers().tell(self, &user, &tell, None, true);
                }
                continue;
            }
            if !self.shards.is_here(user.shard()) || self.has_tells_for(user.shard()) {
                // It learns of the entry by this alone, if until now each home was told.
                self.peers().tell(self, &user, &tell, sender.as_ref(), !is_large || found.was_small);
                continue;
            }
            // Sessions of a large conversation get the entry as its subscribers.
            let gone_from = self.tell(&user, &tell, &mut frames, audience, !is_large);
            left.extend(gone_from.map(|home| (home, conversation.id)));
        }
        if matches!(audience, Audience::Replay) {
            return left;
        }
        if let Some(entry) = entry.filter(|_| is_large) {
            self.fan_out(conversation, entry, &mut frames, sender);
            self.send_to_listeners(conversation.id, entry, sender.as_ref());
        }
        if let Change::Receipt { user, .. } = &event.change {
            self.publish_receipt(conversation, &state, user);
        }
        left
    }

    /// Returns the home if its sessions lost the conversation by this.
    pub(super) fn tell(
        &self,
        user: &UserId,
        tell: &Tell,
        frames: &mut EntryFrames<'_>,
        audience: Audience,
        with_entry: bool,
    ) -> Option<Arc<Home>> {
        let home = self.homes.get_or_else(user, || self.dormant.push(user, Waiting::Tell(tell.clone())))?;
        let mut inner = home.lock();
        let peer_read = |inner: &HomeInner| Some(inner.state.items.get(&tell.conversation)?.with.as_ref()?.read);
        let read_before = peer_read(&inner);
        let last_before = inner.state.items.get(&tell.conversation).map_or(Seq::NONE, |item| item.last_seq);
        let altered = inner.state.tell(tell);
        if inner.note(altered) {
            self.unflushed.lock().homes.push(home.clone());
        }
        if inner.sessions.is_empty() {
            return None;
        }
        let Audience::Live(sender) = audience else { return None };
        let sender = sender.and_then(|sender| self.session_of(sender));
        match &tell.what {
            Told::Joined(joined) => {
                self.deliver_item(&inner, tell.conversation);
                if let Some(entry) = joined.entry.as_ref().filter(|_| with_entry) {
                    self.deliver_entry(&inner, entry, frames, sender);
                }
            }
            Told::Entry(entry) | Told::Group { entry, .. } => {
                if with_entry {
                    self.deliver_entry(&inner, entry, frames, sender);
                }
                let is_removed = inner.state.items.get(&tell.conversation).is_some_and(|item| item.gone);
                if is_removed && altered != Altered::Nothing {
                    if !with_entry {
                        self.deliver_entry(&inner, entry, frames, sender);
                    }
                    drop(inner);
                    return Some(home);
                }
            }
            Told::Peer { .. } => {
                if let Some(with) = inner.state.items.get(&tell.conversation).and_then(|item| item.with.as_ref()) {
                    let receipt = Receipt {
                        conversation: tell.conversation,
                        user: with.user.clone(),
                        delivered_seq: with.delivered,
                        read_seq: with.read,
                    };
                    let frame = Bytes::from(ServerFrame::Receipt(receipt).to_json());
                    let has_read = peer_read(&inner) > read_before;
                    inner.deliver(&frame, if has_read { Class::Receipt } else { Class::Ephemeral }, None);
                }
            }
            Told::Again(again) => {
                self.deliver_item(&inner, tell.conversation);
                for entry in
                    again.entries.iter().filter(|entry| again.is_member && with_entry && entry.seq > last_before)
                {
                    let mut frames = EntryFrames::new(tell.conversation, frames.wakes);
                    self.deliver_entry(&inner, entry, &mut frames, sender);
                    if entry.from == *user {
                        self.note_shown(tell.conversation, entry);
                    }
                }
            }
        }
        None
    }

    /// What a conversation of another node told a home of this one.
    fn publish_hearsay(&self, hearsay: &Hearsay, wakes: &mut Wakes) -> Option<(Arc<Home>, ConversationId)> {
        let HomeChange::Told(tell) = &hearsay.event.change else { return None };
        let home = self.homes.get(&hearsay.event.user);
        let is_known = |home: &Arc<Home>| {
            let inner = home.lock();
            inner.state.items.get(&tell.conversation).is_some_and(|item| item.told >= tell.version)
        };
        if home.as_ref().is_some_and(is_known) {
            // Two hosts told of it, one after the other.
            return None;
        }
        let mut frames = EntryFrames::new(tell.conversation, wakes);
        let audience = Audience::Live(hearsay.sender.map(Sender::Here));
        let gone_from = self.tell(&hearsay.event.user, tell, &mut frames, audience, hearsay.with_entry);
        if let Told::Group { large: true, .. } | Told::Joined(_) | Told::Again(_) = &tell.what
            && let Some(home) = self.homes.get(&hearsay.event.user)
        {
            self.subscribe_home(&home);
        }
        // Who asked for it is told so behind the answer.
        gone_from.filter(|_| hearsay.sender.is_none()).map(|home| (home, tell.conversation))
    }

    /// Whether homes of this shard, though they may be here, were told something that has not arrived yet.
    pub(super) fn has_tells_for(&self, shard: ShardId) -> bool {
        self.peers.get().is_some_and(|peers| peers.has_tells_for(shard))
    }

    fn publish_heard_among(&self, heard: &Heard, wakes: &mut Wakes) {
        let mut frames = EntryFrames::new(heard.conversation, wakes);
        for home in self.listening(heard.conversation, heard.entry.seq) {
            self.deliver_entry(&home.lock(), &heard.entry, &mut frames, heard.sender);
        }
    }

    /// An entry of a large conversation of another node, for those who listen here.
    pub(super) fn publish_heard(&self, conversation: ConversationId, entry: &Arc<Entry>, sender: Option<SessionId>) {
        let heard = Heard { conversation, entry: entry.clone(), sender };
        self.publish_heard_among(&heard, &mut Wakes::default());
    }

    pub(super) fn deliver_entry(
        &self,
        home: &HomeInner,
        entry: &Entry,
        frames: &mut EntryFrames<'_>,
        sender: Option<SessionId>,
    ) {
        let is_hidden =
            entry.from != home.state.user && (entry.void || home.state.hides(frames.conversation, &entry.from));
        let (frame, wakes) = frames.get(entry, is_hidden);
        let delivered = home.deliver_among(frame, sender, wakes);
        self.metrics.deliveries.inc_by(delivered as u64);
    }

    fn publish_receipt(&self, conversation: &Arc<Conversation>, state: &State, user: &UserId) {
        let is_small_group = state.kind() == Some(Kind::Group) && state.members.is_small();
        if let Some(member) = state.member(user).filter(|_| is_small_group) {
            self.receipts.put(conversation, user, member.delivered, member.read);
        }
    }

    /// Applies a committed event of a home.
    pub(super) fn change(&self, event: &HomeEvent, audience: Audience) {
        let HomeEvent { user, change } = event;
        let home = self.homes.get_or_else(user, || self.dormant.push(user, Waiting::Change(change.clone())));
        let Some(home) = home else { return };
        let mut inner = home.lock();
        let altered = inner.state.apply(change);
        if inner.note(altered) {
            self.unflushed.lock().homes.push(home.clone());
        }
        if let (Altered::Item(conversation), Audience::Live(_)) = (altered, audience) {
            self.deliver_item(&inner, conversation);
        }
        if let HomeChange::DeviceRevoked { device, .. } = change {
            for session in inner.sessions.iter().filter(|session| session.device == *device) {
                session.outbox.close(tidings_proto::CloseCode::Revoked);
            }
        }
    }

    /// Tells the user's sessions that an item is another, or gone.
    fn deliver_item(&self, home: &HomeInner, conversation: ConversationId) {
        if home.sessions.is_empty() {
            return;
        }
        let frame = Bytes::from(self.changes_of(&home.state, conversation));
        home.deliver(&frame, Class::Durable, None);
    }
}

/// What an event found when it was committed.
#[derive(Clone, Copy)]
pub(super) struct Found {
    /// The conversation did not have it yet.
    is_new: bool,
    /// Until this event each member's home was told of everything.
    was_small: bool,
}

/// Who learns of an event.
#[derive(Clone, Copy)]
pub(super) enum Audience {
    /// Homes and sessions, but not the one that gets the answer.
    Live(Option<Sender>),
    /// Homes only: it happened before this process began, or is an import.
    Replay,
}

/// The frame of one entry: made when it is first needed, the same bytes for everybody.
pub(super) struct EntryFrames<'w> {
    conversation: ConversationId,
    shown: Option<Bytes>,
    void: Option<Bytes>,
    /// Of those who get it.
    wakes: &'w mut Wakes,
}

impl<'w> EntryFrames<'w> {
    pub fn new(conversation: ConversationId, wakes: &'w mut Wakes) -> Self {
        Self { conversation, shown: None, void: None, wakes }
    }

    fn get(&mut self, entry: &Entry, is_hidden: bool) -> (&Bytes, &mut Wakes) {
        let conversation = self.conversation;
        let frame = if is_hidden { &mut self.void } else { &mut self.shown };
        let frame = frame.get_or_insert_with(|| {
            let entry = if is_hidden { view::void(entry) } else { view::live(entry) };
            ServerFrame::Entry(LiveEntry { conversation, entry }).to_json().into()
        });
        (frame, self.wakes)
    }
}
