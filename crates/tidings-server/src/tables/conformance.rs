//! What every implementation of [`Tables`] must do. Each runs [`promises`] and [`agrees_with_the_reference`].

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use proptest::{prelude::*, test_runner::TestRunner};
use tidings_proto::{ConversationId, Seq, UserId};

use super::{
    Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, Version,
    chunk::{self, MAX_SPAN, Shape},
    memory::MemoryTables,
};
use crate::{
    conversation::entry::{Body, Entry, Message},
    journal::Position,
};

/// Where tables live, so that they can be opened again.
#[async_trait]
pub(crate) trait Place: Send + Sync {
    async fn open(&self) -> Arc<dyn Tables>;

    /// Stops `tables`, which nobody else holds, and opens them anew.
    async fn reopen(&self, tables: Arc<dyn Tables>) -> Arc<dyn Tables>;
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn conversation(n: u8) -> ConversationId {
    ConversationId::from_bytes([n; 16])
}

fn row(key: &Key, version: u64, value: &str) -> Row {
    Row { key: key.clone(), version: Version(version), value: Some(Bytes::copy_from_slice(value.as_bytes())) }
}

fn deleted(key: &Key, version: u64) -> Row {
    Row { key: key.clone(), version: Version(version), value: None }
}

async fn value(tables: &dyn Tables, key: &Key) -> Option<(u64, String)> {
    let stored = tables.get(vec![key.clone()]).await.unwrap().remove(0)?;
    Some((stored.version.0, String::from_utf8(stored.value.to_vec()).unwrap()))
}

fn entry(seq: u64, text: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at_ms: seq,
        from: user("ada"),
        ord: seq,
        client_msg_id: None,
        body: Body::Message(Message { text: text.into(), ..Message::default() }),
        void: false,
        fold: None,
    }
}

fn log_row(conversation: ConversationId, version: u64, seqs: std::ops::RangeInclusive<u64>, text: &str) -> Row {
    let entries: Vec<_> = seqs.map(|seq| entry(seq, text)).collect();
    let value = chunk::encode(Shape::Small, &entries).into();
    Row { key: Key::Log(conversation, entries[0].seq), version: Version(version), value: Some(value) }
}

async fn texts(tables: &dyn Tables, range: LogRange, limit: usize) -> Vec<(u64, String)> {
    let entries = tables.log(conversation(1), range, limit).await.unwrap();
    let texts = entries.into_iter().map(|entry| match entry.body {
        Body::Message(message) => (entry.seq.0, message.text.into()),
        _ => panic!("only messages were written"),
    });
    texts.collect()
}

/// The promises of the trait, one by one.
pub(crate) async fn promises(place: &dyn Place) {
    let tables = place.open().await;
    the_highest_version_stays(&*tables).await;
    a_deleted_row_stays_deleted(&*tables).await;
    rows_of_a_prefix_come_in_order_and_in_pages(&*tables).await;
    logs_are_read_both_ways_over_overlapping_rows(&*tables).await;
    a_log_row_is_found_by_any_seq_in_it(&*tables).await;
    log_rows_are_listed_by_where_they_begin(&*tables).await;
    a_delete_of_the_same_version_takes_the_row_and_leaves_a_newer_one(&*tables).await;
    places_in_the_archive_come_in_order(&*tables).await;
    all_homes_come_in_pages(&*tables).await;
    each_conversation_is_in_one_slice(&*tables).await;
    a_damaged_log_row_is_reported(&*tables).await;
    everything_is_there_after_reopening(place, tables).await;
}

