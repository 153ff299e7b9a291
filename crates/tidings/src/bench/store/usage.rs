//! What the process has used so far, as Linux counts it.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::Context;

pub struct Usage {
    at: Instant,
    cpu: Duration,
    device_bytes: u64,
}

pub struct Used {
    pub elapsed: Duration,
    pub cpu: Duration,
    pub device_bytes: u64,
}

impl Usage {
    pub fn now() -> anyhow::Result<Self> {
        // Behind the name in brackets: fields 14 and 15 of the line, user and system time in hundredths of a second.
        let stat = fs::read_to_string("/proc/self/stat")?;
        let fields = stat.rsplit_once(')').context("/proc/self/stat has no name")?.1.split_whitespace();
        let ticks: u64 = fields.skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let io = fs::read_to_string("/proc/self/io")?;
        let written = io.lines().find_map(|line| line.strip_prefix("write_bytes: ")).context("no write_bytes")?;
        Ok(Self { at: Instant::now(), cpu: Duration::from_millis(ticks * 10), device_bytes: written.parse()? })
    }

    pub fn since(&self, before: &Self) -> Used {
        Used {
            elapsed: self.at - before.at,
            cpu: self.cpu - before.cpu,
            device_bytes: self.device_bytes - before.device_bytes,
        }
    }
}
