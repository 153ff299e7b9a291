//! Histories of which the old part is in the archive: read, changed and repeated as if it were not.

use std::path::PathBuf;

use bytes::Bytes;
use tidings_proto::Seq;

use super::{
    torn_tables::{Tear, TornTables},
    *,
};
use crate::{
    archive::{Archive, ArchivedTables, Archiver, KEPT, Report, RoundError},
    blobs::{Blobs, LinkKey},
    conversation::entry::Entry,
    tables::{Freshness, Key, LogRange, Row, Stored, TablesError, chunk::BLOCK_ENTRIES_MAX, memory::MemoryTables},
};

/// Later than anything that these tests send.
pub(super) const NOW: u64 = u64::MAX;

/// Tables in memory over an archive in a folder.
pub(super) struct Store {
    pub hot: TornTables,
    pub archive: Arc<Archive>,
    pub archiver: Archiver,
    blobs: Blobs,
    folder: tempfile::TempDir,
}

impl Store {
    pub fn new() -> Self {
        Self::over(TornTables::new(MemoryTables::new()), tempfile::tempdir().expect("a folder"))
    }

    fn over(hot: TornTables, folder: tempfile::TempDir) -> Self {
        let blobs = Blobs::local(folder.path(), LinkKey::of("secret")).expect("the folder can be used");
        let archive = Arc::new(Archive::new(blobs.clone(), 1 << 20, Arc::new(Metrics::default())));
        let archiver = Archiver::new(Arc::new(hot.clone()), archive.clone(), Shutdown::default(), 0);
        Self { hot, archive, archiver, blobs, folder }
    }

    /// As the next process finds it: nothing is in memory.
    pub fn reopened(self) -> Self {
        self.hot.mend();
        Self::over(self.hot, self.folder)
    }

    pub fn tables(&self) -> Arc<dyn Tables> {
        Arc::new(ArchivedTables::new(Arc::new(self.hot.clone()), self.archive.clone()))
    }

    pub async fn round(&self) -> Report {
        self.archiver.round(NOW).await.expect("a round ends well")
    }

    pub async fn hot_rows(&self, id: ConversationId) -> Vec<u64> {
        let rows = self.hot.log_rows_between(id, Seq::FIRST, Seq(u64::MAX), usize::MAX).await.expect("readable");
        rows.into_iter().map(|(first, _)| first.0).collect()
    }

    async fn segments(&self) -> Vec<PathBuf> {
        let listed = self.blobs.list("archive", None, 1_000).await.expect("listed");
        listed.into_iter().map(|blob| self.folder.path().join(blob.name)).collect()
    }
}

/// A host on these tables that is asked for the first time, and Ada at it, who has written so many messages to Bob.
pub(super) async fn written(store: &Store, messages: u64) -> (Rig, Device) {
    let rig = Rig::start(MemoryJournal::new(), store.tables(), 1).await;
    rig.make_known(&["bob".to_owned()]).await;
    let ada = rig.device("ada", "laptop").await;
    for n in 1..=messages {
        ada.make(send("bob", &format!("c-{n}"))).await;
    }
    rig.flush().await;
    (rig, ada)
}

/// Ada and Bob, who talk: most of it words, and now and then an edit, a reaction, a redaction of what was said before.
pub(super) async fn talk(rig: &Rig, ada: &Device, messages: std::ops::RangeInclusive<u64>) {
    let (id, first) = (direct("ada", "bob"), *messages.start());
    for n in messages {
        ada.make(send("bob", &format!("c-{n}"))).await;
        let (target, own) = (json!(n / 2 + 1), json!(format!("o-{n}")));
        let other = match n % 40 {
            7 => json!({"type": "edit", "conversation": id, "seq": target, "text": format!("edited by {n}")}),
            17 => json!({"type": "react", "conversation": id, "seq": target, "emoji": "👍", "on": true}),
            27 => json!({"type": "redact", "conversation": id, "seq": target}),
            _ => Value::Null,
        };
        if let Value::Object(mut change) = other {
            change.insert("client_msg_id".to_owned(), own);
            // What is about a redacted message, or about no message, is refused: all the same here.
            ada.ask(Value::Object(change)).await;
        }
        if (n - first) % 97 == 96 {
            rig.flush().await;
        }
    }
    rig.flush().await;
}

