//! From the entries of a flush window to log rows: small rows at a conversation's end, closed into chunks when
//! they have grown together, and rows rewritten in which an entry changed.
//!
//! It decides rows and writes none; it knows no engine. All reads of a window are put together: a window may hold 100,000
//! conversations with a few entries each.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, Seq};

use super::{
    Key, LogRange, Row, Tables, TablesError, Version,
    chunk::{self, MAX_SPAN, Shape},
    log_read::{damaged, open},
};
use crate::conversation::{
    entry::{Body, Entry},
    fold,
};

/// A chunk is cut when it is estimated to have about this many bytes: just under 4 KiB.
const CHUNK_BYTES: u32 = 3_800;
/// A rest of at least this much is closed as a shorter chunk: cheaper than to read and merge it later.
const SHORT_CHUNK_BYTES: u32 = CHUNK_BYTES / 2;
/// From so many new entries on a window is packed by two threads.
const PACKED_BY_TWO: usize = 16_384;
/// Rows read at once, so that a window in which very many conversations close stays small in memory.
const READ_ROWS_MAX: usize = 8_192;

/// The small rows at the end of a conversation's log that a later flush may merge. The conversation keeps it in its
/// state row, which never gets ahead of its log rows (see [`Tables::put_max`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct OpenTail {
    /// Ascending, without a hole between them.
    #[n(0)]
    rows: Vec<OpenRow>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
struct OpenRow {
    #[n(0)]
    first_seq: Seq,
    /// Seqs from the first to the last.
    #[n(1)]
    span: u32,
    /// Estimate of what these entries add to a chunk.
    #[n(2)]
    bytes: u32,
}

/// What one conversation adds to its log in a flush window.
pub struct LogFlush<'a> {
    pub conversation: ConversationId,
    /// Brought up to date by [`log_rows`]; to be stored with the state of `version`.
    pub tail: &'a mut OpenTail,
    /// The conversation's event count at the end of the window.
    pub version: Version,
    /// Ascending and dense; what the tail already has is left out.
    pub new: &'a [Arc<Entry>],
    /// Entries, old or new, that the window's events changed.
    pub changed: &'a [Change],
}

/// An event of the window that changes an entry: `by` has `seq` among its targets (see [`fold::targets`]).
#[derive(Clone, Debug)]
pub struct Change {
    pub seq: Seq,
    pub by: Arc<Entry>,
}

impl Change {
    /// All changes that an entry makes.
    pub fn of(entry: &Arc<Entry>) -> impl Iterator<Item = Self> {
        fold::targets(entry).map(|seq| Self { seq, by: entry.clone() })
    }
}

