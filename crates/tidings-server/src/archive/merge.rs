//! Laying log rows and blocks together: of each seq the entry counts whose row is newest.

use std::collections::BTreeMap;

use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::entry::Entry,
    tables::{
        Stored, Tables, TablesError, Version,
        log_read::{damaged, earliest_start, open},
    },
};

/// Rows read at once.
const ROWS: usize = 256;

/// A log row, unpacked.
pub(super) struct LogRow {
    pub first: Seq,
    pub last: Seq,
    pub version: Version,
    pub entries: Vec<Entry>,
}

impl LogRow {
    pub fn read(conversation: ConversationId, first: Seq, stored: &Stored) -> Result<Self, TablesError> {
        let opened = open(conversation, first, &stored.value)?;
        let last = opened.last_seq;
        let entries = opened.entries().map_err(|error| damaged(conversation, first, &error))?;
        Ok(Self { first, last, version: stored.version, entries })
    }
}

/// All log rows that may hold entries from `from` to `to`.
pub(super) async fn log_rows(
    tables: &dyn Tables,
    conversation: ConversationId,
    (from, to): (Seq, Seq),
) -> Result<Vec<LogRow>, TablesError> {
    let mut rows = Vec::new();
    let mut next = earliest_start(from);
    loop {
        let read = tables.log_rows_between(conversation, next, to, ROWS).await?;
        let is_last = read.len() < ROWS;
        for (first, stored) in &read {
            let row = LogRow::read(conversation, *first, stored)?;
            if row.last >= from {
                rows.push(row);
            }
        }
        match read.last() {
            Some((last, _)) if !is_last => next = last.next(),
            _ => return Ok(rows),
        }
    }
}

/// The newest entries within bounds, both included.
pub(super) struct Newest {
    bounds: (Seq, Seq),
    found: BTreeMap<Seq, (Version, Entry)>,
}

impl Newest {
    pub fn within(bounds: (Seq, Seq)) -> Self {
        Self { bounds, found: BTreeMap::new() }
    }

    /// At equal versions both mean the same.
    pub fn take(&mut self, version: Version, entry: Entry) {
        let (from, to) = self.bounds;
        let is_newer =
            |found: &BTreeMap<Seq, (Version, Entry)>| found.get(&entry.seq).is_none_or(|(known, _)| version > *known);
        if (from..=to).contains(&entry.seq) && is_newer(&self.found) {
            self.found.insert(entry.seq, (version, entry));
        }
    }

    /// Whether no seq is left out between the first bound and the last entry; else the first one that is.
    pub fn hole(&self) -> Option<Seq> {
        let expected = self.bounds.0.0..;
        self.found.keys().zip(expected).find(|(seq, expected)| seq.0 != *expected).map(|(_, expected)| Seq(expected))
    }

    pub fn into_entries(self) -> impl DoubleEndedIterator<Item = (Version, Entry)> {
        self.found.into_values()
    }
}