/// Every page of the history, read in every way.
async fn all_pages(device: &Device, id: ConversationId) -> Vec<Value> {
    let mut pages = Vec::new();
    let last = device.fetch(id).await["last_seq"].as_u64().expect("a number");
    for (way, step) in [("after", 200), ("before", 200), ("around", 150)] {
        for at in (0..=last + 2).step_by(step) {
            let mut frame = json!({"type": "fetch", "conversation": id, "limit": 200});
            frame[way] = json!(at.max(1));
            pages.push(device.read(frame).await);
        }
    }
    pages
}

pub(super) async fn raw_log(tables: &dyn Tables, id: ConversationId) -> Vec<Entry> {
    tables.log(id, LogRange::After(Seq::NONE), usize::MAX).await.expect("readable")
}

#[tokio::test(flavor = "multi_thread")]
async fn history_reads_the_same_over_the_archive() {
    let store = Store::new();
    let rig = Rig::start(MemoryJournal::new(), store.tables(), 1).await;
    let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "phone").await);
    talk(&rig, &ada, 1..=1_500).await;
    let id = direct("ada", "bob");
    let (before, log) = (all_pages(&bob, id).await, raw_log(&store.hot, id).await);

    let report = store.round().await;
    let last = log.len() as u64;
    assert!(report.entries > last - KEPT - 128 && report.entries <= last - KEPT, "{report:?} of {last}");
    assert!(
        (report.segments, report.failed) == (1, 0) && report.packed_bytes * 3 < report.unpacked_bytes,
        "{report:?}"
    );
    let rows = store.hot_rows(id).await;
    assert_eq!(rows[0], report.entries + 1, "what is archived has left the tables");
    assert_eq!(all_pages(&bob, id).await, before);
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    // All that the trait promises of a log, also in the direction in which the server does not read.
    let tables = store.tables();
    for (bound, limit) in [(u64::MAX, 3_000), (last + 1, 10), (last, 300), (KEPT, 100), (2, 9), (1, 9), (700, 1)] {
        let below: Vec<_> = log.iter().rev().filter(|entry| entry.seq.0 < bound).take(limit).cloned().collect();
        assert_eq!(tables.log(id, LogRange::Before(Seq(bound)), limit).await.unwrap(), below, "{limit} before {bound}");
    }

    assert_eq!(store.round().await, Report { conversations: 1, ..Report::default() }, "nothing more is old");
    talk(&rig, &ada, 1_501..=2_300).await;
    let (before, log) = (all_pages(&bob, id).await, raw_log(&*store.tables(), id).await);
    assert!(store.round().await.entries > 600);
    assert_eq!((all_pages(&bob, id).await, raw_log(&*store.tables(), id).await), (before.clone(), log));

    // After a crash, with nothing in memory.
    let journal = rig.crash().await;
    let store = store.reopened();
    let rig = Rig::start(journal, store.tables(), 2).await;
    assert_eq!(all_pages(&rig.device("bob", "phone").await, id).await, before);
    rig.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_archived_is_edited_redacted_and_reacted_to() {
    let store = Store::new();
    let (rig, ada) = written(&store, 600).await;
    let (id, report) = (direct("ada", "bob"), store.round().await);
    assert!(report.entries > 200, "{report:?}");
    let change = |frame: Value, n: u64| {
        let mut frame = frame;
        (frame["conversation"], frame["client_msg_id"]) = (json!(id), json!(format!("change-{n}")));
        frame
    };
    ada.make(change(json!({"type": "redact", "seq": 50}), 1)).await;
    ada.make(change(json!({"type": "edit", "seq": 60, "text": "new"}), 2)).await;
    ada.make(change(json!({"type": "react", "seq": 60, "emoji": "🎉", "on": true}), 3)).await;
    let page = |device: Device| async move {
        device.read(json!({"type": "fetch", "conversation": id, "after": 45, "limit": 20})).await["entries"].clone()
    };
    let expect = |entries: &Value| {
        let entry = |seq: u64| entries.as_array().unwrap().iter().find(|entry| entry["seq"] == seq).unwrap().clone();
        assert!(entry(50)["redacted"]["seq"] == 601 && entry(50)["text"].as_str().unwrap_or_default().is_empty());
        assert!(entry(60)["text"] == "new" && entry(60)["reactions"][0]["count"] == 1, "{}", entry(60));
        assert_eq!((&entry(51)["text"], &entry(65)["seq"]), (&json!("text of c-51"), &json!(65)));
    };
    expect(&page(rig.device("bob", "a").await).await);
    rig.flush().await;
    expect(&page(rig.device("bob", "b").await).await);
    let rows = store.hot_rows(id).await;
    assert_eq!(rows[..2], [50, 60], "only what was changed is in the tables again");

    // A round more, and changes of what was changed already; then all from disk.
    store.round().await;
    ada.make(change(json!({"type": "edit", "seq": 60, "text": "newer"}), 4)).await;
    ada.make(change(json!({"type": "edit", "seq": 60, "text": "new"}), 5)).await;
    rig.flush().await;
    let journal = rig.crash().await;
    let store = store.reopened();
    let rig = Rig::start(journal, store.tables(), 2).await;
    store.round().await;
    expect(&page(rig.device("bob", "c").await).await);
    rig.crash().await;
}

