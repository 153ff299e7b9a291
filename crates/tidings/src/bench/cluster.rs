//! `cluster`: messages through nodes of Tidings on a Cassandra cluster that runs already (`--cassandra`), and what they cost there. Beside
//! it, in turn: `bare`, a loop that makes the same statements straight through the driver; and `naive`, a store that writes each message
//! by itself, one conditional insert and two inbox updates.

mod bare;
mod naive;
mod statements;

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::{Context, bail};
use tidings_server::{config::Config, serve::cassandra::apply_schema};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::{
    Options,
    load::{Pairs, Span},
    process::{Usage, listening},
    report::{Figure, Report, median, percentile},
    server::Server,
};

const PAIRS: usize = 48;
const WINDOW: usize = 16;
const WARM_UP: Duration = Duration::from_secs(3);
/// How long nodes that came one after the other may take until each hosts its part.
const EVEN: Duration = Duration::from_secs(120);

/// The cluster, and the processes whose CPU is counted.
pub struct Cluster {
    contacts: Vec<String>,
    pids: Vec<u32>,
    nats: Option<(String, u32)>,
}

/// What one round of Tidings was.
#[derive(Clone, Copy, Debug, Default)]
struct Round {
    messages_per_s: f64,
    commits_per_s: f64,
    messages_a_commit: f64,
    bytes_a_commit: f64,
    rows_a_message: f64,
    p50_ms: f64,
    p99_ms: f64,
    cpu_us: Cpu,
}

/// CPU a message.
#[derive(Clone, Copy, Debug, Default)]
struct Cpu {
    tidings: f64,
    cassandra: f64,
    nats: f64,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let Some(cluster) = Cluster::find(options)? else {
        report.progress("cluster: no --cassandra, so it is skipped; scripts/fleet/bench.sh starts one")?;
        return Ok(());
    };
    let keyspace = format!("tidings_bench_{}", std::process::id());
    let settings = [("cassandra.nodes", cluster.contacts.join(",")), ("cassandra.keyspace", keyspace)];
    let flags = settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
    let config = Config::load(None, flags)?;
    apply_schema(&config.cassandra).await?;
    let statements = statements::Statements::prepare(&cluster.contacts, &config.cassandra.keyspace).await?;
    let mut nodes = Vec::new();
    for number in 1..=options.nodes {
        nodes.push(start(options, &cluster, &config, number).await?);
    }
    if options.nodes > 1 {
        timeout(EVEN, until_even(&nodes)).await.context("the nodes did not share out what they host")??;
    }
    let (mut rounds, mut bare_per_s, mut naive_per_cpu_s) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=options.rounds {
        report.progress(&format!("cluster: round {number} of {}", options.rounds))?;
        let round = measure(&nodes, &cluster, options).await?;
        rounds.push(round);
        bare_per_s.push(bare::commits_per_s(&statements, &round.shape(), options.round).await?);
        let before = cluster.usage()?;
        let messages = naive::messages(&statements, options.round).await?;
        naive_per_cpu_s.push(messages as f64 / (cluster.usage()? - before).as_secs_f64());
    }
    for node in nodes {
        node.stop().await?;
    }
    tell(&rounds, bare_per_s, naive_per_cpu_s, options.nodes, report)
}

