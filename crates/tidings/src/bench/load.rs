//! Load: connections of `tidings_client::raw` that send as fast as their window allows, and count what comes.

use std::{
    collections::VecDeque,
    fmt::Write,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_client::raw::{Connection, PONG};
use tidings_proto::frames::client::Hello;
use tokio::task::JoinSet;

use super::text::{TEXT_BYTES, Texts};

/// Texts that a sender uses in turn.
const TEXTS: usize = 256;
/// Whoever hears nothing for so long gives up.
const SILENCE: Duration = Duration::from_secs(30);

/// Logs a user in.
pub async fn connect(url: &str, user: &str) -> anyhow::Result<Connection> {
    Ok(connect_since(url, user, None).await?.0)
}

/// Logs a user in who knows everything up to a sync token; the account's token as it is now.
pub async fn connect_since(url: &str, user: &str, sync: Option<String>) -> anyhow::Result<(Connection, String)> {
    let device = Some("bench".parse()?);
    let hello = Hello { username: Some(user.to_owned()), device, sync, ..Hello::default() };
    let (connection, welcome) = Connection::connect(url, hello).await?;
    Ok((connection, welcome.sync))
}

/// When a load is measured: what happens before `from` warms up.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub from: Instant,
    pub to: Instant,
}

impl Span {
    pub fn after(warm_up: Duration, length: Duration) -> Self {
        let from = Instant::now() + warm_up;
        Self { from, to: from + length }
    }

    pub fn contains(&self, moment: Instant) -> bool {
        (self.from..self.to).contains(&moment)
    }
}

/// What one or many connections counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Acknowledged, or delivered, within the span.
    pub acked: u64,
    pub delivered: u64,
    /// The same from the span's beginning until nothing was under way any more.
    pub all_acked: u64,
    /// Including the warm-up: what was acknowledged and what was delivered must be the same in the end.
    total_acked: u64,
    total_delivered: u64,
    /// From send to acknowledgement, of what was sent within the span.
    pub latencies_us: Vec<u32>,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.all_acked += other.all_acked;
        self.total_acked += other.total_acked;
        self.total_delivered += other.total_delivered;
        self.latencies_us.extend(other.latencies_us);
    }
}

/// Writes `send` frames, each with a text and a `client_msg_id` of its own.
pub struct Sends {
    heads: Vec<String>,
    texts: Vec<String>,
    random: StdRng,
    next: u64,
    frame: String,
}

impl Sends {
    /// `to` is JSON: `{"user":"bob"}`.
    pub fn new(to: &str, seed: u64) -> Self {
        Self::to_any(&[to.to_owned()], seed)
    }

