//! From a wish to a submission: find the actor, read what the decision needs, decide, hand over to the committer.
//!
//! Nothing here waits for a commit: the answer comes when the commit is published. What is answered without an event, but rests
//! on something that is not committed, is submitted without events and so comes behind it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use smallvec::{SmallVec, smallvec};
use tidings_proto::{Code, ConversationId, UserId};

use crate::{
    config::UnknownRecipient,
    conversation::{
        actor::{Conversation, Inner, Needs, Proposal, Verdict, is_creation},
        decide::{Action, Refusal, Wish},
        entry::{Entry, MembersChange, Role},
        event::{Change, Created, History, Kind},
        tell,
    },
    home::event::{HomeChange, HomeEvent},
    journal::{
        backlog::Permit,
        commit::{Closed, Submission},
    },
    metrics,
    session::reply::{Answer, Reply},
    tables::TablesError,
};

use super::{
    Host,
    event::{Part, Submitted},
    load::LoadError,
    own::Block,
    shards::Entered,
    shards::Place,
};

/// Why a wish did not become a submission.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error("unknown users")]
    UnknownUsers(Vec<UserId>),
    #[error("failed to read the tables: {0}")]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Closed(#[from] Closed),
    /// Another node hosts it, or soon will.
    #[error("it is hosted elsewhere")]
    Elsewhere,
    /// Another node has answered so.
    #[error("refused by its host")]
    Answered(Box<Answer>),
}

impl From<LoadError> for ActError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Tables(error) => Self::Tables(error),
            LoadError::Elsewhere => Self::Elsewhere,
        }
    }
}

/// What a conversation's host is asked to do, in the order asked.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Command {
    #[n(0)]
    Act(#[n(0)] Act),
    #[n(1)]
    Block(#[n(0)] Block),
}

impl Command {
    pub fn conversation(&self) -> ConversationId {
        match self {
            Self::Act(act) => act.conversation(),
            Self::Block(block) => block.conversation(),
        }
    }

    /// Who asks for it.
    pub fn by(&self) -> &UserId {
        match self {
            Self::Act(act) => &act.action.by,
            Self::Block(block) => &block.by,
        }
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        match self {
            Self::Act(act) => weight(&act.action),
            Self::Block(_) => 256,
        }
    }
}

/// What somebody wants to do, and on what.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Act {
    #[n(0)]
    pub on: On,
    #[n(1)]
    pub action: Action,
}

