//! Reading a log out of rows that may overlap: which rows to look at, and which entry counts. Knows no engine.

use std::collections::BTreeMap;

use tidings_proto::{ConversationId, Seq};

use super::{
    LogRange, TablesError, Version,
    chunk::{self, MAX_SPAN},
    keys::Key,
};
use crate::conversation::entry::Entry;

/// The lowest seq at which a row may begin that holds `seq`.
pub(crate) fn earliest_start(seq: Seq) -> Seq {
    Seq(seq.0.saturating_sub(MAX_SPAN - 1))
}

/// Collects the entries that a reader asked for. The engine feeds it rows in the direction of reading until
/// [`LogReader::wants`] says no: up from [`LogReader::start`] for `After`, down from below the bound for `Before`.
pub(crate) struct LogReader {
    conversation: ConversationId,
    range: LogRange,
    limit: usize,
    found: BTreeMap<Seq, (Version, Entry)>,
}

impl LogReader {
    pub(crate) fn new(conversation: ConversationId, range: LogRange, limit: usize) -> Self {
        Self { conversation, range, limit, found: BTreeMap::new() }
    }

    /// The seqs at which rows of interest may begin, both inclusive; `None` if nothing can be found.
    pub(crate) fn start(&self) -> Option<(Seq, Seq)> {
        match self.range {
            _ if self.limit == 0 => None,
            LogRange::After(Seq(u64::MAX)) | LogRange::Before(Seq::NONE) => None,
            LogRange::After(bound) => Some((earliest_start(bound.next()), Seq(u64::MAX))),
            LogRange::Before(bound) => Some((Seq::NONE, bound.previous())),
        }
    }

    /// Whether a row that begins at `first_seq` can still matter.
    pub(crate) fn wants(&self, first_seq: Seq) -> bool {
        if self.found.len() < self.limit {
            return true;
        }
        match self.range {
            LogRange::After(_) => self.found.keys().nth(self.limit - 1).is_some_and(|last| first_seq <= *last),
            LogRange::Before(_) => {
                let last = self.found.keys().nth_back(self.limit - 1);
                last.is_some_and(|last| first_seq >= earliest_start(*last))
            }
        }
    }

    pub(crate) fn take(&mut self, first_seq: Seq, version: Version, value: &[u8]) -> Result<(), TablesError> {
        let opened = open(self.conversation, first_seq, value)?;
        if !self.overlaps(opened.first_seq, opened.last_seq) {
            return Ok(());
        }
        let entries = opened.entries().map_err(|error| damaged(self.conversation, first_seq, &error))?;
        for entry in entries {
            let is_asked_for = match self.range {
                LogRange::After(bound) => entry.seq > bound,
                LogRange::Before(bound) => entry.seq < bound,
            };
            if is_asked_for && self.found.get(&entry.seq).is_none_or(|(known, _)| version > *known) {
                self.found.insert(entry.seq, (version, entry));
            }
        }
        Ok(())
    }

    fn overlaps(&self, first: Seq, last: Seq) -> bool {
        let is_full = self.found.len() >= self.limit;
        match self.range {
            LogRange::After(bound) => last > bound,
            LogRange::Before(bound) if is_full => {
                first < bound && self.found.keys().nth_back(self.limit - 1).is_some_and(|lowest| last >= *lowest)
            }
            LogRange::Before(bound) => first < bound,
        }
    }

    pub(crate) fn finish(self) -> Vec<Entry> {
        let entries = self.found.into_values().map(|(_, entry)| entry);
        match self.range {
            LogRange::After(_) => entries.take(self.limit).collect(),
            LogRange::Before(_) => entries.rev().take(self.limit).collect(),
        }
    }
}

/// Opens a log row and checks that it is the one its key says.
pub(crate) fn open(
    conversation: ConversationId,
    first_seq: Seq,
    value: &[u8],
) -> Result<chunk::Opened<'_>, TablesError> {
    let opened = chunk::open(value).map_err(|error| damaged(conversation, first_seq, &error))?;
    if opened.first_seq == first_seq {
        Ok(opened)
    } else {
        Err(damaged(conversation, first_seq, &chunk::ChunkError::Malformed("its first seq is not that of its key")))
    }
}

pub(crate) fn damaged(conversation: ConversationId, first_seq: Seq, error: &chunk::ChunkError) -> TablesError {
    TablesError::Damaged { place: format!("row {:?}", Key::Log(conversation, first_seq)), what: error.to_string() }
}
