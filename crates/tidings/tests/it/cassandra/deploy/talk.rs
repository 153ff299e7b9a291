//! Pairs of people, of whom one writes steadily and the other listens; what they saw, and how late.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tidings_client::{Client, ClientError, Event, Events, Seq, To};
use tidings_proto::{Code, frames::client::Send};
use tokio::{
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};

const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// So many more deliveries show that it goes on.
const ON: u64 = 100;
const LATE: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Talk {
    pairs: Vec<Pair>,
    seen: Arc<Seen>,
}

struct Pair {
    writes: JoinHandle<Entries>,
    hears: JoinHandle<()>,
    sent_at: SentAt,
    heard: Arc<Mutex<Entries>>,
}

/// Texts by their seqs.
type Entries = BTreeMap<Seq, String>;

/// When each text was sent, which is its place here.
type SentAt = Arc<Mutex<Vec<Instant>>>;

/// What all pairs saw.
#[derive(Default)]
struct Seen {
    is_over: AtomicBool,
    now: Mutex<Phase>,
    past: Mutex<Vec<Phase>>,
}

#[derive(Clone, Default)]
struct Phase {
    what: String,
    acked: u64,
    delivered: u64,
    unavailable: u64,
    latest_ack: Duration,
    latest_delivery: Duration,
    late: u64,
    last_ack: Option<Instant>,
    longest_gap: Duration,
}

/// What became of it.
pub struct Figures(Vec<Phase>);

impl Talk {
    /// Each pair comes to nodes of its own choice, and knows them all; whoever writes sends once in `every`.
    pub async fn begin(urls: &[String], pairs: usize, every: Duration) -> Self {
        let seen = Arc::<Seen>::default();
        let mut all = Vec::new();
        for number in 0..pairs {
            let (writer, hearer) = (format!("writer-{number}"), format!("hearer-{number}"));
            let listener = comes(urls, number, &hearer).connect().await.unwrap();
            let writer = comes(urls, number + 1, &writer).connect_without_events().await.unwrap();
            let sent_at = SentAt::default();
            let heard = Arc::<Mutex<Entries>>::default();
            let to = To::User(hearer.parse().unwrap());
            all.push(Pair {
                writes: tokio::spawn(write(writer, to, every, sent_at.clone(), seen.clone())),
                hears: tokio::spawn(hear(listener, sent_at.clone(), heard.clone(), seen.clone())),
                sent_at,
                heard,
            });
        }
        Self { pairs: all, seen }
    }

    /// Waits until more has come.
    pub async fn goes_on(&self) {
        let delivered = || self.seen.now.lock().delivered;
        let enough = delivered() + ON;
        until("people hear each other", || delivered() >= enough).await;
    }

    /// Waits until all have heard more that was sent from now on.
    pub async fn all_go_on(&self) {
        for pair in &self.pairs {
            let sent = pair.sent_at.lock().len();
            until("each pair goes on", || pair.heard.lock().len() > sent).await;
        }
    }

    /// What was seen since the last call was this.
    pub fn phase(&self, what: &str) {
        let mut now = self.seen.now.lock();
        let next = Phase { last_ack: now.last_ack, ..Phase::default() };
        let past = std::mem::replace(&mut *now, next);
        self.seen.past.lock().push(Phase { what: what.to_owned(), ..past });
    }

    /// Ends it. Everything that was acknowledged was heard, once and in order, and nothing else.
    pub async fn end(self) -> Figures {
        self.seen.is_over.store(true, Relaxed);
        for pair in self.pairs {
            let acked = timeout(PATIENCE, pair.writes).await.expect("all is acknowledged").unwrap();
            assert!(acked.keys().map(|seq| seq.0).eq(1..=acked.len() as u64), "a seq is missing, or there twice");
            until("all is heard", || pair.heard.lock().len() >= acked.len()).await;
            pair.hears.abort();
            assert_eq!(*pair.heard.lock(), acked, "what was heard is what was acknowledged");
        }
        Figures(std::mem::take(&mut *self.seen.past.lock()))
    }
}