#[derive(Clone, Debug, Encode, Decode)]
pub enum On {
    /// The direct conversation with this user, which is made if there is none.
    #[n(0)]
    User(#[n(0)] UserId),
    #[n(1)]
    Conversation(#[n(0)] ConversationId),
    /// One that the action makes.
    #[n(2)]
    NewGroup,
}

impl Act {
    pub fn conversation(&self) -> ConversationId {
        match &self.on {
            On::User(to) => ConversationId::direct(&self.action.by, to),
            On::Conversation(id) => *id,
            On::NewGroup => ConversationId::group(&self.action.by, &self.action.client_msg_id),
        }
    }
}

impl ActError {
    fn into_answer(self) -> Answer {
        match self {
            Self::Refused(refusal) => refusal.into(),
            Self::UnknownUsers(users) => Answer::unknown_users(users),
            // Who asks it says in the log that it does not answer.
            Self::Tables(TablesError::Late(_)) => Answer::late(),
            Self::Tables(error) => {
                tracing::error!(%error, "a read failed");
                Answer::refused(Code::Unavailable, "the server cannot read its disk now; try again later")
            }
            Self::Closed(Closed) => Answer::unavailable(),
            Self::Elsewhere => Answer::moving(),
            Self::Answered(answer) => *answer,
        }
    }
}

impl Host {
    /// What a client is told of an error; one of the tables is counted.
    pub fn answer(&self, error: ActError) -> Answer {
        if let ActError::Tables(_) = error {
            self.metrics.errors.of(metrics::Part::Tables).inc();
        }
        error.into_answer()
    }

    /// Sends into a direct conversation, which is made if there is none.
    pub async fn send_to_user(&self, to: &UserId, action: Action, reply: Reply) {
        self.command(Command::Act(Act { on: On::User(to.clone()), action }), reply).await;
    }

    /// Does something in a conversation that exists, or is refused.
    pub async fn act_in(&self, id: ConversationId, action: Action, reply: Reply) {
        self.command(Command::Act(Act { on: On::Conversation(id), action }), reply).await;
    }

    /// Makes a group. Its id follows from its creator and `client_msg_id`, so a repeat finds it.
    pub async fn create_group(&self, action: Action, reply: Reply) {
        self.command(Command::Act(Act { on: On::NewGroup, action }), reply).await;
    }

    /// Has the conversation's host do it, which may be this node.
    pub(super) async fn command(&self, command: Command, reply: Reply) {
        let mut reply = Some(reply);
        loop {
            let outcome = match self.locate(command.conversation().shard()).await {
                Ok(Place::Here) if !self.has_under_way(&command) => self.obey(&command, &mut reply).await,
                Ok(_) => {
                    let reply = reply.take().expect("it is answered once");
                    return self.peers().command(self, command, reply);
                }
                Err(error) => Err(error),
            };
            match (outcome, reply.take()) {
                (Err(ActError::Elsewhere), Some(unanswered)) => reply = Some(unanswered),
                (Err(error), Some(reply)) => return reply.answer(self.answer(error)),
                (_, None) | (Ok(()), Some(_)) => return,
            }
        }
    }

    /// Whether something is to come before it: commands that were on their way to another node when the conversation came here, or
    /// what its user's home was told when that was elsewhere.
    fn has_under_way(&self, command: &Command) -> bool {
        let Some(peers) = self.peers.get() else { return false };
        peers.has_unanswered(command.conversation()) || self.has_tells_for(command.by().shard())
    }

    /// Does it on this node. Takes `reply` when it hands something over, or answers.
    pub(super) async fn obey(&self, command: &Command, reply: &mut Option<Reply>) -> Result<(), ActError> {
        match command {
            Command::Act(act) => self.act_here(act, reply).await,
            Command::Block(block) => Box::pin(self.block_here(block, reply)).await,
        }
    }

    async fn act_here(&self, act: &Act, reply: &mut Option<Reply>) -> Result<(), ActError> {
        let Act { on, action } = act;
        match (on, &action.wish) {
            (On::User(to), _) => {
                let conversation = self.opened_conversation(act.conversation()).await?;
                let is_there = conversation.lock().committed().created.is_some();
                // The rare ways are boxed: the future of a send that finds everything in memory stays small.
                let begin = if is_there { None } else { Some(Box::pin(self.direct(to, action)).await?) };
                return self.try_act(&conversation, action, begin.as_ref(), reply).await;
            }
            (_, Wish::Create(created)) => {
                let users: Vec<_> = created.members.iter().map(|(user, _)| user.clone()).collect();
                Box::pin(self.ensure_known(&users)).await?;
            }
            (_, Wish::Members(change)) => {
                let added: Vec<_> = change.added.iter().map(|(user, _)| user.clone()).collect();
                Box::pin(self.ensure_known(&added)).await?;
            }
            _ => {}
        }
        let conversation = self.opened_conversation(act.conversation()).await?;
        self.try_act(&conversation, action, None, reply).await
    }

    /// How a direct conversation begins.
    async fn direct(&self, to: &UserId, action: &Action) -> Result<Created, ActError> {
        self.ensure_known(std::slice::from_ref(to)).await?;
        let mut rows = self.home_rows_anywhere(&[action.by.clone(), to.clone()]).await?.into_iter();
        let mut profile = || rows.next().unwrap_or_default().profile;
        let (mine, theirs) = (profile(), profile());
        Ok(tell::direct((&action.by, &mine), (to, &theirs), action.at_ms))
    }

    /// A group as `creator` asks for it.
    pub fn group(creator: &UserId, name: &str, members: &[UserId], history: History, at_ms: u64) -> Created {
        let mut all = vec![(creator.clone(), Role::Owner)];
        for user in members {
            if !all.iter().any(|(other, _)| other == user) {
                all.push((user.clone(), Role::Member));
            }
        }
        Created { kind: Kind::Group, name: name.into(), history, members: all, at_ms, profiles: Vec::new() }
    }

    pub(super) async fn ensure_known(&self, users: &[UserId]) -> Result<(), ActError> {
        let rows = self.home_rows_anywhere(users).await?;
        let unknown: Vec<_> =
            users.iter().zip(rows).filter(|(_, row)| !row.is_known()).map(|(user, _)| user.clone()).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if self.config.users.unknown_recipient == UnknownRecipient::Refuse {
            return Err(ActError::UnknownUsers(unknown));
        }
        let at_ms = self.clock.unix_ms();
        let known = |user| HomeEvent { user, change: HomeChange::Known { at_ms, name: None } };
        self.change_all_anywhere(unknown.into_iter().map(known).collect()).await
    }

    /// Takes `reply` when it hands something over, or answers.
    async fn try_act(
        &self,
        conversation: &Arc<Conversation>,
        action: &Action,
        begin: Option<&Created>,
        reply: &mut Option<Reply>,
    ) -> Result<(), ActError> {
        let mut permit = Some(self.reserve(weight(action)).await?);
        let (mut fetched, mut flushes) = (Vec::new(), 0);
        loop {
            let needs = {
                let mut inner = conversation.lock();
                // Held until what is decided has been submitted.
                let entered = self.shards.enter_in(conversation.id.shard(), conversation.epoch);
                let _entered = entered.ok_or(ActError::Elsewhere)?;
                // What changes the home is in the same commit.
                let home = action.with.as_ref().map(|_| self.shards.enter(action.by.shard()));
                if matches!(home, Some(None)) {
                    return Err(ActError::Answered(Box::new(Answer::moving())));
                }
                let proposal = Proposal { action, begin, fetched: &fetched, flushes };
                match inner.decide(conversation.id, &proposal, &self.rules) {
                    Verdict::Needs(needs) => needs,
                    verdict => {
                        let reply = reply.take().expect("a verdict is reached once");
                        self.settle(conversation, &inner, action, verdict, reply, permit.take());
                        return Ok(());
                    }
                }
            };
            match needs {
                Needs::Repeats => Box::pin(self.load_repeats(conversation)).await?,
                Needs::Entries(seqs, after_flushes) => {
                    if after_flushes != flushes {
                        (fetched, flushes) = (Vec::new(), after_flushes);
                    }
                    for seq in seqs {
                        fetched.push(Box::pin(self.stored_entry(conversation.id, seq)).await?);
                    }
                }
            }
        }
    }

    /// Hands a verdict over to the committer, or to the asker. The actor is locked: so the order is that of the decisions.
    fn settle(
        &self,
        conversation: &Arc<Conversation>,
        inner: &Inner,
        action: &Action,
        verdict: Verdict,
        reply: Reply,
        permit: Option<Permit>,
    ) {
        let id = conversation.id;
        let sent = |entry: &Entry, repeat: bool| {
            let (conversation, seq, at_ms) = (id, entry.seq, entry.at_ms);
            if is_creation(&action.wish) {
                Answer::Created { conversation, seq, at_ms, repeat }
            } else {
                Answer::Sent { conversation, seq, at_ms, repeat }
            }
        };
        let (events, answer) = match verdict {
            Verdict::Events(events) => {
                let entry = events.iter().rev().find_map(|event| match &event.change {
                    Change::Entry(entry) => Some(entry),
                    _ => None,
                });
                let answer = entry.map_or(Answer::Done, |entry| sent(entry, false));
                (events, answer)
            }
            Verdict::Repeat(entry) => (Vec::new(), sent(&entry, true)),
            Verdict::Nothing => (Vec::new(), Answer::Done),
            Verdict::Refused(refusal) => (Vec::new(), refusal.into()),
            Verdict::Needs(_) => unreachable!("it was met before"),
        };
        if events.is_empty() && !inner.is_ahead() {
            reply.answer(answer);
            return;
        }
        let mut parts: SmallVec<[Part; 2]> =
            events.into_iter().map(|event| Part::Conversation(conversation.clone(), event)).collect();
        if let Some(change) = action.with.as_ref().filter(|_| !parts.is_empty()) {
            parts.push(Part::Home(HomeEvent { user: action.by.clone(), change: change.clone() }));
        }
        self.submit(parts, Some((reply, answer)), permit);
    }

    /// Hands events to the committer. Whoever owns them is locked, or their order does not matter.
    pub(super) fn submit(&self, parts: SmallVec<[Part; 2]>, answer: Option<(Reply, Answer)>, permit: Option<Permit>) {
        let events = parts.iter().filter_map(Part::encode).collect();
        let running = self.running.get().expect("a permit was given by the committer that runs");
        running.committer.submit(Submission { events, payload: Submitted { parts, answer }, permit });
    }

    /// Hands events of homes of this node to the committer, whose order does not matter to anybody but each other. The answer
    /// comes when they are durable.
    pub async fn commit(&self, parts: SmallVec<[Part; 2]>, reply: Reply) {
        let permit = match self.reserve(parts.len() * 128).await {
            Ok(permit) => permit,
            Err(closed) => return reply.answer(self.answer(closed.into())),
        };
        let Some(_entered) = self.enter_all(&parts) else { return reply.answer(self.answer(ActError::Elsewhere)) };
        self.submit(parts, Some((reply, Answer::Done)), Some(permit));
    }

    /// Keeps the shards of all these parts here.
    pub(super) fn enter_all(&self, parts: &[Part]) -> Option<SmallVec<[Entered<'_>; 2]>> {
        parts.iter().map(|part| self.shards.enter(part.shard())).collect()
    }

    /// Hands an event of a home of this node to the committer. It may be one that is not in memory.
    pub async fn submit_home(&self, event: HomeEvent, reply: Option<Reply>) -> Result<(), ActError> {
        let permit = self.reserve(256).await?;
        let _entered = self.shards.enter(event.user.shard()).ok_or(ActError::Elsewhere)?;
        self.submit(smallvec![Part::Home(event)], reply.map(|reply| (reply, Answer::Done)), Some(permit));
        Ok(())
    }
}

/// About how many bytes an action's events take.
fn weight(action: &Action) -> usize {
    128 + match &action.wish {
        Wish::Send(message) => message.text.len() + message.data.as_ref().map_or(0, |data| data.len()),
        Wish::Edit { text, .. } => text.len(),
        Wish::Create(created) => created.members.len() * 32,
        Wish::Members(MembersChange { added, removed, roles }) => (added.len() + removed.len() + roles.len()) * 32,
        Wish::Redact { .. } | Wish::React { .. } | Wish::Leave | Wish::Rename { .. } => 0,
    }
}
