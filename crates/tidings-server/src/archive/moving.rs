//! From packed blocks to entries that are in the archive and no longer in the tables.
//!
//! The order makes a crash between any two steps harmless, and the next round goes on from there:
//!
//! 1. the segment is written under the name of its content;
//! 2. it is read back, unpacked and compared with the rows entry by entry, as they are then;
//! 3. the fingerprints that repeats are found by are written into the tables, then the places of the blocks, a conversation's in order;
//! 4. the rows behind them are deleted, each only in the version that was compared.
//!
//! Without 3 a segment is a blob that nobody asks for, and the same entries are packed again. Without 4 an entry is in both, and equal.

use std::{
    collections::{BTreeMap, HashMap},
    time::Instant,
};

use tidings_proto::{ConversationId, Seq};

use super::{
    ArchivedTables, ReadError,
    merge::{LogRow, log_rows},
    place::{Place, segment_name},
    round::{Archiver, Report, RoundError, broken},
    segment::{Placed, Sealed, Segment, merge, stamps},
};
use crate::{
    conversation::entry::Entry,
    host::row::ConversationRow,
    tables::{
        Freshness, Key, LogRange, Row, Tables as _, TablesError, Version, chunk,
        fingerprints::{self, Fingerprint},
    },
};

/// Rows deleted at once.
const DELETES: usize = 4_096;

/// A row that is to be deleted in this version.
#[derive(Clone, Copy, Debug)]
struct Deletion {
    conversation: ConversationId,
    first: Seq,
    last: Seq,
    version: Version,
}

/// What was compared: its places may be written, and the rows deleted then.
#[derive(Default)]
struct Verified {
    placed: Vec<Placed>,
    deletions: Vec<Deletion>,
    /// Of each conversation, the fingerprints from the first incomplete run's first seq on.
    fingerprints: HashMap<ConversationId, (Seq, Version, Vec<Fingerprint>)>,
}

impl Archiver {
    /// Moves what has gathered.
    pub(super) async fn close(&self, segment: &mut Segment, report: &mut Report) -> Result<(), RoundError> {
        if segment.blocks.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let unpacked_bytes = segment.blocks.iter().map(|block| block.unpacked_bytes).sum::<u64>();
        let sealed = std::mem::take(segment).seal();
        self.archive.blobs.put_new(&segment_name(&sealed.digest), sealed.body.clone()).await?;
        let verified = self.verify(&sealed).await?;
        self.tables.put_max(verified.fingerprint_rows(), Freshness::Unknown).await?;
        for places in verified.place_rows() {
            self.tables.put_max(places, Freshness::Unknown).await?;
        }
        report.rows += self.take_out(verified.deletions).await?;
        let entries = verified.placed.iter().map(|placed| placed.place.to.0 - placed.place.from.0 + 1).sum::<u64>();
        report.segments += 1;
        report.blocks += verified.placed.len() as u64;
        report.entries += entries;
        report.unpacked_bytes += unpacked_bytes;
        report.packed_bytes += sealed.body.len() as u64;
        let metrics = &self.archive.metrics;
        metrics.archive_segments.inc();
        metrics.archive_entries.inc_by(entries);
        metrics.archive_unpacked_bytes.inc_by(unpacked_bytes);
        metrics.archive_packed_bytes.inc_by(sealed.body.len() as u64);
        self.pause(began.elapsed()).await
    }