async fn the_highest_version_stays(tables: &dyn Tables) {
    let keys = [Key::Conversation(conversation(9)), Key::Home(user("zoë")), Key::Inbox(user("ada"), conversation(9))];
    for key in keys {
        assert_eq!(value(tables, &key).await, None);
        tables.put_max(vec![row(&key, 5, "five")], Freshness::Unknown).await.unwrap();
        tables.put_max(vec![row(&key, 4, "four")], Freshness::Unknown).await.unwrap();
        assert_eq!(value(tables, &key).await, Some((5, "five".into())));
        tables.put_max(vec![row(&key, 7, "seven")], Freshness::Newest).await.unwrap();
        tables.put_max(vec![row(&key, 7, "seven")], Freshness::Unknown).await.unwrap();
        assert_eq!(value(tables, &key).await, Some((7, "seven".into())));
        tables.put_max(vec![row(&key, 8, "")], Freshness::Newest).await.unwrap();
        assert_eq!(value(tables, &key).await, Some((8, String::new())), "an empty value is no deleted row");
    }
    tables.put_max(Vec::new(), Freshness::Newest).await.unwrap();
}

async fn a_deleted_row_stays_deleted(tables: &dyn Tables) {
    let key = Key::Member(conversation(8), user("eve"));
    tables.put_max(vec![row(&key, 1, "one")], Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&key, 3)], Freshness::Newest).await.unwrap();
    assert_eq!(value(tables, &key).await, None);
    tables.put_max(vec![row(&key, 2, "two")], Freshness::Unknown).await.unwrap();
    assert_eq!(value(tables, &key).await, None, "an older write must not bring it back");
    assert_eq!(tables.rows(Prefix::Members(conversation(8)), None, 9).await.unwrap(), []);
    tables.put_max(vec![deleted(&key, 2), row(&Key::Home(user("x")), 1, "")], Freshness::Unknown).await.unwrap();
    tables.put_max(vec![row(&key, 4, "four")], Freshness::Unknown).await.unwrap();
    assert_eq!(value(tables, &key).await, Some((4, "four".into())));
    tables.put_max(vec![deleted(&key, 3)], Freshness::Unknown).await.unwrap();
    assert_eq!(value(tables, &key).await, Some((4, "four".into())), "an older delete does nothing");
    // A row that never was can be deleted before an older write of it comes.
    let key = Key::Member(conversation(8), user("mal"));
    tables.put_max(vec![deleted(&key, 3)], Freshness::Unknown).await.unwrap();
    tables.put_max(vec![row(&key, 2, "two")], Freshness::Unknown).await.unwrap();
    assert_eq!(value(tables, &key).await, None);
}

async fn rows_of_a_prefix_come_in_order_and_in_pages(tables: &dyn Tables) {
    let mut keys = Vec::new();
    for name in ["ab", "abc", "a"] {
        keys.extend([255, 0, 99].map(|n| Key::Inbox(user(name), conversation(n))));
    }
    tables.put_max(keys.iter().map(|key| row(key, 1, "item")).collect(), Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&Key::Inbox(user("ab"), conversation(50)), 2)], Freshness::Newest).await.unwrap();
    let prefix = Prefix::Inbox(user("ab"));
    let mut read = Vec::new();
    loop {
        let page = tables.rows(prefix.clone(), read.last().cloned(), 2).await.unwrap();
        assert!(page.len() <= 2);
        if page.is_empty() {
            break;
        }
        read.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(read, [0, 99, 255].map(|n| Key::Inbox(user("ab"), conversation(n))));
    // From a key that is not there, and from one before the prefix.
    let after = Some(Key::Inbox(user("ab"), conversation(50)));
    let rows = tables.rows(prefix.clone(), after, 9).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert_eq!(tables.rows(prefix, Some(Key::Conversation(conversation(0))), 9).await.unwrap().len(), 3);
}

async fn all_homes_come_in_pages(tables: &dyn Tables) {
    let keys: Vec<_> = (0..40).map(|n| Key::Home(user(&format!("page-{n}")))).collect();
    tables.put_max(keys.iter().map(|key| row(key, 1, "home")).collect(), Freshness::Newest).await.unwrap();
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = tables.rows(Prefix::Homes, after, 7).await.unwrap();
        assert!(page.len() <= 7);
        read.extend(page.iter().map(|(key, _)| key.clone()));
        after = page.into_iter().last().map(|(key, _)| key);
        if after.is_none() {
            break;
        }
    }
    for key in keys {
        assert_eq!(read.iter().filter(|found| **found == key).count(), 1, "{key:?}");
    }
}

