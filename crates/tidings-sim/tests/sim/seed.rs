//! The system's randomness, which here comes from the seed: the order of maps, and which branch a `select!` looks at first.
#![allow(unsafe_code, reason = "the standard library asks the C library, whose function is replaced")]

use std::sync::atomic::{AtomicU64, Ordering};

static STATE: AtomicU64 = AtomicU64::new(0);

/// To be called before anything asks.
pub fn set(seed: u64) {
    STATE.store(seed, Ordering::Relaxed);
}

/// Takes the place of the C library's. The standard library asks it for the keys of maps, and tokio takes its own from those.
///
/// # Safety
/// `buffer` points to `length` bytes that may be written.
#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for place in 0..length {
        // SplitMix64: one step a byte is plenty.
        let mut number = STATE.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // SAFETY: `place` is below `length`, and the caller gives that many bytes.
        unsafe { buffer.add(place).write((number ^ (number >> 31)).to_le_bytes()[0]) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
