//! Blocks that were read lately, by their digests; the ones that were not asked for longest go first.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use crate::conversation::entry::Entry;

use super::place::Digest;

pub(super) struct BlockCache {
    bytes_max: usize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    blocks: HashMap<Digest, Cached>,
    bytes: usize,
    /// Counts uses.
    clock: u64,
}

struct Cached {
    block: Arc<Vec<Entry>>,
    bytes: usize,
    used: u64,
}

impl BlockCache {
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inner: Mutex::default() }
    }

    pub fn get(&self, digest: &Digest) -> Option<Arc<Vec<Entry>>> {
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let now = inner.clock;
        let cached = inner.blocks.get_mut(digest)?;
        cached.used = now;
        Some(cached.block.clone())
    }

    /// Keeps a block, and gives up others for it. The newest stays even if it alone is too large: who writes down a change of an
    /// entry reads it twice. Returns how many bytes are kept now.
    pub fn put(&self, digest: Digest, block: Arc<Vec<Entry>>) -> usize {
        let bytes = block.iter().map(Entry::weight).sum();
        let mut inner = self.inner.lock();
        inner.clock += 1;
        let used = inner.clock;
        let before = inner.blocks.insert(digest, Cached { block, bytes, used }).map_or(0, |before| before.bytes);
        inner.bytes = inner.bytes + bytes - before;
        while inner.bytes > self.bytes_max && inner.blocks.len() > 1 {
            // Blocks are large, so there are few.
            let oldest = inner.blocks.iter().min_by_key(|(_, cached)| cached.used).map(|(digest, _)| *digest);
            let given_up = oldest.and_then(|digest| inner.blocks.remove(&digest));
            inner.bytes -= given_up.map_or(0, |cached| cached.bytes);
        }
        inner.bytes
    }
}