async fn logs_are_read_both_ways_over_overlapping_rows(tables: &dyn Tables) {
    let (this, next) = (conversation(1), conversation(2));
    let rows = vec![
        log_row(this, 10, 1..=30, "chunk"),
        log_row(this, 9, 21..=25, "older"),
        log_row(this, 11, 24..=26, "newer"),
        log_row(this, 12, 31..=31, "small"),
        log_row(this, 13, 32..=40, "small"),
        log_row(next, 1, 1..=5, "of another"),
        log_row(conversation(0), 1, 1..=5, "of another"),
    ];
    tables.put_max(rows, Freshness::Newest).await.unwrap();

    let all = texts(tables, LogRange::After(Seq::NONE), 100).await;
    assert_eq!(all.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
    for (seq, text) in &all {
        let expected = if (24..=26).contains(seq) {
            "newer"
        } else if *seq > 30 {
            "small"
        } else {
            "chunk"
        };
        assert_eq!(text, expected, "entry {seq}");
    }
    let mut backwards = texts(tables, LogRange::Before(Seq(u64::MAX)), 100).await;
    backwards.reverse();
    assert_eq!(backwards, all);
    for (bound, limit) in
        [(0, 1), (1, 5), (20, 6), (22, 3), (23, 1), (25, 1), (30, 1), (31, 5), (39, 9), (40, 9), (90, 9)]
    {
        let place = usize::try_from(bound).unwrap().min(all.len());
        let above = texts(tables, LogRange::After(Seq(bound)), limit).await;
        assert_eq!(above, all[place..].iter().take(limit).cloned().collect::<Vec<_>>(), "{limit} after {bound}");
        let below = texts(tables, LogRange::Before(Seq(bound)), limit).await;
        let place = place - usize::from(bound > 0 && bound <= 40);
        assert_eq!(below, all[..place].iter().rev().take(limit).cloned().collect::<Vec<_>>(), "{limit} before {bound}");
    }
    assert_eq!(texts(tables, LogRange::After(Seq::NONE), 0).await, []);
    assert_eq!(texts(tables, LogRange::After(Seq(u64::MAX)), 1).await, []);
    assert!(tables.log(conversation(77), LogRange::Before(Seq(u64::MAX)), 5).await.unwrap().is_empty());
}

async fn a_log_row_is_found_by_any_seq_in_it(tables: &dyn Tables) {
    let this = conversation(3);
    let rows = vec![log_row(this, 1, 1..=MAX_SPAN, "wide"), log_row(this, 2, MAX_SPAN - 1..=MAX_SPAN, "overlaps")];
    tables.put_max(rows, Freshness::Newest).await.unwrap();
    let wanted = [1, MAX_SPAN - 2, MAX_SPAN, MAX_SPAN + 1].map(|seq| (this, Seq(seq)));
    let found = tables.log_rows(wanted.to_vec()).await.unwrap();
    let found: Vec<Vec<u64>> = found.into_iter().map(|rows| rows.into_iter().map(|(seq, _)| seq.0).collect()).collect();
    assert_eq!(found, [vec![1], vec![1], vec![1, MAX_SPAN - 1], vec![]]);
    assert_eq!(tables.log(this, LogRange::After(Seq(MAX_SPAN - 2)), 9).await.unwrap().len(), 2);
}

async fn log_rows_are_listed_by_where_they_begin(tables: &dyn Tables) {
    let this = conversation(20);
    // Far apart: what lies between was deleted, whole parts of an engine's log with it.
    let firsts = [1, 40, 41, 90, 9_000, 40_000, 40_100];
    let rows = firsts.iter().map(|first| log_row(this, *first, *first..=first + 30, "row")).collect();
    tables.put_max(rows, Freshness::Newest).await.unwrap();
    tables.put_max(vec![log_row(conversation(21), 1, 50..=60, "of another")], Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&Key::Log(this, Seq(90)), 91)], Freshness::Newest).await.unwrap();
    let listed = async |from, to, limit| -> Vec<(u64, u64)> {
        let rows = tables.log_rows_between(this, Seq(from), Seq(to), limit).await.unwrap();
        rows.into_iter().map(|(first, stored)| (first.0, stored.version.0)).collect()
    };
    let all: Vec<_> = [1, 40, 41, 9_000, 40_000, 40_100].map(|first| (first, first)).into();
    assert_eq!(listed(0, 50_000, 100).await, all);
    assert_eq!(listed(40, 9_000, 100).await, all[1..4]);
    assert_eq!(listed(42, 39_999, 100).await, all[3..4]);
    assert_eq!(listed(2, 50_000, 2).await, all[1..3]);
    assert_eq!((listed(50, 49, 9).await, listed(0, 50_000, 0).await, listed(42, 8_999, 9).await), Default::default());
}

