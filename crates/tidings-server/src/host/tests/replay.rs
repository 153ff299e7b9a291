//! State is a function of the events: whatever people do, a replay of the journal makes the same conversations and homes, over
//! empty tables and over tables that a crash left half written. What waits for a flush is read as after it.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use serde_json::{Value, json};
use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    conversation::entry::{Body, Entry},
    home::item::Item,
    host::{Host, read::Ask},
    journal::memory::MemoryJournal,
    tables::{LogRange, memory::MemoryTables},
};

use super::{
    Device, Rig, direct,
    torn_tables::{Tear, TornTables},
    user,
};

const PEOPLE: [&str; 5] = ["ada", "bob", "cid", "dan", "eve"];
/// Who only fills a group, so that it grows and shrinks around 64 members.
const CROWD: usize = 61;

/// What somebody does, in numbers that stand for people, conversations and messages.
#[derive(Clone, Debug)]
enum Step {
    Ask {
        by: u8,
        wish: Wish,
    },
    /// Several at once: their commits overlap.
    Burst(Vec<(u8, Wish)>),
    /// Everybody looks into the inbox, which asks the large conversations.
    Look,
    Flush,
    /// A flush is cut off, the process ends and a new one replays.
    Crash(Option<Tear>),
    /// What is idle leaves the memory.
    Forget,
}

#[derive(Clone, Debug)]
enum Wish {
    Send { place: u8, id: u8, mentions: u8, text: u16 },
    Edit { place: u8, id: u8, seq: u8 },
    Redact { place: u8, id: u8, seq: u8 },
    React { place: u8, id: u8, seq: u8, on: bool },
    Members { id: u8, place: u8, add: u8, remove: u8 },
    Rename { place: u8, id: u8 },
    Leave { place: u8, id: u8 },
    Read { place: u8, seq: u8 },
    Ack { place: u8, seq: u8 },
    Set { place: u8, flags: u8 },
    Block { user: u8, on: bool },
    Profile { name: u8 },
}

