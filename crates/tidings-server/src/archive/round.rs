//! One round: finds what has become old and packs it. `moving` then takes it out of the tables.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, ShardId};

use super::{
    Archive, Place, ReadError,
    merge::LogRow,
    segment::{Block, Segment},
    tables::places,
};
use crate::{
    blobs::BlobError,
    host::row::ConversationRow,
    shutdown::Shutdown,
    tables::{Slice, Stored, Tables, TablesError, Version, chunk::BLOCK_ENTRIES_MAX},
};

/// So many of a conversation's newest entries stay in the tables, whatever their age.
pub const KEPT: u64 = 256;
/// Fewer are not worth a block yet.
const BLOCK_ENTRIES_MIN: u64 = 128;
/// Conversations listed at once.
const CONVERSATIONS: usize = 256;
/// Most are short, or empty: so many are begun together.
const SLICES_AT_ONCE: usize = 16;
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

/// The epoch since which this node hosts a shard; 0: it does not.
type EpochOf = Box<dyn Fn(ShardId) -> u64 + Send + Sync>;

/// What moves old entries. One round at a time. It knows no actor, so any node may archive any conversation; and so that a fleet lists
/// them once, and not once a node, each node lists those slices of them whose shard it hosts.
///
/// Should two work on the same conversation (a slice was given away in the middle of it, or a node was asleep that long), nothing is
/// lost and nothing old comes back:
///
/// * A row goes only in the version that was compared with a block that has a place by then: what its host writes meanwhile stays.
/// * Both places are right, and of two blocks the one of newer rows counts. The smallest key of a place at or above a seq is of a block
///   that has it: a place is written when the one that ends before it begins is there.
/// * Whoever comes second finds other rows than it has packed, or none, and leaves that block (`moving`).
pub struct Archiver {
    /// The tables themselves, without the archive under them.
    pub(super) tables: Arc<dyn Tables>,
    pub(super) archive: Arc<Archive>,
    pub(super) shutdown: Shutdown,
    /// Of the time this many parts rest for each that works. 0 for tests.
    rest: u32,
    /// Until it is set this node hosts all.
    epoch_of: OnceLock<EpochOf>,
    /// In which slices rows have been looked for that a crash left behind their places, and in which epoch of their shard: whoever had
    /// the slice since then may have crashed, too.
    swept: Mutex<HashMap<Slice, u64>>,
}

/// A round under way.
struct Round {
    before_ms: u64,
    segment: Segment,
    report: Report,
}

impl Archiver {
    pub(crate) fn new(tables: Arc<dyn Tables>, archive: Arc<Archive>, shutdown: Shutdown, rest: u32) -> Self {
        let (epoch_of, swept) = (OnceLock::new(), Mutex::default());
        Self { tables, archive, shutdown, rest, epoch_of, swept }
    }

    /// From now on this node lists what the shards say that it hosts.
    pub(crate) fn share(&self, epoch_of: impl Fn(ShardId) -> u64 + Send + Sync + 'static) {
        let is_first = self.epoch_of.set(Box::new(epoch_of)).is_ok();
        assert!(is_first, "it is shared out once");
    }

    /// Archives what is older than `before_ms`. What an earlier, interrupted round did stays done.
    pub async fn round(&self, before_ms: u64) -> Result<Report, RoundError> {
        let mut round = Round { before_ms, segment: Segment::default(), report: Report::default() };
        let slices: Vec<_> = Slice::all().collect();
        for slices in slices.chunks(SLICES_AT_ONCE) {
            // Asked now, not at the round's begin: a node that comes takes over the slices that it finds in front of it.
            let here = slices.iter().map(|slice| (*slice, self.epoch(*slice))).filter(|(_, epoch)| *epoch > 0);
            let begun = here.map(|(slice, epoch)| async move {
                let first = self.tables.conversations(slice, None, CONVERSATIONS).await?;
                Ok::<_, TablesError>((slice, epoch, first))
            });
            for (slice, epoch, first) in try_join_all(begun).await? {
                if self.slice(slice, epoch, first, &mut round).await? {
                    self.swept.lock().insert(slice, epoch);
                }
            }
        }
        self.close(&mut round.segment, &mut round.report).await?;
        Ok(round.report)
    }

    fn epoch(&self, slice: Slice) -> u64 {
        self.epoch_of.get().map_or(1, |epoch_of| epoch_of(slice.shard()))
    }

    /// Whether it came to the slice's end. It does not if the slice goes to another node: that one begins it anew.
    async fn slice(
        &self,
        slice: Slice,
        epoch: u64,
        mut listed: Vec<(ConversationId, Stored)>,
        round: &mut Round,
    ) -> Result<bool, RoundError> {
        let is_swept = self.swept.lock().get(&slice) == Some(&epoch);
        while self.epoch(slice) == epoch {
            let Some(&(last, _)) = listed.last() else { return Ok(true) };
            let began = Instant::now();
            for (id, stored) in listed {
                round.report.conversations += 1;
                if let Err(error) = self.conversation(id, &stored.value, is_swept, round).await {
                    self.note(id, error, &mut round.report)?;
                }
            }
            self.pause(began.elapsed()).await?;
            listed = self.tables.conversations(slice, Some(last), CONVERSATIONS).await?;
        }
        Ok(false)
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
        is_swept: bool,
        round: &mut Round,
    ) -> Result<(), RoundError> {
        let last_seq = ConversationRow::read(id, value)?.last_seq();
        if last_seq.0 < KEPT + BLOCK_ENTRIES_MIN {
            return Ok(());
        }
        let places = places(&*self.tables, id, Seq::FIRST, Seq(u64::MAX)).await?;
        if !is_swept && !places.is_empty() {
            round.report.rows += self.sweep(id, &places).await?;
        }
        let mut archived = end_of(&places);
        let end = Seq(last_seq.0 - KEPT);
        while archived.0 + BLOCK_ENTRIES_MIN <= end.0 {
            let Some(block) = self.block(id, archived.next(), end, round.before_ms).await? else { break };
            archived = block.to;
            round.segment.add(block);
            if round.segment.is_full() {
                self.close(&mut round.segment, &mut round.report).await?;
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
        if packed.is_none() && end_of(&places(&*self.tables, id, from, Seq(u64::MAX)).await?) < from {
            return Err(broken(id, &format!("entries are missing between {from} and {to}")).into());
        }
        // Or another node has archived them meanwhile.
        Ok(packed)
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

/// The last seq that is in the archive.
fn end_of(places: &[(Version, Place)]) -> Seq {
    places.iter().map(|(_, place)| place.to).max().unwrap_or(Seq::NONE)
}

pub(super) fn broken(id: ConversationId, what: &str) -> TablesError {
    TablesError::Damaged { place: format!("conversation {id}"), what: what.to_owned() }
}
