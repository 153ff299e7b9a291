//! One round: finds what has become old and packs it. `moving` then takes it out of the tables.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tidings_proto::{ConversationId, Seq};

use super::{
    Archive, ReadError,
    merge::LogRow,
    segment::{Block, Segment},
    tables::places,
};
use crate::{
    blobs::BlobError,
    host::row::ConversationRow,
    shutdown::Shutdown,
    tables::{Key, Prefix, Tables, TablesError, chunk::BLOCK_ENTRIES_MAX},
};

/// So many of a conversation's newest entries stay in the tables, whatever their age.
pub const KEPT: u64 = 256;
/// Fewer are not worth a block yet.
const BLOCK_ENTRIES_MIN: u64 = 128;
/// Conversations listed at once.
const CONVERSATIONS: usize = 256;
/// Rows read at once while a block gathers.
const ROWS: usize = 128;
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What a round did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct Report {
    /// Conversations that were looked at.
    pub conversations: u64,
    /// Blobs that were made.
    pub segments: u64,
    /// Runs of entries in them, each of one conversation.
    pub blocks: u64,
    pub entries: u64,
    /// What these entries say: texts, names, ids, and eight bytes for each time.
    pub unpacked_bytes: u64,
    pub packed_bytes: u64,
    /// Log rows that were deleted.
    pub rows: u64,
    /// Conversations that could not be archived because something is wrong with them; the log says what.
    pub failed: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum RoundError {
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Blobs(#[from] BlobError),
    #[error("the segment {name} was read back, and {what}")]
    Different { name: String, what: String },
    #[error(transparent)]
    Block(#[from] ReadError),
    #[error("nothing is to be archived: set archive.after_months")]
    Off,
    #[error("the server is stopping")]
    Stopping,
}

pub(super) type IsHere = Box<dyn Fn(ConversationId) -> bool + Send + Sync>;

/// What moves old entries. One round at a time. On a fleet each node moves those of the conversations that it hosts; should two do
/// the same for a moment, both places are right, and a row goes only in a version that was compared. (The smallest key of a place at
/// or above a seq is of a block that has it: a place is written when the one that ends before it begins is there.)
pub struct Archiver {
    /// The tables themselves, without the archive under them.
    pub(super) tables: Arc<dyn Tables>,
    pub(super) archive: Arc<Archive>,
    pub(super) shutdown: Shutdown,
    /// Of the time this many parts rest for each that works. 0 for tests.
    rest: u32,
    /// Which conversations this node hosts. Until it is set: all.
    pub(super) is_here: OnceLock<IsHere>,
    /// Rows that a crash left behind their places have been looked for since the start.
    is_swept: AtomicBool,
}

impl Archiver {
    pub(crate) fn new(tables: Arc<dyn Tables>, archive: Arc<Archive>, shutdown: Shutdown, rest: u32) -> Self {
        let (is_here, is_swept) = (OnceLock::new(), AtomicBool::new(false));
        Self { tables, archive, shutdown, rest, is_here, is_swept }
    }

    pub(super) fn is_here(&self, id: ConversationId) -> bool {
        self.is_here.get().is_none_or(|is_here| is_here(id))
    }

    /// Archives what is older than `before_ms`. What an earlier, interrupted round did stays done.
    pub async fn round(&self, before_ms: u64) -> Result<Report, RoundError> {
        let mut report = Report::default();
        let mut segment = Segment::default();
        let mut after = None;
        loop {
            let listed = self.tables.rows(Prefix::Conversations, after, CONVERSATIONS).await?;
            after = listed.last().map(|(key, _)| key.clone());
            if after.is_none() {
                break;
            }
            let began = Instant::now();
            for (key, stored) in listed {
                let Key::Conversation(id) = key else { continue };
                if !self.is_here(id) {
                    continue;
                }
                report.conversations += 1;
                if let Err(error) = self.conversation(id, &stored.value, before_ms, &mut segment, &mut report).await {
                    self.note(id, error, &mut report)?;
                }
            }
            self.pause(began.elapsed()).await?;
        }
        self.close(&mut segment, &mut report).await?;
        self.is_swept.store(true, Ordering::Relaxed);
        Ok(report)
    }

    /// One conversation that cannot be archived stops the others only if nothing can be stored at all.
    fn note(&self, id: ConversationId, error: RoundError, report: &mut Report) -> Result<(), RoundError> {
        match error {
            RoundError::Tables(TablesError::Damaged { .. }) | RoundError::Block(ReadError::Damaged { .. }) => {
                tracing::error!(%error, conversation = %id, "it cannot be archived");
                report.failed += 1;
                Ok(())
            }
            error => Err(error),
        }
    }

    /// Gathers the blocks of one conversation; whenever the segment is full, moves what is in it.
    async fn conversation(
        &self,
        id: ConversationId,
        value: &[u8],
        before_ms: u64,
        segment: &mut Segment,
        report: &mut Report,
    ) -> Result<(), RoundError> {
        let last_seq = ConversationRow::read(id, value)?.last_seq();
        if last_seq.0 < KEPT + BLOCK_ENTRIES_MIN {
            return Ok(());
        }
        let places = places(&*self.tables, id, Seq::FIRST, Seq(u64::MAX)).await?;
        if !self.is_swept.load(Ordering::Relaxed) && !places.is_empty() {
            report.rows += self.sweep(id, &places).await?;
        }
        let mut archived = places.iter().map(|(_, place)| place.to).max().unwrap_or(Seq::NONE);
        let end = Seq(last_seq.0 - KEPT);
        while archived.0 + BLOCK_ENTRIES_MIN <= end.0 {
            let Some(block) = self.block(id, archived.next(), end, before_ms).await? else { break };
            archived = block.to;
            segment.add(block);
            if segment.is_full() {
                self.close(segment, report).await?;
            }
        }
        Ok(())
    }

    /// The next block of a conversation, if enough of it is old. It ends where a row ends.
    async fn block(
        &self,
        id: ConversationId,
        from: Seq,
        end: Seq,
        before_ms: u64,
    ) -> Result<Option<Block>, RoundError> {
        let mut rows: Vec<LogRow> = Vec::new();
        let most = Seq(end.0.min(from.0 + BLOCK_ENTRIES_MAX as u64 - 1));
        let (mut next, mut is_old) = (from, true);
        while is_old && next <= most {
            let read = self.tables.log_rows_between(id, next, most, ROWS).await?;
            let Some((last, _)) = read.last() else { break };
            next = last.next();
            for (first, stored) in &read {
                let row = LogRow::read(id, *first, stored)?;
                is_old &= row.entries.iter().all(|entry| entry.at_ms < before_ms);
                rows.push(row);
            }
        }
        let Some(to) = last_whole(&rows, most, before_ms) else { return Ok(None) };
        if to.0 + 1 < from.0 + BLOCK_ENTRIES_MIN {
            return Ok(None);
        }
        rows.retain(|row| row.last <= to);
        let packed = tokio::task::spawn_blocking(move || Block::pack(id, (from, to), rows)).await;
        let packed = packed.map_err(|error| broken(id, &error.to_string()))?;
        packed.map(Some).ok_or_else(|| broken(id, &format!("entries are missing between {from} and {to}")).into())
    }

    /// Rests in proportion to the work done; ends early when the server stops.
    pub(super) async fn pause(&self, worked: Duration) -> Result<(), RoundError> {
        let rest = (worked * self.rest).min(PAUSE_MAX);
        tokio::select! {
            () = tokio::time::sleep(rest) => Ok(()),
            () = self.shutdown.begun() => Err(RoundError::Stopping),
        }
    }
}

/// The last seq up to which whole rows are old, and behind which no row begins before it.
fn last_whole(rows: &[LogRow], most: Seq, before_ms: u64) -> Option<Seq> {
    let is_old = |row: &LogRow| row.last <= most && row.entries.iter().all(|entry| entry.at_ms < before_ms);
    // Nothing from the first row on that stays, and nothing that reaches into it.
    let mut end = rows.iter().filter(|row| !is_old(row)).map(|row| row.first).min().map(Seq::previous);
    loop {
        let limit = end.unwrap_or(most);
        let crossing = rows.iter().filter(|row| row.first <= limit && row.last > limit).map(|row| row.first).min();
        match crossing {
            Some(first) => end = Some(first.previous()),
            None => return rows.iter().map(|row| row.last).filter(|last| *last <= limit).max(),
        }
    }
}

pub(super) fn broken(id: ConversationId, what: &str) -> TablesError {
    TablesError::Damaged { place: format!("conversation {id}"), what: what.to_owned() }
}
