//! A server under test: a child process of this binary with its own data folder, and what it has used.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use super::{child::Kind, process::Usage};

const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(60);
/// Settled is who uses less than 2 % of a core for this long.
const QUIET: Duration = Duration::from_millis(500);
const QUIET_CPU: Duration = Duration::from_millis(10);
const SETTLE: Duration = Duration::from_secs(60);

/// What a server needs so that no limit is in the way of a load from one address by few users.
const SETTINGS: &[(&str, &str)] = &[
    ("TIDINGS_RATES_SENDS_PER_S", "1000000"),
    ("TIDINGS_RATES_SENDS_BURST", "1000000"),
    ("TIDINGS_RATES_LOGINS_PER_S", "1000000"),
    ("TIDINGS_RATES_LOGINS_BURST", "1000000"),
    ("TIDINGS_RATES_REQUESTS_PER_S", "1000000"),
    ("TIDINGS_RATES_REQUESTS_BURST", "1000000"),
    ("TIDINGS_RATES_ADMISSIONS_PER_S", "1000000"),
    ("TIDINGS_RATES_ADMISSIONS_BURST", "1000000"),
    ("TIDINGS_LIMITS_HEARTBEAT_S", "600"),
    ("TIDINGS_DRAIN_MS", "0"),
    ("TIDINGS_LOG_LEVEL", "warn"),
];

/// Killed when it is dropped.
pub struct Server {
    child: Child,
    pub url: String,
    /// Where it speaks MQTT.
    pub mqtt: String,
    pub pid: u32,
    log: PathBuf,
}

impl Server {
    /// Starts `serve` on a free port over the data in `data`, which may exist, and waits until it is ready.
    pub async fn start(data: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--data"].map(str::to_owned);
        let data_argument = data.to_str().context("the folder's name is no text")?.to_owned();
        let mqtt = free_address()?;
        let all = SETTINGS.iter().chain(settings).copied().chain([("TIDINGS_MQTT_LISTEN", mqtt.as_str())]);
        let log = data.with_extension("log");
        let started = Self::spawn(Kind::Server, arguments.into_iter().chain([data_argument]), all, &log).await?;
        Ok(Self { mqtt, ..started })
    }

    pub async fn in_memory(folder: &Path, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let settings: Vec<_> = settings.iter().copied().chain([("TIDINGS_STORE", "memory")]).collect();
        Self::start(&folder.join("memory"), &settings).await
    }

    /// Starts one of this bench's own servers.
    pub async fn of_kind(kind: Kind, folder: &Path) -> anyhow::Result<Self> {
        Self::spawn(kind, [].into_iter(), [].into_iter(), &folder.join(format!("{kind:?}.log"))).await
    }

    async fn spawn(
        kind: Kind,
        arguments: impl Iterator<Item = String>,
        settings: impl Iterator<Item = (&str, &str)>,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("TIDINGS_")) {
            command.env_remove(name);
        }
        command.args(["bench", "--child", kind.name(), "--"]).args(arguments).envs(settings);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(log)?).kill_on_drop(true);
        let mut child = command.spawn()?;
        let pid = child.id().context("it has ended already")?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is piped")?).lines();
        let line = timeout(START, lines.next_line()).await.context("the server did not become ready")??;
        let Some(url) = line.as_deref().and_then(|line| line.strip_prefix("listening on ")) else {
            bail!("the server did not start: {}", last_lines(log));
        };
        Ok(Self { url: url.to_owned(), mqtt: String::new(), child, pid, log: log.to_owned() })
    }

    pub fn usage(&self) -> anyhow::Result<Usage> {
        Usage::of(self.pid).with_context(|| format!("the server has ended: {}", last_lines(&self.log)))
    }

    /// Waits until nothing is left to do: flushes and compactions belong to the load that caused them.
    pub async fn settle(&self) -> anyhow::Result<()> {
        let settled = async {
            let mut before = self.usage()?;
            loop {
                tokio::time::sleep(QUIET).await;
                let now = self.usage()?;
                if now.since(before).cpu <= QUIET_CPU {
                    return anyhow::Ok(());
                }
                before = now;
            }
        };
        // One that never rests is measured as it is.
        timeout(SETTLE, settled).await.unwrap_or(Ok(()))
    }

    /// Asks it to stop, as an operator would.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw).context("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        let status = timeout(STOP, self.child.wait()).await.context("the server did not stop")??;
        if !status.success() {
            bail!("the server ended with {status}: {}", last_lines(&self.log));
        }
        Ok(())
    }

    /// `kill -9`.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// An address of this machine where nobody listened a moment ago.
pub fn free_address() -> std::io::Result<String> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.to_string())
}

fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
