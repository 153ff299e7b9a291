//! The senders, and the conversations as far as the bench needs them: next seq and the repeats index.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use anyhow::bail;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId};
use tidings_server::{
    conversation::entry::{Body, Entry, Message},
    journal::commit::{CommittedReceiver, Committer, Outcome, Submission},
    tables::fingerprints::{Fingerprint, RUN},
};
use tokio::sync::Semaphore;

use super::{Clock, Figures, Plan, SENDERS, Spread, flusher::Sink};

/// Locks for the conversations: senders rarely meet.
const SHARDS: usize = 256;
/// Bytes that a message counts in the backlog before it is encoded.
const MESSAGE_BYTES: usize = 256;

pub struct Load {
    plan: Plan,
    senders: Vec<Arc<Semaphore>>,
    left: AtomicU64,
    shards: Vec<Mutex<HashMap<u32, Log>>>,
    texts: Vec<String>,
}

/// One conversation.
#[derive(Default)]
struct Log {
    last_seq: u64,
    /// The repeats index: hashes since the last full run.
    fingerprints: Vec<Fingerprint>,
}

/// What a submission carries to its acknowledgement.
pub struct Sent {
    pub conversation: u32,
    /// As the server has it in memory until it is flushed.
    pub entry: Arc<Entry>,
    sender: u16,
    at: Instant,
    /// A full run of fingerprints, if this message completed it.
    pub run: Option<Box<(Seq, Vec<Fingerprint>)>>,
}

impl Load {
    pub fn new(plan: &Plan) -> Self {
        let senders = (0..SENDERS).map(|_| Arc::new(Semaphore::new(plan.window))).collect();
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { plan: plan.clone(), senders, left: AtomicU64::new(plan.messages), shards, texts: texts(&mut Random(7)) }
    }

    /// Sends everything, and hands what is committed on, until the sink has taken it all.
    pub async fn drive(
        self,
        committer: &Committer<Sent>,
        mut outcomes: CommittedReceiver<Sent>,
        mut sink: Sink,
    ) -> anyhow::Result<Figures> {
        let load = Arc::new(self);
        let messages = usize::try_from(load.plan.messages)?;
        let mut clock = Clock::start(messages);
        let senders: Vec<_> = (0..load.senders.len())
            .map(|sender| tokio::spawn(Arc::clone(&load).send(sender, committer.clone())))
            .collect();
        while clock.latencies_us.len() < messages {
            let committed = match outcomes.recv().await {
                Some(Outcome::Committed(committed)) => committed,
                Some(Outcome::Failed(failed)) => bail!("the commit failed: {}", failed.error),
                None => bail!("the committer stopped"),
            };
            let now = Instant::now();
            clock.commit(now);
            for item in &committed.items {
                clock.latencies_us.push(u32::try_from((now - item.payload.at).as_micros()).unwrap_or(u32::MAX));
                load.senders[usize::from(item.payload.sender)].add_permits(1);
            }
            sink.take(committed, committer).await?;
        }
        for sender in senders {
            sender.await?;
        }
        sink.finish().await?;
        Ok(clock.figures())
    }

    async fn send(self: Arc<Self>, sender: usize, committer: Committer<Sent>) {
        let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ (sender as u64 + 1).wrapping_mul(0x2545_f491_4f6c_dd1d));
        while self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok() {
            let window = self.senders[sender].acquire().await.expect("the semaphore is never closed");
            window.forget();
            let Ok(permit) = committer.reserve(MESSAGE_BYTES).await else { return };
            let conversation = self.plan.spread.pick(&mut random, self.plan.conversations);
            let text = &self.texts[random.below(self.texts.len() as u64) as usize];
            let from = user(conversation, random.below(2) as u32);
            let id = uuid(&mut random);
            let fingerprint = Fingerprint::of(&from, &id);
            let mut shard = self.shards[conversation as usize % SHARDS].lock();
            let log = shard.entry(conversation).or_default();
            if log.fingerprints.contains(&fingerprint) {
                // A repeat, once in 10^12: the server would read the entry to be sure.
                continue;
            }
            log.last_seq += 1;
            log.fingerprints.push(fingerprint);
            let run = (log.fingerprints.len() as u64 == RUN).then(|| {
                let run = std::mem::take(&mut log.fingerprints);
                Box::new((Seq(log.last_seq + 1 - RUN), run))
            });
            let entry = Entry {
                seq: Seq(log.last_seq),
                at_ms: 1_795_132_800_000 + random.below(3_600_000),
                from,
                ord: log.last_seq,
                client_msg_id: Some(id.into()),
                body: Body::Message(Message { text: text.as_str().into(), ..Message::default() }),
                void: false,
                fold: None,
            };
            let events = [encode(conversation, &entry)].into_iter().collect();
            let entry = Arc::new(entry);
            let sent = Sent { conversation, entry, sender: sender as u16, at: Instant::now(), run };
            // While the conversation is locked, so that its entries keep their order.
            committer.submit(Submission { events, payload: sent, permit: Some(permit) });
        }
    }
}

