//! What the disk can do, to compare with.

use std::{
    fs::OpenOptions,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

const BLOCK_BYTES: usize = 4 * 1024;
const BLOCKS: u64 = 1_024;

/// How long it takes to write 4 KiB into a file that has its blocks already and make them durable: `count` times, sorted.
pub fn sync_times(folder: &Path, count: u64) -> anyhow::Result<Vec<Duration>> {
    let path = folder.join("sync");
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
    for block in 0..BLOCKS {
        file.write_all_at(&[0; BLOCK_BYTES], block * BLOCK_BYTES as u64)?;
    }
    file.sync_all()?;
    let mut times = Vec::new();
    for turn in 0..count {
        let began = Instant::now();
        file.write_all_at(&[turn as u8; BLOCK_BYTES], turn % BLOCKS * BLOCK_BYTES as u64)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    std::fs::remove_file(path)?;
    times.sort_unstable();
    Ok(times)
}
