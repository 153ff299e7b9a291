//! What other nodes say to this one, and what follows.

use std::sync::{Arc, Weak};

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};
use tidings_proto::ConversationId;

use crate::{
    bus::{Inlet, Received},
    home::event::{HomeChange, HomeEvent},
    host::{
        Host,
        act::ActError,
        event::{Heard, Hearsay, Part},
        shards::Hints,
    },
    maps::HashMap,
    node::NodeId,
    session::reply::{Answer, Reply},
};

use super::{
    Peers,
    commands::Awaited,
    lanes,
    wire::{Ask, Behind, Class, Frame, Item, Notice, Said},
};

/// Conversations of which it is remembered which command of a node was done last. Beyond it some wait for an answer
/// that they need not wait for.
const REMEMBERED: usize = 10_000;

/// What came of one stream of one node.
#[derive(Default)]
pub struct Incoming {
    /// The batch that came last.
    number: u64,
    /// What was answered; none while it is being taken.
    refused: Option<Vec<u32>>,
    /// The last command done of each conversation.
    commands: HashMap<ConversationId, u64>,
}

/// Until the host is dropped or the bus is closed.
pub async fn hear_all(host: Weak<Host>, peers: Arc<Peers>, mut inlet: Inlet) {
    while let Some(received) = inlet.recv().await {
        let Some(host) = host.upgrade() else { return };
        match received {
            Received::Interrupted => {
                peers.streams.lock().interrupted();
                peers.to_send.notify_one();
            }
            Received::Frame { from, frame } => match minicbor::decode::<Frame>(&frame) {
                Ok(frame) => peers.hear(&host, from, frame),
                Err(error) => tracing::warn!(%error, node = %from, "a frame of another node cannot be read"),
            },
        }
    }
}

impl Peers {
    pub(super) fn hear(self: &Arc<Self>, host: &Arc<Host>, from: NodeId, frame: Frame) {
        match frame {
            Frame::Batch { class, number, items } => self.hear_batch(host, from, class, number, items),
            Frame::Confirm { class, number, refused } => self.confirmed(host, from, class, number, &refused),
            Frame::Ask { number, ask } => {
                let (host, peers) = (host.clone(), self.clone());
                tokio::spawn(async move {
                    let said = match host.say(Some(from), *ask).await {
                        Ok(said) => said,
                        Err(ActError::Elsewhere) => Said::Elsewhere,
                        Err(error) => Said::Refused(host.answer(error)),
                    };
                    peers.send(from, lanes::NOTICES, &Frame::Said { number, said: Box::new(said) });
                });
            }
            Frame::Said { number, said } => {
                if matches!(*said, Said::Elsewhere) {
                    host.shards.hint(Hints::all());
                }
                self.questions.answered(number, *said);
            }
            Frame::Notice(notice) => host.heed(from, notice),
        }
    }

    fn confirmed(&self, host: &Host, from: NodeId, class: Class, number: u64, refused: &[u32]) {
        let commands = self.streams.lock().confirmed(from, class, number, refused);
        self.room.notify_one();
        self.to_send.notify_one();
        if !refused.is_empty() {
            self.commands.lock().refused(from, &commands);
            // Somebody knows better where they are.
            host.shards.hint(Hints::all());
        }
    }

    fn hear_batch(self: &Arc<Self>, host: &Arc<Host>, from: NodeId, class: Class, number: u64, items: Vec<Item>) {
        {
            let mut incoming = self.incoming.lock();
            let incoming = incoming.entry((from, class)).or_default();
            if number < incoming.number {
                return;
            }
            if number == incoming.number {
                // It comes a second time: it is being taken, or the confirmation was lost.
                if let Some(refused) = incoming.refused.clone() {
                    self.send(from, lanes::NOTICES, &Frame::Confirm { class, number, refused });
                }
                return;
            }
            (incoming.number, incoming.refused) = (number, None);
        }
        let (host, peers) = (host.clone(), self.clone());
        tokio::spawn(async move {
            let refused = match class {
                Class::Tells => host.take_tells(from, items).await,
                Class::Commands => host.take_commands(&peers, from, items).await,
            };
            // What could not be stored comes again; this node is about to stop.
            let Some(refused) = refused else { return };
            if let Some(incoming) = peers.incoming.lock().get_mut(&(from, class)) {
                incoming.refused = Some(refused.clone());
            }
            if from == peers.me {
                peers.confirmed(&host, from, class, number, &refused);
            } else {
                peers.send(from, lanes::NOTICES, &Frame::Confirm { class, number, refused });
            }
        });
    }

