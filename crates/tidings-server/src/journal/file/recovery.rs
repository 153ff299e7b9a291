//! Opening: finds out what the files hold, and judges the end. It changes nothing on the disk before
//! [`Recovered::start`], which is the only way to a journal that can be appended to.
//!
//! At the first record that is bad the rest of the segment is searched. Whole records behind it mean damage: what was
//! acknowledged is wrong, opening fails and tells file and place. None means that the last append was torn, or that
//! nothing was written there: the journal ends before it.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    super::{Position, ReadError},
    FileJournal, FileJournalOptions,
    disk::Disk,
    record::{self, BLOCK_BYTES, BadRecord, Kind},
    segment::{Catalog, Header, SEGMENT_ENDING, SPARE_ENDING, Segment, place},
};

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the journal cannot be opened: {0}")]
    Failed(#[from] io::Error),
    #[error("the journal's segments of {segment_bytes} bytes cannot hold a commit of {max_commit_bytes}")]
    SegmentTooSmall { segment_bytes: u64, max_commit_bytes: usize },
    /// [`Recovered::start`] would have given up commits that are not in the tables yet.
    #[error("the tables hold all up to {flushed}, the journal goes to {last}: replay and flush first")]
    NotFlushed { flushed: Position, last: Position },
}

/// What an opened journal holds. It takes no commit: read and flush what is here, then [`Recovered::start`].
#[derive(Debug)]
pub struct Recovered {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: FileJournalOptions,
    pub(super) catalog: Catalog,
    pub(super) last: Position,
    pub(super) sealed: bool,
    /// The newest run, 0 if there is none yet, and the lineage of all.
    pub(super) run: u64,
    pub(super) lineage: u64,
    /// Segments that a later run has made needless.
    pub(super) outdated: Vec<String>,
    pub(super) spares: Vec<String>,
    end: End,
}

/// How the journal's last segment ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The last commit is known to be whole: something was written behind it, or there is none.
    Confirmed,
    /// Nothing shows that the last commit found is the last one there was. One that was under way, and was never
    /// acknowledged, may be missing; `torn` is where the beginning of one was found and cut.
    Unconfirmed { torn: Option<String> },
}

impl Recovered {
    /// Scans what is on `disk`. Blocks.
    pub fn open(disk: Arc<dyn Disk>, options: FileJournalOptions) -> Result<Self, OpenError> {
        // Beside the header a commit must fit, and so must a seal with its confirming record.
        let largest = BLOCK_BYTES + record::padded_bytes(options.max_commit_bytes).max(2 * BLOCK_BYTES);
        if options.segment_bytes < largest as u64 || !options.segment_bytes.is_multiple_of(BLOCK_BYTES as u64) {
            let (segment_bytes, max_commit_bytes) = (options.segment_bytes, options.max_commit_bytes);
            return Err(OpenError::SegmentTooSmall { segment_bytes, max_commit_bytes });
        }
        let mut names = disk.list()?;
        names.sort();
        let spares = names.iter().filter(|name| name.ends_with(SPARE_ENDING)).cloned().collect();
        let mut found = Vec::new();
        for name in names.iter().filter(|name| name.ends_with(SEGMENT_ENDING)) {
            found.push(Found::open(&*disk, name)?);
        }
        let run = found.iter().map(|segment| segment.header.run).max().unwrap_or(0);
        let lineage = found.first().map_or_else(rand::random, |segment| segment.header.lineage);
        if let Some(stranger) = found.iter().find(|segment| segment.header.lineage != lineage) {
            return Err(damaged(&stranger.name, 0, "the segment belongs to another journal").into());
        }
        let (mut current, outdated): (Vec<_>, Vec<_>) = found.into_iter().partition(|found| found.header.run == run);
        current.sort_by_key(|found| found.header.sequence);

        let mut scan = Scan::default();
        for segment in current {
            scan.segment(segment)?;
        }
        let outdated = outdated.into_iter().map(|found| found.name).collect();
        let Scan { catalog, last, sealed, end, .. } = scan;
        match &end {
            End::Unconfirmed { torn: Some(place) } => {
                tracing::warn!(%last, %place, "the journal was not closed: cut a torn commit that was never acknowledged");
            }
            End::Unconfirmed { torn: None } => tracing::info!(%last, "the journal was not closed"),
            End::Confirmed => tracing::info!(%last, "the journal was closed"),
        }
        Ok(Self { disk, options, catalog, last, sealed, run, lineage, outdated, spares, end })
    }

    /// The position of the last commit, `NONE` if there never was one.
    pub fn last(&self) -> Position {
        self.last
    }

    pub fn end(&self) -> &End {
        &self.end
    }

    pub fn is_sealed(&self) -> bool {
        self.sealed
    }

    /// The commits after `after`, as [`super::super::Journal::read`] gives them. Blocks.
    pub fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        self.catalog.read(after, max_bytes)
    }

    /// Begins a new segment, durably, and gives up all older ones: `flushed` is the caller's word that everything up
    /// to there is durable in the tables, and must be all that is here. Positions go on behind both. A sealed journal
    /// stays as it is and takes nothing. Blocks.
    pub fn start(self, flushed: Position) -> Result<FileJournal, OpenError> {
        if flushed < self.last {
            return Err(OpenError::NotFlushed { flushed, last: self.last });
        }
        if flushed > self.last {
            // A commit that was never durable can have been read and flushed, and then have gone with the power.
            tracing::warn!(%flushed, last = %self.last, "the journal ends before what was flushed");
        }
        FileJournal::start(self, flushed)
    }
}

