//! One record of a segment: its bytes, and whether bytes are one. It knows no file. docs/formats.md describes it.
//!
//! A record begins at a multiple of [`BLOCK_BYTES`] and its last block is filled up with zeros: what was
//! acknowledged is never written again, and one bad sector harms one record.

use super::super::Position;

/// The unit in which a segment is written: the sector that disks write as one.
pub(super) const BLOCK_BYTES: usize = 4_096;
pub(super) const HEADER_BYTES: usize = 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A commit: it takes the next position.
    Commit,
    /// Empty, with the position of the commit before it: shows that what is before it is whole.
    Confirm,
    /// Empty, with the last position: no commit comes after it, ever. A confirming record does.
    Seal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub kind: Kind,
    pub position: Position,
    pub payload: &'a [u8],
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadRecord {
    /// They do not begin with the segment's salt: most likely nothing was ever written here since the segment began.
    OtherSalt,
    Length,
    Checksum,
    Kind,
}

impl BadRecord {
    pub(super) fn what(self) -> &'static str {
        match self {
            Self::OtherSalt => "it does not begin with the segment's salt",
            Self::Length => "its length does not fit the segment",
            Self::Checksum => "its checksum is wrong",
            Self::Kind => "its kind is unknown",
        }
    }
}

/// The bytes that a record takes in its segment, padding included.
pub(super) fn padded_bytes(payload_bytes: usize) -> usize {
    (HEADER_BYTES + payload_bytes).next_multiple_of(BLOCK_BYTES)
}

/// What stands before the payload.
pub(super) fn header(salt: u64, record: &Record<'_>) -> [u8; HEADER_BYTES] {
    let kind: u32 = match record.kind {
        Kind::Commit => 1,
        Kind::Confirm => 2,
        Kind::Seal => 3,
    };
    let mut header = [0; HEADER_BYTES];
    header[0..8].copy_from_slice(&salt.to_le_bytes());
    header[8..16].copy_from_slice(&record.position.0.to_le_bytes());
    header[16..20].copy_from_slice(&(record.payload.len() as u32).to_le_bytes());
    header[20..24].copy_from_slice(&kind.to_le_bytes());
    let checksum = checksum(salt, &header, record.payload);
    header[24..28].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The record at the start of `bytes`, which go on to the segment's end.
pub(super) fn decode(salt: u64, bytes: &[u8]) -> Result<Record<'_>, BadRecord> {
    let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>().ok_or(BadRecord::Length)?;
    if u64_at(header, 0) != salt {
        return Err(BadRecord::OtherSalt);
    }
    let payload = rest.get(..payload_bytes(header)).ok_or(BadRecord::Length)?;
    if u32_at(header, 24) != checksum(salt, header, payload) {
        return Err(BadRecord::Checksum);
    }
    let kind = match u32_at(header, 20) {
        1 => Kind::Commit,
        2 => Kind::Confirm,
        3 => Kind::Seal,
        _ => return Err(BadRecord::Kind),
    };
    Ok(Record { kind, position: Position(u64_at(header, 8)), payload })
}

/// What a record's header tells of its payload's length, before anything is checked.
pub(super) fn payload_bytes(header: &[u8; HEADER_BYTES]) -> usize {
    u32_at(header, 16) as usize
}

/// crc32c over all but itself. Begun with the salt, so that a record of the segment's former use never passes.
fn checksum(salt: u64, header: &[u8; HEADER_BYTES], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(salt as u32, &header[..24]), payload)
}

pub(super) fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes were sliced"))
}

pub(super) fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(bytes[offset..offset + 4].try_into().expect("four bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_and_any_flipped_bit_is_seen() {
        let record = Record { kind: Kind::Commit, position: Position(7), payload: b"what was said" };
        let mut bytes = header(0x1234_5678_9abc_def0, &record).to_vec();
        bytes.extend(record.payload);
        assert_eq!(decode(0x1234_5678_9abc_def0, &bytes), Ok(record));
        assert_eq!(decode(0x1234_5678_9abc_def1, &bytes), Err(BadRecord::OtherSalt));
        assert_eq!(decode(0x1234_5678_9abc_def0, &bytes[..30]), Err(BadRecord::Length));
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(0x1234_5678_9abc_def0, &bytes).is_err(), "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