fn tell(rounds: &[Round], bare: Vec<f64>, naive: Vec<f64>, nodes: usize, report: &mut Report) -> anyhow::Result<()> {
    let of = |figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
    let figure = |what: &str, value, unit| Figure::new("cluster", format!("{what}, {nodes} nodes"), value, unit);
    report.add(figure("messages", of(|round| round.messages_per_s), "/s"))?;
    report.add(figure("acknowledged, p50", of(|round| round.p50_ms), "ms"))?;
    report.add(figure("acknowledged, p99", of(|round| round.p99_ms), "ms"))?;
    report.add(figure("messages a commit", of(|round| round.messages_a_commit), ""))?;
    report.add(figure("rows a message", of(|round| round.rows_a_message), ""))?;
    let commits = figure("commits", of(|round| round.commits_per_s), "/s");
    report.add(commits.against("the same through the driver", median(bare)).goal(0.6, 0.9))?;
    report.add(figure("CPU a message, Tidings", of(|round| round.cpu_us.tidings), "us"))?;
    report.add(figure("CPU a message, Cassandra", of(|round| round.cpu_us.cassandra), "us"))?;
    report.add(figure("CPU a message, NATS", of(|round| round.cpu_us.nats), "us"))?;
    let per_cpu_s = figure("messages a Cassandra-CPU-second", of(|round| 1e6 / round.cpu_us.cassandra), "");
    report.add(per_cpu_s.against("each message by itself", median(naive)).goal(3.0, 9.0))?;
    Ok(())
}

async fn start(options: &Options, cluster: &Cluster, config: &Config, number: usize) -> anyhow::Result<Server> {
    let contacts = cluster.contacts.join(",");
    let name = format!("node-{number}");
    let listen = super::server::free_address()?;
    let mut settings = vec![
        ("TIDINGS_STORE", "cassandra"),
        ("TIDINGS_CASSANDRA_NODES", &*contacts),
        ("TIDINGS_CASSANDRA_KEYSPACE", &*config.cassandra.keyspace),
    ];
    match &cluster.nats {
        _ if options.nodes == 1 => {}
        Some((address, _)) => settings.extend([
            ("TIDINGS_BUS", "nats"),
            ("TIDINGS_NATS_SERVERS", &**address),
            ("TIDINGS_NODE_NAME", &*name),
            ("TIDINGS_NODE_LISTEN", &*listen),
        ]),
        None => bail!("more than one node needs --nats"),
    }
    Server::start(&options.folder.join(&name), &settings).await
}

/// Returns when each node hosts its part, and knows that all others do.
async fn until_even(nodes: &[Server]) -> anyhow::Result<()> {
    let mut even = 0;
    while even < nodes.len() {
        tokio::time::sleep(Duration::from_millis(200)).await;
        even = 0;
        for node in nodes {
            let figures = figures(&node.url).await?;
            let figure = |name: &str| figures.get(name).copied().unwrap_or_default();
            let has_its_part = figure("tidings_shards_hosted") > 0.0 && figure("tidings_shards_moving") == 0.0;
            even += usize::from(has_its_part && figure("tidings_fleet_nodes") == nodes.len() as f64);
        }
    }
    Ok(())
}

async fn measure(nodes: &[Server], cluster: &Cluster, options: &Options) -> anyhow::Result<Round> {
    let mut loads = Vec::new();
    for (number, node) in nodes.iter().enumerate() {
        // People of one node talk to each other; each node has its own.
        loads.push(Pairs::connect_from(&node.url, number * PAIRS, PAIRS / nodes.len(), WINDOW).await?);
    }
    let span = Span::after(WARM_UP, options.round);
    let mut running = JoinSet::new();
    for load in loads {
        running.spawn(load.run(span));
    }
    tokio::time::sleep_until(span.from.into()).await;
    let (before, used_before) = (Sums::of(nodes).await?, Used::of(nodes, cluster)?);
    let (mut acked, mut latencies) = (0, Vec::new());
    while let Some(counts) = running.join_next().await {
        let counts = counts??;
        acked += counts.acked;
        latencies.extend(counts.latencies_us);
    }
    // What the load left to be flushed is its cost too.
    for node in nodes {
        node.settle().await?;
    }
    let (sums, used) = (Sums::of(nodes).await? - before, Used::of(nodes, cluster)? - used_before);
    latencies.sort_unstable();
    let of_latency = |share| percentile(&latencies, share).map_or(f64::NAN, |us| f64::from(us) / 1e3);
    let seconds = (span.to - span.from).as_secs_f64();
    let messages_per_s = acked as f64 / seconds;
    Ok(Round {
        messages_per_s,
        commits_per_s: messages_per_s * sums.commits / sums.messages,
        messages_a_commit: sums.messages / sums.commits,
        bytes_a_commit: sums.bytes / sums.commits,
        rows_a_message: sums.rows / sums.messages,
        p50_ms: of_latency(0.5),
        p99_ms: of_latency(0.99),
        cpu_us: Cpu {
            tidings: used.tidings / sums.messages,
            cassandra: used.cassandra / sums.messages,
            nats: used.nats / sums.messages,
        },
    })
}

