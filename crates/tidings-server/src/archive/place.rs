//! The row that says where a block is.

use std::ops::Range;

use minicbor::{Decode, Encode, bytes::ByteArray};
use tidings_proto::Seq;

use crate::conversation::entry::Entry;

/// blake3 of bytes.
pub type Digest = [u8; 32];

/// Names of segments begin so.
pub const FOLDER: &str = "archive";

/// Where a block is, and what it must be. The row's key has the last seq, its version the age of the entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub segment: Digest,
    pub from: Seq,
    pub to: Seq,
    /// Where the block begins in the segment, and how long it is.
    pub offset: u64,
    pub bytes: u64,
    pub digest: Digest,
}

#[derive(Encode, Decode)]
struct Stored {
    #[n(0)]
    segment: ByteArray<32>,
    #[n(1)]
    from: Seq,
    #[n(2)]
    to: Seq,
    #[n(3)]
    offset: u64,
    #[n(4)]
    bytes: u64,
    #[n(5)]
    digest: ByteArray<32>,
}

impl Place {
    pub fn encode(&self) -> Vec<u8> {
        let Self { segment, from, to, offset, bytes, digest } = self.clone();
        let stored = Stored { segment: segment.into(), from, to, offset, bytes, digest: digest.into() };
        minicbor::to_vec(stored).expect("a vector takes all bytes")
    }

    pub fn decode(value: &[u8]) -> Result<Self, minicbor::decode::Error> {
        let Stored { segment, from, to, offset, bytes, digest } = minicbor::decode(value)?;
        if from > to || offset.checked_add(bytes).is_none() {
            return Err(minicbor::decode::Error::message("it ends before it begins"));
        }
        Ok(Self { segment: segment.into(), from, to, offset, bytes, digest: digest.into() })
    }

    /// The name of the segment: its content's, so that packing the same again makes the same.
    pub fn segment_name(&self) -> String {
        segment_name(&self.segment)
    }

    pub fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes
    }

    pub fn is_of(&self, bytes: &[u8]) -> bool {
        blake3::hash(bytes) == self.digest
    }

    pub fn covers_exactly(&self, entries: &[Entry]) -> bool {
        let ends = entries.first().zip(entries.last()).map(|(first, last)| (first.seq, last.seq));
        // That they are dense is the block's own promise.
        ends == Some((self.from, self.to))
    }

    pub fn overlaps(&self, from: Seq, to: Seq) -> bool {
        self.from <= to && from <= self.to
    }
}

/// The folders keep a local store's directories short.
pub fn segment_name(digest: &Digest) -> String {
    let hex = blake3::Hash::from_bytes(*digest).to_hex();
    format!("{FOLDER}/{}/{hex}", &hex[..2])
}