/// The log rows to write for a window, of all its conversations; each conversation at most once in `flushes`.
///
/// Reads only what is needed to close or to change older rows. After an error some tails are changed: drop them.
pub async fn log_rows(tables: &dyn Tables, flushes: &mut [LogFlush<'_>]) -> Result<Vec<Row>, TablesError> {
    let mut rows = Vec::with_capacity(flushes.len() + flushes.len() / 8);
    let mut rest = flushes;
    while !rest.is_empty() {
        let (batch, after) = rest.split_at_mut(batch_length(rest));
        let plans: Vec<_> = batch.iter().map(Plan::of).collect();
        let loaded = load(tables, batch, &plans).await?;
        let mut parts: Vec<_> = batch
            .iter_mut()
            .zip(plans)
            .zip(loaded)
            .map(|((flush, plan), loaded)| Part { flush, plan, loaded })
            .collect();
        build_all(&mut parts, &mut rows)?;
        rest = after;
    }
    Ok(rows)
}

/// One conversation's share of a window, with what was read for it.
struct Part<'p, 'f> {
    flush: &'p mut LogFlush<'f>,
    plan: Plan,
    loaded: LoadedRows,
}

/// Builds the rows. Packing is most of a large flush, and while senders wait for that there is a core to spare: it is
/// done by two threads then.
fn build_all(parts: &mut [Part<'_, '_>], rows: &mut Vec<Row>) -> Result<(), TablesError> {
    let build_each = |parts: &mut [Part<'_, '_>], rows: &mut Vec<Row>| {
        parts.iter_mut().try_for_each(|Part { flush, plan, loaded }| build(flush, plan, std::mem::take(loaded), rows))
    };
    if parts.iter().map(|part| part.flush.new.len()).sum::<usize>() < PACKED_BY_TWO {
        return build_each(parts, rows);
    }
    let (one, other) = parts.split_at_mut(parts.len() / 2);
    std::thread::scope(|scope| {
        let helper = scope.spawn(|| {
            let mut rows = Vec::with_capacity(other.len());
            build_each(other, &mut rows).map(|()| rows)
        });
        let built = build_each(one, rows);
        // A panic of the helper is one of the flush.
        let helped = helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        built?;
        rows.extend(helped?);
        Ok(())
    })
}

/// What must be read for one conversation.
#[derive(Default)]
struct Plan {
    /// The tail is merged with the new entries.
    closes: bool,
    /// Changed entries that are not among the new ones.
    old_changed: Vec<Seq>,
}

impl Plan {
    fn of(flush: &LogFlush<'_>) -> Self {
        let added: u64 = flush.added().iter().map(|entry| u64::from(estimate(entry))).sum();
        let bytes = added + flush.tail.rows.iter().map(|row| u64::from(row.bytes)).sum::<u64>();
        let span = flush.added().len() as u64 + flush.tail.rows.iter().map(|row| u64::from(row.span)).sum::<u64>();
        let is_long = bytes >= u64::from(CHUNK_BYTES) || span >= MAX_SPAN;
        let is_new = |seq| flush.added().first().is_some_and(|first| first.seq <= seq);
        let old_changed = flush.changed.iter().map(|change| change.seq).filter(|seq| !is_new(*seq)).collect();
        Self { closes: is_long && !flush.tail.rows.is_empty() && !flush.added().is_empty(), old_changed }
    }
}

impl<'a> LogFlush<'a> {
    /// The new entries that the tail does not have yet.
    fn added(&self) -> &'a [Arc<Entry>] {
        let end = self.tail.end();
        &self.new[self.new.partition_point(|entry| entry.seq < end)..]
    }

    fn rows_to_read(&self) -> usize {
        self.tail.rows.len() + self.changed.len()
    }
}

impl OpenTail {
    /// The seq behind the last row; `NONE` if there is no row.
    fn end(&self) -> Seq {
        self.rows.last().map_or(Seq::NONE, |row| Seq(row.first_seq.0 + u64::from(row.span)))
    }
}

