//! Negative controls: each takes good histories, breaks one promise in them as a faulty server would have, and asserts
//! that exactly the rule of that promise turns red (or the named ones, where one fault breaks several promises).

mod fleet;
mod log;
mod people;
mod sessions;
mod time;

use std::{
    collections::{BTreeMap, HashSet},
    sync::OnceLock,
};

use tidings_checker::{
    Connected, ConnectionId, Entry, Event, Fetched, History, OperationId, Record, Rule, SendAsked, Transport, check,
};
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Kind};

use crate::model::{Settings, good_history};

const SEEDS: std::ops::Range<u64> = 100..102;

/// Histories without blocks, so that every entry is shown to everybody.
fn open_histories() -> impl Iterator<Item = Vec<Record>> {
    static HISTORIES: OnceLock<Vec<Vec<Record>>> = OnceLock::new();
    HISTORIES.get_or_init(|| histories(0)).iter().cloned()
}

/// Histories in which people block each other often.
fn histories_with_blocks() -> impl Iterator<Item = Vec<Record>> {
    static HISTORIES: OnceLock<Vec<Vec<Record>>> = OnceLock::new();
    HISTORIES.get_or_init(|| histories(40)).iter().cloned()
}

fn histories(blocks: u32) -> Vec<Vec<Record>> {
    let settings = |seed| Settings { blocks, steps: 4_000, ..Settings::mixed(seed) };
    SEEDS.map(|seed| good_history(&settings(seed)).into_records()).collect()
}

fn assert_red(records: Vec<Record>, expected: &[Rule]) {
    let report = check(&History::new(records)).expect("a mutation leaves a history");
    assert_eq!(report.red(), expected, "{report}");
    for rule in expected {
        assert!(report.outcome(*rule).violations.iter().all(|violation| !violation.evidence.is_empty()), "{report}");
    }
}

/// Tries one mutation at each of `places`: what it proves differs, but it is `rule` or nothing, and somewhere `rule`.
fn assert_red_somewhere(records: &[Record], places: &[usize], rule: Rule, mutate: impl Fn(&mut Vec<Record>, usize)) {
    let mut reds = 0;
    for &place in places.iter().take(12) {
        let mut mutated = records.to_vec();
        mutate(&mut mutated, place);
        let report = check(&History::new(mutated)).expect("a mutation leaves a history");
        assert!(report.is_green() || report.red() == [rule], "{report}");
        reds += usize::from(!report.is_green());
    }
    assert!(reds > 0, "none of {} places turned {rule} red", places.len());
}

fn places(records: &[Record], wanted: impl Fn(&Event) -> bool) -> Vec<usize> {
    (0..records.len()).filter(|&place| wanted(&records[place].event)).collect()
}

/// What makes repeats repeats: conversation, sender, `client_msg_id`.
type Key = (ConversationId, UserId, String);

/// What the mutations need to know of a history.
struct Facts {
    connections: BTreeMap<ConnectionId, Connected>,
    /// Each send with when it was asked.
    sends: BTreeMap<OperationId, (u64, SendAsked)>,
    /// When an entry was first acked or shown, final reads apart.
    first_seen: BTreeMap<(ConversationId, Seq), u64>,
    last_seqs: BTreeMap<ConversationId, Seq>,
    /// What was told of where conversations end, by any answer.
    claims: Vec<(ConversationId, Seq, u64)>,
}

impl Facts {
    fn new(records: &[Record]) -> Self {
        let (mut connections, mut sends) = (BTreeMap::new(), BTreeMap::new());
        let (mut first_seen, mut last_seqs) = (BTreeMap::new(), BTreeMap::new());
        let mut claims = Vec::new();
        let mut see = |conversation, seq, at| _ = first_seen.entry((conversation, seq)).or_insert(at);
        for Record { at, event } in records {
            match event {
                Event::Connected(connected) => _ = connections.insert(connected.connection, connected.clone()),
                Event::Send(asked) => _ = sends.insert(asked.operation, (*at, asked.clone())),
                Event::Sent { operation, seq, .. } => see(sends[operation].1.conversation, *seq, *at),
                Event::Delivered(delivered) => see(delivered.conversation, delivered.entry.seq, *at),
                Event::Fetched(page) if page.is_final => _ = last_seqs.insert(page.conversation, page.last_seq),
                Event::Fetched(page) => {
                    claims.push((page.conversation, page.last_seq, *at));
                    page.entries.iter().for_each(|entry| see(page.conversation, entry.seq, *at));
                }
                Event::Synced(synced) => {
                    for item in &synced.items {
                        claims.push((item.conversation, item.last_seq, *at));
                        item.tail.iter().chain(&item.last).for_each(|entry| see(item.conversation, entry.seq, *at));
                    }
                }
                _ => {}
            }
        }
        Self { connections, sends, first_seen, last_seqs, claims }
    }

