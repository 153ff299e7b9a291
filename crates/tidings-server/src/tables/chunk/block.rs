//! A long dense run of entries as one value: how the archive keeps what is old. Columns as a log row has them, but for thousands
//! of entries instead of dozens, compressed as hard as it goes.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version of this format: 3 (log rows have 1, the first blocks 2) |
//! | 1 | number of the zstd dictionary, 0 = not compressed |
//! | 4 | crc32c, little-endian, of all other bytes of the value |
//! | - | first seq · number of entries |
//! | - | length, then the client ids that are UUIDs |
//! | - | the body, see `block/columns.rs`; of version 2 as in a log row |

mod columns;

use std::borrow::Borrow;

use super::{CHECKSUM, ChunkError, Opened, Shape, checked, checksum, compress, varint, varint::Reader};
use crate::conversation::entry::Entry;
use tidings_proto::Seq;

/// No block has more entries: what a reader of one page has to unpack.
pub const BLOCK_ENTRIES_MAX: usize = 4_096;

const VERSION: u8 = 3;
/// Still read. Its body has the columns of a log row.
const VERSION_2: u8 = 2;

/// Packs entries whose seqs follow each other.
///
/// # Panics
/// If there are none, too many, or a seq is left out: the caller cuts runs.
pub fn encode_block<E: Borrow<Entry>>(entries: &[E]) -> Vec<u8> {
    assert!((1..=BLOCK_ENTRIES_MAX).contains(&entries.len()), "a block has 1 to {BLOCK_ENTRIES_MAX} entries");
    let first = entries[0].borrow().seq;
    assert!(
        entries.iter().zip(first.0..).all(|(entry, seq)| entry.borrow().seq == Seq(seq)),
        "the seqs of a block follow each other"
    );
    let columns = columns::encode(entries);
    let mut value = vec![VERSION, 0, 0, 0, 0, 0];
    varint::put(&mut value, first.0);
    varint::put(&mut value, entries.len() as u64);
    varint::put(&mut value, columns.uuids.len() as u64);
    value.extend_from_slice(&columns.uuids);
    value[1] = compress::append_hard(&mut value, &columns.body);
    let checksum = checksum(&value);
    value[CHECKSUM].copy_from_slice(&checksum);
    value
}

/// The body of a run before compression: what the archive's dictionary is trained on, see `examples/train_dictionary.rs`.
pub fn block_sample(entries: &[Entry]) -> Vec<u8> {
    columns::encode(entries).body
}

/// The entries of a block, ascending by seq.
pub fn decode_block(value: &[u8]) -> Result<Vec<Entry>, ChunkError> {
    let is_old = value.first() == Some(&VERSION_2);
    let (head, rest) = checked(value, if is_old { VERSION_2 } else { VERSION })?;
    let mut reader = Reader::new(rest);
    let (first, count) = (reader.number()?, reader.number()?);
    let count = usize::try_from(count).ok().filter(|count| (1..=BLOCK_ENTRIES_MAX).contains(count));
    let count = count.ok_or(ChunkError::Malformed("its number of entries"))?;
    let last = first.checked_add(count as u64 - 1).ok_or(ChunkError::Malformed("its seqs"))?;
    let uuids = reader.counted_bytes()?;
    let opened = Opened {
        shape: Shape::Chunk,
        first_seq: Seq(first),
        last_seq: Seq(last),
        count,
        missing: 0,
        dictionary: head[1],
        uuids,
        body: reader.rest(),
    };
    if is_old {
        return opened.entries();
    }
    compress::with_body(opened.dictionary, opened.body, |body| columns::decode(&opened, body))
}