impl Round {
    /// What the bare loop is to do.
    fn shape(&self) -> bare::Shape {
        bare::Shape {
            commit_bytes: self.bytes_a_commit as usize,
            rows_a_commit: self.rows_a_message * self.messages_a_commit,
        }
    }
}

/// Counters of all nodes.
#[derive(Clone, Copy, Default)]
struct Sums {
    messages: f64,
    commits: f64,
    bytes: f64,
    rows: f64,
}

impl Sums {
    async fn of(nodes: &[Server]) -> anyhow::Result<Self> {
        let mut sums = Self::default();
        for node in nodes {
            let figures = figures(&node.url).await?;
            let figure = |name: &str| figures.get(name).copied().with_context(|| format!("no figure {name}"));
            sums.messages += figure("tidings_sends_acked_total")?;
            sums.commits += figure("tidings_commit_seconds_count")?;
            sums.bytes += figure("tidings_commit_bytes_total")?;
            sums.rows += figure("tidings_flush_rows_total")?;
        }
        Ok(sums)
    }
}

impl std::ops::Sub for Sums {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            commits: self.commits - before.commits,
            bytes: self.bytes - before.bytes,
            rows: self.rows - before.rows,
        }
    }
}

/// CPU in microseconds.
#[derive(Clone, Copy)]
struct Used {
    tidings: f64,
    cassandra: f64,
    nats: f64,
}

impl Used {
    fn of(nodes: &[Server], cluster: &Cluster) -> anyhow::Result<Self> {
        let us = |cpu: Duration| cpu.as_secs_f64() * 1e6;
        let mut tidings = 0.0;
        for node in nodes {
            tidings += us(node.usage()?.cpu);
        }
        let nats = cluster.nats.as_ref().map(|(_, pid)| Usage::of(*pid)).transpose()?;
        Ok(Self { tidings, cassandra: us(cluster.usage()?), nats: nats.map_or(0.0, |usage| us(usage.cpu)) })
    }
}

impl std::ops::Sub for Used {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            tidings: self.tidings - before.tidings,
            cassandra: self.cassandra - before.cassandra,
            nats: self.nats - before.nats,
        }
    }
}

impl Cluster {
    /// The processes behind the addresses that were given; they must be of this machine.
    fn find(options: &Options) -> anyhow::Result<Option<Self>> {
        if options.cassandra.is_empty() {
            return Ok(None);
        }
        let pid = |address: &String| {
            let socket: SocketAddr = address.parse().with_context(|| format!("{address} is no address with a port"))?;
            listening(socket)?.with_context(|| format!("no process of this machine listens at {address}"))
        };
        let pids = options.cassandra.iter().map(pid).collect::<anyhow::Result<_>>()?;
        let nats = options.nats.as_ref().map(|address| anyhow::Ok((address.clone(), pid(address)?))).transpose()?;
        Ok(Some(Self { contacts: options.cassandra.clone(), pids, nats }))
    }

    fn usage(&self) -> anyhow::Result<Duration> {
        let mut sum = Duration::ZERO;
        for &pid in &self.pids {
            sum += Usage::of(pid)?.cpu;
        }
        Ok(sum)
    }
}

/// The figures of a server that have no labels.
async fn figures(url: &str) -> anyhow::Result<HashMap<String, f64>> {
    let address = url.strip_prefix("http://").context("no address")?;
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nhost: bench\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let figure = |line: &str| {
        let (name, value) = line.split_once(' ')?;
        Some((name.to_owned(), value.parse().ok()?))
    };
    Ok(answer.lines().filter_map(figure).collect())
}
