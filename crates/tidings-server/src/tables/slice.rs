//! All conversations, cut into slices that are listed one by one: so the nodes of a fleet share out what goes through all of them.
//!
//! Which conversations are in a slice is the engine's choice, and stays so: where rows sort by id, a range of ids; in Cassandra, a
//! range of the token ring.

use std::ops::RangeInclusive;

use tidings_proto::{ConversationId, SHARDS, ShardId};

/// Two for each of 500 nodes. Fixed for a running fleet: each node must mean the same by a slice.
pub const SLICES: u16 = 1_024;

const SHARDS_A_SLICE: u16 = SHARDS / SLICES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slice(u16);

impl Slice {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLICES).map(Self)
    }

    /// Whoever hosts this shard lists the slice. Not that its conversations are of this shard: the placement of the shards has been
    /// agreed on already, is even, and changes little when a node comes or goes.
    pub fn shard(self) -> ShardId {
        ShardId(self.0 * SHARDS_A_SLICE)
    }

    /// Where rows sort by id: its lowest id, and the lowest id above all of its own (`None`: nothing is above).
    pub(super) fn ids(self) -> (ConversationId, Option<ConversationId>) {
        let next = self.0 + 1;
        (lowest(self.0), (next < SLICES).then(|| lowest(next)))
    }

    /// Where rows sort by a signed hash of the id.
    pub(super) fn tokens(self) -> RangeInclusive<i64> {
        const WIDTH: u64 = (1 << 63) / (SLICES as u64 / 2);
        let lowest = i64::MIN.wrapping_add_unsigned(WIDTH * u64::from(self.0));
        lowest..=lowest.wrapping_add_unsigned(WIDTH - 1)
    }
}

/// Ids begin with their shard.
fn lowest(slice: u16) -> ConversationId {
    let mut id = [0; 16];
    id[..2].copy_from_slice(&(slice * SHARDS_A_SLICE).to_be_bytes());
    ConversationId::from_bytes(id)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn slices_lie_one_behind_the_other_and_leave_nothing_out() {
        let all: Vec<_> = Slice::all().collect();
        assert_eq!(all[0].ids().0, ConversationId::from_bytes([0; 16]));
        assert_eq!(*all[0].tokens().start(), i64::MIN);
        for pair in all.windows(2) {
            assert_eq!(pair[0].ids().1, Some(pair[1].ids().0));
            assert_eq!(*pair[0].tokens().end() + 1, *pair[1].tokens().start());
        }
        let last = all[all.len() - 1];
        assert_eq!((last.ids().1, *last.tokens().end()), (None, i64::MAX));
    }

    #[test]
    fn each_slice_has_a_shard_of_its_own() {
        let shards: HashSet<_> = Slice::all().map(Slice::shard).collect();
        assert_eq!(shards.len(), usize::from(SLICES));
        assert!(shards.iter().all(|shard| shard.0 < SHARDS));
    }
}
