//! Reading history: what the tables have, with what is not flushed over it, folded to now. Only what is committed.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, Seq, UserId, frames::client::Page, limits::ANSWER_BYTES};

use crate::{
    cbor,
    conversation::{actor::Conversation, decide::Refusal, entry::Entry, fold, members::Member, state::State},
    tables::{LogRange, TablesError, flush::OpenTail},
};

use super::{
    Host,
    act::ActError,
    load::in_time,
    peers::wire::{self, Said, StateOf},
    row::ConversationRow,
};

/// Entries of a page, unless the client says.
const PAGE_LIMIT: usize = 50;

/// What a reader may see of a log, and which part is asked for. Both bounds of `visible` are inclusive.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    pub first_visible: Seq,
    pub range: LogRange,
    pub limit: usize,
}

impl Host {
    /// Entries in ascending order. Their seqs are dense: those that are asked for, up to `limit`, beginning at the asked end.
    pub async fn entries(&self, conversation: &Conversation, ask: Ask) -> Result<Vec<Arc<Entry>>, TablesError> {
        let (mut overlaid, changes, stored_last, last_seq) = {
            let inner = conversation.lock();
            let last_seq = inner.committed().last_seq;
            let stored_last = inner.overlay.front().map_or(last_seq, |entry| entry.seq.previous());
            let (from, to) = ask.bounds(last_seq);
            let overlaid: Vec<_> =
                (from.0.max(stored_last.0 + 1)..=to.0).filter_map(|seq| inner.overlaid(Seq(seq)).cloned()).collect();
            (overlaid, inner.changes.iter().cloned().collect::<Vec<_>>(), stored_last, last_seq)
        };
        let (from, to) = ask.bounds(last_seq);
        let mut entries = Vec::new();
        if from <= to.min(stored_last) {
            let count = usize::try_from(to.min(stored_last).0 - from.0 + 1).unwrap_or(ask.limit).min(ask.limit);
            let stored = in_time(self.tables.log(conversation.id, LogRange::After(from.previous()), count)).await?;
            entries.extend(stored.into_iter().filter(|entry| entry.seq <= to.min(stored_last)).map(Arc::new));
        }
        entries.append(&mut overlaid);
        fold_in(&mut entries, &changes);
        Ok(entries)
    }

    /// One entry as the tables have it. The overlay was looked at before.
    pub(super) async fn stored_entry(&self, id: ConversationId, seq: Seq) -> Result<Arc<Entry>, TablesError> {
        let found = in_time(self.tables.log(id, LogRange::After(seq.previous()), 1)).await?.pop();
        found.filter(|entry| entry.seq == seq).map(Arc::new).ok_or_else(|| TablesError::Damaged {
            place: format!("the log of conversation {id}"),
            what: format!("entry {seq} is not there"),
        })
    }

    /// How many counting entries there are up to `seq`.
    pub(super) async fn ord_at(&self, conversation: &Conversation, seq: Seq) -> Result<u64, TablesError> {
        {
            let inner = conversation.lock();
            if seq == inner.committed().last_seq {
                return Ok(inner.committed().last_ord);
            }
            if let Some(entry) = inner.overlaid(seq) {
                return Ok(entry.ord);
            }
        }
        Ok(self.stored_entry(conversation.id, seq).await?.ord)
    }
}

/// A page of one conversation's history.
#[derive(Debug, Encode, Decode)]
pub struct PageOf {
    #[cbor(n(0), with = "cbor::all_shared")]
    pub entries: Vec<Arc<Entry>>,
    /// The first and the last that the reader could see.
    #[n(1)]
    pub first_seq: Seq,
    #[n(2)]
    pub last_seq: Seq,
    /// Shorter than asked for, because of its bytes.
    #[n(3)]
    pub is_cut: bool,
}

impl PageOf {
    pub fn weight(&self) -> usize {
        self.entries.iter().map(|entry| entry.weight()).sum()
    }
}

impl Host {
    /// A page as `user` may see it, from the node that hosts the conversation.
    pub async fn page(&self, id: ConversationId, user: &UserId, page: Page) -> Result<PageOf, ActError> {
        if self.shards.is_here(id.shard()) {
            match self.page_here(id, user, page).await {
                Err(ActError::Elsewhere) => {}
                read => return read,
            }
        }
        match self
            .ask_host(id.shard(), wire::Ask::Page { conversation: id, user: user.clone(), page: page.into() })
            .await?
        {
            Said::Page(page) => Ok(page),
            said => Err(said.misplaced()),
        }
    }

