//! The file journal: the conformance suite on a real folder, and against the reference on simulated disks.

mod damage;
mod faults;
mod power;

use std::{collections::BTreeMap, sync::LazyLock};

use proptest::prelude::*;

use super::{simulated::SimulatedDisk, *};
use crate::journal::{
    conformance::{self, Place},
    memory::MemoryJournal,
};

/// Segments of eight blocks: a few commits fill one, and each disk operation stands out.
fn small() -> FileJournalOptions {
    FileJournalOptions { segment_bytes: 8 * 4_096, max_commit_bytes: 20_000, fill_ahead: false }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap());
    RUNTIME.block_on(future)
}

/// The commit at a position; its length varies from a few bytes to several blocks.
fn sample(position: u64) -> Bytes {
    // Made once: these tests live many thousand short lives.
    static SAMPLES: LazyLock<Vec<Bytes>> = LazyLock::new(|| (0..600).map(conformance::sample).collect());
    SAMPLES[position as usize].clone()
}

struct InFolder {
    folder: tempfile::TempDir,
    options: FileJournalOptions,
}

#[async_trait]
impl Place for InFolder {
    async fn open(&mut self) -> (Vec<(Position, Bytes)>, Arc<dyn Journal>) {
        let recovered = FileJournal::open(self.folder.path(), self.options.clone()).unwrap();
        let held = read_held(&recovered);
        let last = recovered.last();
        (held, Arc::new(recovered.start(last).unwrap()))
    }
}

/// All that a journal still holds.
fn read_held(recovered: &Recovered) -> Vec<(Position, Bytes)> {
    let first = recovered.catalog.segments.front().map_or(1, |segment| segment.header.first_position.0);
    recovered.read(Position(first - 1), usize::MAX).unwrap()
}

#[tokio::test]
async fn conforms_on_a_real_folder() {
    for fill_ahead in [false, true] {
        let options = FileJournalOptions { segment_bytes: 64 << 10, max_commit_bytes: 40_000, fill_ahead };
        conformance::run_all(|| InFolder { folder: tempfile::tempdir().unwrap(), options: options.clone() }).await;
    }
}

#[test]
fn a_journal_that_is_not_flushed_does_not_start() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let open = || Recovered::open(Arc::clone(&disk) as _, small()).unwrap();
    let journal = open().start(Position(10)).unwrap();
    assert_eq!(block_on(journal.append(sample(11))).unwrap(), Position(11));
    let refused = open().start(Position(10)).unwrap_err();
    assert!(matches!(refused, OpenError::NotFlushed { flushed: Position(10), last: Position(11) }), "{refused}");
    assert_eq!(open().end(), &End::Unconfirmed { torn: None });
    block_on(journal.confirm()).unwrap();
    assert_eq!(open().end(), &End::Confirmed);
}

#[test]
fn segments_are_used_again() {
    let disk = Arc::new(SimulatedDisk::new(0));
    let journal = Recovered::open(Arc::clone(&disk) as _, small()).unwrap().start(Position::NONE).unwrap();
    for position in 1..=500 {
        block_on(journal.append(sample(position))).unwrap();
        block_on(journal.trim(Position(position))).unwrap();
    }
    assert!(disk.list().unwrap().len() <= 3, "{:?}", disk.list());
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Confirm,
    Trim(u64),
    Read {
        after: u64,
        max_bytes: usize,
    },
    /// `true`: with a power cut, of which nothing that was acknowledged may be seen.
    Reopen(bool),
    Seal,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => prop_oneof![0..40usize, 4_000..4_100usize, 0..20_000usize].prop_map(|bytes| Step::Append(bytes + 1)),
        3 => Just(Step::Confirm),
        3 => (0..8u64).prop_map(Step::Trim),
        3 => (0..30u64, 0..30_000usize).prop_map(|(after, max_bytes)| Step::Read { after, max_bytes }),
        2 => any::<bool>().prop_map(Step::Reopen),
        1 => Just(Step::Seal),
    ];
    proptest::collection::vec(step, 1..60)
}

