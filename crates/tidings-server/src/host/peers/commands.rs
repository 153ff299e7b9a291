//! Commands for conversations of other nodes, until they are answered. Those of one conversation are done in their order: each
//! names the one before it, and a host does none whose forerunner it has not had. What a host has done and died with is found
//! out by the next one, by its `client_msg_id`.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hashbrown::hash_map;
use tidings_proto::{ConversationId, ShardId, UserId};
use tokio::time::Instant;

use crate::{
    conversation::entry::Entry,
    home::event::{HomeChange, Tell},
    host::{Host, act::Command, shards::Place},
    maps::{HashMap, HashSet},
    node::NodeId,
    session::{
        outbox::SessionId,
        reply::{Answer, Reply, Sender},
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
    with: Option<HomeChange>,
    sent_to: Option<NodeId>,
    since: Instant,
    /// What its session saw of the entry that it made.
    seen: Seen,
    /// The session's user is no member any more when it is answered.
    leaves: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    Nothing,
    /// It is to be told by the answer.
    Withheld,
    /// It was told, for nobody knew that an answer would come.
    Shown,
}

/// Who has no answer after this time is told that the outcome is not known.
const PATIENCE: Duration = Duration::from_secs(15);

/// Who waits for an answer, and what comes with it.
pub struct Awaited {
    pub by: UserId,
    pub reply: Reply,
    pub with: Option<HomeChange>,
    /// Sessions are told afterwards that this conversation is gone.
    pub leaves: Option<ConversationId>,
    seen: Seen,
}

impl Awaited {
    /// An answer that is a repeat leaves the entry to be seen elsewhere. This node may have asked twice itself, two hosts one
    /// after the other: what counts is whether the session was told of the entry.
    pub fn as_seen(&self, answer: Answer) -> Answer {
        let is_repeat = |repeat| match self.seen {
            Seen::Nothing => repeat,
            Seen::Withheld => false,
            Seen::Shown => true,
        };
        match answer {
            Answer::Sent { conversation, seq, at_ms, repeat } => {
                Answer::Sent { conversation, seq, at_ms, repeat: is_repeat(repeat) }
            }
            Answer::Created { conversation, seq, at_ms, repeat } => {
                Answer::Created { conversation, seq, at_ms, repeat: is_repeat(repeat) }
            }
            other => other,
        }
    }
}

impl Commands {
    fn push(&mut self, mut command: Command, reply: Reply) -> ShardId {
        let with = match &mut command {
            Command::Act(act) => act.action.with.take(),
            Command::Block(block) => Some(block.change()),
        };
        let conversation = command.conversation();
        let shard = conversation.shard();
        self.last += 1;
        let (since, seen) = (Instant::now(), Seen::Nothing);
        let unanswered = Unanswered { conversation, command, reply, with, sent_to: None, since, seen, leaves: false };
        self.unanswered.insert(self.last, unanswered);
        self.of_shards.entry(shard).or_default().insert(self.last);
        self.unsent.insert(shard);
        shard
    }

    fn remove(&mut self, number: u64) -> Option<Unanswered> {
        let removed = self.unanswered.remove(&number)?;
        if let hash_map::Entry::Occupied(mut numbers) = self.of_shards.entry(removed.conversation.shard()) {
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
    pub fn expired(&mut self) -> Vec<Awaited> {
        let late = |unanswered: &Unanswered| unanswered.since.elapsed() >= PATIENCE;
        let numbers: Vec<u64> =
            self.unanswered.iter().take_while(|(_, one)| late(one)).map(|(number, _)| *number).collect();
        numbers.iter().filter_map(|number| Some(self.remove(*number)?.awaited())).collect()
    }

    /// Puts back what another node need not know.
    pub fn complete(&self, number: u64, command: &mut Command) {
        let with = self.unanswered.get(&number).and_then(|unanswered| unanswered.with.as_ref());
        if let (Command::Act(act), Some(change)) = (command, with) {
            act.action.with = Some(change.clone());
        }
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
        Some(self.remove(number)?.awaited())
    }

    /// The session that waits for this node's answer, and is not told of its own entry. None if another is asked now: who knows when
    /// that will answer.
    pub fn session(&self, number: u64, from: NodeId) -> Option<SessionId> {
        let unanswered = self.unanswered.get(&number).filter(|unanswered| unanswered.sent_to == Some(from))?;
        unanswered.reply.sender()?.session()
    }

    /// The home of `user` is told of this entry. If that is who asked, the session is told by the answer; but what it was shown
    /// before stays shown: the next host may have told it again, while this was on its way.
    fn withhold(&mut self, number: u64, from: NodeId, user: &UserId, entry: &Entry) -> Option<SessionId> {
        let session = self.session(number, from)?;
        let unanswered = self.unanswered.get_mut(&number).filter(|unanswered| unanswered.command.by() == user)?;
        if unanswered.seen == Seen::Nothing {
            unanswered.seen = Seen::Withheld;
        }
        unanswered.leaves = entry.removes(user);
        Some(session)
    }

    /// The sessions of who sent it were told of this entry.
    fn note_shown(&mut self, conversation: ConversationId, entry: &Entry) {
        for number in self.of_shards.get(&conversation.shard()).into_iter().flatten() {
            if let Some(unanswered) = self.unanswered.get_mut(number)
                && let Command::Act(act) = &unanswered.command
                && (act.conversation(), &act.action.by) == (conversation, &entry.from)
                && entry.client_msg_id.as_ref() == Some(&act.action.client_msg_id)
            {
                unanswered.seen = Seen::Shown;
            }
        }
    }
}

impl Unanswered {
    fn awaited(self) -> Awaited {
        let leaves = self.leaves.then_some(self.conversation);
        Awaited { by: self.command.by().clone(), reply: self.reply, with: self.with, leaves, seen: self.seen }
    }
}

impl Peers {
    pub(super) fn session_of(&self, command: u64, from: NodeId) -> Option<SessionId> {
        self.commands.lock().session(command, from)
    }

    /// Which session is not told of the entry that the home of `user` is told, for it gets this node's answer to its command.
    pub(super) fn withhold(
        &self,
        from: NodeId,
        sender: Option<(NodeId, u64)>,
        user: &UserId,
        tell: &Tell,
    ) -> Option<SessionId> {
        let (_, command) = sender.filter(|(node, _)| *node == self.me)?;
        self.commands.lock().withhold(command, from, user, tell.entry()?)
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

impl Host {
    /// The session of this node that is not told of its own entry, because it gets the answer.
    pub(in crate::host) fn session_of(&self, sender: Sender) -> Option<SessionId> {
        match sender {
            Sender::Here(session) => Some(session),
            Sender::There { node, command } => {
                self.peers.get().filter(|peers| peers.me == node)?.session_of(command, node)
            }
        }
    }

    /// The sessions of its sender were told of this entry, though an answer may come.
    pub(in crate::host) fn note_shown(&self, conversation: ConversationId, entry: &Entry) {
        if let Some(peers) = self.peers.get() {
            peers.commands.lock().note_shown(conversation, entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        conversation::{
            decide::{Action, Wish},
            entry::Body,
        },
        host::{
            act::{Act, On},
            own::Block,
        },
        session::{outbox::Outbox, unanswered::Counter},
    };
    use std::sync::Arc;
    use tidings_proto::Seq;

    fn user(name: &str) -> UserId {
        UserId::new(name).expect("a name")
    }

    /// A conversation that moves is told again by its next host, which may be heard before what the first one told and answered.
    #[test]
    fn an_entry_that_was_shown_is_not_answered_as_one_that_was_withheld() {
        let (node, by, name) = (NodeId::from_u128(1), user("ada"), Box::<str>::from("Friends"));
        let conversation = ConversationId::group(&by, "g-1");
        let body = Body::Rename { name: name.clone() };
        let client_msg_id: Box<str> = "c-1".into();
        let action = Action {
            by: by.clone(),
            at_ms: 1,
            client_msg_id: client_msg_id.clone(),
            wish: Wish::Rename { name },
            with: None,
        };
        let entry = Entry {
            seq: Seq(2),
            at_ms: 1,
            from: by.clone(),
            ord: 0,
            client_msg_id: Some(client_msg_id),
            body,
            void: false,
            fold: None,
        };
        let is_repeat = |is_shown: bool| {
            let mut commands = Commands::default();
            let reply = Reply::to_session(None, Arc::new(Outbox::new(1_000)), Arc::<Counter>::default().begin());
            let act = Act { on: On::Conversation(conversation), action: action.clone() };
            let shard = commands.push(Command::Act(act), reply);
            assert_eq!(commands.due(shard, node).len(), 1);
            if is_shown {
                commands.note_shown(conversation, &entry);
            }
            assert!(commands.withhold(1, node, &by, &entry).is_some());
            let answer = Answer::Sent { conversation, seq: entry.seq, at_ms: 1, repeat: false };
            matches!(commands.answered(1, node).expect("asked").as_seen(answer), Answer::Sent { repeat: true, .. })
        };
        assert!(is_repeat(true));
        assert!(!is_repeat(false));
    }

    #[test]
    fn what_went_elsewhere_meanwhile_is_not_sent_again_when_the_first_refuses() {
        let (first, second) = (NodeId::from_u128(1), NodeId::from_u128(2));
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
