//! Commands for conversations of other nodes, until they are answered. Those of one conversation are done in their order: each
//! names the one before it, and a host does none whose forerunner it has not had. What a host has done and died with is found
//! out by the next one, by its `client_msg_id`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hashbrown::hash_map::Entry;
use tidings_proto::{ConversationId, ShardId, UserId};
use tokio::time::Instant;

use crate::{
    home::event::HomeChange,
    host::{Host, act::Command, shards::Place},
    maps::{HashMap, HashSet},
    node::NodeId,
    session::{
        outbox::SessionId,
        reply::{Answer, Reply},
    },
};

use super::{Peers, wire::Item};

#[derive(Default)]
pub struct Commands {
    last: u64,
    unanswered: BTreeMap<u64, Unanswered>,
    /// Their numbers, in order.
    of_shards: HashMap<ShardId, BTreeSet<u64>>,
    /// Shards with some that are on their way to nobody.
    unsent: HashSet<ShardId>,
}

struct Unanswered {
    conversation: ConversationId,
    command: Command,
    reply: Reply,
    /// A change of the sender's home that is committed when the answer is good.
    with: Option<(UserId, HomeChange)>,
    sent_to: Option<NodeId>,
    since: Instant,
}

/// Who has no answer after this time is told that the outcome is not known.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who waits for an answer, and what comes with it.
pub struct Awaited {
    pub reply: Reply,
    pub with: Option<(UserId, HomeChange)>,
}

impl Commands {
    fn push(&mut self, mut command: Command, reply: Reply) -> ShardId {
        let with = match &mut command {
            Command::Act(act) => act.action.with.take().map(|with| (act.action.by.clone(), with)),
            Command::Block(block) => Some((block.by.clone(), block.change())),
        };
        let conversation = command.conversation();
        let shard = conversation.shard();
        self.last += 1;
        let unanswered = Unanswered { conversation, command, reply, with, sent_to: None, since: Instant::now() };
        self.unanswered.insert(self.last, unanswered);
        self.of_shards.entry(shard).or_default().insert(self.last);
        self.unsent.insert(shard);
        shard
    }

    fn remove(&mut self, number: u64) -> Option<Unanswered> {
        let removed = self.unanswered.remove(&number)?;
        if let Entry::Occupied(mut numbers) = self.of_shards.entry(removed.conversation.shard()) {
            numbers.get_mut().remove(&number);
            if numbers.get().is_empty() {
                self.unsent.remove(numbers.key());
                numbers.remove();
            }
        }
        Some(removed)
    }

    fn is_unanswered(&self, conversation: ConversationId) -> bool {
        let mut numbers = self.of_shards.get(&conversation.shard()).into_iter().flatten();
        numbers.any(|number| self.unanswered[number].conversation == conversation)
    }

    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// What is to be sent to `node`, which hosts the shard, in order.
    fn due(&mut self, shard: ShardId, node: NodeId) -> Vec<Item> {
        let mut last: HashMap<ConversationId, u64> = HashMap::default();
        let mut items = Vec::new();
        for number in self.of_shards.get(&shard).into_iter().flatten() {
            let Some(unanswered) = self.unanswered.get_mut(number) else { continue };
            let after = last.insert(unanswered.conversation, *number);
            if unanswered.sent_to != Some(node) {
                unanswered.sent_to = Some(node);
                items.push(Item::Command { number: *number, command: unanswered.command.clone(), after });
            }
        }
        self.unsent.remove(&shard);
        items
    }

    /// These were not done by this node, and so none behind them. Those that were sent elsewhere meanwhile are under way there, and
    /// would be done twice.
    pub fn refused(&mut self, by: NodeId, numbers: &[u64]) {
        for number in numbers {
            let Some(conversation) = self.unanswered.get(number).map(|refused| refused.conversation) else { continue };
            let behind = self.unanswered.range_mut(number..).map(|(_, other)| other);
            for refused in behind.filter(|other| other.conversation == conversation && other.sent_to == Some(by)) {
                refused.sent_to = None;
                self.unsent.insert(conversation.shard());
            }
        }
    }

