//! From rows to blocks, and from blocks to a segment.

use bytes::Bytes;
use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::entry::Entry,
    tables::{Version, chunk},
};

use super::{
    merge::{LogRow, Newest},
    place::{Digest, Place},
};

/// A segment is closed when it has so much.
pub(super) const SEGMENT_BYTES: usize = 8 << 20;

/// A block before it is anywhere.
pub(super) struct Block {
    pub conversation: ConversationId,
    pub from: Seq,
    pub to: Seq,
    /// The highest of the rows that it was made of: a row that is newer goes before it.
    pub version: Version,
    /// Which rows these were.
    pub rows: Vec<(Seq, Version)>,
    pub value: Vec<u8>,
    /// About what its entries take unpacked: texts, names, ids, times.
    pub unpacked_bytes: u64,
}

impl Block {
    /// Packs the entries from `from` to `to` of these rows. `None`: one of them is missing.
    pub fn pack(conversation: ConversationId, (from, to): (Seq, Seq), rows: Vec<LogRow>) -> Option<Self> {
        let version = rows.iter().map(|row| row.version).max()?;
        let stamps = stamps(&rows);
        let entries = merge((from, to), rows)?;
        let unpacked_bytes = entries.iter().map(bytes_of).sum();
        Some(Self {
            conversation,
            from,
            to,
            version,
            rows: stamps,
            value: chunk::encode_block(&entries),
            unpacked_bytes,
        })
    }
}

/// What tells whether rows are still the same.
pub(super) fn stamps(rows: &[LogRow]) -> Vec<(Seq, Version)> {
    rows.iter().map(|row| (row.first, row.version)).collect()
}

/// The newest entries of rows. `None`: one is missing.
pub(super) fn merge((from, to): (Seq, Seq), rows: Vec<LogRow>) -> Option<Vec<Entry>> {
    let mut newest = Newest::within((from, to));
    for row in rows {
        row.entries.into_iter().for_each(|entry| newest.take(row.version, entry));
    }
    if newest.hole().is_some() {
        return None;
    }
    let entries: Vec<_> = newest.into_entries().map(|(_, entry)| entry).collect();
    (entries.last()?.seq == to).then_some(entries)
}

/// What an entry has to say: who, what, its id, and eight bytes for when. The same whatever it is kept in, so it is what packing is
/// compared with.
fn bytes_of(entry: &Entry) -> u64 {
    let id = entry.client_msg_id.as_ref().map_or(0, |id| id.len());
    (entry.weight() - ENTRY_BASE + entry.from.as_str().len() + id + 8) as u64
}

/// What [`Entry::weight`] counts for an entry without content.
const ENTRY_BASE: usize = 200;

/// Blocks that become one blob.
#[derive(Default)]
pub(super) struct Segment {
    pub blocks: Vec<Block>,
    pub bytes: usize,
}

impl Segment {
    pub fn add(&mut self, block: Block) {
        self.bytes += block.value.len();
        self.blocks.push(block);
    }

    pub fn is_full(&self) -> bool {
        self.bytes >= SEGMENT_BYTES
    }

    /// The blob, and where each block is in it.
    pub fn seal(self) -> Sealed {
        let mut body = Vec::with_capacity(self.bytes);
        let mut places = Vec::with_capacity(self.blocks.len());
        for block in self.blocks {
            let place = Place {
                segment: [0; 32],
                from: block.from,
                to: block.to,
                offset: body.len() as u64,
                bytes: block.value.len() as u64,
                digest: *blake3::hash(&block.value).as_bytes(),
            };
            body.extend_from_slice(&block.value);
            let Block { conversation, version, rows, .. } = block;
            places.push(Placed { conversation, version, rows, place });
        }
        let digest: Digest = *blake3::hash(&body).as_bytes();
        places.iter_mut().for_each(|placed| placed.place.segment = digest);
        Sealed { digest, body: body.into(), places }
    }
}

pub(super) struct Sealed {
    pub digest: Digest,
    pub body: Bytes,
    pub places: Vec<Placed>,
}

#[derive(Clone)]
pub(super) struct Placed {
    pub conversation: ConversationId,
    pub version: Version,
    pub rows: Vec<(Seq, Version)>,
    pub place: Place,
}