/// The journal under test beside its reference.
struct Pair {
    disk: SimulatedDisk,
    journal: FileJournal,
    reference: MemoryJournal,
    trimmed: u64,
    last: u64,
}

impl Pair {
    fn new() -> Self {
        let disk = SimulatedDisk::new(1);
        let journal = Recovered::open(Arc::new(disk.clone()), small()).unwrap().start(Position::NONE).unwrap();
        Self { disk, journal, reference: MemoryJournal::new(), trimmed: 0, last: 0 }
    }

    async fn step(&mut self, step: Step, seed: u64) {
        match step {
            Step::Append(bytes) => {
                let commit =
                    Bytes::from((0..bytes).map(|index| (index as u64 * 7 + self.last) as u8).collect::<Vec<_>>());
                let appended = self.journal.append(commit.clone()).await;
                assert_eq!(format!("{appended:?}"), format!("{:?}", self.reference.append(commit).await));
                self.last = appended.map_or(self.last, |position| position.0);
            }
            Step::Confirm => {
                let confirmed = format!("{:?}", self.journal.confirm().await);
                assert_eq!(confirmed, format!("{:?}", self.reference.confirm().await));
            }
            Step::Trim(kept) => {
                self.trimmed = self.trimmed.max(self.last.saturating_sub(kept));
                self.journal.trim(Position(self.trimmed)).await.unwrap();
                self.reference.trim(Position(self.trimmed)).await.unwrap();
            }
            Step::Read { after, max_bytes } => {
                let after = Position((self.trimmed + after).min(self.last));
                let read = self.journal.read(after, max_bytes).await.unwrap();
                assert_eq!(read, self.reference.read(after, max_bytes).await.unwrap());
            }
            Step::Reopen(power_cut) => self.reopen(power_cut, seed).await,
            Step::Seal => {
                let sealed = self.journal.seal().await.unwrap();
                assert_eq!(sealed, self.reference.seal().await.unwrap());
            }
        }
    }

