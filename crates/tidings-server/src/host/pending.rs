//! What conversations of this node told homes of others that have not confirmed it: it stands in the tables with the state that
//! tells of it, so that whoever hosts the conversation next tells it again.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures_util::{StreamExt as _, TryStreamExt as _};
use parking_lot::Mutex;
use smallvec::smallvec;
use tidings_proto::{ConversationId, Seq, ShardId, UserId};
use tokio::sync::Notify;

use crate::{
    conversation::{
        actor::Conversation,
        entry::{Body, Entry},
        event::Kind,
        state::State,
        tell,
    },
    home::event::{Again, HomeChange, HomeEvent, Tell, Told},
    maps::{HashMap, HashSet},
    session::reply::{Answer, Reply},
    tables::{Key, LogRange, Prefix, Row, Stored, TablesError, Version},
};

use super::{
    Host,
    act::ActError,
    event::{Hearsay, Part},
    flush::Window,
    load::{LoadError, decode},
    read::Ask,
    row::encode,
};

/// Rows that are read at once, and parts.
const ROWS: usize = 1_000;
const PARTS_AT_ONCE: usize = 16;
/// Entries that are told again, the older ones without what they say; of those before them the item knows the count.
const ENTRIES: u64 = 1_000;

#[derive(Default)]
pub struct Pending {
    /// Conversations with a row, and the state's version in it.
    rows: Mutex<HashMap<ConversationId, u64>>,
    opening: Opening,
}

/// Shards that are here, and whose conversations have not yet told again what is pending. Nothing is decided in them: a home
/// would hear of the new before the old, and its sessions with it.
#[derive(Default)]
struct Opening {
    shards: Mutex<HashSet<ShardId>>,
    /// How many they are, to be looked at for each command.
    count: AtomicUsize,
    opened: Notify,
}

impl Opening {
    fn change(&self, change: impl FnOnce(&mut HashSet<ShardId>)) {
        let mut shards = self.shards.lock();
        change(&mut shards);
        self.count.store(shards.len(), Ordering::Release);
    }

    fn has(&self, shard: ShardId) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.shards.lock().contains(&shard)
    }
}

/// What a flush has written of it.
pub(super) struct Written {
    pending: Vec<(ConversationId, u64)>,
    settled: Vec<ConversationId>,
}

impl Host {
    /// Adds the rows that are to be written with these states, and takes back those of conversations whose tells were all confirmed.
    pub(super) fn pending_rows(&self, windows: &[Window], rows: &mut Vec<Row>) -> Written {
        let mut written = Written { pending: Vec::new(), settled: Vec::new() };
        let Some(peers) = self.peers.get() else { return written };
        for window in windows {
            let (id, version) = (window.conversation.id, window.state.version);
            let untold = peers.untold(id);
            if !untold.is_empty() {
                rows.push(Row { key: Key::Pending(id), version: Version(version * 2), value: Some(encode(&untold)) });
                written.pending.push((id, version));
            }
        }
        for (id, version) in self.settled_pending() {
            if !written.pending.iter().any(|(pending, _)| *pending == id) {
                rows.push(Row { key: Key::Pending(id), version: Version(version * 2 + 1), value: None });
                written.settled.push(id);
            }
        }
        written
    }

    /// The rows are in the tables.
    pub(super) fn note_pending(&self, written: Written) {
        let mut pending = self.pending.rows.lock();
        for id in written.settled {
            pending.remove(&id);
        }
        pending.extend(written.pending);
    }

    pub(super) fn has_settled_pending(&self) -> bool {
        let pending = self.pending.rows.lock();
        !pending.is_empty()
            && self.peers.get().is_some_and(|peers| pending.keys().any(|id| peers.untold(*id).is_empty()))
    }

    fn settled_pending(&self) -> Vec<(ConversationId, u64)> {
        let Some(peers) = self.peers.get() else { return Vec::new() };
        let pending = self.pending.rows.lock();
        pending.iter().filter(|(id, _)| peers.untold(**id).is_empty()).map(|(id, version)| (*id, *version)).collect()
    }

    /// Nothing is decided in these shards until `end_opening`.
    pub(super) fn begin_opening(&self, shards: &HashSet<ShardId>) {
        self.pending.opening.change(|opening| opening.extend(shards));
    }

    pub(super) fn end_opening(&self, shards: &HashSet<ShardId>) {
        self.pending.opening.change(|opening| opening.retain(|shard| !shards.contains(shard)));
        self.pending.opening.opened.notify_waiters();
    }

    /// A conversation in which something is to be decided: one of a shard of which all that is pending was told again. It is loaded
    /// first, so that it is of an epoch of which this holds, or of none that decides any more.
    pub(super) async fn opened_conversation(&self, id: ConversationId) -> Result<Arc<Conversation>, LoadError> {
        let conversation = self.conversation(id).await?;
        if self.pending.opening.has(id.shard()) {
            Box::pin(self.opened(id.shard())).await;
        }
        Ok(conversation)
    }

    async fn opened(&self, shard: ShardId) {
        let opening = &self.pending.opening;
        while opening.has(shard) {
            let opened = opening.opened.notified();
            tokio::pin!(opened);
            opened.as_mut().enable();
            if opening.has(shard) {
                opened.await;
            }
        }
    }