    /// The furthest seq of a conversation that was told of before `at`.
    fn known_before(&self, conversation: ConversationId, at: u64) -> Seq {
        let seen = self.first_seen.iter().map(|(&(of, seq), &seen)| (of, seq, seen));
        let told = seen.chain(self.claims.iter().copied());
        told.filter(|&(of, _, told)| of == conversation && told < at).map(|(_, seq, _)| seq).max().unwrap_or_default()
    }

    fn transport(&self, connection: ConnectionId) -> Transport {
        self.connections[&connection].transport
    }

    fn user(&self, connection: ConnectionId) -> &UserId {
        &self.connections[&connection].user
    }

    /// Acks by place: (place, operation, seq, repeat).
    fn acks<'a>(&self, records: &'a [Record]) -> impl Iterator<Item = (usize, OperationId, Seq, bool)> + 'a {
        records.iter().enumerate().filter_map(|(place, record)| match record.event {
            Event::Sent { operation, seq, repeat } => Some((place, operation, seq, repeat)),
            _ => None,
        })
    }

    /// Messages that somebody sent, perhaps, and nobody ever saw or got an answer to but `refused` or none.
    fn unseen(&self, records: &[Record], refused: bool) -> Vec<(u64, UserId, SendAsked)> {
        let mut seen: HashSet<Key> = HashSet::new();
        let mut refusals = HashSet::new();
        for record in records {
            match &record.event {
                Event::Refused { operation, .. } => _ = refusals.insert(*operation),
                Event::Sent { operation, .. } => {
                    let asked = &self.sends[operation].1;
                    let user = self.user(asked.connection).clone();
                    seen.insert((asked.conversation, user, asked.client_msg_id.to_string()));
                }
                event => for_each_entry(event, |conversation, entry| {
                    if let (Some(from), Some(id)) = (&entry.from, &entry.client_msg_id) {
                        seen.insert((conversation, from.clone(), id.to_string()));
                    }
                }),
            }
        }
        let mut attempts: BTreeMap<Key, Vec<&(u64, SendAsked)>> = BTreeMap::new();
        for send in self.sends.values().filter(|(_, asked)| asked.kind == Kind::Message) {
            let user = self.user(send.1.connection).clone();
            attempts.entry((send.1.conversation, user, send.1.client_msg_id.to_string())).or_default().push(send);
        }
        let unseen = attempts.into_iter().filter(|(key, sends)| {
            !seen.contains(key) && sends.iter().all(|(_, asked)| refusals.contains(&asked.operation) == refused)
        });
        let first = |sends: Vec<&(u64, SendAsked)>| {
            sends.into_iter().min_by_key(|(at, _)| *at).expect("each has an attempt").clone()
        };
        let mut unseen: Vec<_> = unseen
            .map(|((_, user, _), sends)| {
                let (at, asked) = first(sends);
                (at, user, asked)
            })
            .collect();
        unseen.sort_by_key(|(at, ..)| *at);
        unseen
    }
}

fn for_each_entry(event: &Event, mut see: impl FnMut(ConversationId, &Entry)) {
    match event {
        Event::Delivered(delivered) => see(delivered.conversation, &delivered.entry),
        Event::Fetched(page) => page.entries.iter().for_each(|entry| see(page.conversation, entry)),
        Event::Synced(synced) => {
            for item in &synced.items {
                item.tail.iter().chain(&item.last).for_each(|entry| see(item.conversation, entry));
            }
        }
        _ => {}
    }
}

fn fetched(event: &Event) -> Option<&Fetched> {
    if let Event::Fetched(fetched) = event { Some(fetched) } else { None }
}

fn fetched_mut(record: &mut Record) -> &mut Fetched {
    if let Event::Fetched(fetched) = &mut record.event { fetched } else { panic!("no page stands there") }
}

/// A message that shows what was sent: neither void nor changed later.
fn is_plain(entry: &Entry) -> bool {
    entry.kind == Kind::Message && entry.edited_seq.is_none() && !entry.redacted
}

/// Puts `entry` behind the end of every final read of `conversation`.
fn append_to_final_reads(records: &mut [Record], conversation: ConversationId, entry: &Entry) {
    let previous = entry.seq.previous();
    for record in records {
        if let Event::Fetched(page) = &mut record.event
            && page.is_final
            && page.conversation == conversation
        {
            page.last_seq = entry.seq;
            if page.entries.last().is_some_and(|last| last.seq == previous) {
                page.entries.push(entry.clone());
            }
        }
    }
}
