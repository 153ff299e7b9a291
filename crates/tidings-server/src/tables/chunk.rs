//! How a run of log entries is packed into the value of one row, and back. Knows no engine and no key: the embedded
//! tables, the fleet's and the archive use it alike.
//!
//! A value (numbers are LEB128 unless said otherwise):
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format: 1 |
//! | 1 | bit 0: closed chunk, else small row; bits 1-7: number of the zstd dictionary, 0 = not compressed |
//! | 4 | crc32c, little-endian, of all other bytes of the value |
//! | - | first seq · number of entries · seqs left out between first and last (0 in a dense run) |
//! | - | length, then the client ids that are UUIDs, 16 bytes each: they do not compress |
//! | - | the body (see `columns`), compressed if that pays; a zstd frame without its four magic bytes |

mod block;
mod client_ids;
mod columns;
mod compress;
mod varint;

use std::borrow::Borrow;

use tidings_proto::Seq;

pub use self::block::{BLOCK_ENTRIES_MAX, block_sample, decode_block, encode_block};
use self::varint::Reader;
use crate::conversation::entry::Entry;

/// A value holds no seqs further apart than this, so that a reader knows how far back a row can begin that holds
/// what it looks for.
pub const MAX_SPAN: u64 = 128;

const VERSION: u8 = 1;
const CLOSED: u8 = 1;
const CHECKSUM: std::ops::Range<usize> = 2..6;

/// Whether a later flush may still merge the row with its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// What one flush added to a conversation.
    Small,
    /// A closed run, about 4 KiB.
    Chunk,
}

/// Why bytes are no log row. The text fits after "damaged at …: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    #[error("format {0} of log rows is not known to this version of tidings")]
    UnknownVersion(u8),
    #[error("dictionary {0} is not known to this version of tidings")]
    UnknownDictionary(u8),
    #[error("the checksum of the log row is wrong")]
    Checksum,
    #[error("the log row breaks off or contradicts itself: {0}")]
    Malformed(&'static str),
}

/// A value whose checksum is right, and what its header tells.
#[derive(Clone, Copy, Debug)]
pub struct Opened<'a> {
    pub shape: Shape,
    pub first_seq: Seq,
    pub last_seq: Seq,
    pub count: usize,
    missing: u64,
    dictionary: u8,
    uuids: &'a [u8],
    body: &'a [u8],
}

/// Packs entries that ascend by seq.
///
/// # Panics
/// If there are none, if they do not ascend, or if they span more than [`MAX_SPAN`] seqs: the caller cuts runs.
pub fn encode<E: Borrow<Entry>>(shape: Shape, entries: &[E]) -> Vec<u8> {
    let first = entries.first().expect("a row has at least one entry").borrow().seq.0;
    let last = entries[entries.len() - 1].borrow().seq.0;
    assert!(last >= first && last - first < MAX_SPAN, "a row spans at most {MAX_SPAN} seqs");
    let missing = last - first + 1 - entries.len() as u64;

    let columns = columns::encode(entries, missing > 0);
    let mut value = Vec::with_capacity(32 + columns.uuids.len() + columns.body.len());
    value.extend_from_slice(&[VERSION, u8::from(shape == Shape::Chunk), 0, 0, 0, 0]);
    varint::put(&mut value, first);
    varint::put(&mut value, entries.len() as u64);
    varint::put(&mut value, missing);
    varint::put(&mut value, columns.uuids.len() as u64);
    value.extend_from_slice(&columns.uuids);
    value[1] |= compress::append(&mut value, &columns.body, shape) << 1;
    let checksum = checksum(&value);
    value[CHECKSUM].copy_from_slice(&checksum);
    value
}

/// Parts a value of this version into head and rest, when its checksum is right.
fn checked(value: &[u8], version: u8) -> Result<(&[u8], &[u8]), ChunkError> {
    match value.first() {
        Some(known) if *known == version => {}
        Some(&other) => return Err(ChunkError::UnknownVersion(other)),
        None => return Err(ChunkError::Malformed("it is empty")),
    }
    let (head, rest) = value.split_at_checked(CHECKSUM.end).ok_or(ChunkError::Malformed("it is too short"))?;
    if head[CHECKSUM] == checksum(value) { Ok((head, rest)) } else { Err(ChunkError::Checksum) }
}

/// Checks the checksum and reads the header; decompresses nothing.
pub fn open(value: &[u8]) -> Result<Opened<'_>, ChunkError> {
    let (head, rest) = checked(value, VERSION)?;
    let mut reader = Reader::new(rest);
    let (first, count, missing) = (reader.number()?, reader.number()?, reader.number()?);
    let span = count.checked_add(missing).filter(|span| count > 0 && *span <= MAX_SPAN);
    let span = span.ok_or(ChunkError::Malformed("its number of entries"))?;
    let last = first.checked_add(span - 1).ok_or(ChunkError::Malformed("its seqs"))?;
    let uuids = reader.counted_bytes()?;
    Ok(Opened {
        shape: if head[1] & CLOSED == 0 { Shape::Small } else { Shape::Chunk },
        first_seq: Seq(first),
        last_seq: Seq(last),
        count: usize::try_from(count).expect("at most MAX_SPAN"),
        missing,
        dictionary: head[1] >> 1,
        uuids,
        body: reader.rest(),
    })
}

/// The body of a dense run before compression: what the dictionary of rows is trained on, see `examples/train_dictionary.rs`.
pub fn row_sample(entries: &[Entry]) -> Vec<u8> {
    columns::encode(entries, false).body
}

impl Opened<'_> {
    /// The entries, ascending by seq.
    pub fn entries(&self) -> Result<Vec<Entry>, ChunkError> {
        compress::with_body(self.dictionary, self.body, |body| columns::decode(self, body))
    }
}

fn checksum(value: &[u8]) -> [u8; 4] {
    let head = crc32c::crc32c(&value[..CHECKSUM.start]);
    crc32c::crc32c_append(head, &value[CHECKSUM.end..]).to_le_bytes()
}

#[cfg(test)]
mod tests;
