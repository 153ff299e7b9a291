//! What a user does with what is their own: blocks, how far they have read, settings, their profile. It changes the home, and
//! tells the conversations that have to know.

use std::sync::atomic::Ordering;

use minicbor::{Decode, Encode};
use smallvec::{SmallVec, smallvec};
use tidings_proto::{Code, ConversationId, Seq, UserId};

use crate::{
    conversation::{actor::Conversation, decide::Refusal, event::Change},
    home::{
        event::{HomeChange, HomeEvent},
        state::BLOCKS_MAX,
    },
    session::reply::{Answer, Reply, Sender},
};

use super::{
    Host,
    act::{ActError, Command},
    event::Part,
    peers::wire::{Ask, Said},
};

/// Home events submitted together: well below the largest commit that a journal takes.
const PARTS_A_COMMIT: usize = 500;

/// `by` blocks `user`, or no longer does.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Block {
    #[n(0)]
    pub by: UserId,
    #[n(1)]
    pub user: UserId,
    #[n(2)]
    pub on: bool,
    /// Of the blocker's home: an older one than the last is ignored.
    #[n(3)]
    pub home_version: u64,
}

impl Block {
    pub fn conversation(&self) -> ConversationId {
        ConversationId::direct(&self.by, &self.user)
    }

    /// What it changes in the blocker's home.
    pub fn change(&self) -> HomeChange {
        HomeChange::Blocked { user: self.user.clone(), on: self.on, home_version: self.home_version }
    }
}

/// How far somebody is in a conversation.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Reach {
    #[n(0)]
    pub user: UserId,
    #[n(1)]
    pub conversation: ConversationId,
    #[n(2)]
    pub seq: Seq,
    /// Read, and not only delivered.
    #[n(3)]
    pub is_read: bool,
}

impl Host {
    /// Blocks, or no longer: an event of the direct conversation and one of the home; on one node in one commit, else in this
    /// order. All that is decided there afterwards is decided with it, also if nobody ever wrote.
    pub async fn block(&self, by: &UserId, user: &UserId, on: bool, reply: Reply) {
        let next_version = async {
            self.ensure_known(std::slice::from_ref(user)).await?;
            let home = self.home(by).await?;
            let inner = home.lock();
            let blocked = inner.state.row.blocks.iter().filter(|block| block.on).count();
            if on && blocked >= BLOCKS_MAX {
                let message = format!("you block {BLOCKS_MAX} people already; unblock one of them first");
                return Err(ActError::from(Refusal::new(Code::LimitReached, message)));
            }
            Ok(inner.state.row.next_version(inner.state.epoch))
        };
        let next_version = match next_version.await {
            Ok(version) => version,
            Err(error) => return reply.answer(self.answer(error)),
        };
        // Higher than that of any other that is not committed yet.
        let last = self.block_versions.fetch_max(next_version - 1, Ordering::Relaxed).max(next_version - 1);
        let home_version = self.block_versions.fetch_add(1, Ordering::Relaxed).max(last) + 1;
        let block = Block { by: by.clone(), user: user.clone(), on, home_version };
        self.command(Command::Block(block), reply).await;
    }

    /// The event of the direct conversation, and with it that of the home if it is here, too.
    pub(super) async fn block_here(&self, block: &Block, reply: &mut Option<Reply>) -> Result<(), ActError> {
        let direct = self.opened_conversation(block.conversation()).await?;
        let permit = self.reserve(256).await?;
        let mut inner = direct.lock();
        let _entered = self.shards.enter_in(direct.id.shard(), direct.epoch).ok_or(ActError::Elsewhere)?;
        let home = self.shards.enter(block.by.shard());
        if home.is_none() && !reply.as_ref().is_some_and(|reply| self.is_from_elsewhere(reply)) {
            // The home is leaving, and nobody else would do its part.
            return Err(ActError::Answered(Box::new(Answer::moving())));
        }
        let mut parts = SmallVec::new();
        let last = inner.decided().blocks.iter().find(|last| last.by == block.by).map_or(0, |last| last.home_version);
        if last < block.home_version {
            let Block { by, on, home_version, .. } = block.clone();
            let event = inner.take_decided(direct.id, Change::Blocked { by, on, home_version });
            parts.push(Part::Conversation(direct.clone(), event));
        }
        if home.is_some() {
            parts.push(Part::Home(HomeEvent { user: block.by.clone(), change: block.change() }));
        }
        if let Some(reply) = reply.take() {
            self.submit(parts, Some((reply, Answer::Done)), Some(permit));
        }
        Ok(())
    }

    /// Whether another node asks, which has the home and does its part when it has the answer.
    fn is_from_elsewhere(&self, reply: &Reply) -> bool {
        match reply.sender() {
            Some(Sender::There { node, .. }) => self.peers.get().is_some_and(|peers| peers.me() != node),
            _ => false,
        }
    }

    /// The user has read up to `seq`: the home's register moves, and the conversation's copy of it.
    pub async fn mark_read(&self, user: &UserId, id: ConversationId, seq: Seq, reply: Reply) {
        self.reach(Reach { user: user.clone(), conversation: id, seq, is_read: true }, reply).await;
    }

