//! Tables with the archive under their logs. Everything but logs goes straight to the tables in front ("hot").
//!
//! A log that the hot rows answer without a gap is answered by them: the newest entries always are, at no further cost. Only a gap
//! asks where the archive has it. Rows are read before places: a place is durable before the rows behind it go, so one of the two is
//! always seen.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use tidings_proto::{ConversationId, Seq};
use tokio::time::Instant;

use super::{
    Archive, Place, ReadError,
    merge::{Newest, log_rows},
};
use crate::{
    conversation::entry::Entry,
    host::row::ConversationRow,
    journal::Position,
    tables::{
        Footprint, Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, Version,
        chunk::{self, BLOCK_ENTRIES_MAX, Shape},
    },
};

/// Seqs laid together at once.
const WINDOW: u64 = 4_096;
/// Places read at once.
const PLACES: usize = 8;
/// How long a flush waits for a store that does not answer, when somebody changed an archived entry. The entry was read moments
/// before, to decide about the change, so it is in memory still unless the server was restarted in between.
const FLUSH_PATIENCE: Duration = Duration::from_secs(120);
const FLUSH_PAUSE: Duration = Duration::from_secs(1);

pub struct ArchivedTables {
    hot: Arc<dyn Tables>,
    archive: Arc<Archive>,
}

impl ArchivedTables {
    pub fn new(hot: Arc<dyn Tables>, archive: Arc<Archive>) -> Self {
        Self { hot, archive }
    }

    /// Entries from `from` to `to`, ascending and dense from `from` on; fewer only at the end of the log.
    async fn window(&self, conversation: ConversationId, from: Seq, to: Seq) -> Result<Newest, Failure> {
        let mut newest = Newest::within((from, to));
        for row in log_rows(&*self.hot, conversation, (from, to)).await? {
            row.entries.into_iter().for_each(|entry| newest.take(row.version, entry));
        }
        for (version, place) in places(&*self.hot, conversation, from, to).await? {
            let block = self.archive.block(conversation, &place).await?;
            let low = from.max(place.from).0 - place.from.0;
            let high = to.min(place.to).0 - place.from.0;
            for at in low..=high {
                let entry = &block[usize::try_from(at).expect("a block is in memory")];
                newest.take(version, entry.clone());
            }
        }
        match newest.hole() {
            None => Ok(newest),
            Some(seq) => Err(missing(conversation, seq).into()),
        }
    }

    async fn upwards(&self, conversation: ConversationId, first: Seq, limit: usize) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut from = first;
        while entries.len() < limit {
            let wanted = ((limit - entries.len()) as u64).min(WINDOW);
            let to = Seq(from.0.saturating_add(wanted - 1));
            let before = entries.len();
            entries.extend(self.window(conversation, from, to).await?.into_entries().map(|(_, entry)| entry));
            if ((entries.len() - before) as u64) < wanted {
                let end = entries.last().map_or(first.previous(), |last| last.seq);
                match self.last_seq(conversation).await? {
                    Some(last) if end < last.min(to) => return Err(missing(conversation, end.next()).into()),
                    _ => break,
                }
            }
            from = to.next();
        }
        Ok(entries)
    }

    async fn downwards(&self, conversation: ConversationId, last: Seq, limit: usize) -> Result<Vec<Entry>, Failure> {
        let mut entries = Vec::new();
        let mut to = last;
        while entries.len() < limit && to > Seq::NONE {
            let wanted = ((limit - entries.len()) as u64).min(WINDOW);
            let from = Seq(to.0.saturating_sub(wanted - 1).max(1));
            let window: Vec<_> = self.window(conversation, from, to).await?.into_entries().collect();
            if window.last().is_none_or(|(_, entry)| entry.seq < to) {
                let end = window.last().map_or(from.previous(), |(_, entry)| entry.seq);
                return Err(missing(conversation, end.next()).into());
            }
            entries.extend(window.into_iter().rev().map(|(_, entry)| entry));
            to = from.previous();
        }
        Ok(entries)
    }

    /// The newest entry that the tables know of.
    async fn last_seq(&self, conversation: ConversationId) -> Result<Option<Seq>, TablesError> {
        let Some(stored) = self.hot.get(vec![Key::Conversation(conversation)]).await?.pop().flatten() else {
            return Ok(None);
        };
        let row = ConversationRow::read(conversation, &stored.value)?;
        Ok(Some(row.last_seq()))
    }

    /// The log row that a flush alters, when the entry is archived: one of this entry alone.
    async fn row_of(&self, conversation: ConversationId, seq: Seq) -> Result<Option<(Seq, Stored)>, Failure> {
        let found = self.window(conversation, seq, seq).await?.into_entries().next();
        Ok(found.map(|(version, entry)| (seq, Stored { version, value: chunk::encode(Shape::Chunk, &[entry]).into() })))
    }

    /// As [`Self::row_of`], waiting for a store that does not answer: a flush that fails would end all acknowledging.
    async fn row_in_time(&self, conversation: ConversationId, seq: Seq) -> Result<Option<(Seq, Stored)>, TablesError> {
        let began = Instant::now();
        loop {
            match self.row_of(conversation, seq).await {
                Err(Failure::Archive(ReadError::Unreachable(error))) if began.elapsed() < FLUSH_PATIENCE => {
                    tracing::warn!(%error, %conversation, %seq, "a flush waits for the archive");
                    tokio::time::sleep(FLUSH_PAUSE).await;
                }
                outcome => return outcome.map_err(Failure::into_error),
            }
        }
    }
}

