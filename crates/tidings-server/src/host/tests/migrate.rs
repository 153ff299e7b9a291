//! A host that moves: what is copied, checked and followed is all there is, whatever comes in between.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_proto::Seq;

use tokio::sync::watch;

use super::{
    torn_tables::{Tear, TornTables},
    *,
};
use crate::{
    archive::{Archive, Job},
    blobs::Blobs,
    migrate::{
        self, MigrateError, Migration, Options, Phase, Status,
        target::{Identity, OpenTarget, Target, TargetError},
        tracked::TrackedTables,
    },
    tables::{Freshness, Key, LogRange, Prefix, Row, Version, memory::MemoryTables},
};

const PATIENCE: Duration = Duration::from_secs(60);
const SWITCH_WITHIN: Duration = Duration::from_secs(2);

/// Tables in memory that a migration goes to.
#[derive(Clone)]
struct Memory {
    tables: MemoryTables,
    torn: TornTables,
    seen: Arc<dyn Tables>,
    epochs: Arc<Mutex<Vec<u64>>>,
    refuses: Arc<AtomicBool>,
    /// Which step is not answered for now.
    silent: Arc<watch::Sender<Option<Step>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    Answers,
    Finish,
}

impl Memory {
    fn new() -> Self {
        let tables = MemoryTables::new();
        let torn = TornTables::new(tables.clone());
        let seen = Arc::new(torn.clone());
        let silent = Arc::new(watch::Sender::new(None));
        Self { tables, torn, seen, epochs: Arc::default(), refuses: Arc::default(), silent }
    }

    fn be_silent(&self, at: Option<Step>) {
        self.silent.send_replace(at);
    }

    async fn pass(&self, step: Step) {
        let mut silent = self.silent.subscribe();
        silent.wait_for(|at| *at != Some(step)).await.expect("the sender lives as long as self");
    }
}

#[async_trait]
impl Target for Memory {
    fn tables(&self) -> &Arc<dyn Tables> {
        &self.seen
    }
    fn blobs(&self) -> Option<&Blobs> {
        None
    }
    fn place(&self) -> &str {
        "memory"
    }
    async fn begin(&self, _: &Identity) -> Result<(), TargetError> {
        Ok(())
    }
    async fn prepare(&self, epoch: u64) -> Result<(), TargetError> {
        self.epochs.lock().push(epoch);
        Ok(())
    }
    async fn answers(&self) -> Result<(), TargetError> {
        self.pass(Step::Answers).await;
        Ok(())
    }
    async fn finish(&self, epoch: u64) -> Result<(), TargetError> {
        self.pass(Step::Finish).await;
        if self.refuses.load(Ordering::Relaxed) {
            return Err(TargetError::OfOthers { place: "memory".to_owned() });
        }
        self.epochs.lock().push(epoch);
        Ok(())
    }
}

#[async_trait]
impl OpenTarget for Memory {
    async fn open(&self, _: BTreeMap<String, String>) -> Result<Arc<dyn Target>, MigrateError> {
        Ok(Arc::new(self.clone()))
    }
}

/// A host whose tables are tracked.
struct Source {
    rig: Rig,
    tables: Arc<TrackedTables>,
}

impl Source {
    async fn start() -> Self {
        let tables = Arc::new(TrackedTables::new(Arc::new(MemoryTables::new())));
        let rig = Rig::start(MemoryJournal::new(), tables.clone(), 3).await;
        Self { rig, tables }
    }

    /// Stops with `shutdown`.
    fn migration(&self, target: &Memory, shutdown: &Shutdown) -> Arc<Migration> {
        let archive = Arc::new(Archive::new(Blobs::memory(), 1 << 20, Arc::new(Metrics::default())));
        Migration::new(migrate::Parts {
            host: self.rig.host.clone(),
            tables: self.tables.clone(),
            archive: Job::new(self.tables.clone(), archive, 0, shutdown.clone()),
            blobs: Blobs::memory(),
            identity: Identity { lineage: Lineage([7; 8]), secret: "secret".into() },
            epoch: 3,
            folder: None,
            opener: Box::new(target.clone()),
            switch_within: SWITCH_WITHIN,
            shutdown: shutdown.clone(),
        })
    }

    /// The rows that are not the same on both sides.
    async fn differing(&self, target: &Memory) -> Vec<Key> {
        let (ours, theirs) = (all_rows(&*self.tables).await, all_rows(&target.tables).await);
        assert!(ours.len() > 4, "there is something to compare");
        let only = |these: &[(Key, u64, Vec<u8>)], those: &[(Key, u64, Vec<u8>)]| {
            these.iter().filter(|row| !those.contains(row)).map(|row| row.0.clone()).collect::<Vec<_>>()
        };
        [only(&ours, &theirs), only(&theirs, &ours)].concat()
    }