fn wishes() -> impl Strategy<Value = Wish> {
    let place = 0..7u8;
    let id = any::<u8>();
    prop_oneof![
        12 => (place.clone(), id, any::<u8>(), 0..600u16).prop_map(|(place, id, mentions, text)| Wish::Send { place, id, mentions, text }),
        3 => (place.clone(), id, 0..40u8).prop_map(|(place, id, seq)| Wish::Edit { place, id, seq }),
        3 => (place.clone(), id, 0..40u8).prop_map(|(place, id, seq)| Wish::Redact { place, id, seq }),
        3 => (place.clone(), id, 0..40u8, any::<bool>()).prop_map(|(place, id, seq, on)| Wish::React { place, id, seq, on }),
        4 => (id, 4..7u8, any::<u8>(), any::<u8>()).prop_map(|(id, place, add, remove)| Wish::Members { id, place, add, remove }),
        1 => (place.clone(), id).prop_map(|(place, id)| Wish::Rename { place, id }),
        1 => (4..7u8, id).prop_map(|(place, id)| Wish::Leave { place, id }),
        3 => (place.clone(), 0..40u8).prop_map(|(place, seq)| Wish::Read { place, seq }),
        1 => (place.clone(), 0..40u8).prop_map(|(place, seq)| Wish::Ack { place, seq }),
        1 => (place, any::<u8>()).prop_map(|(place, flags)| Wish::Set { place, flags }),
        2 => (0..5u8, any::<bool>()).prop_map(|(user, on)| Wish::Block { user, on }),
        1 => any::<u8>().prop_map(|name| Wish::Profile { name }),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let tear = prop_oneof![
        any::<u8>().prop_map(|share| Some(Tear::Others(share))),
        any::<u8>().prop_map(|share| Some(Tear::States(share))),
        Just(Some(Tear::Mark)),
        Just(None),
    ];
    let step = prop_oneof![
        30 => (0..5u8, wishes()).prop_map(|(by, wish)| Step::Ask { by, wish }),
        6 => proptest::collection::vec((0..5u8, wishes()), 2..6).prop_map(Step::Burst),
        2 => Just(Step::Look),
        2 => Just(Step::Flush),
        2 => tear.prop_map(Step::Crash),
        1 => Just(Step::Forget),
    ];
    proptest::collection::vec(step, 1..90)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn a_replay_makes_what_was_there(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(run(steps));
    }
}

/// The control: tables that say they have what they lack.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[should_panic(expected = "after a crash None: ")]
async fn a_mark_ahead_of_the_rows_is_seen() {
    use crate::tables::Tables;
    let mut world = World::new().await;
    let position = world.rig.host.unflushed.lock().position;
    world.tables.set_flushed(position).await.expect("taken");
    world.crash(None).await;
}

async fn run(steps: Vec<Step>) {
    let mut world = World::new().await;
    for step in steps {
        world.step(step).await;
    }
    world.crash(None).await;
    world.end().await;
}

struct World {
    tables: MemoryTables,
    rig: Rig,
    torn: TornTables,
    devices: Vec<Device>,
    epoch: u64,
    /// Everything from the very beginning, also what the journal has trimmed.
    events: Vec<(crate::journal::Position, bytes::Bytes)>,
}

impl World {
    async fn new() -> Self {
        let tables = MemoryTables::new();
        let torn = TornTables::new(tables.clone());
        let rig = Rig::start(MemoryJournal::new(), Arc::new(torn.clone()), 1).await;
        let mut devices = Vec::new();
        for name in PEOPLE {
            devices.push(rig.device(name, "laptop").await);
        }
        let crowd: Vec<_> = (0..CROWD).map(|n| format!("crowd-{n}")).collect();
        rig.make_known(&crowd).await;
        devices[0].make(json!({"type": "profile", "presence": "everyone"})).await;
        devices[0]
            .make(json!({"type": "create", "client_msg_id": "small", "name": "Small", "members": ["bob", "cid"]}))
            .await;
        let late =
            json!({"type": "create", "client_msg_id": "late", "name": "Late", "members": ["bob"], "history": "joined"});
        devices[0].make(late).await;
        let mut members = crowd;
        members.extend(["bob".to_owned(), "cid".to_owned()]);
        devices[0].make(json!({"type": "create", "client_msg_id": "big", "name": "Big", "members": members})).await;
        Self { tables, rig, torn, devices, epoch: 1, events: Vec::new() }
    }

    async fn step(&mut self, step: Step) {
        match step {
            Step::Ask { by, wish } => {
                if let Some(frame) = self.frame(by, &wish) {
                    self.devices[by as usize].ask(frame).await;
                }
            }
            Step::Burst(wishes) => {
                let mut asked = Vec::new();
                for (by, wish) in wishes {
                    if let Some(frame) = self.frame(by, &wish) {
                        asked.push(self.devices[by as usize].begin(frame).await);
                    }
                }
                for asked in asked {
                    asked.answer().await;
                }
            }
            Step::Look => {
                for device in &self.devices {
                    device.inbox().await;
                }
            }
            Step::Flush => {
                let before = snapshot(&self.rig.host).await;
                self.flush().await;
                assert_same(&snapshot(&self.rig.host).await, &before, "after a flush");
            }
            Step::Crash(tear) => self.crash(tear).await,
            Step::Forget => {
                self.flush().await;
                for device in std::mem::take(&mut self.devices) {
                    self.rig.host.detach(&device.caller.home, &device.outbox);
                }
                self.rig.host.conversations.give_up(0, u64::MAX);
                self.rig.host.homes.give_up(0, u64::MAX);
                self.attach().await;
            }
        }
    }

    async fn attach(&mut self) {
        self.devices.clear();
        for name in PEOPLE {
            self.devices.push(self.rig.device(name, "laptop").await);
        }
    }

    async fn flush(&mut self) {
        self.keep_events().await;
        self.rig.flush().await;
    }

    /// Remembers what the journal holds before it is trimmed.
    async fn keep_events(&mut self) {
        use crate::journal::Journal;
        let after = self.events.last().map_or(crate::journal::Position::NONE, |(position, _)| *position);
        self.events.extend(self.rig.journal.read(after, usize::MAX).await.expect("not trimmed yet"));
    }

    async fn crash(&mut self, tear: Option<Tear>) {
        self.keep_events().await;
        let live = snapshot(&self.rig.host).await;
        if let Some(tear) = tear {
            self.torn.tear(tear);
            // There may be nothing to write, and so nothing to cut off.
            let _ = self.rig.host.flush_or_fail().await;
        }
        self.devices.clear();
        self.epoch += 1;
        self.torn = TornTables::new(self.tables.clone());
        let journal = MemoryJournal::new();
        let old = std::mem::replace(&mut self.rig, Rig::start(journal, Arc::new(MemoryTables::new()), 1).await);
        let journal = old.crash().await;
        std::mem::replace(&mut self.rig, Rig::start(journal, Arc::new(self.torn.clone()), self.epoch).await)
            .crash()
            .await;
        assert_same(&snapshot(&self.rig.host).await, &live, &format!("after a crash {tear:?}"));
        self.attach().await;
    }

    /// A replay from the beginning, over nothing.
    async fn end(mut self) {
        let live = snapshot(&self.rig.host).await;
        self.keep_events().await;
        let fresh = Rig::replayed(&MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
        fresh.replay(self.events).await.expect("what was written can be read");
        assert_same(&snapshot(&fresh).await, &live, "over empty tables, before the flush");
        fresh.end_replay().await.expect("the tables take it");
        assert_same(&snapshot(&fresh).await, &live, "over empty tables");
        self.devices.clear();
        self.rig.crash().await;
    }

    /// The frame of a wish; none if there is nothing like it.
    fn frame(&self, by: u8, wish: &Wish) -> Option<Value> {
        let me = PEOPLE[by as usize];
        let of = |place: u8| place_of(me, place);
        Some(match *wish {
            Wish::Send { place, id, mentions, text } => {
                let mut frame = json!({"type": "send", "client_msg_id": format!("c-{id}"), "text": text_of(id, text)});
                frame["to"] = match place {
                    0..4 => json!({"user": other(me, place)}),
                    _ => json!({"conversation": of(place)}),
                };
                let mentioned: Vec<_> = PEOPLE
                    .iter()
                    .enumerate()
                    .filter(|(at, _)| mentions >> at & 1 == 1)
                    .map(|(_, name)| *name)
                    .collect();
                frame["mentions"] = if mentions >= 0xf0 { json!(["@all"]) } else { json!(mentioned) };
                frame
            }
            Wish::Edit { place, id, seq } => {
                json!({"type": "edit", "client_msg_id": format!("e-{id}"), "conversation": of(place), "seq": seq, "text": format!("new {id}")})
            }
            Wish::Redact { place, id, seq } => {
                json!({"type": "redact", "client_msg_id": format!("d-{id}"), "conversation": of(place), "seq": seq})
            }
            Wish::React { place, id, seq, on } => {
                let emoji = ["👍", "🎉"][(id % 2) as usize];
                json!({"type": "react", "client_msg_id": format!("r-{id}"), "conversation": of(place), "seq": seq, "emoji": emoji, "on": on})
            }
            Wish::Members { id, place, add, remove } => {
                let named = |bits: u8| {
                    PEOPLE
                        .iter()
                        .enumerate()
                        .filter(|(at, _)| bits >> at & 1 == 1)
                        .map(|(_, name)| *name)
                        .collect::<Vec<_>>()
                };
                let remove: Vec<_> = named(remove & !add).into_iter().filter(|name| *name != "ada").collect();
                json!({"type": "members", "client_msg_id": format!("m-{id}"), "conversation": of(place), "add": named(add), "remove": remove})
            }
            Wish::Rename { place, id } => {
                json!({"type": "rename", "client_msg_id": format!("n-{id}"), "conversation": of(place), "name": format!("name {id}")})
            }
            Wish::Leave { place, id } => {
                json!({"type": "leave", "client_msg_id": format!("l-{id}"), "conversation": of(place)})
            }
            Wish::Read { place, seq } => json!({"type": "mark_read", "conversation": of(place), "seq": seq}),
            Wish::Ack { place, seq } => json!({"type": "ack", "conversation": of(place), "seq": seq}),
            Wish::Set { place, flags } => {
                json!({"type": "set", "conversation": of(place), "muted": flags & 1 == 1, "pinned": flags & 2 == 2, "archived": flags & 4 == 4})
            }
            Wish::Block { user, .. } if PEOPLE[user as usize] == me => return None,
            Wish::Block { user, on } => {
                json!({"type": if on { "block" } else { "unblock" }, "user": PEOPLE[user as usize]})
            }
            Wish::Profile { name } => json!({"type": "profile", "name": format!("Name {name}")}),
        })
    }
}

type Snapshot = BTreeMap<String, String>;

/// Only what differs is shown.
fn assert_same(is: &Snapshot, was: &Snapshot, when: &str) {
    for key in is.keys().chain(was.keys()) {
        let (is, was) = (is.get(key), was.get(key));
        assert!(
            is == was,
            "{when}: {key}\n  is  {}\n  was {}",
            is.map_or("-", String::as_str),
            was.map_or("-", String::as_str)
        );
    }
}

fn other(me: &str, place: u8) -> &'static str {
    PEOPLE.iter().filter(|name| **name != me).nth(place as usize).expect("there are four others")
}

/// The first four places are direct conversations, then come three groups.
fn place_of(me: &str, place: u8) -> ConversationId {
    match place {
        0..4 => direct(me, other(me, place)),
        4 => ConversationId::group(&user("ada"), "small"),
        5 => ConversationId::group(&user("ada"), "late"),
        _ => ConversationId::group(&user("ada"), "big"),
    }
}

/// Bytes that do not compress, so that chunks close.
fn text_of(id: u8, length: u16) -> String {
    let mut state = u64::from(id) << 16 | u64::from(length) | 1;
    let letter = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + (state >> 58) as u8)
    };
    (0..length.max(1)).map(letter).collect()
}