    /// Reads the segment back and compares every block with its rows as they are now. One whose rows have changed since they were
    /// packed, or are gone because another node has archived them, is left for the next round.
    async fn verify(&self, sealed: &Sealed) -> Result<Verified, RoundError> {
        let name = segment_name(&sealed.digest);
        let different = |what: &str| RoundError::Different { name: name.clone(), what: what.to_owned() };
        let body = self.archive.blobs.get(&name).await?;
        if body != sealed.body {
            return Err(different("it has other bytes"));
        }
        let mut verified = Verified::default();
        for placed in &sealed.places {
            let (id, place) = (placed.conversation, &placed.place);
            let range = place.range();
            let bounds = usize::try_from(range.start).ok().zip(usize::try_from(range.end).ok());
            let value = bounds.and_then(|(start, end)| body.get(start..end)).filter(|value| place.is_of(value));
            let value = value.ok_or_else(|| different("a block is not where it must be"))?;
            let entries = chunk::decode_block(value).map_err(|error| different(&error.to_string()))?;
            let rows = log_rows(&*self.tables, id, (place.from, place.to)).await?;
            if stamps(&rows) != placed.rows {
                tracing::debug!(conversation = %id, "it changed while it was packed, and is left for the next round");
                continue;
            }
            let deletions: Vec<_> =
                rows.iter().filter(|row| is_within(row, place)).map(|row| deletion(id, row)).collect();
            if merge((place.from, place.to), rows).as_ref() != Some(&entries) {
                return Err(different(&format!("what it has of conversation {id} is not what the tables have")));
            }
            self.note_fingerprints(placed, &entries, &mut verified).await?;
            verified.deletions.extend(deletions);
            verified.placed.push(placed.clone());
        }
        Ok(verified)
    }

    /// A run of fingerprints is written when it is complete; until then the entries themselves tell. Those that go leave theirs, so
    /// that nobody has to ask the archive for a repeat that is none.
    async fn note_fingerprints(
        &self,
        placed: &Placed,
        entries: &[Entry],
        verified: &mut Verified,
    ) -> Result<(), TablesError> {
        let (id, place) = (placed.conversation, &placed.place);
        let keys = vec![Key::Conversation(id)];
        let stored = self.tables.get(keys).await?.pop().flatten().ok_or_else(|| broken(id, "its state is gone"))?;
        let run = ConversationRow::read(id, &stored.value)?.fingerprints_from();
        if place.to < run {
            return Ok(());
        }
        let mut known = match verified.fingerprints.remove(&id) {
            Some((_, _, known)) => known,
            None => match self.tables.get(vec![Key::Fingerprints(id, run)]).await?.pop().flatten() {
                Some(stored) => fingerprints::decode(&stored.value).map_err(|error| broken(id, &error.to_string()))?,
                None => Vec::new(),
            },
        };
        let first = run.max(place.from);
        let before = usize::try_from(first.0 - run.0).expect("a run is short");
        if known.len() < before {
            let all = ArchivedTables::new(self.tables.clone(), self.archive.clone());
            let after = LogRange::After(Seq(run.0 + known.len() as u64).previous());
            known.extend(all.log(id, after, before - known.len()).await?.iter().map(print));
        }
        known.truncate(before);
        known.extend(entries.iter().filter(|entry| entry.seq >= first).map(print));
        // Versions rise as the run grows, and its host's complete one is above: there are no fewer events than entries.
        verified.fingerprints.insert(id, (run, Version(place.to.0), known));
        Ok(())
    }

    /// Deletes rows. Where some overlap the older ones go first: what stays after a crash is never older than what went.
    async fn take_out(&self, deletions: Vec<Deletion>) -> Result<u64, TablesError> {
        let count = deletions.len() as u64;
        for layer in layers(deletions) {
            for rows in layer.chunks(DELETES) {
                let rows = rows.iter().map(|deletion| Row {
                    key: Key::Log(deletion.conversation, deletion.first),
                    version: deletion.version,
                    value: None,
                });
                self.tables.put_max(rows.collect(), Freshness::Unknown).await?;
            }
        }
        Ok(count)
    }

    /// Deletes rows that a crash has left behind their places. The blocks are read first: what cannot be read from the archive stays
    /// in the tables.
    pub(super) async fn sweep(&self, id: ConversationId, places: &[(Version, Place)]) -> Result<u64, RoundError> {
        let Some(end) = places.iter().map(|(_, place)| place.to).max() else { return Ok(0) };
        let mut deletions = Vec::new();
        for row in log_rows(&*self.tables, id, (Seq::FIRST, end)).await? {
            if self.is_in_blocks(id, &row, places).await? {
                deletions.push(deletion(id, &row));
            }
        }
        if !deletions.is_empty() {
            tracing::info!(conversation = %id, rows = deletions.len(), "deleted rows that an interrupted round left");
        }
        Ok(self.take_out(deletions).await?)
    }

