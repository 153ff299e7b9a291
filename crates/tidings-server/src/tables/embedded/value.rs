//! The bytes of a row in the LSM: its version before its value. And deleted rows: kept with their version until a
//! flush mark is behind them, then dropped by compaction.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bits 0-3: length of the version; bit 7: the row is deleted |
//! | 0-8 | the version, big-endian without leading zeros |
//! | - | the value; of a deleted row the generation in which it was deleted (8, big-endian) |

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use fjall::compaction::filter::{CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict};

use crate::tables::{Stored, Version};

const DELETED: u8 = 0x80;

/// A row as it stands in the LSM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kept<'a> {
    pub(super) version: Version,
    pub(super) content: Content<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    Value(&'a [u8]),
    /// Deleted when this many flush marks had been set.
    Deleted(u64),
}

impl<'a> Kept<'a> {
    pub(super) fn encode(self) -> Vec<u8> {
        let version = self.version.0.to_be_bytes();
        let version = &version[self.version.0.leading_zeros() as usize / 8..];
        let generation;
        let (flag, content) = match self.content {
            Content::Value(value) => (0, value),
            Content::Deleted(number) => {
                generation = number.to_be_bytes();
                (DELETED, &generation[..])
            }
        };
        let mut bytes = Vec::with_capacity(1 + version.len() + content.len());
        bytes.push(flag | version.len() as u8);
        bytes.extend_from_slice(version);
        bytes.extend_from_slice(content);
        bytes
    }

    /// `None`: these are no bytes of a row.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = bytes.split_first()?;
        let (version, content) = rest.split_at_checked(usize::from(head & !DELETED))?;
        if version.len() > 8 {
            return None;
        }
        let version = Version(version.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)));
        let content = if head & DELETED == 0 {
            Content::Value(content)
        } else {
            Content::Deleted(u64::from_be_bytes(content.try_into().ok()?))
        };
        Some(Self { version, content })
    }

    pub(super) fn stored(self) -> Option<Stored> {
        match self.content {
            Content::Value(value) => Some(Stored { version: self.version, value: Bytes::copy_from_slice(value) }),
            Content::Deleted(_) => None,
        }
    }
}

/// How many flush marks were set in the life of these tables, as far as that is durable.
#[derive(Clone, Debug, Default)]
pub(super) struct Generations(Arc<AtomicU64>);

impl Generations {
    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    pub(super) fn set(&self, generation: u64) {
        self.0.store(generation, Ordering::Release);
    }
}

/// Lets compaction drop deleted rows behind which a flush mark stands.
impl Factory for Generations {
    fn name(&self) -> &str {
        "deleted rows"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(DropDeleted { durable: self.now() })
    }
}

struct DropDeleted {
    durable: u64,
}

impl CompactionFilter for DropDeleted {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        let value = item.value()?;
        Ok(match Kept::decode(&value).map(|kept| kept.content) {
            // The engine puts its own mark in its place, so that older versions further down stay hidden.
            Some(Content::Deleted(generation)) if generation < self.durable => Verdict::Remove,
            _ => Verdict::Keep,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_survive_their_bytes() {
        for version in [0, 1, 255, 256, u64::MAX] {
            for content in [Content::Value(b""), Content::Value(b"value"), Content::Deleted(0), Content::Deleted(7)] {
                let kept = Kept { version: Version(version), content };
                assert_eq!(Kept::decode(&kept.encode()), Some(kept));
            }
        }
        assert_eq!(Kept::decode(b""), None);
        assert_eq!(Kept::decode(&[9; 20]), None);
        assert_eq!(Kept::decode(&[DELETED, 1]), None);
    }
}