    /// A device of the user has everything up to `seq`.
    pub async fn mark_delivered(&self, user: &UserId, id: ConversationId, seq: Seq, reply: Reply) {
        self.reach(Reach { user: user.clone(), conversation: id, seq, is_read: false }, reply).await;
    }

    async fn reach(&self, reach: Reach, reply: Reply) {
        let mut reply = Some(reply);
        let mut outcome = Err(ActError::Elsewhere);
        if self.shards.is_here(reach.conversation.shard()) {
            outcome = self.reach_both(&reach, &mut reply, true).await.map(drop);
        }
        if matches!(outcome, Err(ActError::Elsewhere)) {
            outcome = Box::pin(self.reach_there(&reach, &mut reply)).await;
        }
        if let (Err(error), Some(reply)) = (outcome, reply) {
            reply.answer(self.answer(error));
        }
    }

    /// The conversation's register first; then the home's.
    async fn reach_there(&self, reach: &Reach, reply: &mut Option<Reply>) -> Result<(), ActError> {
        let ord = match self.ask_host(reach.conversation.shard(), Ask::Reach(reach.clone())).await? {
            Said::Ord(ord) => ord,
            said => return Err(said.misplaced()),
        };
        let Some(reply) = reply.take() else { return Ok(()) };
        if !reach.is_read {
            reply.answer(Answer::Done);
            return Ok(());
        }
        let change = HomeChange::Read { conversation: reach.conversation, seq: reach.seq, ord };
        self.change_home(&reach.user, change, reply).await;
        Ok(())
    }

    /// Moves the conversation's register. Tells the `ord` of what is read.
    pub(super) async fn reach_here(&self, reach: &Reach, reply: &mut Option<Reply>) -> Result<u64, ActError> {
        self.reach_both(reach, reply, false).await
    }

    /// The same, and the home's register if it is here, too. Is the answer for that home (`of_home`), it must be.
    async fn reach_both(&self, reach: &Reach, reply: &mut Option<Reply>, of_home: bool) -> Result<u64, ActError> {
        let &Reach { ref user, conversation: id, seq, is_read } = reach;
        let home = if self.shards.is_here(user.shard()) { Some(self.home(user).await?) } else { None };
        let conversation = self.opened_conversation(id).await?;
        self.check_receipt(user, &conversation, seq)?;
        let ord = if is_read { self.ord_at(&conversation, seq).await? } else { 0 };
        let permit = self.reserve(256).await?;
        let mut parts = SmallVec::new();
        let home_entered = self.shards.enter(user.shard());
        if of_home && is_read && (home.is_none() || home_entered.is_none()) {
            return Err(ActError::Answered(Box::new(Answer::moving())));
        }
        if let (Some(home), true) = (home, is_read && home_entered.is_some()) {
            let item_read = home.lock().state.items.get(&id).map_or(Seq::NONE, |item| item.read_seq);
            if item_read < seq {
                let change = HomeChange::Read { conversation: id, seq, ord };
                parts.push(Part::Home(HomeEvent { user: user.clone(), change }));
            }
        }
        let mut inner = conversation.lock();
        let _entered = self.shards.enter_in(id.shard(), conversation.epoch).ok_or(ActError::Elsewhere)?;
        let member = inner.decided().members.get(user).copied().ok_or_else(Refusal::unknown_conversation)?;
        let read = if is_read { seq } else { Seq::NONE };
        if member.delivered < seq || member.read < read {
            let change = Change::Receipt { user: user.clone(), delivered: seq, read };
            parts.push(Part::Conversation(conversation.clone(), inner.take_decided(id, change)));
        }
        let Some(reply) = reply.take() else { return Ok(ord) };
        if parts.is_empty() && !inner.is_ahead() {
            drop(inner);
            reply.answer(Answer::Done);
        } else {
            self.submit(parts, Some((reply, Answer::Done)), Some(permit));
        }
        Ok(ord)
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
        let mut others: Vec<HomeEvent> = Vec::new();
        {
            let inner = home.lock();
            let mut after = crate::home::state::HomeState::new(user.clone(), 0, inner.state.row.clone());
            after.apply(&change);
            if after.row.profile != inner.state.row.profile {
                let with =
                    inner.state.items.iter().filter_map(|(id, item)| Some((*id, item.with.as_ref()?.user.clone())));
                others.extend(with.map(|(conversation, user)| {
                    let profile = after.row.profile.clone();
                    HomeEvent { user, change: HomeChange::PeerProfile { conversation, profile } }
                }));
            }
        }
        let (here, there): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|event| self.shards.is_here(event.user.shard()));
        if let Err(error) = self.change_all_anywhere(there).await {
            return reply.answer(self.answer(error));
        }
        // Somebody may know more people than fit into one commit. The user's own row comes last, with the answer.
        for events in here.chunks(PARTS_A_COMMIT) {
            let permit = match self.reserve(events.len() * 128).await {
                Ok(permit) => permit,
                Err(closed) => return reply.answer(self.answer(closed.into())),
            };
            let parts: SmallVec<[Part; 2]> = events.iter().cloned().map(Part::Home).collect();
            match self.enter_all(&parts) {
                Some(_entered) => self.submit(parts, None, Some(permit)),
                None => return reply.answer(self.answer(ActError::Elsewhere)),
            }
        }
        self.change_home(user, change, reply).await;
    }
}