async fn a_delete_of_the_same_version_takes_the_row_and_leaves_a_newer_one(tables: &dyn Tables) {
    let (this, key) = (conversation(22), Key::Log(conversation(22), Seq(1)));
    tables.put_max(vec![log_row(this, 5, 1..=9, "five")], Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&key, 4)], Freshness::Unknown).await.unwrap();
    assert_eq!(tables.log(this, LogRange::After(Seq::NONE), 20).await.unwrap().len(), 9, "it is newer");
    tables.put_max(vec![deleted(&key, 5)], Freshness::Unknown).await.unwrap();
    assert_eq!(tables.log(this, LogRange::After(Seq::NONE), 20).await.unwrap(), []);
    tables.put_max(vec![log_row(this, 6, 1..=9, "six")], Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&key, 5)], Freshness::Unknown).await.unwrap();
    assert_eq!(tables.log(this, LogRange::After(Seq::NONE), 20).await.unwrap().len(), 9, "it came later");
}

async fn places_in_the_archive_come_in_order(tables: &dyn Tables) {
    let key = |n, seq| Key::Archived(conversation(n), Seq(seq));
    let keys = [key(23, 100), key(23, 4_096), key(23, 70_000), key(24, 1)];
    tables.put_max(keys.iter().rev().map(|key| row(key, 3, "place")).collect(), Freshness::Unknown).await.unwrap();
    let from = async |after| -> Vec<Key> {
        let rows = tables.rows(Prefix::Archived(conversation(23)), after, 9).await.unwrap();
        rows.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(from(None).await, keys[..3]);
    assert_eq!(from(Some(key(23, 0))).await, keys[..3]);
    assert_eq!(from(Some(key(23, 100))).await, keys[1..3]);
    assert_eq!(from(Some(key(23, 4_095))).await, keys[1..3]);
    assert_eq!(from(Some(key(23, 70_000))).await, []);
}

async fn each_conversation_is_in_one_slice(tables: &dyn Tables) {
    let id = |n: u64| ConversationId::group(&user("ada"), &format!("sliced {n}"));
    let keys: Vec<_> = (0..100).map(|n| Key::Conversation(id(n))).collect();
    tables.put_max(keys.iter().map(|key| row(key, 1, "state")).collect(), Freshness::Newest).await.unwrap();
    tables.put_max(vec![deleted(&keys[7], 2)], Freshness::Newest).await.unwrap();
    let all = tables.rows(Prefix::Conversations, None, 1_000).await.unwrap();
    assert!(keys.iter().all(|key| all.iter().any(|(listed, _)| listed == key) == (*key != keys[7])));

    let (mut sliced, mut used) = (Vec::new(), 0);
    let listed =
        stream::iter(Slice::all()).map(|slice| async move { (slice, tables.conversations(slice, None, 1_000).await) });
    let mut listed = listed.buffered(16);
    while let Some((slice, whole)) = listed.next().await {
        let whole = whole.unwrap();
        let mut paged: Vec<(ConversationId, Stored)> = Vec::new();
        for _ in 0..whole.len() {
            paged.extend(tables.conversations(slice, paged.last().map(|(id, _)| *id), 1).await.unwrap());
        }
        assert_eq!(paged, whole);
        if let Some((last, _)) = whole.last() {
            assert_eq!(tables.conversations(slice, Some(*last), 9).await.unwrap(), [], "nothing of the next one");
            used += 1;
        }
        sliced.extend(whole.into_iter().map(|(id, stored)| (Key::Conversation(id), stored)));
    }
    assert!(sliced == all, "{} in slices, not {}", sliced.len(), all.len());
    assert!(used > 70, "99 are in {used} slices");
}

async fn a_damaged_log_row_is_reported(tables: &dyn Tables) {
    let Row { key, value, .. } = log_row(conversation(4), 1, 1..=9, "text");
    let mut value = value.unwrap().to_vec();
    let middle = value.len() / 2;
    value[middle] ^= 1;
    tables.put_max(vec![Row { key, version: Version(1), value: Some(value.into()) }], Freshness::Newest).await.unwrap();
    for range in [LogRange::After(Seq::NONE), LogRange::After(Seq(9)), LogRange::Before(Seq(u64::MAX))] {
        let read = tables.log(conversation(4), range, 3).await;
        assert!(matches!(read, Err(TablesError::Damaged { place, .. }) if place.contains("Log")), "{range:?}");
    }
    assert!(tables.log_rows(vec![(conversation(4), Seq(3))]).await.is_err());
}

async fn everything_is_there_after_reopening(place: &dyn Place, tables: Arc<dyn Tables>) {
    assert_eq!(tables.flushed().await.unwrap(), Position::NONE);
    let (state, gone) = (Key::Conversation(conversation(6)), Key::Member(conversation(6), user("eve")));
    tables.put_max(vec![row(&state, 3, "state"), deleted(&gone, 3)], Freshness::Newest).await.unwrap();
    tables.set_flushed(Position(41)).await.unwrap();
    tables.set_flushed(Position(42)).await.unwrap();
    let tables = place.reopen(tables).await;
    assert_eq!(tables.flushed().await.unwrap(), Position(42));
    assert_eq!(value(&*tables, &state).await, Some((3, "state".into())));
    assert_eq!(value(&*tables, &gone).await, None);
    assert_eq!(texts(&*tables, LogRange::After(Seq(38)), 9).await.len(), 2);
    drop(tables);
}

#[derive(Clone, Debug)]
enum Step {
    Put(Vec<(usize, u64, Option<u8>)>),
    /// Written again, as a replay would: older versions of rows that may exist.
    Replay(Vec<(usize, u64, Option<u8>)>),
    Flushed,
    Reopen,
}

fn keys() -> Vec<Key> {
    let mut keys = Vec::new();
    for n in 0..3 {
        keys.push(Key::Conversation(conversation(n)));
        keys.extend(["a", "ab", "b"].map(|name| Key::Member(conversation(n), user(name))));
        keys.extend([1, 4, 9, 40, 200].map(|seq| Key::Log(conversation(n), Seq(seq))));
        keys.extend([1, 1_025].map(|seq| Key::Fingerprints(conversation(n), Seq(seq))));
        keys.extend(["a", "ab", "b"].map(|name| Key::Inbox(user(name), conversation(n))));
    }
    keys.extend(["a", "ab"].map(|name| Key::Home(user(name))));
    keys
}

fn a_step() -> impl Strategy<Value = Step> {
    let rows = || prop::collection::vec((0..keys().len(), 1..4u64, prop::option::weighted(0.7, any::<u8>())), 1..12);
    prop_oneof![
        4 => rows().prop_map(Step::Put),
        3 => rows().prop_map(Step::Replay),
        1 => Just(Step::Flushed),
        1 => Just(Step::Reopen),
    ]
}

/// The same random steps on new tables of a place and on the reference, everything read after each.
pub(crate) fn agrees_with_the_reference<P: Place>(new_place: impl Fn() -> P, cases: u32) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let config = ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() };
    let steps = prop::collection::vec(a_step(), 1..14);
    let result = TestRunner::new(config).run(&steps, |steps| {
        runtime.block_on(compare(&new_place(), &steps));
        Ok(())
    });
    result.unwrap();
}

