//! `mqtt`: publishes with quality of service 1 from fifty connections, each acknowledged: by this server when it is durable in the log of a
//! conversation; beside it by mosquitto, where that is installed, which stores nothing and hands it to nobody.

use std::{
    net::SocketAddr,
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
    time::timeout,
};

use super::{
    Options,
    load::Span,
    packets::{Came, Packets},
    process::Usage,
    report::{Figure, Report, median},
    server::{Server, free_address},
    text::{TEXT_BYTES, Texts},
};

const SENDERS: usize = 50;
const WINDOW: usize = 16;
/// Texts that a sender uses in turn.
const TEXTS: usize = 256;
const WARM_UP: Duration = Duration::from_millis(700);
const SILENCE: Duration = Duration::from_secs(30);
const START: Duration = Duration::from_secs(10);

#[derive(Default)]
struct Rounds {
    per_s: Vec<f64>,
    cpu_us: Vec<f64>,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let server = Server::start(&options.folder.join("mqtt"), &[]).await?;
    for sender in 0..SENDERS {
        // Whoever is to get something must be known.
        drop(Packets::connect(&server.mqtt, &format!("bob{sender}"), "bench").await?);
    }
    let mosquitto = Mosquitto::start().await?;
    if mosquitto.is_none() {
        report.progress("mqtt: mosquitto is not installed: skipped")?;
    }
    let (mut ours, mut theirs) = (Rounds::default(), Rounds::default());
    for round in 1..=options.rounds {
        report.progress(&format!("mqtt: round {round} of {}", options.rounds))?;
        measure(&server.mqtt, server.pid, options.round, &mut ours).await?;
        server.settle().await?;
        if let Some(mosquitto) = &mosquitto {
            measure(&mosquitto.address, mosquitto.pid, options.round, &mut theirs).await?;
        }
    }
    let against = |figure: Figure, theirs: &Vec<f64>| match theirs.is_empty() {
        true => figure,
        false => figure.against("mosquitto, nothing stored", median(theirs.clone())),
    };
    let per_s = Figure::new("mqtt", format!("acknowledged, window {WINDOW}"), median(ours.per_s), "/s");
    report.add(against(per_s, &theirs.per_s))?;
    let cpu = Figure::new("mqtt", "server CPU a message", median(ours.cpu_us), "us");
    report.add(against(cpu, &theirs.cpu_us))?;
    server.stop().await
}

async fn measure(address: &str, pid: u32, length: Duration, rounds: &mut Rounds) -> anyhow::Result<()> {
    let mut connections = Vec::new();
    for number in 0..SENDERS {
        connections.push(Packets::connect(address, &format!("ada{number}"), &format!("bench{number}")).await?);
    }
    let span = Span::after(WARM_UP, length);
    let mut senders = JoinSet::new();
    for (number, packets) in connections.into_iter().enumerate() {
        senders.spawn(send(packets, number, span));
    }
    tokio::time::sleep_until(span.from.into()).await;
    let before = Usage::of(pid)?;
    tokio::time::sleep_until(span.to.into()).await;
    let used = Usage::of(pid)?.since(before);
    let mut acked = 0;
    while let Some(count) = senders.join_next().await {
        acked += count??;
    }
    rounds.per_s.push(acked as f64 / length.as_secs_f64());
    rounds.cpu_us.push(used.cpu.as_secs_f64() * 1e6 / acked as f64);
    Ok(())
}

/// Keeps a window of publishes under way until the span is over. Tells how many were acknowledged within it.
async fn send(mut packets: Packets, number: usize, span: Span) -> anyhow::Result<u64> {
    let mut texts = Texts::new(number as u64);
    let texts: Vec<String> = (0..TEXTS).map(|_| texts.text(TEXT_BYTES)).collect();
    let topic = format!("tidings/to/bob{number}");
    let (mut packet_id, mut under_way, mut acked) = (0_u16, 0, 0);
    loop {
        let now = Instant::now();
        if now >= span.to && under_way == 0 {
            return Ok(acked);
        }
        while now < span.to && under_way < WINDOW {
            packet_id = packet_id.checked_add(1).unwrap_or(1);
            let name = rand::random::<u128>().to_be_bytes();
            packets.publish(&topic, packet_id, &name, &texts[usize::from(packet_id) % TEXTS]);
            under_way += 1;
        }
        if packets.has_queued() {
            packets.flush().await?;
        }
        timeout(SILENCE, packets.fill()).await.context("no acknowledgement")??;
        let is_measured = span.contains(Instant::now());
        for came in packets.take()? {
            match came {
                Came::Puback { is_refused: false } => {
                    under_way -= 1;
                    acked += u64::from(is_measured);
                }
                Came::Puback { is_refused: true } => bail!("a publish was refused"),
                Came::Publish { .. } | Came::Other { .. } => {}
            }
        }
    }
}

/// A broker to compare with. Killed when it is dropped.
struct Mosquitto {
    _child: Child,
    address: String,
    pid: u32,
}

impl Mosquitto {
    /// `None`: it is not installed.
    async fn start() -> anyhow::Result<Option<Self>> {
        let address = free_address()?;
        let port = address.parse::<SocketAddr>()?.port().to_string();
        // Debian keeps it where only root looks for commands: sbin must be in PATH there.
        let mut command = Command::new("mosquitto");
        command.args(["-p", &port]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(child) = command.kill_on_drop(true).spawn() else { return Ok(None) };
        let pid = child.id().context("it has ended already")?;
        let is_up = async {
            while TcpStream::connect(&address).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(START, is_up).await.context("mosquitto does not listen")?;
        Ok(Some(Self { _child: child, address, pid }))
    }
}
