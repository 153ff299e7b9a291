//! Replaying the journal of a dead host for the shards that this node takes from it.
//!
//! What a conversation told a home of the same node stands in that journal once, as the conversation's event. So whoever takes
//! a home reads all conversations of the journal, and its items are as far as their users had seen them; but only rows of
//! the own shards are written.

use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use tidings_proto::{ConversationId, SHARDS, Seq, ShardId, UserId};

use crate::{
    conversation::{
        entry::Body,
        event::{Change, ConversationEvent},
    },
    home::event::{Tell, Told},
    session::outbox::Wakes,
};

use super::{
    Host,
    open::ReplayError,
    pending::again,
    publish::{Audience, EntryFrames},
    shards::Slot,
};

/// Of a host that replays for whoever takes some shards.
#[derive(Default)]
pub struct Taking {
    shards: HashSet<ShardId>,
    touched: Mutex<HashMap<ConversationId, Touched>>,
}

/// What of a conversation is in the journal.
#[derive(Default)]
struct Touched {
    first_seq: Option<Seq>,
    /// Who came, or is no member any more.
    users: HashSet<UserId>,
}

impl Host {
    /// Replays for these shards, which the taker has claimed in these epochs. To be called once, before `replay`.
    pub fn take_only(&self, claimed: &[(ShardId, u64)]) {
        let slots: Vec<_> = (0..SHARDS).map(|shard| (ShardId(shard), Slot::Here { epoch: 0 })).collect();
        self.shards.set(&slots);
        self.shards
            .set(&claimed.iter().map(|(shard, epoch)| (*shard, Slot::Here { epoch: *epoch })).collect::<Vec<_>>());
        let taking = Taking { shards: claimed.iter().map(|(shard, _)| *shard).collect(), touched: Mutex::default() };
        assert!(self.taking.set(taking).is_ok(), "a host takes once");
        self.join_nobody();
    }

    /// Whether rows of this shard are written by this host.
    pub(super) fn writes(&self, shard: ShardId) -> bool {
        self.taking.get().is_none_or(|taking| taking.shards.contains(&shard))
    }

    /// An event of the journal of which homes may have been told.
    pub(super) fn note_taken(&self, event: &ConversationEvent) {
        let Some(taking) = self.taking.get() else { return };
        let mut touched = taking.touched.lock();
        let touched = touched.entry(event.conversation).or_default();
        for entry in event.change.entries() {
            touched.first_seq = Some(touched.first_seq.map_or(entry.seq, |first| first.min(entry.seq)));
            if let Body::Members(change) = &entry.body {
                touched.users.extend(change.added.iter().map(|(user, _)| user.clone()));
                touched.users.extend(change.removed.iter().cloned());
            }
        }
        if let Change::Imported { members, .. } = &event.change {
            touched.users.extend(members.iter().cloned());
        }
    }

    /// Whose homes were told of what was replayed, conversation by conversation. Those of large ones ask.
    async fn told_by_taken(&self) -> Result<Vec<(ConversationId, Option<Seq>, HashSet<UserId>)>, ReplayError> {
        let touched = self.taking.get().map(|taking| std::mem::take(&mut *taking.touched.lock())).unwrap_or_default();
        let mut told = Vec::with_capacity(touched.len());
        for (id, Touched { first_seq, mut users }) in touched {
            let state = self.conversation(id).await?.state();
            if state.members.is_small() {
                users.extend(state.members.iter().map(|(user, _)| user.clone()));
            }
            told.push((id, first_seq, users));
        }
        Ok(told)
    }

    /// The shards of which the replayed journal has something: of its conversations, and of the homes that these told.
    pub async fn concerned(&self) -> Result<HashSet<ShardId>, ReplayError> {
        let told = self.told_by_taken().await?;
        let shards = told.iter().flat_map(|(id, _, users)| users.iter().map(UserId::shard).chain([id.shard()]));
        Ok(shards.collect())
    }

    /// What the dead host, or one before it, was not sure to have told: the row of it is written anew with what the replay tells.
    async fn keep_pending(&self, id: ConversationId) -> Result<(), ReplayError> {
        if !self.writes(id.shard()) {
            return Ok(());
        }
        for (user, first_seq) in self.pending_tells(id).await? {
            self.peers().note_untold(id, user, first_seq);
        }
        Ok(())
    }

    /// Tells the homes that are taken how the conversations of the journal are now. To be called when all of it was replayed: a
    /// rival may have written states that are further, and of which this replay then told nothing.
    pub(super) async fn tell_taken(&self) -> Result<(), ReplayError> {
        for (id, first_seq, users) in self.told_by_taken().await? {
            self.keep_pending(id).await?;
            let users: Vec<_> = users.into_iter().filter(|user| self.writes(user.shard())).collect();
            if users.is_empty() {
                continue;
            }
            let conversation = self.conversation(id).await?;
            let state = conversation.state();
            let entries = match first_seq {
                Some(from) => self.entries_from(&conversation, &state, from).await?,
                None => Vec::new(),
            };
            let mut wakes = Wakes::default();
            for user in users {
                let what = Told::Again(Box::new(again(&state, &user, &entries)));
                let tell = Tell { conversation: id, version: state.version, what };
                self.tell(&user, &tell, &mut EntryFrames::new(id, &mut wakes), Audience::Replay, true);
            }
        }
        Ok(())
    }
}
