//! `fanout`: one sender, a group with a thousand members online. The baseline is a bare WebSocket server that hands the
//! same frames to as many connections, and stores nothing; of another transport, the same server's WebSockets.
//!
//! A message leaves the sender's window when it is acknowledged and, on average, delivered: otherwise the queues of the
//! readers would be measured, not the deliveries.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::raw::{Connection, PONG};
use tokio::{sync::Notify, task::JoinSet, time::timeout};

use super::{
    Options,
    child::{self, Kind},
    listen::Listener,
    load::{Sends, Span, connect},
    report::{Figure, Report, median},
    server::Server,
};
use crate::cli::Transport;

const MEMBERS: usize = 1_000;
const WINDOW: u64 = 16;
/// What a member hears first: that the group was made, and a message.
const FIRST_ENTRIES: u64 = 2;
const AT_ONCE: usize = 64;
const WARM_UP: Duration = Duration::from_millis(700);
const SILENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug)]
struct Round {
    per_s: f64,
    cpu_us: f64,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    child::raise_file_limit()?;
    let server = Server::start(&options.folder.join("fanout"), &[]).await?;
    match options.transport {
        Transport::Ws => against_broadcast(&server, options, report).await?,
        transport => against_websocket(&server, transport, options, report).await?,
    }
    server.stop().await
}

async fn against_broadcast(server: &Server, options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let bare = Server::of_kind(Kind::Broadcast, &options.folder).await?;
    let (mut group, entry) = Group::create(server, Transport::Ws).await?;
    let mut everybody = Group::connect(&bare, entry).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        report.progress(&format!("fanout: round {round} of {}", options.rounds))?;
        ours.push(group.round(server, options.round).await?);
        theirs.push(everybody.round(&bare, options.round).await?);
    }
    let per_s = compared("deliveries", "/s", &ours, "bare broadcast", &theirs, |round| round.per_s);
    report.add(per_s.goal(0.5, 0.8))?;
    let cpu = compared("server CPU a delivery", "us", &ours, "bare broadcast", &theirs, |round| round.cpu_us);
    Ok(report.add(cpu)?)
}

/// The same server has a group over another transport, and one over WebSocket to compare with.
async fn against_websocket(
    server: &Server,
    transport: Transport,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let (mut group, _) = Group::create(server, transport).await?;
    let (mut sockets, _) = Group::create(server, Transport::Ws).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=options.rounds {
        report.progress(&format!("fanout over {transport:?}: round {round} of {}", options.rounds))?;
        ours.push(group.round(server, options.round).await?);
        theirs.push(sockets.round(server, options.round).await?);
    }
    let over = |what: &str| format!("{what} over {transport:?}");
    let per_s = compared(&over("deliveries"), "/s", &ours, "over WebSocket", &theirs, |round| round.per_s);
    report.add(per_s.goal(0.7, 1.0))?;
    let cpu = over("server CPU a delivery");
    Ok(report.add(compared(&cpu, "us", &ours, "over WebSocket", &theirs, |round| round.cpu_us))?)
}

fn compared(
    what: &str,
    unit: &'static str,
    ours: &[Round],
    name: &'static str,
    theirs: &[Round],
    figure: fn(&Round) -> f64,
) -> Figure {
    let of = |rounds: &[Round]| median(rounds.iter().map(figure).collect());
    Figure::new("fanout", what, of(ours), unit).against(name, of(theirs))
}

/// A sender and those that hear it.
struct Group {
    sender: Connection,
    members: Vec<Listener>,
    what: What,
}

/// What the sender says.
enum What {
    /// `send` frames; `sent` answers.
    Sends(Box<Sends>),
    /// This frame again and again; it comes back.
    Frame(String),
}

