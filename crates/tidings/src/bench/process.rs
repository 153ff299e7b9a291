//! What a process has used so far, as Linux counts it.

use std::{fs, net::SocketAddr, time::Duration};

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

/// The process of this machine that listens at an IPv4 address (proc(5)). `None`: nobody that we may look at.
pub fn listening(address: SocketAddr) -> anyhow::Result<Option<u32>> {
    let SocketAddr::V4(address) = address else { return Ok(None) };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(address.ip().octets()), address.port());
    let table = fs::read_to_string("/proc/net/tcp")?;
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    // State 0A: it listens. The tenth word is the number of the socket.
    let Some(line) = lines.filter(|words| words.len() > 9).find(|words| words[1] == local && words[3] == "0A") else {
        return Ok(None);
    };
    let socket = format!("socket:[{}]", line[9]);
    let pids = fs::read_dir("/proc")?.flatten().filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    let holds = |pid: &u32| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).any(|link| link.as_os_str() == socket.as_str())
    };
    Ok(pids.into_iter().find(holds))
}