    async fn reopen(&mut self, power_cut: bool, seed: u64) {
        if power_cut {
            self.disk = self.disk.after_power_cut(simulated::Unsynced::Mixed, seed);
        }
        let recovered = Recovered::open(Arc::new(self.disk.clone()), small()).unwrap();
        let expected = self.reference.read(Position(self.trimmed), usize::MAX).await.unwrap();
        assert_eq!(recovered.read(Position(self.trimmed), usize::MAX).unwrap(), expected);
        self.journal = recovered.start(Position(self.last)).unwrap();
        self.reference = self.reference.reopen();
        if self.journal.writer.lock().segment.is_some() {
            // Everything was flushed, so the journal began anew; a sealed one is kept as it is.
            self.trimmed = self.last;
            self.reference.trim(Position(self.trimmed)).await.unwrap();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn does_what_the_reference_does(steps in steps(), seed in any::<u64>()) {
        block_on(async {
            let mut pair = Pair::new();
            for step in steps {
                pair.step(step, seed).await;
            }
        });
    }
}

/// What a server knows that went through a script: what was acknowledged, and what was begun last.
#[derive(Clone, Debug, Default)]
struct Known {
    /// Durable in the tables, which are not on this disk.
    flushed: Position,
    acked: BTreeMap<Position, Bytes>,
    /// Its append did not return.
    attempted: Option<(Position, Bytes)>,
    /// All acknowledged is confirmed.
    confirmed: bool,
    sealed: bool,
}

impl Known {
    /// Compares with what a later opening finds.
    fn check(&self, recovered: &Recovered) -> Result<(), String> {
        let found = recovered.read(self.flushed, usize::MAX);
        // If nothing is left above `flushed` the journal may have begun anew behind it.
        let found = match found {
            Err(ReadError::Trimmed { trimmed, .. }) if self.acked.range(self.flushed.next()..).next().is_none() => {
                recovered.read(trimmed, usize::MAX).map_err(|error| error.to_string())?
            }
            found => found.map_err(|error| error.to_string())?,
        };
        let mut expected =
            self.acked.range(self.flushed.next()..).map(|(at, commit)| (*at, commit.clone())).collect::<Vec<_>>();
        if found.len() == expected.len() + 1 {
            expected.extend(self.attempted.clone());
        }
        if found != expected {
            let positions = |commits: &[(Position, Bytes)]| commits.iter().map(|(at, _)| at.0).collect::<Vec<_>>();
            return Err(format!("acknowledged {:?}, found {:?}", positions(&expected), positions(&found)));
        }
        if self.sealed && !recovered.is_sealed() {
            return Err("the seal is gone".into());
        }
        Ok(())
    }
}

/// Opens the journal, checks it, flushes and starts it.
fn open(disk: &SimulatedDisk, known: &mut Known) -> Result<FileJournal, String> {
    let recovered = Recovered::open(Arc::new(disk.clone()), small()).map_err(|error| error.to_string())?;
    known.check(&recovered)?;
    if let Some((position, commit)) = known.attempted.take()
        && recovered.last() >= position
    {
        known.acked.insert(position, commit);
    }
    known.flushed = known.flushed.max(recovered.last());
    recovered.start(known.flushed).map_err(|error| error.to_string())
}

async fn append(journal: &FileJournal, known: &mut Known, count: u64) -> Result<(), AppendError> {
    for _ in 0..count {
        let next = known.acked.last_key_value().map_or(Position::FIRST, |(last, _)| last.next());
        let next = next.max(known.flushed.next());
        known.confirmed = false;
        known.attempted = Some((next, sample(next.0)));
        let position = journal.append(sample(next.0)).await?;
        assert_eq!(position, next);
        known.attempted = None;
        known.acked.insert(position, sample(next.0));
    }
    Ok(())
}

async fn confirm(journal: &FileJournal, known: &mut Known) -> Result<(), AppendError> {
    journal.confirm().await?;
    known.confirmed = true;
    Ok(())
}

/// What a server does in its life: commits, confirms, flushes and trims, rolls, restarts, and is sealed. At the first
/// error it goes on asking, as one that does not know better would, and then ends.
async fn live(disk: &SimulatedDisk, known: &mut Known) -> Result<(), String> {
    for _ in 0..2 {
        let journal = open(disk, known)?;
        let lived = live_until_restart(&journal, known).await;
        lived.or_else(|error| nothing_is_acknowledged_after(&journal, &error))?;
    }
    let journal = open(disk, known)?;
    let sealed = async {
        append(&journal, known, 2).await?;
        confirm(&journal, known).await?;
        journal.seal().await
    };
    sealed.await.map(|_| ()).or_else(|error| nothing_is_acknowledged_after(&journal, &error))?;
    known.sealed = true;
    Ok(())
}

async fn live_until_restart(journal: &FileJournal, known: &mut Known) -> Result<(), AppendError> {
    append(journal, known, 3).await?;
    confirm(journal, known).await?;
    append(journal, known, 11).await?;
    let last = known.acked.last_key_value().expect("there are some").0.0;
    known.flushed = Position(last - 2);
    journal.trim(known.flushed).await?;
    append(journal, known, 3).await?;
    confirm(journal, known).await?;
    append(journal, known, 1).await
}

fn nothing_is_acknowledged_after(journal: &FileJournal, error: &AppendError) -> Result<(), String> {
    block_on_now(async {
        for _ in 0..2 {
            assert!(
                matches!(journal.append(sample(1)).await, Err(AppendError::Failed(_))),
                "acknowledged after {error}"
            );
            assert!(matches!(journal.confirm().await, Err(AppendError::Failed(_))));
            assert!(matches!(journal.seal().await, Err(AppendError::Failed(_))));
            assert!(matches!(journal.trim(Position(1)).await, Err(AppendError::Failed(_))));
        }
    });
    Err(error.to_string())
}

/// For calls that never wait, also where a runtime is driving the caller.
fn block_on_now<T>(future: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(future).expect("the file journal blocks instead of waiting")
}
