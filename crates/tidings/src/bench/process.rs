//! What a process has used so far, as Linux counts it.

use std::{fs, time::Duration};

use anyhow::Context;

/// Linux tells CPU time in hundredths of a second, whatever the kernel's own clock.
const TICK: Duration = Duration::from_millis(10);

#[derive(Clone, Copy, Debug)]
pub struct Usage {
    pub cpu: Duration,
    /// Sent to the device: what was written again before it got there counts once.
    pub device_bytes: u64,
}

impl Usage {
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // Behind the name in brackets: fields 14 and 15 of the line, user and system time.
        let fields = stat.rsplit_once(')').context("a stat line without a name")?.1.split_whitespace();
        let ticks: u32 = fields.skip(11).take(2).filter_map(|field| field.parse::<u32>().ok()).sum();
        let io = fs::read_to_string(format!("/proc/{pid}/io"))?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
        Ok(Self { cpu: TICK * ticks, device_bytes: written.parse()? })
    }

    pub fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu - before.cpu, device_bytes: self.device_bytes - before.device_bytes }
    }
}

/// Resident memory in bytes that is this process's own or mapped by it.
pub fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:")).context("no Rss")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? * 1024)
}