/// The places of blocks that have entries from `from` to `to`, each with its version. Blocks may overlap where two nodes archived the
/// same: one that begins lower may stand behind one that begins higher, but not farther than a block is long.
pub(super) async fn places(
    hot: &dyn Tables,
    conversation: ConversationId,
    from: Seq,
    to: Seq,
) -> Result<Vec<(Version, Place)>, TablesError> {
    let mut places = Vec::new();
    let mut after = Some(Key::Archived(conversation, from.previous()));
    loop {
        let rows = hot.rows(Prefix::Archived(conversation), after, PLACES).await?;
        let is_last = rows.len() < PLACES;
        after = rows.last().map(|(key, _)| key.clone());
        for (key, stored) in rows {
            let place = Place::decode(&stored.value)
                .map_err(|error| TablesError::Damaged { place: format!("row {key:?}"), what: error.to_string() })?;
            if place.to.0.saturating_sub(to.0) >= BLOCK_ENTRIES_MAX as u64 {
                return Ok(places);
            }
            if place.from <= to {
                places.push((stored.version, place));
            }
        }
        if is_last {
            return Ok(places);
        }
    }
}

fn missing(conversation: ConversationId, seq: Seq) -> TablesError {
    TablesError::Damaged {
        place: format!("the log of conversation {conversation}"),
        what: format!("entry {seq} is neither in the tables nor in the archive"),
    }
}

enum Failure {
    Tables(TablesError),
    Archive(ReadError),
}

impl From<TablesError> for Failure {
    fn from(error: TablesError) -> Self {
        Self::Tables(error)
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Self {
        Self::Archive(error)
    }
}

impl Failure {
    fn into_error(self) -> TablesError {
        match self {
            Self::Tables(error) => error,
            Self::Archive(error) => error.into_tables_error(),
        }
    }
}

/// Whether the rows answered all that was asked for. Behind hot entries without a gap there is nothing in the archive: it has no
/// conversation's newest.
fn is_whole(entries: &[Entry], range: LogRange, limit: usize) -> bool {
    let seqs = entries.iter().map(|entry| entry.seq.0);
    match range {
        LogRange::After(bound) => !entries.is_empty() && seqs.zip(bound.0 + 1..).all(|(seq, expected)| seq == expected),
        LogRange::Before(bound) => {
            let Some(first) = entries.first() else { return bound <= Seq::FIRST };
            let is_dense = seqs.enumerate().all(|(place, seq)| seq + place as u64 == first.seq.0);
            let reaches = entries.len() == limit || entries.last().is_some_and(|last| last.seq == Seq::FIRST);
            // One entry that was changed may stand alone among what is archived: then it does not begin at the bound.
            is_dense && reaches && first.seq.next() == bound
        }
    }
}

#[async_trait]
impl Tables for ArchivedTables {
    async fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        let entries = self.hot.log(conversation, range, limit).await?;
        if limit == 0 || is_whole(&entries, range, limit) {
            return Ok(entries);
        }
        match range {
            LogRange::After(Seq(u64::MAX)) => Ok(entries),
            LogRange::After(bound) => {
                let is_archived = !places(&*self.hot, conversation, bound.next(), bound.next()).await?.is_empty();
                if !is_archived {
                    return Ok(entries);
                }
                self.upwards(conversation, bound.next(), limit).await.map_err(Failure::into_error)
            }
            LogRange::Before(bound) => {
                let known = self.last_seq(conversation).await?;
                let Some(last) = known.or(entries.first().map(|entry| entry.seq)) else { return Ok(entries) };
                let last = last.min(bound.previous());
                self.downwards(conversation, last, limit).await.map_err(Failure::into_error)
            }
        }
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        let mut found = self.hot.log_rows(wanted.clone()).await?;
        for ((conversation, seq), rows) in wanted.into_iter().zip(&mut found) {
            if rows.is_empty() {
                rows.extend(self.row_in_time(conversation, seq).await?);
            }
        }
        Ok(found)
    }

    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        self.hot.put_max(rows, freshness).await
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.hot.get(keys).await
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.hot.rows(prefix, after, limit).await
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        self.hot.conversations(slice, after, limit).await
    }

    /// Of the rows alone: blocks are no rows.
    async fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.hot.log_rows_between(conversation, from, to, limit).await
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        self.hot.set_flushed(position).await
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        self.hot.flushed().await
    }

    fn footprint(&self) -> Footprint {
        self.hot.footprint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::memory::MemoryTables;

    /// As two nodes may leave them that archived the same: what the block of the newer rows has is found, wherever its place stands.
    #[tokio::test]
    async fn of_blocks_that_overlap_all_places_are_found() {
        let (tables, id) = (MemoryTables::new(), ConversationId::from_bytes([1; 16]));
        let row = |(from, to, version)| {
            let place = Place { segment: [0; 32], from: Seq(from), to: Seq(to), offset: 0, bytes: 1, digest: [0; 32] };
            let value = Some(place.encode().into());
            Row { key: Key::Archived(id, Seq(to)), version: Version(version), value }
        };
        let longest = BLOCK_ENTRIES_MAX as u64;
        let blocks = [(1, 480, 9), (481, 900, 9), (8, longest + 7, 20), (longest + 8, longest + 400, 30)];
        tables.put_max(blocks.map(row).into(), Freshness::Unknown).await.unwrap();
        let versions = async |from, to| -> Vec<u64> {
            let found = places(&tables, id, Seq(from), Seq(to)).await.unwrap();
            found.into_iter().map(|(version, _)| version.0).collect()
        };
        assert_eq!(versions(7, 7).await, [9]);
        assert_eq!(versions(8, 8).await, [9, 20]);
        assert_eq!(versions(480, 481).await, [9, 9, 20]);
        assert_eq!(versions(901, longest + 8).await, [20, 30]);
    }
}