/// A segment of which only the header was looked at.
struct Found {
    name: String,
    header: Header,
    file: Arc<dyn super::disk::DiskFile>,
}

impl Found {
    fn open(disk: &dyn Disk, name: &str) -> Result<Self, OpenError> {
        let file = disk.open(name)?;
        let mut bytes = vec![0; BLOCK_BYTES];
        let read = file.read_at(0, &mut bytes)?;
        let header = Header::decode(&bytes[..read]).map_err(|what| damaged(name, 0, what))?;
        let file_bytes = file.bytes()?;
        if file_bytes != header.segment_bytes {
            let what = format!("the file has {file_bytes} bytes, its header says {}", header.segment_bytes);
            return Err(damaged(name, file_bytes.min(header.segment_bytes), what).into());
        }
        Ok(Self { name: name.to_owned(), header, file })
    }
}

/// What the segments so far hold.
struct Scan {
    catalog: Catalog,
    last: Position,
    sealed: bool,
    end: End,
    /// Where the last segment so far ends: behind its last good record.
    end_offset: usize,
}

impl Default for Scan {
    fn default() -> Self {
        Self { catalog: Catalog::default(), last: Position::NONE, sealed: false, end: End::Confirmed, end_offset: 0 }
    }
}

impl Scan {
    fn segment(&mut self, found: Found) -> Result<(), OpenError> {
        self.check_follows(&found)?;
        self.last = Position(found.header.first_position.0 - 1);
        // That the segment was begun confirms what is before it.
        self.end = End::Confirmed;
        let mut bytes = vec![0; found.header.segment_bytes as usize];
        let read = found.file.read_at(0, &mut bytes)?;
        bytes.truncate(read);

        let mut blocks = Vec::new();
        let mut offset = BLOCK_BYTES;
        while offset < bytes.len() {
            let record = match record::decode(found.header.salt, &bytes[offset..]) {
                Ok(record) => record,
                Err(bad) => {
                    self.judge_end(&found, &bytes, offset, bad)?;
                    break;
                }
            };
            let expected = if record.kind == Kind::Commit { self.last.next() } else { self.last };
            if record.position != expected || (self.sealed && record.kind != Kind::Confirm) {
                let what = format!("a record of position {} stands where {expected} should", record.position);
                return Err(damaged(&found.name, offset as u64, what).into());
            }
            match record.kind {
                Kind::Commit => {
                    self.last = record.position;
                    self.end = End::Unconfirmed { torn: None };
                    blocks.push((offset / BLOCK_BYTES) as u32);
                }
                Kind::Confirm => self.end = End::Confirmed,
                Kind::Seal => {
                    self.sealed = true;
                    self.end = End::Unconfirmed { torn: None };
                }
            }
            offset += record::padded_bytes(record.payload.len());
        }
        self.end_offset = offset;
        let segment = Segment::found(found.name, found.header, found.file, blocks);
        self.catalog.segments.push_back(Arc::new(segment));
        Ok(())
    }

    /// A segment must go on where the one before it ends.
    fn check_follows(&self, found: &Found) -> Result<(), ReadError> {
        let Some(before) = self.catalog.segments.back() else { return Ok(()) };
        let (sequence, first) = (before.header.sequence + 1, self.last.next());
        if found.header.sequence != sequence {
            let what = format!("segment {sequence} of this run is missing before it or stands twice");
            return Err(damaged(&found.name, 0, what));
        }
        if found.header.first_position != first {
            let begins = found.header.first_position;
            let what =
                format!("no good record of position {first} stands here, and the next segment begins with {begins}");
            return Err(damaged(&before.name, self.end_offset as u64, what));
        }
        if self.sealed {
            return Err(damaged(&found.name, 0, "it stands behind the seal"));
        }
        Ok(())
    }

    /// The record at `offset` is bad: is it damage, or the end?
    fn judge_end(&mut self, found: &Found, bytes: &[u8], offset: usize, bad: BadRecord) -> Result<(), ReadError> {
        let mut behind = (offset + BLOCK_BYTES..bytes.len()).step_by(BLOCK_BYTES);
        if let Some(whole) = behind.find(|&at| record::decode(found.header.salt, &bytes[at..]).is_ok()) {
            let what = format!("the record is bad ({}), but the one at byte {whole} is whole", bad.what());
            return Err(damaged(&found.name, offset as u64, what));
        }
        if bad != BadRecord::OtherSalt {
            // A record was begun here with this salt, so the commit that it was is cut.
            self.end = End::Unconfirmed { torn: Some(place(&found.name, offset as u64)) };
        }
        Ok(())
    }
}

fn damaged(file: &str, offset: u64, what: impl Into<String>) -> ReadError {
    ReadError::Damaged { place: place(file, offset), what: what.into() }
}