fn batch_length(flushes: &[LogFlush<'_>]) -> usize {
    let mut rows = 0;
    let fits = flushes.iter().take_while(|flush| {
        rows += flush.rows_to_read();
        rows <= READ_ROWS_MAX
    });
    fits.count().max(1)
}

/// A row as it stands in the tables, by its first seq.
type LoadedRows = BTreeMap<Seq, LoadedRow>;

struct LoadedRow {
    version: Version,
    shape: Shape,
    entries: Vec<Entry>,
    is_changed: bool,
}

async fn load(tables: &dyn Tables, batch: &[LogFlush<'_>], plans: &[Plan]) -> Result<Vec<LoadedRows>, TablesError> {
    let mut loaded: Vec<_> = batch.iter().map(|_| LoadedRows::new()).collect();

    let closing = || batch.iter().zip(plans).enumerate().filter(|(_, (_, plan))| plan.closes);
    let keys = closing().flat_map(|(index, (flush, _))| flush.tail.rows.iter().map(move |row| (index, row.first_seq)));
    let keys: Vec<_> = keys.collect();
    if !keys.is_empty() {
        let wanted = keys.iter().map(|(index, seq)| Key::Log(batch[*index].conversation, *seq)).collect();
        for ((index, first_seq), stored) in keys.into_iter().zip(tables.get(wanted).await?) {
            // Not there: an earlier try of a replay has merged it into another row.
            let Some(stored) = stored else { continue };
            let row = LoadedRow::read(batch[index].conversation, first_seq, stored.version, &stored.value)?;
            loaded[index].insert(first_seq, row);
        }
        for (index, (flush, _)) in closing() {
            complete(tables, flush, &mut loaded[index]).await?;
        }
    }

    let targets = batch.iter().zip(plans).enumerate();
    let targets = targets.flat_map(|(index, (_, plan))| plan.old_changed.iter().map(move |seq| (index, *seq)));
    let targets: Vec<_> = targets.collect();
    if !targets.is_empty() {
        let wanted = targets.iter().map(|(index, seq)| (batch[*index].conversation, *seq)).collect();
        for ((index, seq), rows) in targets.into_iter().zip(tables.log_rows(wanted).await?) {
            let conversation = batch[index].conversation;
            if rows.is_empty() {
                return Err(missing(conversation, seq));
            }
            for (first_seq, stored) in rows {
                if let btree_map::Entry::Vacant(place) = loaded[index].entry(first_seq) {
                    place.insert(LoadedRow::read(conversation, first_seq, stored.version, &stored.value)?);
                }
            }
        }
    }
    Ok(loaded)
}

/// Adds what the tail's own rows do not have of the tail: after a replay it may stand in rows that were cut elsewhere.
async fn complete(tables: &dyn Tables, flush: &LogFlush<'_>, loaded: &mut LoadedRows) -> Result<(), TablesError> {
    let (first, end) = (flush.tail.rows[0].first_seq, flush.tail.end());
    let mut expected = first;
    for row in loaded.values() {
        for entry in &row.entries {
            if entry.seq == expected {
                expected = expected.next();
            }
        }
    }
    if expected >= end {
        return Ok(());
    }
    let count = usize::try_from(end.0 - first.0).expect("a tail is short");
    let entries = tables.log(flush.conversation, LogRange::After(first.previous()), count).await?;
    if entries.len() < count || entries.iter().zip(first.0..).any(|(entry, seq)| entry.seq != Seq(seq)) {
        return Err(missing(flush.conversation, expected));
    }
    loaded.insert(Seq::NONE, LoadedRow { version: Version(u64::MAX), shape: Shape::Small, entries, is_changed: false });
    Ok(())
}

impl LoadedRow {
    fn read(conversation: ConversationId, first_seq: Seq, version: Version, value: &[u8]) -> Result<Self, TablesError> {
        let opened = open(conversation, first_seq, value)?;
        let entries = opened.entries().map_err(|error| damaged(conversation, first_seq, &error))?;
        Ok(Self { version, shape: opened.shape, entries, is_changed: false })
    }
}

fn build(
    flush: &mut LogFlush<'_>,
    plan: &Plan,
    mut loaded: LoadedRows,
    rows: &mut Vec<Row>,
) -> Result<(), TablesError> {
    let mut added = Cow::Borrowed(flush.added());
    for change in flush.changed {
        apply(change, &mut added, &mut loaded);
    }
    let put = |first_seq: Seq, value: Option<Vec<u8>>| Row {
        key: Key::Log(flush.conversation, first_seq),
        version: flush.version,
        value: value.map(Into::into),
    };
    if plan.closes {
        let old_rows = std::mem::take(&mut flush.tail.rows);
        let old = merge(&old_rows, &mut loaded);
        let run: Vec<_> = old.iter().chain(added.iter().map(|entry| &**entry)).collect();
        let first_written = rows.len();
        cut(&run, flush.tail, |first_seq, value| rows.push(put(first_seq, Some(value))));
        let written: Vec<_> = rows[first_written..].iter().map(|row| row.key.clone()).collect();
        let covered = old_rows.iter().map(|row| put(row.first_seq, None));
        rows.extend(covered.filter(|row| !written.contains(&row.key)));
    } else if !added.is_empty() {
        let run: Vec<_> = added.iter().map(|entry| &**entry).collect();
        cut(&run, flush.tail, |first_seq, value| rows.push(put(first_seq, Some(value))));
    }
    for (first_seq, row) in loaded.into_iter().filter(|(_, row)| row.is_changed) {
        rows.push(put(first_seq, Some(chunk::encode(row.shape, &row.entries))));
        if let Some(open_row) = flush.tail.rows.iter_mut().find(|open_row| open_row.first_seq == first_seq) {
            open_row.bytes = row.entries.iter().map(estimate).sum();
        }
    }
    Ok(())
}

fn apply(change: &Change, added: &mut Cow<'_, [Arc<Entry>]>, loaded: &mut LoadedRows) {
    if let Ok(index) = added.binary_search_by_key(&change.seq, |entry| entry.seq) {
        fold::apply(Arc::make_mut(&mut added.to_mut()[index]), &change.by);
    }
    for row in loaded.values_mut() {
        if let Ok(index) = row.entries.binary_search_by_key(&change.seq, |entry| entry.seq) {
            fold::apply(&mut row.entries[index], &change.by);
            row.is_changed = true;
        }
    }
}

/// Takes the tail's entries out of what was loaded: of each seq the one with the highest version.
fn merge(tail: &[OpenRow], loaded: &mut LoadedRows) -> Vec<Entry> {
    let mut merged = BTreeMap::<Seq, (Version, Entry)>::new();
    let keys = tail.iter().map(|row| row.first_seq).chain([Seq::NONE]);
    for row in keys.filter_map(|key| loaded.remove(&key)) {
        for entry in row.entries {
            if merged.get(&entry.seq).is_none_or(|(version, _)| row.version > *version) {
                merged.insert(entry.seq, (row.version, entry));
            }
        }
    }
    let first = tail.first().map_or(Seq::NONE, |row| row.first_seq);
    let end = tail.last().map_or(Seq::NONE, |row| Seq(row.first_seq.0 + u64::from(row.span)));
    merged.into_values().map(|(_, entry)| entry).filter(|entry| (first..end).contains(&entry.seq)).collect()
}

/// Cuts a run into chunks, and the rest into a small row that joins the tail.
fn cut(run: &[&Entry], tail: &mut OpenTail, mut put: impl FnMut(Seq, Vec<u8>)) {
    let (mut start, mut bytes) = (0, 0);
    for (index, entry) in run.iter().enumerate() {
        bytes += estimate(entry);
        let is_full = bytes >= CHUNK_BYTES && tail.rows.is_empty();
        let is_wide = run.get(index + 1).is_none_or(|next| next.seq.0 - run[start].seq.0 >= MAX_SPAN);
        if is_full || (is_wide && index + 1 < run.len()) {
            put(run[start].seq, chunk::encode(Shape::Chunk, &run[start..=index]));
            (start, bytes) = (index + 1, 0);
        }
    }
    let Some((first, last)) = run.get(start).zip(run.last()) else { return };
    if bytes >= SHORT_CHUNK_BYTES && tail.rows.is_empty() {
        put(first.seq, chunk::encode(Shape::Chunk, &run[start..]));
    } else {
        put(first.seq, chunk::encode(Shape::Small, &run[start..]));
        let span = u32::try_from(last.seq.0 - first.seq.0 + 1).expect("at most MAX_SPAN");
        tail.rows.push(OpenRow { first_seq: first.seq, span, bytes });
    }
}

/// About how many bytes an entry adds to a chunk: the dictionary makes less than half of the text of real chat.
fn estimate(entry: &Entry) -> u32 {
    let content = match &entry.body {
        Body::Message(message) => {
            let names = message.mentions.iter().chain(&message.attachments).map(|name| name.len() + 4).sum::<usize>();
            message.text.len() + names + message.data.as_ref().map_or(0, |data| data.len())
        }
        Body::Edit { text, .. } => text.len() + 8,
        Body::Redaction { .. } | Body::Reaction { .. } => 16,
        Body::Members(change) => 24 * (change.added.len() + change.removed.len() + change.roles.len()),
        Body::Rename { name } => name.len() + 8,
    };
    let reactions = entry.fold.iter().flat_map(|fold| &fold.reactions).map(|reaction| 16 + 12 * reaction.users.len());
    let id = entry.client_msg_id.as_ref().map_or(0, |id| if id.len() == 36 { 16 } else { id.len() / 2 });
    u32::try_from(content / 2 + reactions.sum::<usize>() + id + 8).unwrap_or(u32::MAX / 1_024)
}

fn missing(conversation: ConversationId, seq: Seq) -> TablesError {
    TablesError::Damaged { place: format!("the log of {conversation}"), what: format!("no row holds entry {seq}") }
}

#[cfg(test)]
mod tests;