/// All that can be read, apart from home versions, which a new process raises. It is checked against the logs, too.
async fn snapshot(host: &Arc<Host>) -> Snapshot {
    let mut all = BTreeMap::new();
    let mut logs = BTreeMap::new();
    let directs = (0..5).flat_map(|one| (one + 1..5).map(move |other| direct(PEOPLE[one], PEOPLE[other])));
    for id in directs.chain((4..7).map(|place| place_of("ada", place))) {
        let conversation = host.conversation(id).await.expect("readable");
        let state = conversation.state();
        assert_eq!(state.version, conversation.lock().decided().version, "all that was decided is committed");
        let ask = |range, limit| Ask { first_visible: Seq::FIRST, range, limit };
        let log = host.entries(&conversation, ask(LogRange::After(Seq::NONE), 100_000)).await.expect("readable");
        let seqs: Vec<_> = log.iter().map(|entry| entry.seq.0).collect();
        assert_eq!(seqs, (1..=state.last_seq.0).collect::<Vec<_>>(), "dense");
        for middle in (1..=state.last_seq.0).step_by(7) {
            let part = host.entries(&conversation, ask(LogRange::Before(Seq(middle)), 5)).await.expect("readable");
            assert_eq!(part, log[(middle as usize - 1).saturating_sub(5)..middle as usize - 1], "before {middle}");
            let part = host.entries(&conversation, ask(LogRange::After(Seq(middle)), 5)).await.expect("readable");
            assert_eq!(part, log[middle as usize..(middle as usize + 5).min(log.len())], "after {middle}");
        }
        let members: Vec<_> = state.members.iter().map(|(user, member)| (user.clone(), *member)).collect();
        let kind = state.kind();
        let shown = (kind, state.version, &state.name, state.last_seq, state.last_ord, state.last_at_ms, members);
        let more = (state.members.is_small(), &state.blocks, &state.preview, &state.mentions_of_all, &state.redacted);
        all.insert(format!("conversation {id}"), format!("{shown:?} {more:?}"));
        for entry in &log {
            all.insert(format!("entry {id} {:04}", entry.seq.0), format!("{entry:?}"));
        }
        logs.insert(id, (log, state.members.is_small()));
    }
    for name in PEOPLE {
        let home = host.home(&user(name)).await.expect("readable");
        host.ask_large(&home).await.expect("readable");
        let inner = home.lock();
        let row = crate::home::state::HomeRow { version: 0, devices: Vec::new(), ..inner.state.row.clone() };
        all.insert(format!("home {name}"), format!("{row:?}"));
        for (id, item) in &inner.state.items {
            let (log, is_small) = &logs[id];
            check_counts(&user(name), item, log, *is_small, &|user| {
                inner.state.row.blocks.iter().any(|block| block.user == *user)
            });
            // What is gone shows nothing any more but that it is.
            let item = Item { version: 0, told: if item.gone { 0 } else { item.told }, ..item.clone() };
            let shown = if item.gone { format!("gone {}", item.muted) } else { format!("{item:?}") };
            all.insert(format!("item {name} {id}"), shown);
        }
    }
    all
}