    pub(super) fn forget_pending(&self, has_left: impl Fn(ShardId) -> bool) {
        self.pending.rows.lock().retain(|id, _| !has_left(id.shard()));
    }

    /// Tells again what the hosts of these shards before had told without being sure.
    pub(super) async fn tell_pending(&self, shards: &HashSet<ShardId>) -> Result<(), ActError> {
        let parts: HashSet<u8> = shards.iter().map(|shard| shard.0.to_be_bytes()[0]).collect();
        let parts = futures_util::stream::iter(parts.into_iter().map(|part| self.pending_of(part)));
        let rows: Vec<_> = parts.buffer_unordered(PARTS_AT_ONCE).try_collect().await?;
        for (id, stored) in rows.into_iter().flatten().filter(|(id, _)| shards.contains(&id.shard())) {
            let users = tells_in(id, &stored)?;
            self.tell_again(id, &users).await?;
            self.pending.rows.lock().insert(id, stored.version.0 / 2);
        }
        Ok(())
    }

    /// Whose homes a conversation has told something without being sure, and from which entry on, as the tables have it.
    pub(super) async fn pending_tells(&self, id: ConversationId) -> Result<Vec<(UserId, Seq)>, TablesError> {
        let stored = self.tables.get(vec![Key::Pending(id)]).await?.pop().flatten();
        stored.map_or(Ok(Vec::new()), |stored| tells_in(id, &stored))
    }

    async fn pending_of(&self, part: u8) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        let mut pending = Vec::new();
        loop {
            let after = pending.last().map(|(id, _)| Key::Pending(*id));
            let rows = self.tables.rows(Prefix::Pending(part), after, ROWS).await?;
            let is_last = rows.len() < ROWS;
            pending.extend(rows.into_iter().filter_map(|(key, stored)| match key {
                Key::Pending(id) => Some((id, stored)),
                _ => None,
            }));
            if is_last {
                return Ok(pending);
            }
        }
    }

    async fn tell_again(&self, id: ConversationId, users: &[(UserId, Seq)]) -> Result<(), ActError> {
        let conversation = self.conversation(id).await?;
        let state = conversation.state();
        let from = users.iter().map(|(_, seq)| *seq).filter(|seq| *seq > Seq::NONE).min();
        let entries = match from {
            Some(from) => self.entries_from(&conversation, &state, from).await?,
            None => Vec::new(),
        };
        let mut here = smallvec![];
        for (user, _) in users {
            let what = Told::Again(Box::new(again(&state, user, &entries)));
            let tell = Tell { conversation: id, version: state.version, what };
            if self.shards.is_here(user.shard()) {
                let event = HomeEvent { user: user.clone(), change: HomeChange::Told(tell) };
                here.push(Part::Told(Hearsay { event, sender: None, with_entry: true }));
            } else {
                self.peers().tell(self, user, &tell, None, true);
            }
        }
        let (reply, done) = Reply::to_call();
        let permit = self.reserve_for_peers(256).await?;
        self.submit(here, Some((reply, Answer::Done)), Some(permit));
        match done.await {
            Ok(Answer::Done) => Ok(()),
            _ => Err(ActError::Elsewhere),
        }
    }

    pub(super) async fn entries_from(
        &self,
        conversation: &Conversation,
        state: &State,
        from: Seq,
    ) -> Result<Vec<Arc<Entry>>, TablesError> {
        let from = Seq(from.0.max(state.last_seq.0.saturating_sub(ENTRIES - 1)).max(1));
        let limit = usize::try_from(ENTRIES).unwrap_or(usize::MAX);
        let ask = Ask { first_visible: from, range: LogRange::After(from.previous()), limit };
        self.entries(conversation, ask).await
    }
}

fn tells_in(id: ConversationId, stored: &Stored) -> Result<Vec<(UserId, Seq)>, TablesError> {
    decode(&stored.value, || format!("what is pending of {id}"))
}

/// The conversation as it is, for the home of `user`.
pub(super) fn again(state: &State, user: &UserId, entries: &[Arc<Entry>]) -> Again {
    let member = state.members.get(user);
    let role = member.map_or(crate::conversation::entry::Role::Member, |member| member.role);
    let adds = |entry: &&Arc<Entry>| match &entry.body {
        Body::Members(change) => change.added.iter().any(|(added, _)| added == user),
        _ => false,
    };
    let added_by = entries.iter().rev().find(adds).cloned();
    let mut joined = tell::joined(state, role, added_by.clone());
    if let (None, Some(first)) = (&added_by, entries.first()) {
        // It begins before the first that is told.
        let counts = u64::from(matches!(first.body, Body::Message(_)) && !first.void);
        (joined.last_seq, joined.last_ord) = (first.seq.previous(), first.ord.saturating_sub(counts));
    }
    let mut peer = None;
    if state.kind() == Some(Kind::Direct) {
        joined.with = tell::other_of(state, user);
        let other = state.members.other_than(user).and_then(|other| Some((other, state.members.get(other)?)));
        // Who is blocked does not see what the blocker has read.
        peer = other.filter(|_| !state.is_blocked(user)).map(|(_, member)| (member.delivered, member.read));
    }
    Again::new(joined, member.is_some(), peer, entries)
}