/// The ids of what was archived are known without it; only to confirm a repeat it is asked.
#[tokio::test(flavor = "multi_thread")]
async fn repeats_of_what_is_archived_are_found_and_new_messages_need_no_archive() {
    for count in [500, 1_400] {
        let store = Store::new();
        let (rig, _ada) = written(&store, count).await;
        assert!(store.round().await.entries >= 128);
        let journal = rig.crash().await;

        let store = store.reopened();
        let rig = Rig::start(journal, store.tables(), 2).await;
        let ada = rig.device("ada", "laptop").await;
        for n in [1, 100, count] {
            let Answer::Sent { seq, repeat, .. } = ada.ask(send("bob", &format!("c-{n}"))).await else { panic!("{n}") };
            assert_eq!((seq.0, repeat), (n, true));
        }
        let journal = rig.crash().await;

        // Its blobs are gone: what is new goes on, over the end of a run of fingerprints too.
        let store = store.reopened();
        for segment in store.segments().await {
            std::fs::remove_file(segment).unwrap();
        }
        let rig = Rig::start(journal, store.tables(), 3).await;
        let ada = rig.device("ada", "laptop").await;
        assert_eq!(ada.make(send("bob", "new")).await, count + 1);
        assert_eq!(code(&ada.ask(send("bob", "c-1")).await), Some(Code::Unavailable));
        for n in count + 2..=count + 900 {
            assert_eq!(ada.make(send("bob", &format!("c-{n}"))).await, n);
        }
        rig.flush().await;
        let journal = rig.crash().await;
        let store = store.reopened();
        let rig = Rig::start(journal, store.tables(), 4).await;
        let ada = rig.device("ada", "laptop").await;
        let last = format!("c-{}", count + 900);
        assert!(matches!(ada.ask(send("bob", &last)).await, Answer::Sent { repeat: true, .. }));
        rig.crash().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_round_that_is_cut_off_anywhere_loses_nothing_and_is_finished_by_the_next() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let rig = Rig::start(MemoryJournal::new(), store.tables(), 1).await;
    rig.make_known(&["bob".to_owned()]).await;
    let ada = rig.device("ada", "laptop").await;
    talk(&rig, &ada, 1..=900).await;
    let (mut log, journal) = (raw_log(&store.hot, id).await, rig.crash().await);
    let (mut store, mut journal, mut epoch) = (store, journal, 1);
    // Where a round is cut off, and where the next one is (if it comes so far).
    let tears = [
        (Tear::Others(0), Tear::Others(128)),
        (Tear::Others(128), Tear::Deletions(90)),
        (Tear::Deletions(0), Tear::Deletions(128)),
        (Tear::Deletions(250), Tear::Others(0)),
    ];
    for (first, second) in tears {
        store.hot.tear(first);
        let cut = store.archiver.round(NOW).await;
        assert!(matches!(cut, Err(RoundError::Tables(_))), "{first:?}: {cut:?}");
        store = store.reopened();
        assert_eq!(raw_log(&*store.tables(), id).await, log, "after {first:?}");
        store.hot.tear(second);
        let _ = store.archiver.round(NOW).await;
        store = store.reopened();
        assert_eq!(raw_log(&*store.tables(), id).await, log, "after {first:?} and {second:?}");

        // The next one ends well, and leaves nothing behind.
        store.round().await;
        let kept = store.hot_rows(id).await[0];
        assert!(kept > log.len() as u64 - KEPT - 256, "{kept} of {}", log.len());
        assert_eq!(raw_log(&*store.tables(), id).await, log, "after {first:?}, {second:?} and a whole round");
        epoch += 1;
        let rig = Rig::start(journal, store.tables(), epoch).await;
        let ada = rig.device("ada", "laptop").await;
        for n in 0..300 {
            ada.make(send("bob", &format!("d-{epoch}-{n}"))).await;
        }
        rig.flush().await;
        log = raw_log(&*store.tables(), id).await;
        journal = rig.crash().await;
    }
    assert_eq!(store.segments().await.len(), 4, "what was packed again has the name that it had");
}

/// What is below a place is taken for archived: so of two blocks' places the first one is written first.
#[tokio::test(flavor = "multi_thread")]
async fn a_crash_among_the_places_of_a_conversation_loses_nothing() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, _ada) = written(&store, BLOCK_ENTRIES_MAX as u64 + 700).await;
    let log = raw_log(&store.hot, id).await;
    rig.crash().await;
    store.hot.tear(Tear::Places);
    let cut = store.archiver.round(NOW).await;
    assert!(matches!(cut, Err(RoundError::Tables(_))), "{cut:?}");
    let store = store.reopened();
    store.round().await;
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    let kept = store.hot_rows(id).await[0];
    assert!(kept > log.len() as u64 - KEPT - 256, "{kept} of {}", log.len());
}

