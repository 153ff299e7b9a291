//! An archive that several nodes work on: who lists what, and what happens if two have the same conversation.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tidings_proto::{Seq, ShardId};
use tokio::{runtime::Handle, task::block_in_place};

use super::{
    archive::{NOW, Store, raw_log, talk, written},
    torn_tables::{Tear, TornTables},
    *,
};
use crate::{
    archive::Archiver,
    tables::{LogRange, Slice},
};

/// The archiver of a node that is on the same tables, and on the same blobs; the rows that it writes may be held back.
fn node(store: &Store) -> (TornTables, Archiver) {
    let hot = store.hot.beside();
    let archiver = Archiver::new(Arc::new(hot.clone()), store.archive.clone(), Shutdown::default(), 0);
    (hot, archiver)
}

/// In memory the slices are ranges of ids.
fn slice_of(id: ConversationId) -> Slice {
    Slice::all().take_while(|slice| slice.shard() <= id.shard()).last().expect("the first one begins at 0")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_conversation_is_archived_by_the_one_node_that_has_its_slice() {
    let store = Store::new();
    let rig = Rig::start(MemoryJournal::new(), store.tables(), 1).await;
    let people: Vec<_> = (0..60).map(|n| format!("p-{n}")).collect();
    rig.make_known(&people).await;
    let ada = rig.device("ada", "laptop").await;
    for name in &people {
        ada.make(send(name, "first")).await;
    }
    for n in 0..500 {
        ada.make(send("p-0", &format!("c-{n}"))).await;
    }
    rig.flush().await;
    let owned = slice_of(direct("ada", "p-0")).shard().0 / 16 % 3;
    let mut reports = Vec::new();
    for part in 0..3 {
        let (_, archiver) = node(&store);
        archiver.share(move |shard| u64::from(shard.0 / 16 % 3 == part));
        reports.push(archiver.round(NOW).await.expect("a round ends well"));
    }
    assert_eq!(reports.iter().map(|report| report.conversations).sum::<u64>(), 60, "{reports:?}");
    assert!(reports.iter().all(|report| report.conversations > 0), "{reports:?}");
    let archived: Vec<_> = reports.iter().map(|report| report.segments).collect();
    assert_eq!(archived, [0, 1, 2].map(|part| u64::from(part == owned)), "{reports:?}");
    rig.crash().await;
}

/// Whoever had the slice meanwhile may have crashed between the places and the rows behind them.
#[tokio::test(flavor = "multi_thread")]
async fn a_slice_that_was_elsewhere_is_swept_again() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, ada) = written(&store, 600).await;
    let epoch = Arc::new(AtomicU64::new(1));
    let of_shard = epoch.clone();
    store.archiver.share(move |_| of_shard.load(Ordering::SeqCst));
    assert!(store.round().await.entries > 0);

    talk(&rig, &ada, 601..=1_000).await;
    let log = raw_log(&*store.tables(), id).await;
    let (hot, other) = node(&store);
    hot.tear(Tear::Deletions(0));
    assert!(other.round(NOW).await.is_err());
    let rows = store.hot_rows(id).await;
    assert_eq!(store.round().await.rows, 0, "it takes the slice for swept");
    epoch.store(3, Ordering::SeqCst);
    assert!(store.round().await.rows > 0);
    assert!(store.hot_rows(id).await[0] > rows[0] + 128);
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    epoch.store(0, Ordering::SeqCst);
    assert_eq!(store.round().await.conversations, 0, "it is elsewhere");
    rig.crash().await;
}

/// One node has packed a conversation and not moved it yet when another one moves it: it leaves that, and is not alarmed.
#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_moves_first_is_left() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, ada) = written(&store, 20).await;
    talk(&rig, &ada, 21..=900).await;
    let log = raw_log(&store.hot, id).await;
    let other = node(&store).1;
    let store = Arc::new(store);
    let (first, was_asked) = (store.clone(), AtomicBool::new(false));
    let last = Slice::all().last().expect("there are slices").shard();
    other.share(move |shard: ShardId| {
        // The conversation's own slice was long before: it is packed, and waits for the segment to be full.
        if shard == last && !was_asked.swap(true, Ordering::SeqCst) {
            let report = block_in_place(|| Handle::current().block_on(first.round()));
            assert!(report.entries > 400, "{report:?}");
        }
        1
    });
    let report = other.round(NOW).await.expect("it is no fault");
    assert_eq!((report.segments, report.entries, report.rows, report.failed), (1, 0, 0, 0));
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    rig.crash().await;
}

/// A node falls asleep after it has compared a block with the rows, and wakes when all has changed: another one has archived the same
/// and more, with what was redacted meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_asleep_brings_nothing_old_back() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, ada) = written(&store, 700).await;
    let (hot, sleeper) = node(&store);
    hot.tear(Tear::Asleep);
    assert!(sleeper.round(NOW).await.expect("so it believes").rows > 0);

    ada.make(json!({"type": "redact", "conversation": id, "seq": 30, "client_msg_id": "r"})).await;
    talk(&rig, &ada, 701..=1_300).await;
    let log = raw_log(&*store.tables(), id).await;
    assert!(log[29].fold.as_ref().is_some_and(|fold| fold.redacted.is_some()), "{:?}", log[29]);
    assert!(store.round().await.entries > 900);
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    hot.wake().await;
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    assert_eq!(store.tables().log(id, LogRange::After(Seq(29)), 1).await.unwrap(), log[29..30]);

    // The next rounds go on from there, whoever does them.
    talk(&rig, &ada, 1_301..=1_900).await;
    let log = raw_log(&*store.tables(), id).await;
    hot.mend();
    assert!(node(&store).1.round(NOW).await.expect("it ends well").entries > 300);
    assert_eq!(raw_log(&*store.reopened().tables(), id).await, log);
    rig.crash().await;
}
