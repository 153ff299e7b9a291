//! Logs and states: every entry is there, and the state has them all.

use std::sync::Arc;

use tidings_proto::{ConversationId, Seq};

use super::{Fault, Fsck, Report};
use crate::{
    conversation::{actor::Stored, event::Change, state::State},
    host::row::{ConversationRow, encode},
    tables::{Key, LogRange, Row, TablesError, Version},
};

/// Entries read at once.
const ENTRIES: usize = 1_024;

impl Fsck {
    /// Reads the whole log. Brings `state` up to it where it is behind, and writes that if it may.
    pub(super) async fn log(
        &self,
        id: ConversationId,
        state: &mut State,
        stored: &Stored,
        report: &mut Report,
    ) -> Result<(), TablesError> {
        let (had, mut expected) = (state.last_seq, Seq::FIRST);
        loop {
            let entries = self.tables.log(id, LogRange::After(expected.previous()), ENTRIES).await?;
            if entries.is_empty() {
                break;
            }
            report.entries += entries.len() as u64;
            for entry in entries {
                while expected < entry.seq {
                    report.faults.push(Fault::EntryMissing { conversation: id, seq: expected });
                    expected = expected.next();
                }
                expected = entry.seq.next();
                if entry.seq > state.last_seq {
                    state.apply(state.version + 1, &Change::Entry(Arc::new(entry)));
                }
            }
        }
        let log_ends = expected.previous();
        while expected <= had {
            report.faults.push(Fault::EntryMissing { conversation: id, seq: expected });
            expected = expected.next();
        }
        if had < log_ends {
            report.faults.push(Fault::StateBehind { conversation: id, last_seq: had, log_ends });
            if self.mends {
                let row = ConversationRow::new(state, stored.tail.clone(), stored.fingerprints_from);
                let (key, version) = (Key::Conversation(id), Version(state.version));
                self.write(vec![Row { key, version, value: Some(encode(&row)) }]).await?;
                report.mended += 1;
            }
        }
        Ok(())
    }
}