/// The rows of a flush have one version, and land one by one: a block may have been packed in between.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_the_version_of_a_block_that_lacks_it_stays() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, ada) = written(&store, 700).await;
    let before = store.hot.log_rows_between(id, Seq::FIRST, Seq(300), usize::MAX).await.unwrap();
    for seq in [30, 300] {
        let edit =
            json!({"type": "edit", "conversation": id, "seq": seq, "text": "new", "client_msg_id": format!("e-{seq}")});
        ada.make(edit).await;
    }
    rig.flush().await;
    let log = raw_log(&store.hot, id).await;
    rig.crash().await;
    // As the tables are while the second of the two changed rows has landed and the first one has not.
    let (first, late) = store.hot.log_rows(vec![(id, Seq(30))]).await.unwrap().remove(0).remove(0);
    let row = |stored: Stored| Row { key: Key::Log(id, first), version: stored.version, value: Some(stored.value) };
    let early = before.into_iter().find(|(seq, _)| *seq == first).expect("it was there before").1;
    store.hot.put_max(vec![row(early)], Freshness::Newest).await.unwrap();
    store.round().await;
    store.hot.put_max(vec![row(late)], Freshness::Unknown).await.unwrap();
    let store = store.reopened();
    assert_eq!(raw_log(&*store.tables(), id).await, log);
    store.round().await;
    assert_eq!(raw_log(&*store.reopened().tables(), id).await, log);
}

