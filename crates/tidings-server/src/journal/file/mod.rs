//! The embedded journal: segments of a fixed size in one folder, filled with zeros once and used again, and an
//! `fdatasync` before an append returns. Whoever opens it holds the lock on the data folder; this does not.
//!
//! Opening is [`Recovered::open`], reading and flushing what it holds, and [`Recovered::start`]. docs/formats.md
//! describes the files.

pub mod disk;
mod record;
mod recovery;
mod segment;
#[cfg(any(test, feature = "testing"))]
pub mod simulated;
mod spares;

use std::{
    io::{self, IoSlice},
    path::Path,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};

pub use recovery::{End, OpenError, Recovered};

use self::{
    disk::{Disk, LocalDisk, SyncOf},
    record::{BLOCK_BYTES, Kind, Record},
    segment::{Catalog, Header, Segment},
    spares::Spares,
};
use super::{AppendError, Journal, Position, ReadError};

#[derive(Clone, Debug)]
pub struct FileJournalOptions {
    /// A multiple of 4,096. Files of another size are used up and then removed.
    pub segment_bytes: u64,
    pub max_commit_bytes: usize,
    /// Prepare the next segment on a thread of its own. Without it the append that needs one does.
    pub fill_ahead: bool,
}

impl Default for FileJournalOptions {
    fn default() -> Self {
        Self { segment_bytes: 64 << 20, max_commit_bytes: 4 << 20, fill_ahead: true }
    }
}

/// See [`Journal`]. A failed write or sync ends it: nothing is tried twice, every later call fails.
#[derive(Debug)]
pub struct FileJournal {
    options: FileJournalOptions,
    disk: Arc<dyn Disk>,
    catalog: Arc<RwLock<Catalog>>,
    writer: Mutex<Writer>,
    spares: Spares,
    /// One trim at a time, so that segments go in order.
    trimming: Mutex<()>,
    broken: OnceLock<Arc<io::Error>>,
}

/// Where the next record goes.
#[derive(Debug)]
struct Writer {
    /// `None` in a journal that was found sealed.
    segment: Option<Arc<Segment>>,
    offset: u64,
    last: Position,
    sealed: bool,
    /// The last record is a commit.
    unconfirmed: bool,
}

impl FileJournal {
    /// Opens the journal in `folder`, which is made if it is missing. Blocks.
    pub fn open(folder: &Path, options: FileJournalOptions) -> Result<Recovered, OpenError> {
        Recovered::open(Arc::new(LocalDisk::open(folder)?), options)
    }

    fn start(recovered: Recovered, flushed: Position) -> Result<Self, OpenError> {
        let Recovered { disk, options, mut catalog, last, sealed, run, lineage, outdated, spares, .. } = recovered;
        let fill_ahead = options.fill_ahead && !sealed;
        let spares = Spares::new(Arc::clone(&disk), options.segment_bytes, spares, fill_ahead)?;
        let mut writer = Writer { segment: None, offset: BLOCK_BYTES as u64, last, sealed, unconfirmed: false };
        if !sealed {
            writer.last = flushed;
            let (name, file) = spares.take()?;
            let header = Header {
                segment_bytes: options.segment_bytes,
                lineage,
                run: run + 1,
                sequence: 1,
                first_position: flushed.next(),
                salt: rand::random(),
            };
            let segment = Arc::new(Segment::begin(&*disk, &name, &file, header)?);
            // Only now are the older ones needless.
            let former = std::mem::take(&mut catalog.segments);
            for name in outdated.iter().chain(former.iter().map(|segment| &segment.name)) {
                spares.recycle(name)?;
            }
            catalog.segments.push_back(Arc::clone(&segment));
            writer.segment = Some(segment);
            spares.ask_for_one();
        }
        Ok(Self {
            options,
            disk,
            catalog: Arc::new(RwLock::new(catalog)),
            writer: Mutex::new(writer),
            spares,
            trimming: Mutex::new(()),
            broken: OnceLock::new(),
        })
    }

    fn check_broken(&self) -> Result<(), AppendError> {
        self.broken.get().map_or(Ok(()), |error| Err(AppendError::Failed(Arc::clone(error))))
    }

    /// From here on every call fails.
    fn fail(&self, error: io::Error) -> AppendError {
        AppendError::Failed(Arc::clone(self.broken.get_or_init(|| Arc::new(error))))
    }

    /// Writes one record durably.
    fn write(&self, writer: &mut Writer, record: &Record<'_>, sync: SyncOf) -> io::Result<()> {
        let record_bytes = record::padded_bytes(record.payload.len());
        let segment = self.segment_with_room(writer, record_bytes)?;
        let header = record::header(segment.header.salt, record);
        let padding = [0; BLOCK_BYTES];
        let padding = &padding[..record_bytes - header.len() - record.payload.len()];
        let mut parts = [IoSlice::new(&header), IoSlice::new(record.payload), IoSlice::new(padding)];
        segment.file.write_at(writer.offset, &mut parts)?;
        segment.file.sync_data(sync)?;
        if record.kind == Kind::Commit {
            segment.appended(writer.offset);
        }
        writer.offset += record_bytes as u64;
        Ok(())
    }