    /// Whether the archive has all that the row has, as it is or newer.
    async fn is_in_blocks(
        &self,
        id: ConversationId,
        row: &LogRow,
        places: &[(Version, Place)],
    ) -> Result<bool, ReadError> {
        let over: Vec<_> = places.iter().filter(|(_, place)| place.overlaps(row.first, row.last)).collect();
        let mut next = row.first;
        for (_, place) in &over {
            if (place.from..=place.to).contains(&next) {
                next = place.to.next();
            }
        }
        if next <= row.last || over.iter().any(|(version, _)| row.version > *version) {
            return Ok(false);
        }
        for (version, place) in over {
            let block = self.archive.block(id, place).await?;
            // The rows of a flush land one by one, and have one version: a block may be of that version and lack what this one brings.
            let differs = |entry: &Entry| {
                let at = entry.seq.0.checked_sub(place.from.0).and_then(|at| usize::try_from(at).ok());
                at.and_then(|at| block.get(at)).is_some_and(|packed| packed != entry)
            };
            if row.version == *version && row.entries.iter().any(differs) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Verified {
    fn fingerprint_rows(&self) -> Vec<Row> {
        let rows = self.fingerprints.iter().map(|(id, (run, version, prints))| Row {
            key: Key::Fingerprints(*id, *run),
            version: *version,
            value: Some(fingerprints::encode(prints).into()),
        });
        rows.collect()
    }

    /// The rows that make the archive known, in the order in which they are to be written: of each conversation one after the other,
    /// ascending. So wherever a crash comes, and whoever else archives the same, all below a place has a place: what stands there is
    /// taken for archived.
    fn place_rows(&self) -> Vec<Vec<Row>> {
        let mut next: HashMap<ConversationId, usize> = HashMap::new();
        let mut turns: Vec<Vec<Row>> = Vec::new();
        for Placed { conversation, version, place, .. } in &self.placed {
            let turn = next.entry(*conversation).or_default();
            if turns.len() == *turn {
                turns.push(Vec::new());
            }
            turns[*turn].push(Row {
                key: Key::Archived(*conversation, place.to),
                version: *version,
                value: Some(place.encode().into()),
            });
            *turn += 1;
        }
        turns
    }
}

fn print(entry: &Entry) -> Fingerprint {
    match &entry.client_msg_id {
        Some(client_msg_id) => Fingerprint::of(&entry.from, client_msg_id),
        None => Fingerprint::NO_ID,
    }
}

fn is_within(row: &LogRow, place: &Place) -> bool {
    place.from <= row.first && row.last <= place.to
}

fn deletion(conversation: ConversationId, row: &LogRow) -> Deletion {
    Deletion { conversation, first: row.first, last: row.last, version: row.version }
}

/// Parts the rows so that each goes before all newer ones that it overlaps.
fn layers(mut deletions: Vec<Deletion>) -> Vec<Vec<Deletion>> {
    // Oldest first, so that what must go before a row is known when its turn comes.
    deletions.sort_by_key(|deletion| (deletion.conversation, deletion.version));
    let mut layers: BTreeMap<usize, Vec<Deletion>> = BTreeMap::new();
    for rows in deletions.chunk_by(|one, other| one.conversation == other.conversation) {
        let mut done: Vec<(usize, &Deletion)> = Vec::with_capacity(rows.len());
        for row in rows {
            let is_over = |older: &Deletion| older.first <= row.last && row.first <= older.last;
            let below = done.iter().filter(|(_, older)| is_over(older)).map(|(layer, _)| layer + 1).max();
            let layer = below.unwrap_or(0);
            done.push((layer, row));
            layers.entry(layer).or_default().push(*row);
        }
    }
    layers.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_rows_that_overlap_the_older_goes_first() {
        let row = |first, last, version| Deletion {
            conversation: ConversationId::from_bytes([1; 16]),
            first: Seq(first),
            last: Seq(last),
            version: Version(version),
        };
        let layers = layers(vec![row(1, 9, 5), row(5, 12, 3), row(20, 30, 9), row(12, 19, 4), row(8, 8, 7)]);
        let firsts: Vec<Vec<u64>> = layers.iter().map(|rows| rows.iter().map(|row| row.first.0).collect()).collect();
        assert_eq!(firsts, [vec![5, 20], vec![12, 1], vec![8]]);
    }
}