/// The counts of an item are what the log says. Whom the user ever blocked in a group is left out: those are counted by the
/// block list of the moment.
fn check_counts(
    user: &UserId,
    item: &Item,
    log: &[Arc<Entry>],
    is_small: bool,
    ever_blocked: &dyn Fn(&UserId) -> bool,
) {
    if item.gone || (item.with.is_none() && log.iter().any(|entry| ever_blocked(&entry.from))) {
        return;
    }
    let counting = |entry: &&Arc<Entry>| {
        let is_redacted = entry.fold.as_ref().is_some_and(|fold| fold.redacted.is_some());
        entry.seq > item.read_seq
            && entry.from != *user
            && matches!(entry.body, Body::Message(_))
            && !entry.void
            && !is_redacted
    };
    let unread = log.iter().filter(counting).count();
    assert_eq!(item.unread(), unread as u64, "unread of {user} in {:?} small: {is_small}, item {item:?}", item.group);
    let mentions = |entry: &&Arc<Entry>| {
        let Body::Message(message) = &entry.body else { return false };
        message.mentions.iter().any(|name| **name == *user.as_str() || &**name == "@all")
    };
    let mentioned: Vec<_> = log.iter().filter(counting).filter(mentions).map(|entry| entry.seq).collect();
    assert_eq!(item.mentions, mentioned, "mentions of {user} in {:?}", item.group);
}