async fn compare(place: &dyn Place, steps: &[Step]) {
    let keys = keys();
    let reference = MemoryTables::new();
    let mut tables = place.open().await;
    // The version that each key had last: a write is newer (Put) or of any age (Replay).
    let mut newest = vec![0u64; keys.len()];
    // A replay begins behind the flush mark: it writes nothing as old as what stood there then.
    let mut at_mark = newest.clone();
    let mut flushed = 0;
    for step in steps {
        match step {
            Step::Put(rows) => {
                let rows = build(&keys, rows, |key, ahead| {
                    newest[key] += ahead;
                    newest[key]
                });
                reference.put_max(rows.clone(), Freshness::Newest).await.unwrap();
                tables.put_max(rows, Freshness::Newest).await.unwrap();
            }
            Step::Replay(rows) => {
                // Never the newest version itself: it would have to be the same value.
                let rows = build(&keys, rows, |key, back| {
                    let version = newest[key].saturating_sub(back);
                    if version > at_mark[key] { version } else { 0 }
                });
                reference.put_max(rows.clone(), Freshness::Unknown).await.unwrap();
                tables.put_max(rows, Freshness::Unknown).await.unwrap();
            }
            Step::Flushed => {
                flushed += 1;
                at_mark.clone_from(&newest);
                reference.set_flushed(Position(flushed)).await.unwrap();
                tables.set_flushed(Position(flushed)).await.unwrap();
            }
            Step::Reopen => tables = place.reopen(tables).await,
        }
        assert_same(&reference, &*tables, &keys).await;
    }
}