/// Somebody redacts between packing and deleting: the change stays, and what was packed without it is not used.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_during_a_round_is_kept() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, ada) = written(&store, 700).await;
    // The places are written, and no row is deleted yet.
    store.hot.tear(Tear::Deletions(0));
    assert!(store.archiver.round(NOW).await.is_err());
    store.hot.mend();
    ada.make(json!({"type": "redact", "conversation": id, "seq": 30, "client_msg_id": "r"})).await;
    rig.flush().await;
    let journal = rig.crash().await;
    let store = store.reopened();
    store.round().await;
    let log = raw_log(&*store.tables(), id).await;
    assert!(log[29].fold.as_ref().is_some_and(|fold| fold.redacted.is_some()), "{:?}", log[29]);
    assert_eq!(log.len(), 701);
    let rows = store.hot_rows(id).await;
    assert!(rows[0] <= 30 && rows[1] > 300, "only the changed row stayed: {rows:?}");
    drop(journal);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_archive_answers_an_error_and_invents_nothing() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, _ada) = written(&store, 600).await;
    let archived = store.round().await.entries;
    let segment = store.segments().await.remove(0);
    let whole = std::fs::read(&segment).unwrap();
    let journal = rig.crash().await;
    let store = store.reopened();
    let rig = Rig::start(journal, store.tables(), 2).await;
    let bob = rig.device("bob", "phone").await;
    let old = json!({"type": "fetch", "conversation": id, "after": 10, "limit": 20});

    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 4;
    for (what, bytes) in [("flipped", flipped), ("cut", whole[..whole.len() - 1].to_vec()), ("empty", Vec::new())] {
        std::fs::write(&segment, bytes).unwrap();
        assert_eq!(bob.read(old.clone()).await["code"], "unavailable", "{what}");
        let read = store.tables().log(id, LogRange::After(Seq(10)), 5).await;
        assert!(
            matches!(&read, Err(TablesError::Damaged { place, .. }) if place.contains("archive/")),
            "{what}: {read:?}"
        );
    }
    std::fs::remove_file(&segment).unwrap();
    assert_eq!(bob.read(old.clone()).await["code"], "unavailable");
    let across = json!({"type": "fetch", "conversation": id, "before": archived + 20, "limit": 100});
    assert_eq!(bob.read(across).await["code"], "unavailable", "no page with a hole");
    // A change of what cannot be read is refused, and harms nobody.
    let ada = rig.device("ada", "laptop").await;
    let refused = ada.ask(json!({"type": "redact", "conversation": id, "seq": 5, "client_msg_id": "r"})).await;
    assert_eq!(code(&refused), Some(Code::Unavailable));
    assert_eq!(bob.fetch(id).await["entries"].as_array().map(Vec::len), Some(200), "the newest part is there");
    ada.make(send("bob", "goes on")).await;
    rig.flush().await;

    std::fs::write(&segment, whole).unwrap();
    assert_eq!(bob.read(old).await["entries"].as_array().map(Vec::len), Some(20));
    rig.crash().await;
}

/// A store that confirms a segment and has another: nothing is taken out of the tables.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_read_back_as_it_was_written_stays_in_the_tables() {
    let (store, id) = (Store::new(), direct("ada", "bob"));
    let (rig, _ada) = written(&store, 600).await;
    let rows = store.hot_rows(id).await;
    // The name that the segment will have is taken by other bytes.
    let twin = Store::over(store.hot.clone(), tempfile::tempdir().unwrap());
    twin.hot.tear(Tear::Others(0));
    assert!(twin.archiver.round(NOW).await.is_err());
    store.hot.mend();
    let name = twin.blobs.list("archive", None, 1).await.unwrap().remove(0).name;
    store.blobs.put_new(&name, Bytes::from_static(b"something else")).await.unwrap();
    let outcome = store.archiver.round(NOW).await;
    assert!(matches!(&outcome, Err(RoundError::Different { .. })), "{outcome:?}");
    assert_eq!(store.hot_rows(id).await, rows);
    rig.crash().await;
}