impl Spread {
    fn pick(self, random: &mut Random, conversations: u32) -> u32 {
        match self {
            Self::Uniform => random.below(conversations.into()) as u32,
            // The inverse of the sum of 1/n, nearly. Spread over the ids, so that neighbours are not all busy.
            Self::Zipf => {
                let rank = (f64::from(conversations).ln() * random.unit()).exp() as u64 - 1;
                (rank * 2_654_435_761 % u64::from(conversations)) as u32
            }
        }
    }
}

/// The event as the journal keeps it: conversation and entry.
fn encode(conversation: u32, entry: &Entry) -> Vec<u8> {
    let mut event = Vec::with_capacity(MESSAGE_BYTES);
    event.extend_from_slice(&conversation.to_le_bytes());
    event.extend_from_slice(conversation_id(conversation).as_bytes());
    minicbor::encode(entry, &mut event).expect("a vector takes all");
    event
}

pub fn decode(event: &[u8]) -> anyhow::Result<(u32, Entry)> {
    let Some((number, rest)) = event.split_first_chunk() else { bail!("an event is too short") };
    Ok((u32::from_le_bytes(*number), minicbor::decode(&rest[16..])?))
}

/// Ids as hashes are: in no order.
pub fn conversation_id(number: u32) -> ConversationId {
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    ConversationId::from_bytes((mixed ^ (mixed >> 61)).to_be_bytes())
}

/// One of the two people of a conversation. Each has about ten conversations.
pub fn user(conversation: u32, which: u32) -> UserId {
    let number = conversation.wrapping_mul(2_654_435_761 + which * 2) % (conversation / 5 + 2) * 2 + which;
    UserId::new(&format!("u{number:07}")).expect("a short name")
}

fn uuid(random: &mut Random) -> String {
    let bits = u128::from(random.next()) << 64 | u128::from(random.next());
    let hex = format!("{bits:032x}");
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}

/// Messages of 150 bytes: common words as often as in English, and rarer ones that no dictionary knows.
fn texts(random: &mut Random) -> Vec<String> {
    const COMMON: &str = "the be to of and a in that have I it for not on with he as you do at this but his by from they \
        we say her she or an will my one all would there their what so up out if about who get which go me when make \
        can like time no just him know take people into year your good some could them see other than then now look \
        only come its over think also back after use two how our work first well way even new want because any these \
        give day most us meeting tomorrow thanks please sorry really maybe lunch train late home kids phone photo";
    let common: Vec<&str> = COMMON.split_whitespace().collect();
    let rare: Vec<String> = (0..6_000)
        .map(|_| (0..4 + random.below(5)).map(|_| char::from(b'a' + random.below(26) as u8)).collect())
        .collect();
    let text = |_| {
        let mut text = String::new();
        while text.len() < 150 {
            let word = if random.below(10) < 7 {
                common[(common.len() as f64).powf(random.unit()) as usize - 1]
            } else {
                &rare[random.below(rare.len() as u64) as usize]
            };
            text.push_str(word);
            text.push(' ');
        }
        text.truncate(150);
        text
    };
    (0..20_000).map(text).collect()
}

/// A small generator (splitmix64): the same run again, and no cost.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(end)) >> 64) as u64
    }

    /// From 0 up to 1.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}