    /// Each goes to one of `to` by chance.
    pub fn to_any(to: &[String], seed: u64) -> Self {
        let mut texts = Texts::new(seed);
        Self {
            heads: to.iter().map(|to| format!(r#"{{"type":"send","to":{to}"#)).collect(),
            texts: (0..TEXTS).map(|_| texts.text(TEXT_BYTES)).collect(),
            random: StdRng::from_os_rng(),
            next: 0,
            frame: String::new(),
        }
    }

    /// The next frame, with its number as `id`.
    pub fn next(&mut self) -> &str {
        self.next += 1;
        let text = &self.texts[self.next as usize % TEXTS];
        let (number, client_msg_id) = (self.next, self.random.random::<u128>());
        self.frame.clear();
        self.frame.push_str(&self.heads[self.random.random_range(0..self.heads.len())]);
        write!(self.frame, r#","id":{number},"client_msg_id":"{client_msg_id:032x}","text":"{text}"}}"#)
            .expect("a string takes all");
        &self.frame
    }
}

/// Pairs of connections: one sends to the other, `window` messages under way each.
pub struct Pairs {
    url: String,
    window: usize,
    /// The first pair's number, which their names come from.
    first: usize,
    pairs: Vec<(Connection, Connection)>,
}

impl Pairs {
    pub async fn connect(url: &str, pairs: usize, window: usize) -> anyhow::Result<Self> {
        Self::connect_from(url, 0, pairs, window).await
    }

    /// As [`Pairs::connect`], with names that nobody else has if the numbers are not another's.
    pub async fn connect_from(url: &str, first: usize, pairs: usize, window: usize) -> anyhow::Result<Self> {
        let mut connected = Vec::new();
        for pair in first..first + pairs {
            connected.push((connect(url, &sender(pair)).await?, connect(url, &receiver(pair)).await?));
        }
        Ok(Self { url: url.to_owned(), window, first, pairs: connected })
    }

    /// Sends until the span is over, and waits until all of it was acknowledged and delivered.
    pub async fn run(self, span: Span) -> anyhow::Result<Counts> {
        let mut tasks = JoinSet::new();
        for (pair, (from, to)) in (self.first..).zip(self.pairs) {
            let sends = Sends::new(&format!(r#"{{"user":"{}"}}"#, receiver(pair)), pair as u64);
            let (sent_tx, sent_rx) = tokio::sync::oneshot::channel();
            tasks.spawn(async move {
                let counts = send(from, sends, self.window, span, "sent").await?;
                // The other side may have failed, which is told there.
                let _ = sent_tx.send(counts.total_acked);
                Ok(counts)
            });
            tasks.spawn(receive(to, span, sent_rx));
        }
        let counts = join(tasks).await.with_context(|| format!("load on {}", self.url))?;
        if counts.total_acked != counts.total_delivered {
            bail!("{} messages were acknowledged, but {} delivered", counts.total_acked, counts.total_delivered);
        }
        Ok(counts)
    }
}

fn sender(pair: usize) -> String {
    format!("ada{pair}")
}

fn receiver(pair: usize) -> String {
    format!("bob{pair}")
}

/// Sends and gets everything back, over connections that only echo.
pub async fn echo(url: &str, connections: usize, window: usize, span: Span) -> anyhow::Result<Counts> {
    let mut tasks = JoinSet::new();
    for number in 0..connections {
        let connection = Connection::open(url).await?;
        let sends = Sends::new(r#"{"user":"echo"}"#, number as u64);
        tasks.spawn(send(connection, sends, window, span, "send"));
    }
    let counts = join(tasks).await?;
    Ok(Counts { delivered: counts.acked, ..counts })
}

async fn join(mut tasks: JoinSet<anyhow::Result<Counts>>) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    while let Some(done) = tasks.join_next().await {
        counts.add(done??);
    }
    counts.latencies_us.sort_unstable();
    Ok(counts)
}

/// Keeps `window` sends under way until the span is over. Each is answered, in order, by a frame of type `answer`.
pub async fn send(
    mut connection: Connection,
    mut sends: Sends,
    window: usize,
    span: Span,
    answer: &str,
) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut under_way = VecDeque::with_capacity(window);
    for _ in 0..window {
        connection.writer.queue(sends.next());
        under_way.push_back(Instant::now());
    }
    connection.writer.flush().await?;
    while !under_way.is_empty() {
        let mut frame = Some(tokio::time::timeout(SILENCE, connection.reader.next()).await.context("no answer")??);
        let now = Instant::now();
        while let Some(answered) = frame {
            match answered.kind() {
                kind if kind == answer => {}
                "ping" => connection.writer.queue(PONG),
                "error" => bail!("refused: {}", answered.text()),
                _ => {
                    frame = connection.reader.try_next()?;
                    continue;
                }
            }
            let began = under_way.pop_front().context("an answer to nothing")?;
            counts.total_acked += 1;
            counts.all_acked += u64::from(now >= span.from);
            counts.acked += u64::from(span.contains(now));
            if span.contains(began) {
                counts.latencies_us.push(u32::try_from((now - began).as_micros()).unwrap_or(u32::MAX));
            }
            if now < span.to {
                connection.writer.queue(sends.next());
                under_way.push_back(now);
            }
            frame = connection.reader.try_next()?;
        }
        if connection.writer.queued_bytes() > 0 {
            connection.writer.flush().await?;
        }
    }
    Ok(counts)
}

/// Counts entries until as many came as `sent` says in the end.
async fn receive(
    mut connection: Connection,
    span: Span,
    mut sent: tokio::sync::oneshot::Receiver<u64>,
) -> anyhow::Result<Counts> {
    let mut counts = Counts::default();
    let mut expected = None;
    while expected.is_none_or(|expected| counts.total_delivered < expected) {
        tokio::select! {
            total = &mut sent, if expected.is_none() => expected = Some(total.context("the sender failed")?),
            frame = tokio::time::timeout(SILENCE, connection.reader.next()) => {
                let mut frame = Some(frame.context("nothing was delivered")??);
                let is_measured = span.contains(Instant::now());
                while let Some(delivered) = frame {
                    match delivered.kind() {
                        "entry" => {
                            counts.total_delivered += 1;
                            counts.delivered += u64::from(is_measured);
                        }
                        "ping" => connection.writer.queue(PONG),
                        _ => {}
                    }
                    frame = connection.reader.try_next()?;
                }
                if connection.writer.queued_bytes() > 0 {
                    connection.writer.flush().await?;
                }
            }
        }
    }
    Ok(counts)
}
