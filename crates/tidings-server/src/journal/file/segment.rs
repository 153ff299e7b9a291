//! A segment: one file of the journal, a header and then records. It owns the header's bytes and where each position
//! lies in the file; it decides neither when a segment begins nor what a bad record means. docs/formats.md describes it.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    sync::Arc,
};

use bytes::Bytes;
use parking_lot::RwLock;

use super::{
    super::{Position, ReadError},
    disk::{Disk, DiskFile, SyncOf},
    record::{self, BLOCK_BYTES, Kind, u32_at, u64_at},
};

const MAGIC: [u8; 8] = *b"TIDINGSJ";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 68;

/// A file with this ending was, before it got the name, given a header that is durable.
pub(super) const SEGMENT_ENDING: &str = ".segment";
/// A file with this ending holds nothing that is needed.
pub(super) const SPARE_ENDING: &str = ".spare";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub segment_bytes: u64,
    /// Which journal the segment belongs to: random, given to the first segment, the same in all later ones.
    pub lineage: u64,
    /// How often the journal was opened. What stands in segments of an earlier run was flushed before this one began.
    pub run: u64,
    /// 1, 2, 3 … in a run.
    pub sequence: u64,
    /// The position that the first commit in it has.
    pub first_position: Position,
    /// Random, new at each use of a file.
    pub salt: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; BLOCK_BYTES] {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[0..8].copy_from_slice(&MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&(BLOCK_BYTES as u32).to_le_bytes());
        let numbers =
            [self.segment_bytes, self.lineage, self.run, self.sequence, self.first_position.0, self.salt].into_iter();
        for (index, number) in numbers.enumerate() {
            bytes[16 + index * 8..24 + index * 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c::crc32c(&bytes[..HEADER_BYTES - 4]);
        bytes[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// `Err` says what is wrong.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() < HEADER_BYTES {
            return Err(format!("the file ends at byte {}, within its header", bytes.len()));
        }
        if bytes[..8] != MAGIC {
            return Err("the file does not begin as a segment".into());
        }
        if u32_at(bytes, 8) != VERSION {
            return Err(format!("segment format {} is not known to this build", u32_at(bytes, 8)));
        }
        if u32_at(bytes, HEADER_BYTES - 4) != crc32c::crc32c(&bytes[..HEADER_BYTES - 4]) {
            return Err("the checksum of the header is wrong".into());
        }
        if u32_at(bytes, 12) != BLOCK_BYTES as u32 {
            return Err(format!("blocks of {} bytes are not known to this build", u32_at(bytes, 12)));
        }
        Ok(Self {
            segment_bytes: u64_at(bytes, 16),
            lineage: u64_at(bytes, 24),
            run: u64_at(bytes, 32),
            sequence: u64_at(bytes, 40),
            first_position: Position(u64_at(bytes, 48)),
            salt: u64_at(bytes, 56),
        })
    }

    /// Names are for people; only headers tell the order.
    pub(super) fn name(&self) -> String {
        format!("{:06}-{:08}{SEGMENT_ENDING}", self.run, self.sequence)
    }
}

#[derive(Debug)]
pub(super) struct Segment {
    pub name: String,
    pub header: Header,
    pub file: Arc<dyn DiskFile>,
    /// Of each commit, from `first_position` on, the block at which its record begins.
    blocks: RwLock<Vec<u32>>,
}

impl Segment {
    pub(super) fn found(name: String, header: Header, file: Arc<dyn DiskFile>, blocks: Vec<u32>) -> Self {
        Self { name, header, file, blocks: RwLock::new(blocks) }
    }

    /// Makes the spare file `spare` a segment, durably.
    pub(super) fn begin(disk: &dyn Disk, spare: &str, file: &Arc<dyn DiskFile>, header: Header) -> io::Result<Self> {
        file.write_at(0, &mut [IoSlice::new(&header.encode())])?;
        // First the header, then the name: so a segment whose header is bad is damaged, without an exception.
        file.sync_data(SyncOf::Header)?;
        let name = header.name();
        disk.rename(spare, &name)?;
        disk.sync_folder(SyncOf::NewSegment)?;
        // Opened anew, so that an error names the file as it is called now.
        let file = disk.open(&name)?;
        Ok(Self::found(name, header, file, Vec::new()))
    }

    /// Tells where a commit, now durable, begins. In order of positions.
    pub(super) fn appended(&self, offset: u64) {
        self.blocks.write().push((offset / BLOCK_BYTES as u64) as u32);
    }

    /// Where the record of `position` begins.
    pub(super) fn offset_of(&self, position: Position) -> Option<u64> {
        let index = position.0.checked_sub(self.header.first_position.0)?;
        Some(u64::from(*self.blocks.read().get(index as usize)?) * BLOCK_BYTES as u64)
    }

    /// The commit at `position`, if it is in this segment, checked anew.
    fn read(&self, position: Position) -> Result<Option<Bytes>, ReadError> {
        let Some(offset) = self.offset_of(position) else { return Ok(None) };
        let mut bytes = vec![0; BLOCK_BYTES];
        let mut read = self.file.read_at(offset, &mut bytes)?;
        if let Some(header) = bytes.first_chunk() {
            let record_bytes = (record::HEADER_BYTES + record::payload_bytes(header)) as u64;
            // A length that leads beyond the segment is refused below.
            if record_bytes <= self.header.segment_bytes && record_bytes as usize > BLOCK_BYTES {
                bytes.resize(record_bytes as usize, 0);
                read += self.file.read_at(offset + BLOCK_BYTES as u64, &mut bytes[BLOCK_BYTES..])?;
            }
        }
        bytes.truncate(read);
        let damaged = |what: &str| ReadError::Damaged { place: place(&self.name, offset), what: what.into() };
        let record = record::decode(self.header.salt, &bytes).map_err(|bad| damaged(bad.what()))?;
        if record.kind != Kind::Commit || record.position != position {
            return Err(damaged("another record stands there"));
        }
        let payload_bytes = record.payload.len();
        Ok(Some(Bytes::from(bytes).slice(record::HEADER_BYTES..record::HEADER_BYTES + payload_bytes)))
    }
}

/// How a place in the journal is told to people.
pub(super) fn place(file: &str, offset: u64) -> String {
    format!("{file}, byte {offset}")
}

/// The segments that hold commits, in order, without a hole.
#[derive(Clone, Debug, Default)]
pub(super) struct Catalog {
    pub segments: VecDeque<Arc<Segment>>,
}

impl Catalog {
    /// See [`super::super::Journal::read`]. Reads files: blocks.
    pub(super) fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let Some(first) = self.segments.front() else { return Ok(Vec::new()) };
        let trimmed = Position(first.header.first_position.0 - 1);
        if after < trimmed {
            return Err(ReadError::Trimmed { asked: after, trimmed });
        }
        let mut commits = Vec::new();
        let mut bytes = 0;
        let mut next = after.next();
        for segment in &self.segments {
            while bytes < max_bytes || commits.is_empty() {
                let Some(commit) = segment.read(next)? else { break };
                bytes += commit.len();
                commits.push((next, commit));
                next = next.next();
            }
        }
        Ok(commits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_comes_back_and_any_flipped_bit_is_seen() {
        let header = Header {
            segment_bytes: 64 << 20,
            lineage: 1,
            run: 2,
            sequence: 3,
            first_position: Position(4),
            salt: 0xfedc_ba98_7654_3210,
        };
        let mut bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        for bit in 0..HEADER_BYTES * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