impl Group {
    /// A group on a server; and the frame that a member gets of a message, for a server that only hands it on.
    async fn create(server: &Server, transport: Transport) -> anyhow::Result<(Self, String)> {
        let user = format!("sender-{transport:?}");
        let names: Vec<String> = (0..MEMBERS).map(|number| format!("{transport:?}{number}")).collect();
        let connected = stream::iter(&names).map(|name| Listener::connect(transport, server, name)).buffered(AT_ONCE);
        let mut members: Vec<_> = connected.try_collect().await?;
        let mut sender = connect(&server.url, &user).await?;
        // The sender itself gets answers alone; its other connection sees what members see.
        let mut witness = connect(&server.url, &user).await?;
        // Names are the users' ids, in small letters.
        let names: Vec<String> = names.iter().map(|name| name.to_lowercase()).collect();
        let create = serde_json::json!({
            "type": "create", "id": 0, "client_msg_id": "bench", "name": "Everybody", "members": names,
        });
        sender.writer.queue(&create.to_string());
        sender.writer.flush().await?;
        let conversation = wait_for(&mut sender, "created").await?.1;
        let mut sends = Sends::new(&format!(r#"{{"conversation":"{conversation}"}}"#), 1);
        sender.writer.queue(sends.next());
        sender.writer.flush().await?;
        wait_for(&mut sender, "sent").await?;
        let mut entry = String::new();
        while !entry.contains(r#""kind":"message""#) {
            entry = wait_for(&mut witness, "entry").await?.0;
        }
        for member in &mut members {
            let mut count = 0;
            while count < FIRST_ENTRIES {
                count += timeout(SILENCE, member.entries()).await.context("nothing was delivered")??;
                member.answer().await?;
            }
        }
        let group = Self { sender, members, what: What::Sends(Box::new(sends)) };
        Ok((group, entry))
    }

    async fn connect(bare: &Server, entry: String) -> anyhow::Result<Self> {
        let open = |_| async { anyhow::Ok(Listener::WebSocket(Connection::open(&bare.url).await?)) };
        let members = stream::iter(0..MEMBERS).map(open).buffered(AT_ONCE).try_collect().await?;
        Ok(Self { sender: Connection::open(&bare.url).await?, members, what: What::Frame(entry) })
    }

    async fn round(&mut self, server: &Server, length: Duration) -> anyhow::Result<Round> {
        server.settle().await?;
        let span = Span::after(WARM_UP, length);
        let delivered = Arc::new(Delivered::default());
        let mut readers = JoinSet::new();
        for (number, member) in self.members.drain(..).enumerate() {
            readers.spawn(read(number, member, delivered.clone()));
        }
        let begin = async {
            tokio::time::sleep_until(span.from.into()).await;
            anyhow::Ok((server.usage()?, delivered.count.load(Relaxed)))
        };
        let (sent, (before, delivered_before)) =
            tokio::try_join!(send(&mut self.sender, &mut self.what, &delivered, span), begin)?;
        let elapsed = span.from.elapsed();
        delivered.expect(sent);
        let mut members = HashMap::new();
        while let Some(reader) = readers.join_next().await {
            let (number, member) = reader??;
            members.insert(number, member);
        }
        self.members = (0..MEMBERS).filter_map(|number| members.remove(&number)).collect();
        server.settle().await?;
        let cpu = server.usage()?.since(before).cpu;
        let deliveries = (sent * MEMBERS as u64 - delivered_before) as f64;
        Ok(Round { per_s: deliveries / elapsed.as_secs_f64(), cpu_us: cpu.as_secs_f64() * 1e6 / deliveries })
    }
}

/// What all readers together have.
#[derive(Default)]
struct Delivered {
    count: AtomicU64,
    /// How many messages each reader is to have in the end; 0: not known yet.
    expected: AtomicU64,
    changed: Notify,
    ended: Notify,
}

impl Delivered {
    fn add(&self, count: u64) {
        let before = self.count.fetch_add(count, Relaxed);
        if before / MEMBERS as u64 != (before + count) / MEMBERS as u64 {
            self.changed.notify_one();
        }
    }

    fn expect(&self, messages: u64) {
        self.expected.store(messages, Relaxed);
        self.ended.notify_waiters();
    }

    fn messages(&self) -> u64 {
        self.count.load(Relaxed) / MEMBERS as u64
    }
}

/// Sends until the span is over, and waits until all of it was acknowledged and delivered. Tells how many.
async fn send(connection: &mut Connection, what: &mut What, delivered: &Delivered, span: Span) -> anyhow::Result<u64> {
    let (mut sent, mut acked) = (0, 0);
    loop {
        let is_over = Instant::now() >= span.to;
        while !is_over && sent - acked.min(delivered.messages()) < WINDOW {
            match what {
                What::Sends(sends) => connection.writer.queue(sends.next()),
                What::Frame(frame) => connection.writer.queue(frame),
            }
            sent += 1;
        }
        if is_over && sent == acked.min(delivered.messages()) {
            return Ok(sent);
        }
        if connection.writer.queued_bytes() > 0 {
            connection.writer.flush().await?;
        }
        let mut frame = tokio::select! {
            frame = timeout(SILENCE, connection.reader.next()) => Some(frame.context("no answer")??),
            () = delivered.changed.notified() => None,
        };
        while let Some(answer) = frame {
            match answer.kind() {
                "sent" | "entry" => acked += 1,
                "ping" => connection.writer.queue(PONG),
                "error" => bail!("refused: {}", answer.text()),
                _ => {}
            }
            frame = connection.reader.try_next()?;
        }
    }
}

/// Counts entries, until it has all of them.
async fn read(number: usize, mut member: Listener, delivered: Arc<Delivered>) -> anyhow::Result<(usize, Listener)> {
    let mut count = 0;
    loop {
        let ended = delivered.ended.notified();
        let expected = delivered.expected.load(Relaxed);
        if expected > 0 && count >= expected {
            return Ok((number, member));
        }
        let came = tokio::select! {
            came = timeout(SILENCE, member.entries()) => came.context("nothing was delivered")??,
            () = ended => 0,
        };
        count += came;
        delivered.add(came);
        member.answer().await?;
    }
}

/// Skips to a frame of a type: its text and conversation.
async fn wait_for(connection: &mut Connection, kind: &str) -> anyhow::Result<(String, String)> {
    loop {
        let frame = timeout(SILENCE, connection.reader.next()).await.context("no answer")??;
        match frame.kind() {
            "error" => bail!("refused: {}", frame.text()),
            found if found == kind => return Ok((frame.text().to_owned(), frame.conversation().to_owned())),
            _ => {}
        }
    }
}