    pub(super) async fn page_here(&self, id: ConversationId, user: &UserId, page: Page) -> Result<PageOf, ActError> {
        let conversation = self.conversation(id).await?;
        let (first_visible, last_seq) = {
            let inner = conversation.lock();
            let state = inner.committed();
            let member = state.members.get(user).ok_or_else(Refusal::unknown_conversation)?;
            (state.first_seq(member), state.last_seq)
        };
        let limit = page.limit.unwrap_or(PAGE_LIMIT);
        let read = async |range, limit| self.entries(&conversation, Ask { first_visible, range, limit }).await;
        let mut entries = match page {
            Page { after: Some(after), .. } => read(LogRange::After(after), limit).await?,
            Page { around: Some(around), .. } => {
                // The asked one stands in the middle, as far as there is enough on both sides.
                let before = limit / 2;
                let from = Seq(around.0.saturating_sub(before as u64 + 1));
                let last_start = Seq(last_seq.0.saturating_sub(limit as u64));
                read(LogRange::After(from.min(last_start)), limit).await?
            }
            Page { before, .. } => read(LogRange::Before(before.unwrap_or(Seq(u64::MAX))), limit).await?,
        };
        let is_cut = cut(&mut entries, page.after.is_some() || page.around.is_some());
        Ok(PageOf { entries, first_seq: first_visible.min(last_seq), last_seq, is_cut })
    }

    /// A conversation's state, from the node that hosts it; of many members those behind `after`, and `user`.
    pub async fn state_for(
        &self,
        id: ConversationId,
        user: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Shown, ActError> {
        if self.shards.is_here(id.shard()) {
            let state = self.conversation(id).await?.state();
            return Ok(Shown { member_count: state.members.len() as u64, state });
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let asked = wire::Ask::State { conversation: id, user: user.clone(), after: after.cloned(), limit };
        match self.ask_host(id.shard(), asked).await? {
            Said::State(state) => Ok(Shown::read(*state)),
            said => Err(said.misplaced()),
        }
    }

    pub(super) async fn state_here(
        &self,
        id: ConversationId,
        user: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<StateOf, ActError> {
        let state = self.conversation(id).await?.state();
        let mut members: Vec<(UserId, Member)> = Vec::new();
        if !state.members.is_small() {
            let asked = state.members.after(after).take(limit).map(|(user, member)| (user.clone(), *member));
            members.extend(asked);
            let own = state.members.get(user).filter(|_| !members.iter().any(|(other, _)| other == user));
            members.extend(own.map(|member| (user.clone(), *member)));
        }
        let member_count = state.members.len() as u64;
        Ok(StateOf { row: ConversationRow::new(&state, OpenTail::default(), Seq::FIRST), member_count, members })
    }
}

/// A conversation's state as a reader has it; of many members maybe some only.
pub struct Shown {
    pub state: State,
    pub member_count: u64,
}

impl Shown {
    fn read(told: StateOf) -> Self {
        let StateOf { row, member_count, members } = told;
        Self { state: row.into_state(members).0, member_count }
    }
}

/// Keeps an answer within its bytes: at the end when reading forward, at the beginning when reading back.
pub(super) fn cut(entries: &mut Vec<Arc<Entry>>, forward: bool) -> bool {
    let mut bytes = 0;
    let mut fits = |entry: &&Arc<Entry>| {
        bytes += entry.weight();
        bytes <= ANSWER_BYTES / 2
    };
    let count = if forward {
        entries.iter().take_while(&mut fits).count()
    } else {
        entries.iter().rev().take_while(&mut fits).count()
    };
    let count = count.max(1).min(entries.len());
    let is_cut = count < entries.len();
    if forward {
        entries.truncate(count);
    } else {
        entries.drain(..entries.len() - count);
    }
    is_cut
}

impl Ask {
    /// First and last seq of the answer; the first above the last: nothing.
    fn bounds(&self, last_seq: Seq) -> (Seq, Seq) {
        let limit = self.limit as u64;
        let first = self.first_visible.max(Seq::FIRST).0;
        match self.range {
            LogRange::After(after) => {
                let from = first.max(after.0.saturating_add(1));
                (Seq(from), Seq(last_seq.0.min(from.saturating_add(limit - 1))))
            }
            LogRange::Before(before) => {
                let to = last_seq.0.min(before.0.saturating_sub(1));
                (Seq(first.max((to + 1).saturating_sub(limit))), Seq(to))
            }
        }
    }
}

/// Makes changes that are not flushed part of the entries they are about.
fn fold_in(entries: &mut [Arc<Entry>], changes: &[Arc<Entry>]) {
    let Some(first) = entries.first().map(|entry| entry.seq) else { return };
    for change in changes {
        for target in fold::targets(change) {
            // Dense: the place follows from the seq.
            let place = target.0.checked_sub(first.0).and_then(|place| usize::try_from(place).ok());
            if let Some(entry) = place.and_then(|place| entries.get_mut(place)).filter(|entry| entry.seq == target) {
                fold::apply(Arc::make_mut(entry), change);
            }
        }
    }
}
