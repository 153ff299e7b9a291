//! Reading history: what the tables have, with what is not flushed over it, folded to now. Only what is committed.

use std::sync::Arc;

use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::{actor::Conversation, entry::Entry, fold},
    tables::{LogRange, TablesError},
};

use super::Host;

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
            let stored = self.tables.log(conversation.id, LogRange::After(from.previous()), count).await?;
            entries.extend(stored.into_iter().filter(|entry| entry.seq <= to.min(stored_last)).map(Arc::new));
        }
        entries.append(&mut overlaid);
        fold_in(&mut entries, &changes);
        Ok(entries)
    }

    /// One entry as the tables have it. The overlay was looked at before.
    pub(super) async fn stored_entry(&self, id: ConversationId, seq: Seq) -> Result<Arc<Entry>, TablesError> {
        let found =
            self.tables.log(id, LogRange::After(seq.previous()), 1).await?.pop().filter(|entry| entry.seq == seq);
        found.map(Arc::new).ok_or_else(|| TablesError::Damaged {
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
