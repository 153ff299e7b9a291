//! Reading logs: a conversation's rows are spread over parts by their first seq.

use tidings_proto::{ConversationId, Seq};

use super::{
    CassandraTables, LogRange, Stored, TablesError, damaged, failed,
    statements::{PART, ROWS_A_READ, number, part_of},
    stored,
};
use crate::{
    cassandra::ask::found,
    conversation::entry::Entry,
    tables::log_read::{LogReader, earliest_start, open},
};

impl CassandraTables {
    pub(super) async fn read_log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        let mut reader = LogReader::new(conversation, range, limit);
        let Some((from, to)) = reader.start() else { return Ok(Vec::new()) };
        match range {
            LogRange::After(bound) => {
                let must_look = part_of(bound.next().0);
                for part in part_of(from.0).. {
                    let is_empty = self.read_part(&mut reader, conversation, part, (from, to), range).await?;
                    // Seqs are dense, and no row spans a part: behind an empty one there is nothing.
                    if (is_empty && part >= must_look) || !reader.wants(Seq(first_of(part + 1))) {
                        break;
                    }
                }
            }
            LogRange::Before(_) => {
                let Some(newest) = self.newest_part(conversation, part_of(to.0)).await? else { return Ok(Vec::new()) };
                for part in (0..=newest).rev() {
                    self.read_part(&mut reader, conversation, part, (from, to), range).await?;
                    if !reader.wants(Seq(first_of(part).saturating_sub(1))) {
                        break;
                    }
                }
            }
        }
        Ok(reader.finish())
    }

    /// Hands the rows of one part to the reader while it wants them. Tells whether there were none.
    async fn read_part(
        &self,
        reader: &mut LogReader,
        conversation: ConversationId,
        part: i32,
        (mut from, mut to): (Seq, Seq),
        range: LogRange,
    ) -> Result<bool, TablesError> {
        let mut is_empty = true;
        loop {
            let rows = self.part_rows(conversation, part, (from, to), range).await?;
            let Some((last, _)) = rows.last() else { return Ok(is_empty) };
            is_empty = false;
            let is_last = rows.len() < ROWS_A_READ;
            match range {
                LogRange::After(_) => from = last.next(),
                LogRange::Before(_) if *last == Seq::NONE => from = Seq(u64::MAX),
                LogRange::Before(_) => to = last.previous(),
            }
            for (first_seq, row) in rows {
                if !reader.wants(first_seq) {
                    return Ok(false);
                }
                reader.take(first_seq, row.version, &row.value)?;
            }
            if is_last {
                return Ok(false);
            }
        }
    }

    async fn part_rows(
        &self,
        conversation: ConversationId,
        part: i32,
        (from, to): (Seq, Seq),
        range: LogRange,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        let statement = match range {
            LogRange::After(_) => &self.statements.log_up,
            LogRange::Before(_) => &self.statements.log_down,
        };
        let values = (conversation.as_bytes().as_slice(), part, number(from.0), number(to.0));
        let rows = self.store.ask(statement, values).await.and_then(found).map_err(failed)?;
        rows.into_iter()
            .map(|mut row| {
                let first_seq = row.number("first_seq").ok_or_else(|| damaged("a log row", "it has no seq"))?;
                Ok((Seq(first_seq.unsigned_abs()), stored(&mut row)?))
            })
            .collect()
    }

    /// The last part that has rows, at or before `at_most`. Who knows a bound asks for one part; who asks for "the newest"
    /// finds it by doubling.
    async fn newest_part(&self, conversation: ConversationId, at_most: i32) -> Result<Option<i32>, TablesError> {
        if self.has_rows(conversation, at_most).await? {
            return Ok(Some(at_most));
        }
        if !self.has_rows(conversation, 0).await? {
            return Ok(None);
        }
        // Rows in `low`, none in `high`.
        let (mut low, mut high) = (0, 1);
        while high < at_most && self.has_rows(conversation, high).await? {
            low = high;
            high = high.saturating_mul(2);
        }
        high = high.min(at_most.max(1));
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.has_rows(conversation, middle).await? { low = middle } else { high = middle }
        }
        Ok(Some(low))
    }

    async fn has_rows(&self, conversation: ConversationId, part: i32) -> Result<bool, TablesError> {
        let values = (conversation.as_bytes().as_slice(), part);
        let rows = self.store.ask(&self.statements.part_has_rows, values).await.and_then(found).map_err(failed)?;
        Ok(!rows.is_empty())
    }

    pub(super) async fn rows_between(
        &self,
        conversation: ConversationId,
        mut from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        let mut found = Vec::new();
        let mut part = part_of(from.0);
        while from <= to && found.len() < limit {
            let rows = self.part_rows(conversation, part, (from, to), LogRange::After(from)).await?;
            let is_last = rows.len() < ROWS_A_READ;
            from = rows.last().map_or(from, |(last, _)| last.next());
            found.extend(rows);
            if is_last {
                // Parts of the log may be empty: what stood there was archived.
                part += 1;
                from = from.max(Seq(first_of(part)));
            }
        }
        found.truncate(limit);
        Ok(found)
    }

    /// All rows that hold an entry of this seq.
    pub(super) async fn rows_with(
        &self,
        conversation: ConversationId,
        seq: Seq,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        let from = earliest_start(seq);
        let mut holding = Vec::new();
        for part in part_of(from.0)..=part_of(seq.0) {
            let mut from = from;
            loop {
                let rows = self.part_rows(conversation, part, (from, seq), LogRange::After(from)).await?;
                let Some((last, _)) = rows.last() else { break };
                let is_last = rows.len() < ROWS_A_READ;
                from = last.next();
                for (first_seq, row) in rows {
                    if open(conversation, first_seq, &row.value)?.last_seq >= seq {
                        holding.push((first_seq, row));
                    }
                }
                if is_last {
                    break;
                }
            }
        }
        Ok(holding)
    }
}

/// The lowest seq of a part.
fn first_of(part: i32) -> u64 {
    u64::from(part.unsigned_abs()) * PART
}