    /// Whether the command before this one of the same conversation was done here.
    fn has_done(&self, from: NodeId, conversation: ConversationId, after: Option<u64>) -> bool {
        let Some(after) = after else { return true };
        let incoming = self.incoming.lock();
        let done = incoming.get(&(from, Class::Commands)).and_then(|incoming| incoming.commands.get(&conversation));
        done.is_some_and(|done| *done >= after)
    }

    fn note_done(&self, from: NodeId, conversation: ConversationId, number: u64) {
        if let Some(incoming) = self.incoming.lock().get_mut(&(from, Class::Commands)) {
            if incoming.commands.len() >= REMEMBERED {
                incoming.commands.clear();
            }
            incoming.commands.insert(conversation, number);
        }
    }
}

impl Host {
    /// Takes what conversations of another node tell homes of this one, and answers. Everything is durable when it returns;
    /// `None`: it is not. Tells the places of those whose homes are not here.
    pub(super) async fn take_tells(&self, from: NodeId, items: Vec<Item>) -> Option<Vec<u32>> {
        let mut refused = Vec::new();
        let bytes = items.iter().map(Item::weight).sum();
        let mut permit = Some(self.reserve_for_peers(bytes).await.ok()?);
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Item::Tell { user, tell, sender, with_entry } => {
                    let Some(_entered) = self.shards.enter(user.shard()) else {
                        refused.extend(u32::try_from(at));
                        continue;
                    };
                    let sender = self.peers().withhold(from, sender, &user, &tell);
                    let event = HomeEvent { user, change: HomeChange::Told(tell) };
                    let part = Part::Told(Hearsay { event, sender, with_entry });
                    self.submit(smallvec![part], None, permit.take());
                }
                Item::Entry { conversation, entry, sender } => {
                    let sender = sender.and_then(|command| self.peers().session_of(command, from));
                    let heard = Heard { conversation, entry, sender };
                    self.submit(smallvec![Part::Heard(heard)], None, permit.take());
                }
                Item::Answer { command, answer, is_late, .. } => self.take_answer(from, command, answer, is_late),
                Item::Command { .. } => tracing::warn!(node = %from, "a command came among tells"),
            }
        }
        // Comes out behind all of them.
        let (reply, done) = Reply::to_call();
        self.submit(SmallVec::new(), Some((reply, Answer::Done)), permit);
        matches!(done.await, Ok(Answer::Done)).then_some(refused)
    }

    /// Gives an answer behind what was told before it. `is_late`: that went to another node.
    fn take_answer(&self, from: NodeId, command: u64, answer: Answer, is_late: bool) {
        let Some(mut awaited) = self.peers().commands.lock().answered(command, from) else { return };
        if is_late || !self.shards.is_here(awaited.by.shard()) {
            return awaited.reply.ask_elsewhere();
        }
        let is_good = !matches!(answer, Answer::Refused(_));
        // A host that is this node has done that as well.
        let with = awaited.with.take().filter(|_| is_good && from != self.peers().me());
        let entered = with.as_ref().and_then(|_| self.shards.enter(awaited.by.shard()));
        let answer = match &with {
            // The home is leaving: its part is not done, and the device asks again where the home is then.
            Some(_) if entered.is_none() => Answer::moving(),
            _ => answer,
        };
        let home_event = |change| Part::Home(HomeEvent { user: awaited.by.clone(), change });
        let change = with.filter(|_| entered.is_some()).map(home_event);
        self.give(awaited, answer, change);
    }

    /// Gives the answer of a conversation that came here after its command was on its way, in the order of what is published.
    pub(super) fn answer_own(&self, command: u64, answer: Answer) {
        let peers = self.peers();
        let awaited = peers.commands.lock().answered(command, peers.me());
        if let Some(awaited) = awaited {
            let answer = awaited.as_seen(answer);
            awaited.reply.answer(answer);
        }
    }

    /// Gives an answer when everything that was told before it is published; what was refused was told nobody.
    fn give(&self, awaited: Awaited, answer: Answer, change: Option<Part>) {
        let answer = awaited.as_seen(answer);
        let reply = awaited.reply;
        if matches!(answer, Answer::Refused(_)) && change.is_none() && awaited.leaves.is_none() {
            return reply.answer(answer);
        }
        let left = awaited.leaves.map(|conversation| Part::Left { user: awaited.by, conversation });
        self.submit(change.into_iter().chain(left).collect(), Some((reply, answer)), None);
    }

    /// To be called now and then: nobody waits for ever.
    pub(super) fn expire_commands(&self) {
        let expired = self.peers().commands.lock().expired();
        expired.into_iter().for_each(|awaited| self.give(awaited, Answer::unavailable(), None));
    }

    /// Does what another node asks for, in order. Tells the places of those that it did not do.
    async fn take_commands(&self, peers: &Arc<Peers>, from: NodeId, items: Vec<Item>) -> Option<Vec<u32>> {
        let mut refused = Vec::new();
        let conversations = items.iter().filter_map(|item| match item {
            Item::Command { command, .. } => Some(command.conversation()),
            _ => None,
        });
        let conversations: crate::maps::HashSet<_> = conversations.collect();
        // Read side by side, so that one that is not in memory does not hold up the others; what fails fails again below.
        futures_util::future::join_all(conversations.into_iter().map(|id| self.conversation(id))).await;
        for (at, item) in items.into_iter().enumerate() {
            let Item::Command { number, mut command, after } = item else { continue };
            let conversation = command.conversation();
            if from == peers.me() {
                peers.commands.lock().complete(number, &mut command);
            }
            let behind = Behind { home: command.by().shard(), conversation };
            let mut reply = Some(peers.reply_to(self, from, number, behind));
            let outcome = if peers.has_done(from, conversation, after) {
                self.obey(&command, &mut reply).await
            } else {
                Err(ActError::Elsewhere)
            };
            match (outcome, reply.take()) {
                (Err(ActError::Elsewhere), Some(reply)) => {
                    reply.forget();
                    refused.extend(u32::try_from(at));
                }
                (outcome, reply) => {
                    peers.note_done(from, conversation, number);
                    if let (Err(error), Some(reply)) = (outcome, reply) {
                        reply.answer(self.answer(error));
                    }
                }
            }
        }
        Some(refused)
    }

    /// Answers a question of another node, or (`None`) of this one.
    pub(in crate::host) async fn say(&self, from: Option<NodeId>, ask: Ask) -> Result<Said, ActError> {
        let here = |shard| if self.shards.is_here(shard) { Ok(()) } else { Err(ActError::Elsewhere) };
        match ask {
            Ask::Home(user) => {
                here(user.shard())?;
                let row = self.home_rows(&[user]).await?.pop().unwrap_or_default();
                Ok(Said::Home(Box::new(row)))
            }
            Ask::Change(event) => {
                self.change_here(*event).await?;
                Ok(Said::Done)
            }
            Ask::Reach(reach) => {
                let (reply, done) = Reply::to_call();
                let ord = self.reach_here(&reach, &mut Some(reply)).await?;
                match done.await {
                    Ok(Answer::Done) => Ok(Said::Ord(ord)),
                    Ok(refused) => Ok(Said::Refused(refused)),
                    Err(_) => Ok(Said::Refused(Answer::unavailable())),
                }
            }
            Ask::Page { conversation, user, page } => {
                Ok(Said::Page(self.page_here(conversation, &user, page.into()).await?))
            }
            Ask::State { conversation, user, after, limit } => {
                let state = self.state_here(conversation, &user, after.as_ref(), limit as usize).await?;
                Ok(Said::State(Box::new(state)))
            }
            Ask::Log { conversation, after, limit } => {
                Ok(Said::Page(self.log_here(conversation, after, limit as usize).await?))
            }
            Ask::Presence { user, asker } => {
                let presence = self.presence_here(&user, &asker).await?;
                if let Some(from) = from {
                    self.peers().watchers.note(&user, from, &asker);
                }
                Ok(Said::Presence(presence))
            }
            Ask::Listen(conversation) => {
                let state = self.conversation(conversation).await?.state();
                if let Some(from) = from {
                    self.peers().listeners.note(conversation, from);
                }
                Ok(Said::Last(state.last_seq))
            }
        }
    }

    /// What may be lost, and needs no answer.
    fn heed(self: &Arc<Self>, from: NodeId, notice: Notice) {
        match notice {
            Notice::Ephemeral { users, from, receipt: Some(reached), .. } => {
                self.show_receipt(&users, reached.by(from));
            }
            Notice::Ephemeral { users, from, frame, receipt: None } => {
                self.deliver_ephemeral(&users, &from, &Bytes::from(frame), None);
            }
            Notice::Presence { user, asker, frame } => self.deliver_presence(&user, &asker, frame),
            Notice::Typing { conversation, user } => {
                let host = self.clone();
                tokio::spawn(async move {
                    // A hint: of one who is no member it is dropped.
                    let _ = host.typing_here(&user, conversation, None).await;
                });
            }
            #[cfg(feature = "next-format")]
            Notice::Next(format) => tracing::trace!(node = %from, format, "a notice of the next format"),
            Notice::ViewChanged => self.shards.hint(Hints::all()),
            Notice::ShardsLeave { shards } => self.shards.leave(from, &shards),
            Notice::ShardsMoved { to } => {
                tracing::trace!(node = %from, ?to, "shards were moved");
                self.hear_moved(&to);
            }
        }
    }
}