    /// The segment to write to: the next one if this one has not `bytes` left.
    fn segment_with_room(&self, writer: &mut Writer, bytes: usize) -> io::Result<Arc<Segment>> {
        let segment = writer.segment.as_ref().expect("a journal that is not sealed has a segment");
        if writer.offset + bytes as u64 <= segment.header.segment_bytes {
            return Ok(Arc::clone(segment));
        }
        let segment = Arc::clone(segment);
        self.roll(&segment, writer)
    }

    /// A seal, and behind it a confirming record: then damage of the one is never taken for a torn end.
    fn write_seal(&self, writer: &mut Writer) -> io::Result<()> {
        self.segment_with_room(writer, 2 * BLOCK_BYTES)?;
        for kind in [Kind::Seal, Kind::Confirm] {
            self.write(writer, &Record { kind, position: writer.last, payload: &[] }, SyncOf::Mark)?;
        }
        Ok(())
    }

    /// Begins the next segment.
    fn roll(&self, full: &Segment, writer: &mut Writer) -> io::Result<Arc<Segment>> {
        let (name, file) = self.spares.take()?;
        let header = Header {
            segment_bytes: self.options.segment_bytes,
            sequence: full.header.sequence + 1,
            first_position: writer.last.next(),
            salt: rand::random(),
            ..full.header
        };
        let segment = Arc::new(Segment::begin(&*self.disk, &name, &file, header)?);
        self.catalog.write().segments.push_back(Arc::clone(&segment));
        writer.segment = Some(Arc::clone(&segment));
        writer.offset = BLOCK_BYTES as u64;
        self.spares.ask_for_one();
        Ok(segment)
    }

    /// The oldest segment, taken out, if it holds nothing above `up_to` and nobody is reading it.
    fn take_trimmed(&self, up_to: Position) -> Option<Arc<Segment>> {
        let mut catalog = self.catalog.write();
        let next = catalog.segments.get(1)?;
        let trimmed = next.header.first_position.0 - 1 <= up_to.0;
        // Readers hold the segment while they read; later ones cannot come while the catalog is locked.
        let unread = Arc::strong_count(&catalog.segments[0]) == 1;
        if trimmed && unread { catalog.segments.pop_front() } else { None }
    }
}

#[async_trait]
impl Journal for FileJournal {
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError> {
        let mut writer = self.writer.lock();
        self.check_broken()?;
        if writer.sealed {
            return Err(AppendError::Fenced);
        }
        let max = self.options.max_commit_bytes;
        if commit.len() > max {
            return Err(AppendError::TooLarge { bytes: commit.len(), max });
        }
        let position = writer.last.next();
        let record = Record { kind: Kind::Commit, position, payload: &commit };
        self.write(&mut writer, &record, SyncOf::Commit).map_err(|error| self.fail(error))?;
        writer.last = position;
        writer.unconfirmed = true;
        Ok(position)
    }

    async fn confirm(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock();
        self.check_broken()?;
        if writer.sealed {
            return Err(AppendError::Fenced);
        }
        if writer.unconfirmed {
            let record = Record { kind: Kind::Confirm, position: writer.last, payload: &[] };
            self.write(&mut writer, &record, SyncOf::Mark).map_err(|error| self.fail(error))?;
            writer.unconfirmed = false;
        }
        Ok(())
    }

    async fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let catalog = self.catalog.read().clone();
        let reading = tokio::task::spawn_blocking(move || catalog.read(after, max_bytes));
        reading.await.map_err(io::Error::other)?
    }

    async fn trim(&self, up_to: Position) -> Result<(), AppendError> {
        let _one_at_a_time = self.trimming.lock();
        self.check_broken()?;
        while let Some(segment) = self.take_trimmed(up_to) {
            self.spares.recycle(&segment.name).map_err(|error| self.fail(error))?;
        }
        Ok(())
    }

    async fn seal(&self) -> Result<Position, AppendError> {
        let mut writer = self.writer.lock();
        self.check_broken()?;
        if !writer.sealed {
            self.write_seal(&mut writer).map_err(|error| self.fail(error))?;
            writer.sealed = true;
        }
        Ok(writer.last)
    }

    fn max_commit_bytes(&self) -> usize {
        self.options.max_commit_bytes
    }

    fn segments(&self) -> usize {
        self.catalog.read().segments.len()
    }
}

#[cfg(test)]
mod tests;