/// One row of a key each; none of version 0 (nothing was written yet, so nothing can be replayed).
fn build(keys: &[Key], rows: &[(usize, u64, Option<u8>)], mut version: impl FnMut(usize, u64) -> u64) -> Vec<Row> {
    let mut built = std::collections::BTreeMap::new();
    for (key, difference, content) in rows {
        if built.contains_key(key) {
            continue;
        }
        let version = version(*key, *difference);
        let value = content.map(|content| match &keys[*key] {
            Key::Log(conversation, first) => {
                let text = format!("version {version}");
                log_row(*conversation, version, first.0..=first.0 + u64::from(content % 60), &text).value.unwrap()
            }
            _ => Bytes::from(vec![content; usize::from(content)]),
        });
        built.insert(*key, Row { key: keys[*key].clone(), version: Version(version), value });
    }
    built.into_values().filter(|row| row.version.0 > 0).collect()
}

async fn assert_same(reference: &dyn Tables, tables: &dyn Tables, keys: &[Key]) {
    let expected: Vec<Option<Stored>> = reference.get(keys.to_vec()).await.unwrap();
    for (key, (read, expected)) in keys.iter().zip(tables.get(keys.to_vec()).await.unwrap().into_iter().zip(expected)) {
        assert!(
            read == expected,
            "{key:?}: {:?}, not {:?}",
            read.map(|row| row.version),
            expected.map(|row| row.version)
        );
    }
    let mut prefixes = vec![Prefix::Conversations, Prefix::Homes];
    prefixes.extend(["a", "ab", "b"].map(|name| Prefix::Inbox(user(name))));
    prefixes.extend((0..3).flat_map(|n| [Prefix::Members(conversation(n)), Prefix::Fingerprints(conversation(n))]));
    for prefix in prefixes {
        let expected = reference.rows(prefix.clone(), None, 100).await.unwrap();
        let mut read = tables.rows(prefix.clone(), None, 100).await.unwrap();
        if matches!(prefix, Prefix::Conversations | Prefix::Homes) {
            read.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        assert!(read == expected, "{prefix:?}");
    }
    for n in 0..3 {
        for (range, limit) in [
            (LogRange::After(Seq::NONE), 500),
            (LogRange::After(Seq(8)), 7),
            (LogRange::Before(Seq(u64::MAX)), 30),
            (LogRange::Before(Seq(45)), 10),
        ] {
            let expected = reference.log(conversation(n), range, limit).await.unwrap();
            let read = tables.log(conversation(n), range, limit).await.unwrap();
            assert!(read == expected, "{range:?} {limit}: {} entries, not {}", read.len(), expected.len());
        }
    }
    assert_eq!(tables.flushed().await.unwrap(), reference.flushed().await.unwrap());
}