    /// Until the target follows.
    async fn following(&self, target: &Memory) -> (Arc<Migration>, Shutdown) {
        let shutdown = Shutdown::default();
        let migration = self.migration(target, &shutdown);
        migration.begin(BTreeMap::new(), Options::default()).await.expect("it begins");
        until(&migration, |status| status.phase == Phase::Following).await;
        (migration, shutdown)
    }
}

async fn until(migration: &Migration, is_so: impl Fn(&Status) -> bool) -> Status {
    let waiting = async {
        loop {
            let status = migration.status();
            if is_so(&status) {
                return status;
            }
            assert_ne!(status.phase, Phase::Failed, "{status:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("it comes to that in time")
}

/// All rows but the place of the copy, by key.
async fn all_rows(tables: &dyn Tables) -> Vec<(Key, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for (key, _) in tables.rows(Prefix::Conversations, None, usize::MAX).await.expect("readable") {
        let Key::Conversation(id) = key else { unreachable!("only conversations were asked for") };
        let log = tables.log_rows_between(id, Seq::FIRST, Seq(u64::MAX), usize::MAX).await.expect("readable");
        found.extend(log.into_iter().map(|(seq, stored)| (Key::Log(id, seq), stored)));
        for prefix in [Prefix::Members(id), Prefix::Fingerprints(id), Prefix::Archived(id)] {
            found.extend(tables.rows(prefix, None, usize::MAX).await.expect("readable"));
        }
    }
    for (key, _) in tables.rows(Prefix::Homes, None, usize::MAX).await.expect("readable") {
        let Key::Home(user) = key else { unreachable!("only homes were asked for") };
        found.extend(tables.rows(Prefix::Inbox(user), None, usize::MAX).await.expect("readable"));
    }
    for prefix in [Prefix::Conversations, Prefix::Homes] {
        found.extend(tables.rows(prefix, None, usize::MAX).await.expect("readable"));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    found.into_iter().map(|(key, stored)| (key, stored.version.0, stored.value.to_vec())).collect()
}

/// A group with member rows, and a direct conversation with a full run of fingerprints and chunks.
async fn people_talk(rig: &Rig, from: usize) -> (Device, Device, ConversationId) {
    let members: Vec<_> = (0..70).map(|number| format!("member-{number}")).collect();
    rig.make_known(&members).await;
    let (ada, bob) = (rig.device("ada", "a").await, rig.device("bob", "b").await);
    let group = json!({"type": "create", "client_msg_id": "g", "name": "Crowd", "members": members, "history": "all"});
    let Answer::Created { conversation, .. } = ada.ask(group).await else { panic!("a group is made") };
    for number in from..from + 1_100 {
        ada.make(send("bob", &format!("m-{number}"))).await;
        if number % 400 == 0 {
            rig.flush().await;
        }
    }
    (ada, bob, conversation)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_moves_with_what_is_said_meanwhile_and_tokens_stay_good() {
    let (source, target) = (Source::start().await, Memory::new());
    let (ada, bob, group) = people_talk(&source.rig, 0).await;
    let (migration, _shutdown) = source.following(&target).await;
    ada.make(send("bob", "while it follows")).await;
    let edit =
        json!({"type": "edit", "conversation": direct("ada", "bob"), "seq": 3, "text": "other", "client_msg_id": "e"});
    ada.make(edit).await;
    source.rig.flush().await;
    let token = bob.token().await;
    ada.make(send_in(group, "in the group")).await;
    ada.make(send("bob", "the last one")).await;
    let page = bob.fetch(direct("ada", "bob")).await;

    let status = migration.switch().await.expect("it hands over");
    assert_eq!((status.phase, status.error), (Phase::Done, None));
    assert!(status.read_only_ms.is_some());
    assert_eq!(code(&ada.ask(send("bob", "too late")).await), Some(Code::Unavailable));
    assert_eq!(source.differing(&target).await, Vec::<Key>::new());
    assert_eq!(*target.epochs.lock(), [3, 3]);
    source.rig.crash().await;

    // The next one, in a higher epoch.
    let rig = Rig::start(MemoryJournal::new(), Arc::new(target.tables.clone()), 4).await;
    let (ada, bob) = (rig.device("ada", "a").await, rig.device("bob", "b").await);
    assert_eq!(bob.fetch(direct("ada", "bob")).await["entries"], page["entries"]);
    let changes = bob.read(json!({"type": "sync", "sync": token})).await;
    assert_eq!((&changes["full"], changes["items"].as_array().map(Vec::len)), (&json!(false), Some(1)), "{changes}");
    let repeat = ada.ask(send("bob", "m-7")).await;
    assert!(matches!(repeat, Answer::Sent { repeat: true, seq: Seq(8), .. }), "{repeat:?}");
    assert_eq!(ada.make(send("bob", "and on")).await, 1_104);
    rig.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_interrupted_goes_on_and_finds_what_it_missed_and_what_was_altered() {
    let (source, target) = (Source::start().await, Memory::new());
    let (ada, _bob, _) = people_talk(&source.rig, 0).await;
    source.rig.flush().await;
    // Ended in the middle of a write.
    target.tables.hold();
    let shutdown = Shutdown::default();
    let migration = source.migration(&target, &shutdown);
    migration.begin(BTreeMap::new(), Options::default()).await.expect("it begins");
    target.tables.until_held().await;
    assert!(matches!(migration.switch().await, Err(MigrateError::TooEarly(_))));
    shutdown.begin();
    shutdown.finished().await;
    target.tables.release();
    assert_eq!(migration.status().phase, Phase::Failed);

    // Goes on, and ends again when all is copied. Nobody notes what is written then.
    let (migration, shutdown) = source.following(&target).await;
    assert_eq!(migration.status().mended, 0);
    shutdown.begin();
    shutdown.finished().await;
    ada.make(send("bob", "noted by nobody")).await;
    source.rig.flush().await;
    let rows = all_rows(&target.tables).await;
    let id = direct("ada", "bob");
    let (key, version, mut value) = rows.into_iter().find(|row| matches!(row.0, Key::Log(of, _) if of == id)).unwrap();
    value[9] ^= 1;
    let flipped = Row { key, version: Version(version), value: Some(value.clone().into()) };
    let stray = Row { key: Key::Log(id, Seq(5)), version: Version(1), value: Some(value.into()) };
    target.tables.put_max(vec![flipped, stray], Freshness::Newest).await.unwrap();

    let (migration, _shutdown) = source.following(&target).await;
    let mended = migration.status().mended;
    // The flipped one, the stray one, and of what was said: its log row, state, and for each of the two a home and an item.
    assert!((5..=9).contains(&mended), "{mended} rows were different");
    assert_eq!(source.differing(&target).await, Vec::<Key>::new());
    assert!(target.tables.log(id, LogRange::After(Seq::NONE), 5).await.is_ok());
    source.rig.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_that_is_refused_leaves_everything_as_it_was() {
    let (source, target) = (Source::start().await, Memory::new());
    let ada = source.rig.device("ada", "a").await;
    source.rig.make_known(&["bob".to_owned()]).await;
    ada.make(send("bob", "one")).await;
    let (migration, shutdown) = source.following(&target).await;
    let again = migration.begin(BTreeMap::new(), Options::default()).await;
    assert!(matches!(again, Err(MigrateError::UnderWay(_))), "{again:?}");
    target.refuses.store(true, Ordering::Relaxed);
    let refused = migration.switch().await;
    assert!(matches!(refused, Err(MigrateError::Target(TargetError::OfOthers { .. }))), "{refused:?}");
    assert!(!shutdown.has_begun());
    assert_eq!(ada.make(send("bob", "two")).await, 2, "sends are taken again");
    target.refuses.store(false, Ordering::Relaxed);
    assert_eq!(migration.switch().await.expect("it hands over").phase, Phase::Done);
    assert!(tokio::time::timeout(PATIENCE, shutdown.begun()).await.is_ok(), "it stops");
    assert_eq!(source.differing(&target).await, Vec::<Key>::new());
    source.rig.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_switch_whose_target_goes_away_is_given_up_and_the_next_one_hands_over_everything() {
    let (source, target) = (Source::start().await, Memory::new());
    let ada = source.rig.device("ada", "a").await;
    source.rig.make_known(&["bob".to_owned()]).await;
    ada.make(send("bob", "one")).await;
    let (migration, shutdown) = source.following(&target).await;
    // In the middle of the last rows: what it did not take is not forgotten.
    target.torn.tear(Tear::Others(0));
    ada.make(send("bob", "two")).await;
    let refused = migration.switch().await;
    assert!(matches!(refused, Err(MigrateError::Tables(_))), "{refused:?}");
    target.torn.mend();
    // When nothing is taken any more.
    target.be_silent(Some(Step::Answers));
    let refused = migration.switch().await;
    assert!(matches!(&refused, Err(error @ MigrateError::Slow(_)) if error.to_string().contains("taken again")));
    assert_eq!((migration.status().phase, shutdown.has_begun()), (Phase::Following, false));
    assert_eq!(ada.make(send("bob", "three")).await, 3, "sends are taken again");
    // In the last step, which may have been done: nothing is taken until that is known.
    target.be_silent(Some(Step::Finish));
    let switch = tokio::spawn({
        let migration = migration.clone();
        async move { migration.switch().await }
    });
    let status = until(&migration, |status| status.phase == Phase::Switching && status.error.is_some()).await;
    assert!(status.error.is_some_and(|why| why.contains("may have been opened")));
    assert_eq!(code(&ada.ask(send("bob", "too late")).await), Some(Code::Unavailable));
    target.be_silent(None);
    let status = switch.await.expect("it ends").expect("it hands over");
    assert_eq!((status.phase, status.error), (Phase::Done, None));
    assert_eq!(source.differing(&target).await, Vec::<Key>::new());
    source.rig.crash().await;
}
