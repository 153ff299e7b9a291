//! Nodes that hang and die, and a flush that comes in pieces and late.

use std::time::Instant;

use bytes::Bytes;
use tidings_proto::{ConversationId, UserId};

use super::{journals::journals, *};
use crate::{
    journal::{Journal, Position, conformance::sample},
    node::NodeId,
    tables::{Freshness, Key, Row, Tables, Version, cassandra::CassandraTables},
};

async fn append(journal: &dyn Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(journal.append(sample(number)).await.unwrap(), Position(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn while_one_node_hangs_writes_go_on() {
    let journals = journals().await;
    let journal = journals.begin().await.unwrap();
    append(&journal, 1..=3).await;
    let paused = Paused::nodes(&["2"]);
    // Nothing but that they succeed while it hangs: it is woken only afterwards.
    in_time(append(&journal, 4..=12)).await;
    in_time(journal.confirm()).await.unwrap();
    assert_eq!(in_time(journals.seal(journal.id())).await.unwrap(), Position(12));
    drop(paused);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn while_two_nodes_hang_nothing_is_acknowledged_and_then_it_goes_on() {
    let journals = journals().await;
    let journal = Arc::new(journals.begin().await.unwrap());
    append(&*journal, 1..=3).await;
    let paused = Paused::nodes(&["2", "3"]);
    let appending = tokio::spawn({
        let journal = journal.clone();
        async move { journal.append(sample(4)).await }
    });
    // Longer than any of the times that an attempt has: its outcome stays unknown.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert!(!appending.is_finished());
    drop(paused);
    assert_eq!(in_time(appending).await.unwrap().unwrap(), Position(4));
    in_time(append(&*journal, 5..=8)).await;
    let read = in_time(journals.read(journal.id(), Position::NONE, usize::MAX)).await.unwrap();
    assert_eq!(read.len(), 8, "what was sent again stands there once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn when_all_nodes_are_killed_nothing_acknowledged_is_lost() {
    let journals = journals().await;
    let journal = Arc::new(journals.begin().await.unwrap());
    let (told, mut acked) = tokio::sync::watch::channel(0u64);
    let goes_on = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let writing = tokio::spawn({
        let (journal, goes_on) = (journal.clone(), goes_on.clone());
        async move {
            while goes_on.load(std::sync::atomic::Ordering::Relaxed) {
                let next = *told.borrow() + 1;
                assert_eq!(journal.append(sample(next)).await.unwrap(), Position(next));
                told.send_replace(next);
            }
        }
    });
    in_time(acked.wait_for(|acked| *acked >= 40)).await.unwrap();
    nodes(&["kill", "1", "2", "3"]);
    let before = *acked.borrow_and_update();
    tokio::task::spawn_blocking(|| nodes(&["start", "3"])).await.unwrap();
    // The same writer goes on, with the commit whose outcome it did not know.
    in_time(acked.wait_for(|acked| *acked >= before + 5)).await.unwrap();
    goes_on.store(false, std::sync::atomic::Ordering::Relaxed);
    in_time(writing).await.unwrap();
    let last = *acked.borrow();
    let read = in_time(journals.read(journal.id(), Position::NONE, usize::MAX)).await.unwrap();
    assert_eq!(read.len() as u64, last);
    for (position, commit) in read {
        assert_eq!(commit, sample(position.0));
    }
}

fn row(key: &Key, version: u64, value: &'static str) -> Row {
    Row { key: key.clone(), version: Version(version), value: Some(Bytes::from_static(value.as_bytes())) }
}

async fn values(tables: &dyn Tables, keys: &[&Key]) -> Vec<Option<String>> {
    let stored = tables.get(keys.iter().map(|key| (*key).clone()).collect()).await.unwrap();
    stored.into_iter().map(|stored| Some(String::from_utf8(stored?.value.to_vec()).unwrap())).collect()
}

/// Of a flush one part is there and the mark is not; its host sleeps. The next one replays and goes on; then the rest of
/// the old flush arrives, mark included.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn half_a_flush_and_its_late_rest_change_nothing() {
    let store = store().await;
    let (old, new) = (NodeId::random(), NodeId::random());
    let id = ConversationId::from_bytes(rand::random());
    let user = UserId::new(&format!("ada-{:08x}", rand::random::<u32>())).unwrap();
    let (state, inbox, gone) =
        (Key::Conversation(id), Key::Inbox(user.clone(), id), Key::Member(id, UserId::new("eve").unwrap()));
    let sleeper = CassandraTables::open(store.clone(), old).await.unwrap();
    sleeper.put_max(vec![row(&state, 3, "old"), row(&inbox, 3, "old")], Freshness::Newest).await.unwrap();
    sleeper.set_flushed(Position(3)).await.unwrap();

    // Half of it: the states, which come last, did not make it.
    sleeper.put_max(vec![row(&inbox, 5, "flushed")], Freshness::Newest).await.unwrap();
    let next = CassandraTables::open(store, new).await.unwrap();
    let replayed = vec![row(&state, 5, "flushed"), row(&inbox, 5, "flushed"), row(&gone, 5, "member")];
    next.put_max(replayed, Freshness::Unknown).await.unwrap();
    let deleted = Row { key: gone.clone(), version: Version(7), value: None };
    next.put_max(vec![row(&state, 7, "new"), deleted], Freshness::Newest).await.unwrap();
    next.set_flushed(Position(2)).await.unwrap();

    let late = vec![row(&state, 5, "flushed"), row(&inbox, 5, "flushed"), row(&gone, 6, "member")];
    sleeper.put_max(late, Freshness::Newest).await.unwrap();
    sleeper.set_flushed(Position(5)).await.unwrap();
    let stands = values(&next, &[&state, &inbox, &gone]).await;
    assert_eq!(stands, [Some("new".to_owned()), Some("flushed".to_owned()), None]);
    assert_eq!(next.flushed().await.unwrap(), Position(2), "each journal has a mark of its own");
}

/// A mark is sent only after its rows: while the rows are not acknowledged there is none.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn while_rows_are_not_acknowledged_there_is_no_mark() {
    let tables = Arc::new(CassandraTables::open(store().await, NodeId::random()).await.unwrap());
    let key = Key::Home(UserId::new(&format!("bob-{:08x}", rand::random::<u32>())).unwrap());
    let paused = Paused::nodes(&["1", "3"]);
    let flushing = tokio::spawn({
        let (tables, key) = (tables.clone(), key.clone());
        async move {
            tables.put_max(vec![row(&key, 1, "home")], Freshness::Newest).await.unwrap();
            tables.set_flushed(Position(1)).await.unwrap();
        }
    });
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!flushing.is_finished());
    }
    drop(paused);
    in_time(flushing).await.unwrap();
    assert_eq!(values(&*tables, &[&key]).await, [Some("home".to_owned())]);
    assert_eq!(tables.flushed().await.unwrap(), Position(1));
}