fn comes(urls: &[String], to: usize, user: &str) -> tidings_client::Builder {
    let at = |next: usize| &urls[(to + next) % urls.len()];
    // Whatever is refused is to be seen here.
    let builder = Client::builder(at(0)).user(user).device("d-1").retries(0);
    (1..urls.len()).fold(builder, |builder, next| builder.also(at(next)))
}

/// Sends at its times, whatever becomes of what was sent before. What was acknowledged.
async fn write(client: Client, to: To, every: Duration, sent_at: SentAt, seen: Arc<Seen>) -> Entries {
    let mut ticks = tokio::time::interval(every);
    let mut sending = JoinSet::new();
    while !seen.is_over.load(Relaxed) {
        ticks.tick().await;
        let number = sent_at.lock().len();
        let send = Send {
            to: to.clone(),
            client_msg_id: format!("c-{number}"),
            text: number.to_string(),
            mentions: vec![],
            reply_to: None,
            attachments: vec![],
            data: None,
        };
        sent_at.lock().push(Instant::now());
        // Started here, so that they keep their order.
        let first = client.start_send(send.clone()).await.expect("it comes back by itself");
        sending.spawn(is_saved(client.clone(), send, first, seen.clone()));
    }
    let mut acked = Entries::new();
    while let Some(saved) = sending.join_next().await {
        let (seq, text) = saved.unwrap();
        assert_eq!(acked.insert(seq, text), None, "two messages have one seq");
    }
    acked
}

/// Waits for the acknowledgement, and sends again what was refused for now.
async fn is_saved(client: Client, send: Send, first: tidings_client::Sending, seen: Arc<Seen>) -> (Seq, String) {
    let (began, mut answer) = (Instant::now(), first.await);
    loop {
        match answer {
            Ok(sent) => {
                seen.acked(began);
                return (sent.seq, send.text);
            }
            Err(ClientError::Refused(refused)) => {
                assert_eq!(refused.code, Code::Unavailable, "{}", refused.message);
                seen.now.lock().unavailable += 1;
                sleep(AGAIN_AFTER).await;
                answer = client.start_send(send.clone()).await.expect("it comes back by itself").await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

async fn hear((_line, mut events): (Client, Events), sent_at: SentAt, heard: Arc<Mutex<Entries>>, seen: Arc<Seen>) {
    while let Some(event) = events.next().await {
        let Event::Entry(live) = event else { continue };
        let text = live.entry.text.as_deref().expect("all are messages").to_owned();
        let sent_at = sent_at.lock()[text.parse::<usize>().unwrap()];
        seen.delivered(sent_at);
        let mut heard = heard.lock();
        assert!(heard.last_key_value().is_none_or(|(last, _)| last.next() == live.entry.seq), "the next one is heard");
        heard.insert(live.entry.seq, text);
    }
}

impl Seen {
    fn acked(&self, began: Instant) {
        let (now, mut phase) = (Instant::now(), self.now.lock());
        phase.acked += 1;
        phase.latest_ack = phase.latest_ack.max(now - began);
        let gap = phase.last_ack.map_or(Duration::ZERO, |last| now - last);
        phase.longest_gap = phase.longest_gap.max(gap);
        phase.last_ack = Some(now);
    }

    fn delivered(&self, sent_at: Instant) {
        let (took, mut phase) = (sent_at.elapsed(), self.now.lock());
        phase.delivered += 1;
        phase.latest_delivery = phase.latest_delivery.max(took);
        phase.late += u64::from(took > LATE);
    }
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let met = async {
        while !condition() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(timeout(PATIENCE, met).await.is_ok(), "{what}: not within {PATIENCE:?}");
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:>6} {:>11} {:>13} {:>18} {:>8} {:>14}",
            "acked", "unavailable", "latest ack ms", "latest delivery ms", "late 2 s", "longest gap ms"
        )?;
        for phase in &self.0 {
            let Phase { what, acked, unavailable, late, .. } = phase;
            let [ack, delivery, gap] =
                [phase.latest_ack, phase.latest_delivery, phase.longest_gap].map(|time| time.as_millis());
            writeln!(f, "{acked:>6} {unavailable:>11} {ack:>13} {delivery:>18} {late:>8} {gap:>14}  {what}")?;
        }
        Ok(())
    }
}