    /// Gives up those that nobody answers.
    pub fn expired(&mut self) -> Vec<Reply> {
        let late = |unanswered: &Unanswered| unanswered.since.elapsed() >= PATIENCE;
        let numbers: Vec<u64> =
            self.unanswered.iter().take_while(|(_, one)| late(one)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| Some(self.remove(*number)?.reply)).collect()
    }

    pub fn gone(&mut self, is_gone: impl Fn(NodeId) -> bool) {
        for unanswered in self.unanswered.values_mut().filter(|unanswered| unanswered.sent_to.is_some_and(&is_gone)) {
            unanswered.sent_to = None;
            self.unsent.insert(unanswered.conversation.shard());
        }
    }

    /// The answer of a node has come. `None`: one came before; or this node is not asked any more, for others took it for dead. Who is
    /// asked now has told the session of its own entry perhaps, and says that it was a repeat.
    pub fn answered(&mut self, number: u64, from: NodeId) -> Option<Awaited> {
        self.unanswered.get(&number).filter(|unanswered| unanswered.sent_to == Some(from))?;
        let Unanswered { reply, with, .. } = self.remove(number)?;
        Some(Awaited { reply, with })
    }

    /// The session that waits for this answer, and is not told of its own entry.
    pub fn session(&self, number: u64) -> Option<SessionId> {
        self.unanswered.get(&number)?.reply.sender()?.session()
    }
}

impl Peers {
    pub(super) fn session_of(&self, command: u64) -> Option<SessionId> {
        self.commands.lock().session(command)
    }

    /// Whether a command for this conversation waits for an answer.
    pub(in crate::host) fn has_unanswered(&self, conversation: ConversationId) -> bool {
        self.commands.lock().is_unanswered(conversation)
    }

    /// Has the conversation's host do it. The answer comes in order with what the conversation tells this user's home.
    pub(in crate::host) fn command(&self, host: &Host, command: Command, reply: Reply) {
        let mut commands = self.commands.lock();
        let shard = commands.push(command, reply);
        self.send_of(&mut commands, host, shard);
    }

    /// Sends what can be sent now: places may have changed.
    pub(super) fn send_commands(&self, host: &Host) {
        let mut commands = self.commands.lock();
        let shards: Vec<ShardId> = commands.of_shards.keys().copied().collect();
        for shard in shards {
            self.send_of(&mut commands, host, shard);
        }
    }

    /// To be called now and then: nobody waits for ever.
    pub(super) fn expire_commands(&self) {
        let expired = self.commands.lock().expired();
        expired.into_iter().for_each(|reply| reply.answer(Answer::unavailable()));
    }

    /// Under the lock, so that they leave in the order of their numbers.
    fn send_of(&self, commands: &mut Commands, host: &Host, shard: ShardId) {
        let node = match host.shards.place(shard) {
            Place::There(node) => node.id,
            // It has come here: this node sends to itself, so that there is one way to do them.
            Place::Here => self.me(),
            Place::Moving => return,
        };
        for item in commands.due(shard, node) {
            self.push_to(node, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::own::Block;

    #[test]
    fn what_went_elsewhere_meanwhile_is_not_sent_again_when_the_first_refuses() {
        let (first, second) = (NodeId::from_u128(1), NodeId::from_u128(2));
        let user = |name| UserId::new(name).expect("a name");
        let mut commands = Commands::default();
        let block = Block { by: user("ada"), user: user("bob"), on: true, home_version: 1 };
        let shard = commands.push(Command::Block(block), Reply::to_call().0);
        assert_eq!(commands.due(shard, first).len(), 1);
        assert_eq!(commands.due(shard, second).len(), 1);
        commands.refused(first, &[1]);
        assert!(commands.due(shard, second).is_empty() && !commands.has_unsent());
        commands.refused(second, &[1]);
        assert!(commands.has_unsent());
        assert_eq!(commands.due(shard, second).len(), 1);
    }
}
