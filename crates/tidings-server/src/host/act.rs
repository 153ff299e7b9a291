//! From a wish to a submission: find the actor, read what the decision needs, decide, hand over to the committer.
//!
//! Nothing here waits for a commit: the answer comes when the commit is published. What is answered without an event, but rests
//! on something that is not committed, is submitted without events and so comes behind it.

use std::sync::Arc;

use smallvec::{SmallVec, smallvec};
use tidings_proto::{Code, ConversationId, Seq, UserId};

use crate::{
    config::UnknownRecipient,
    conversation::{
        actor::{Conversation, Inner, Needs, Proposal, Verdict, is_creation},
        decide::{Action, Refusal, Wish},
        entry::{Entry, MembersChange, Role},
        event::{Change, Created, History, Kind},
        tell,
    },
    home::{
        event::{HomeChange, HomeEvent},
        state::BLOCKS_MAX,
    },
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
    event::{Event, Part, Submitted},
};

/// Home events submitted together: well below the largest commit that a journal takes.
const PARTS_A_COMMIT: usize = 500;

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
}

impl ActError {
    fn into_answer(self) -> Answer {
        match self {
            Self::Refused(refusal) => refusal.into(),
            Self::UnknownUsers(users) => Answer::unknown_users(users),
            Self::Tables(error) => {
                tracing::error!(%error, "a read failed");
                Answer::refused(Code::Unavailable, "the server cannot read its disk now; try again later")
            }
            Self::Closed(Closed) => Answer::unavailable(),
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
        let id = ConversationId::direct(&action.by, to);
        let outcome = async {
            let conversation = self.conversation(id).await?;
            let is_there = conversation.lock().committed().created.is_some();
            // The rare ways are boxed: the future of a send that finds everything in memory stays small.
            let begin = if is_there { None } else { Some(Box::pin(self.direct(to, &action)).await?) };
            Ok((conversation, begin))
        };
        match outcome.await {
            Ok((conversation, begin)) => self.act(&conversation, &action, begin.as_ref(), reply).await,
            Err(error) => reply.answer(self.answer(error)),
        }
    }

    /// How a direct conversation begins.
    async fn direct(&self, to: &UserId, action: &Action) -> Result<Created, ActError> {
        self.ensure_known(std::slice::from_ref(to)).await?;
        let (mine, theirs) = (self.profile(&action.by).await?, self.profile(to).await?);
        Ok(tell::direct((&action.by, &mine), (to, &theirs), action.at_ms))
    }

    /// Does something in a conversation that exists, or is refused.
    pub async fn act_in(&self, id: ConversationId, action: Action, reply: Reply) {
        let known = match &action.wish {
            Wish::Members(change) => {
                let added: Vec<_> = change.added.iter().map(|(user, _)| user.clone()).collect();
                Box::pin(self.ensure_known(&added)).await
            }
            _ => Ok(()),
        };
        let conversation = match known {
            Ok(()) => self.conversation(id).await.map_err(ActError::from),
            Err(error) => Err(error),
        };
        match conversation {
            Ok(conversation) => self.act(&conversation, &action, None, reply).await,
            Err(error) => reply.answer(self.answer(error)),
        }
    }

    /// Makes a group. Its id follows from its creator and `client_msg_id`, so a repeat finds it.
    pub async fn create_group(&self, action: Action, reply: Reply) {
        let Wish::Create(created) = &action.wish else { unreachable!("the caller creates") };
        let users: Vec<_> = created.members.iter().map(|(user, _)| user.clone()).collect();
        let id = ConversationId::group(&action.by, &action.client_msg_id);
        let outcome = async {
            self.ensure_known(&users).await?;
            Ok(self.conversation(id).await?)
        };
        match outcome.await {
            Ok(conversation) => self.act(&conversation, &action, None, reply).await,
            Err(error) => reply.answer(self.answer(error)),
        }
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

    async fn ensure_known(&self, users: &[UserId]) -> Result<(), ActError> {
        let unknown = self.unknown_among(users).await?;
        if unknown.is_empty() {
            return Ok(());
        }
        if self.config.users.unknown_recipient == UnknownRecipient::Refuse {
            return Err(ActError::UnknownUsers(unknown));
        }
        let at_ms = self.clock.unix_ms();
        for user in unknown {
            self.submit_home(HomeEvent { user, change: HomeChange::Known { at_ms, name: None } }, None).await?;
        }
        Ok(())
    }

    async fn act(&self, conversation: &Arc<Conversation>, action: &Action, begin: Option<&Created>, reply: Reply) {
        let mut reply = Some(reply);
        if let Err(error) = self.try_act(conversation, action, begin, &mut reply).await
            && let Some(reply) = reply
        {
            reply.answer(self.answer(error));
        }
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
        let events = parts.iter().map(Part::encode).collect();
        let running = self.running.get().expect("a permit was given by the committer that runs");
        running.committer.submit(Submission { events, payload: Submitted { parts, answer }, permit });
    }

    /// Hands events to the committer whose order does not matter to anybody but each other. The answer comes when they are durable.
    pub async fn commit(&self, parts: SmallVec<[Part; 2]>, reply: Reply) {
        match self.reserve(parts.len() * 128).await {
            Ok(permit) => self.submit(parts, Some((reply, Answer::Done)), Some(permit)),
            Err(closed) => reply.answer(self.answer(closed.into())),
        }
    }

    /// Hands an event of a home to the committer. It may be one that is not in memory.
    pub async fn submit_home(&self, event: HomeEvent, reply: Option<Reply>) -> Result<(), ActError> {
        let permit = self.reserve(256).await?;
        self.submit(smallvec![Part::Home(event)], reply.map(|reply| (reply, Answer::Done)), Some(permit));
        Ok(())
    }

    /// Blocks, or no longer: an event of the home and one of the direct conversation, in one commit. All that is decided there
    /// afterwards is decided with it, also if nobody ever wrote.
    pub async fn block(&self, by: &UserId, user: &UserId, on: bool, reply: Reply) {
        let outcome = async {
            self.ensure_known(std::slice::from_ref(user)).await?;
            let home = self.home(by).await?;
            let blocked = home.lock().state.row.blocks.iter().filter(|block| block.on).count();
            if on && blocked >= BLOCKS_MAX {
                let message = format!("you block {BLOCKS_MAX} people already; unblock one of them first");
                return Err(Refusal::new(Code::LimitReached, message).into());
            }
            let direct = self.conversation(ConversationId::direct(by, user)).await?;
            let permit = self.reserve(256).await?;
            Ok((home, direct, permit))
        };
        let (home, direct, permit) = match outcome.await {
            Ok(found) => found,
            Err(error) => return reply.answer(self.answer(error)),
        };
        let next_version = {
            let inner = home.lock();
            inner.state.row.next_version(inner.state.epoch)
        };
        let mut inner = direct.lock();
        // Higher than the last one about this person, which may not be committed yet.
        let last = inner.decided().blocks.iter().find(|block| block.by == *by).map_or(0, |block| block.home_version);
        let home_version = next_version.max(last + 1);
        let event = inner.take_decided(direct.id, Change::Blocked { by: by.clone(), on, home_version });
        let change = HomeChange::Blocked { user: user.clone(), on, home_version };
        let parts =
            smallvec![Part::Home(HomeEvent { user: by.clone(), change }), Part::Conversation(direct.clone(), event)];
        self.submit(parts, Some((reply, Answer::Done)), Some(permit));
    }

    /// The user has read up to `seq`: the home's register moves, and the conversation's copy of it.
    pub async fn mark_read(&self, user: &UserId, id: ConversationId, seq: Seq, reply: Reply) {
        if let Err((error, reply)) = self.try_receipt(user, id, seq, true, reply).await {
            reply.answer(self.answer(error));
        }
    }

    /// A device of the user has everything up to `seq`.
    pub async fn mark_delivered(&self, user: &UserId, id: ConversationId, seq: Seq, reply: Reply) {
        if let Err((error, reply)) = self.try_receipt(user, id, seq, false, reply).await {
            reply.answer(self.answer(error));
        }
    }

    async fn try_receipt(
        &self,
        user: &UserId,
        id: ConversationId,
        seq: Seq,
        is_read: bool,
        reply: Reply,
    ) -> Result<(), (ActError, Reply)> {
        let found = async {
            let home = self.home(user).await?;
            let conversation = self.conversation(id).await?;
            self.check_receipt(user, &conversation, seq)?;
            let ord = if is_read { Some(self.ord_at(&conversation, seq).await?) } else { None };
            Ok((home, conversation, ord, self.reserve(256).await?))
        };
        let (home, conversation, ord, permit) = match found.await {
            Ok(found) => found,
            Err(error) => return Err((error, reply)),
        };
        let item_read = home.lock().state.items.get(&id).map_or(Seq::NONE, |item| item.read_seq);
        let mut parts = SmallVec::new();
        if let Some(ord) = ord.filter(|_| item_read < seq) {
            let change = HomeChange::Read { conversation: id, seq, ord };
            parts.push(Part::Home(HomeEvent { user: user.clone(), change }));
        }
        let mut inner = conversation.lock();
        let Some(member) = inner.decided().members.get(user).copied() else {
            drop(inner);
            return Err((Refusal::unknown_conversation().into(), reply));
        };
        let read = if is_read { seq } else { Seq::NONE };
        if member.delivered < seq || member.read < read {
            let change = Change::Receipt { user: user.clone(), delivered: seq, read };
            parts.push(Part::Conversation(conversation.clone(), inner.take_decided(id, change)));
        }
        if parts.is_empty() && !inner.is_ahead() {
            drop(inner);
            reply.answer(Answer::Done);
        } else {
            self.submit(parts, Some((reply, Answer::Done)), Some(permit));
        }
        Ok(())
    }

    fn check_receipt(&self, user: &UserId, conversation: &Conversation, seq: Seq) -> Result<(), ActError> {
        let inner = conversation.lock();
        if inner.committed().members.get(user).is_none() {
            return Err(Refusal::unknown_conversation().into());
        }
        let last_seq = inner.committed().last_seq;
        if seq == Seq::NONE || seq > last_seq {
            let message = format!("seq: there is no entry {seq} yet; the last one is {last_seq}");
            return Err(Refusal::new(Code::UnknownEntry, message).into());
        }
        Ok(())
    }

    /// The user's own settings of a conversation.
    pub async fn set(&self, user: &UserId, change: HomeChange, id: ConversationId, reply: Reply) {
        let found = async {
            let home = self.home(user).await?;
            let is_mine = home.lock().state.items.get(&id).is_some_and(|item| !item.gone);
            if is_mine { Ok(()) } else { Err(ActError::from(Refusal::unknown_conversation())) }
        };
        if let Err(error) = found.await {
            return reply.answer(self.answer(error));
        }
        self.change_home(user, change, reply).await;
    }

    /// Changes a home's own row. The answer comes when it is durable.
    pub async fn change_home(&self, user: &UserId, change: HomeChange, reply: Reply) {
        self.commit(smallvec![Part::Home(HomeEvent { user: user.clone(), change })], reply).await;
    }

    /// Changes how a user is shown, also in the inboxes of those with whom there is a direct conversation.
    pub async fn change_profile(&self, user: &UserId, change: HomeChange, reply: Reply) {
        let home = match self.home(user).await {
            Ok(home) => home,
            Err(error) => return reply.answer(self.answer(error.into())),
        };
        let mut parts: SmallVec<[Part; 2]> = SmallVec::new();
        {
            let inner = home.lock();
            let mut after = crate::home::state::HomeState::new(user.clone(), 0, inner.state.row.clone());
            after.apply(&change);
            if after.row.profile != inner.state.row.profile {
                let with =
                    inner.state.items.iter().filter_map(|(id, item)| Some((*id, item.with.as_ref()?.user.clone())));
                parts.extend(with.map(|(conversation, other)| {
                    let profile = after.row.profile.clone();
                    Part::Home(HomeEvent { user: other, change: HomeChange::PeerProfile { conversation, profile } })
                }));
            }
        }
        parts.push(Part::Home(HomeEvent { user: user.clone(), change }));
        // Somebody may know more people than fit into one commit. The user's own row comes last, with the answer.
        while parts.len() > PARTS_A_COMMIT {
            let parts = parts.drain(..PARTS_A_COMMIT).collect::<SmallVec<_>>();
            match self.reserve(parts.len() * 128).await {
                Ok(permit) => self.submit(parts, None, Some(permit)),
                Err(closed) => return reply.answer(self.answer(closed.into())),
            }
        }
        self.commit(parts, reply).await;
    }
}

impl Part {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Conversation(_, event) => Event::encode_conversation(event),
            Self::Home(event) => Event::encode_home(event),
        }
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
