//! The migration of this process: one task that goes through the phases, and the calls that begin it and ask for the switch.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use futures_util::{FutureExt as _, StreamExt as _, TryStreamExt as _, future::BoxFuture};
use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    MigrateError, Phase, Status,
    copy::{Copier, Pace, Unit},
    target::{Identity, OpenTarget, Target, TargetError},
    tracked::TrackedTables,
};
use crate::{
    archive::Job,
    blobs::Blobs,
    data_folder,
    host::Host,
    metrics::Part,
    shutdown::Shutdown,
    tables::{Freshness, Key, Prefix, Row, Tables as _, Version},
};

/// Conversations or homes under way at once.
const UNITS_AT_ONCE: usize = 32;
/// After so many the place is noted in the target.
const UNITS_A_STEP: usize = 512;
/// Blobs listed at once.
const BLOBS: usize = 500;
const BLOB_FOLDER: &str = "archive";

/// How often what was written is written again, while the switch is waited for.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// With at most so many rows to be written the target has followed.
const BEHIND_MAX: usize = 20_000;
/// A switch that takes longer is given up, and sends are taken again.
pub const SWITCH_S: u64 = 8;

/// How far the copy is: a row of the target.
const PLACE: Key = Key::Meta("migration");

/// What a migration stands on.
pub struct Parts {
    pub host: Arc<Host>,
    pub tables: Arc<TrackedTables>,
    /// Its rounds wait while a migration runs.
    pub archive: Arc<Job>,
    pub blobs: Blobs,
    pub identity: Identity,
    /// The highest epoch of versions here.
    pub epoch: u64,
    /// The data folder, which gets a note that its data were moved.
    pub folder: Option<PathBuf>,
    pub opener: Box<dyn OpenTarget>,
    pub shutdown: Shutdown,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// 0: as fast as it goes.
    pub rows_per_s: u64,
}

pub struct Migration {
    parts: Parts,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    status: Status,
    /// To the task that runs.
    switch: Option<mpsc::Sender<Switch>>,
}

/// Whoever asks for the switch is told what came of it.
type Switch = oneshot::Sender<Result<Status, MigrateError>>;

/// The value of [`PLACE`].
#[derive(Clone, Debug, Default, Encode, Decode)]
struct Place {
    /// Rises with each write: the row's version.
    #[n(0)]
    version: u64,
    /// The last conversation or home that was copied with all before it.
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    after: Vec<u8>,
    /// All conversations are copied: the homes follow.
    #[n(2)]
    conversations: bool,
    /// Everything is copied.
    #[n(3)]
    all: bool,
}

impl Migration {
    pub fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self { parts, inner: Mutex::default() })
    }

    pub fn status(&self) -> Status {
        let mut status = self.inner.lock().status.clone();
        if !matches!(status.phase, Phase::Idle | Phase::Done | Phase::Failed) {
            status.behind = self.parts.tables.count() as u64;
        }
        status
    }

    /// Begins, or goes on where an earlier one ended. The copying itself is not waited for.
    pub async fn begin(
        self: &Arc<Self>,
        settings: BTreeMap<String, String>,
        options: Options,
    ) -> Result<Status, MigrateError> {
        let (switch, switches) = mpsc::channel(1);
        {
            let mut inner = self.inner.lock();
            if !matches!(inner.status.phase, Phase::Idle | Phase::Failed) {
                let place = inner.status.target.clone().unwrap_or_default();
                return Err(MigrateError::UnderWay(place));
            }
            inner.status = Status { phase: Phase::Copying, ..Status::default() };
            inner.switch = Some(switch);
        }
        let target = match self.open(settings).await {
            Ok(target) => target,
            Err(error) => {
                self.failed(&error);
                return Err(error);
            }
        };
        let migration = self.clone();
        self.parts.shutdown.spawn(async move {
            let running = migration.clone().run(target, options, switches);
            let outcome = tokio::select! {
                outcome = running => outcome,
                () = migration.parts.shutdown.begun() => Err(MigrateError::Stopping),
            };
            if let Err(error) = outcome {
                migration.failed(&error);
            }
        });
        Ok(self.status())
    }

    async fn open(&self, settings: BTreeMap<String, String>) -> Result<Arc<dyn Target>, MigrateError> {
        let target = self.parts.opener.open(settings).await?;
        self.note(|status| status.target = Some(target.place().to_owned()));
        target.begin(&self.parts.identity).await?;
        Ok(target)
    }

    /// Hands over, and says for how long nothing was taken. When it fails everything is as it was.
    pub async fn switch(&self) -> Result<Status, MigrateError> {
        let (asked, answer) = oneshot::channel();
        let sender = {
            let inner = self.inner.lock();
            match inner.status.phase {
                Phase::Following => inner.switch.clone().ok_or(MigrateError::NotUnderWay)?,
                Phase::Idle | Phase::Failed | Phase::Done => return Err(MigrateError::NotUnderWay),
                Phase::Copying => return Err(MigrateError::TooEarly("copying")),
                Phase::Checking => return Err(MigrateError::TooEarly("checking")),
                Phase::Switching => return Err(MigrateError::TooEarly("switching already")),
            }
        };
        sender.send(asked).await.map_err(|_| MigrateError::NotUnderWay)?;
        answer.await.unwrap_or(Err(MigrateError::Stopping))
    }

    fn note(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.inner.lock().status);
    }

    fn failed(&self, error: &MigrateError) {
        self.parts.tables.end();
        self.note(|status| {
            // What was handed over stays so.
            if status.phase != Phase::Done {
                (status.phase, status.error) = (Phase::Failed, Some(error.to_string()));
            }
        });
        if !matches!(error, MigrateError::Stopping) {
            self.parts.host.metrics.errors.of(Part::Tables).inc();
            tracing::error!(%error, "the migration ended early");
        }
    }

    async fn run(
        self: Arc<Self>,
        target: Arc<dyn Target>,
        options: Options,
        mut switches: mpsc::Receiver<Switch>,
    ) -> Result<(), MigrateError> {
        tracing::info!(target = target.place(), "a migration begins");
        let Parts { host, tables, archive, .. } = &self.parts;
        let _paused = archive.pause().await;
        tables.begin();
        // Whoever was writing when notes were begun is through with it.
        host.flush_or_fail().await?;
        let walk = Walk {
            migration: &self,
            target: &*target,
            copier: Copier {
                source: &**tables,
                target: &**target.tables(),
                pace: Pace::new(options.rows_per_s),
                rows: 0.into(),
                bytes: 0.into(),
                mended: 0.into(),
            },
        };
        walk.blobs().await?;
        walk.count().await?;
        walk.copy().await?;
        walk.check().await?;
        target.prepare(self.parts.epoch).await?;
        self.note(|status| status.phase = Phase::Following);
        tracing::info!("the target has everything; what is written is written there, too, until the switch");
        loop {
            match tokio::time::timeout(FOLLOW_EVERY, switches.recv()).await {
                Err(_) => walk.follow().await?,
                Ok(None) => return Err(MigrateError::Stopping),
                Ok(Some(asked)) => {
                    let outcome = walk.switch().await;
                    let is_over = outcome.is_ok();
                    let _ = asked.send(outcome.map(|()| self.status()));
                    if is_over {
                        self.parts.shutdown.begin();
                        return Ok(());
                    }
                    if host.failure().is_some() {
                        return Err(MigrateError::HostFailed);
                    }
                }
            }
        }
    }
}

/// The phases, with what they use.
struct Walk<'a> {
    migration: &'a Migration,
    target: &'a dyn Target,
    copier: Copier<'a>,
}

impl Walk<'_> {
    fn parts(&self) -> &Parts {
        &self.migration.parts
    }

    fn report(&self, more: u64) {
        let read = |number: &std::sync::atomic::AtomicU64| number.load(Ordering::Relaxed);
        let Copier { rows, bytes, mended, .. } = &self.copier;
        let (rows, bytes, mended) = (read(rows), read(bytes), read(mended));
        self.migration.note(|status| {
            (status.rows, status.bytes, status.mended) = (rows, bytes, mended);
            status.done += more;
        });
    }

    /// No round of the archive makes another meanwhile.
    async fn blobs(&self) -> Result<(), MigrateError> {
        let Some(there) = self.target.blobs() else { return Ok(()) };
        let mut after: Option<String> = None;
        loop {
            let page = self.parts().blobs.list(BLOB_FOLDER, after.as_deref(), BLOBS).await?;
            let Some(last) = page.last() else { return Ok(()) };
            let known = there.list(BLOB_FOLDER, after.as_deref(), BLOBS).await?;
            after = Some(last.name.clone());
            for blob in page {
                if !known.iter().any(|known| known.name == blob.name) {
                    there.put_new(&blob.name, self.parts().blobs.get(&blob.name).await?).await?;
                }
                self.migration.note(|status| status.blobs += 1);
            }
        }
    }

    async fn count(&self) -> Result<(), MigrateError> {
        for prefix in [Prefix::Conversations, Prefix::Homes] {
            let mut after = None;
            loop {
                let page = self.parts().tables.rows(prefix.clone(), after, UNITS_A_STEP).await?;
                let Some((last, _)) = page.last() else { break };
                self.migration.note(|status| status.units += page.len() as u64);
                after = Some(last.clone());
            }
        }
        Ok(())
    }

    async fn copy(&self) -> Result<(), MigrateError> {
        let mut place = self.place().await?;
        if place.version > 0 && !place.all {
            tracing::info!("an earlier migration came to its end: going on where it was");
        }
        for (prefix, are_homes) in [(Prefix::Conversations, false), (Prefix::Homes, true)] {
            if place.all || place.conversations != are_homes {
                continue;
            }
            let mut after = Key::decode(&place.after);
            loop {
                let units = self.units(&prefix, &mut after).await?;
                if units.is_empty() {
                    break;
                }
                let copies = units.iter().map(|unit| self.copier.copy(unit).boxed()).collect();
                several(copies).await?;
                place.after = after.as_ref().map(Key::encode).unwrap_or_default();
                self.keep(&mut place).await?;
                self.report(units.len() as u64);
            }
            (place.after, place.conversations, place.all) = (Vec::new(), true, are_homes);
            self.keep(&mut place).await?;
        }
        Ok(())
    }

    /// Until one check went through in which all that was written meanwhile could be noted.
    async fn check(&self) -> Result<(), MigrateError> {
        const TRIES: usize = 3;
        for _ in 0..TRIES {
            self.migration.note(|status| (status.phase, status.done) = (Phase::Checking, 0));
            let _ = self.parts().tables.take();
            // What was taken is compared below; what is written from here on is noted.
            for prefix in [Prefix::Conversations, Prefix::Homes] {
                let mut after = None;
                loop {
                    let units = self.units(&prefix, &mut after).await?;
                    if units.is_empty() {
                        break;
                    }
                    let checks = units.iter().map(|unit| self.copier.check(unit).boxed()).collect();
                    several(checks).await?;
                    self.report(units.len() as u64);
                }
            }
            loop {
                let before = self.parts().tables.count();
                match self.parts().tables.take() {
                    Ok(noted) => self.copier.follow(noted).await?,
                    Err(_) => break,
                }
                self.report(0);
                if before <= BEHIND_MAX {
                    return Ok(());
                }
            }
        }
        Err(MigrateError::TooMuch)
    }

    async fn follow(&self) -> Result<(), MigrateError> {
        let noted = self.parts().tables.take().map_err(|_| MigrateError::TooMuch)?;
        self.copier.follow(noted).await?;
        self.report(0);
        Ok(())
    }

    /// The next ones behind `after`, which moves on.
    async fn units(&self, prefix: &Prefix, after: &mut Option<Key>) -> Result<Vec<Unit>, MigrateError> {
        let page = self.parts().tables.rows(prefix.clone(), after.clone(), UNITS_A_STEP).await?;
        if let Some((last, _)) = page.last() {
            *after = Some(last.clone());
        }
        Ok(page.into_iter().filter_map(|(key, _)| Unit::of(key)).collect())
    }

    /// Nothing of it changes anything here until the target is opened; that is the one step that cannot be taken back.
    async fn switch(&self) -> Result<(), MigrateError> {
        let Parts { host, folder, epoch, .. } = self.parts();
        // So that little is left for the time in which nothing is taken.
        host.flush_or_fail().await?;
        self.follow().await?;
        self.migration.note(|status| (status.phase, status.error) = (Phase::Switching, None));
        let began = Instant::now();
        let last_rows = async {
            host.make_read_only().await.map_err(|_| MigrateError::HostFailed)?;
            self.follow().await
        };
        let settled = tokio::time::timeout(Duration::from_secs(SWITCH_S), last_rows).await;
        if let Err(error) = settled.unwrap_or(Err(MigrateError::Slow(SWITCH_S))) {
            return Err(self.take_back(error));
        }
        if let Some(folder) = folder
            && let Err(error) = data_folder::moved::note(folder, self.target.place())
        {
            return Err(self.take_back(MigrateError::Folder { path: folder.clone(), error: Arc::new(error) }));
        }
        match self.target.finish(*epoch).await {
            Ok(()) => {}
            Err(error @ TargetError::OfOthers { .. }) => {
                if let Some(folder) = folder {
                    // If that fails the next start says what to do.
                    let _ = data_folder::moved::forget(folder);
                }
                return Err(self.take_back(error.into()));
            }
            // Nobody knows: nothing is taken here any more, and the note in the folder says how to find out.
            Err(error) => {
                host.fail(format!("{error}; whether the data were handed over is not known"));
                return Err(error.into());
            }
        }
        let read_only_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(read_only_ms, target = self.target.place(), "the data were handed over; this server stops");
        self.report(0);
        self.migration.note(|status| (status.phase, status.read_only_ms) = (Phase::Done, Some(read_only_ms)));
        Ok(())
    }

    /// Sends are taken again.
    fn take_back(&self, error: MigrateError) -> MigrateError {
        self.parts().host.end_read_only();
        tracing::warn!(%error, "the switch was given up");
        self.migration.note(|status| (status.phase, status.error) = (Phase::Following, Some(error.to_string())));
        error
    }

    async fn place(&self) -> Result<Place, MigrateError> {
        let stored = self.copier.target.get(vec![PLACE]).await?.pop().flatten();
        Ok(stored.and_then(|stored| minicbor::decode(&stored.value).ok()).unwrap_or_default())
    }

    async fn keep(&self, place: &mut Place) -> Result<(), MigrateError> {
        place.version += 1;
        let value = Some(minicbor::to_vec(&*place).expect("a vector takes all bytes").into());
        let row = Row { key: PLACE, version: Version(place.version), value };
        Ok(self.copier.target.put_max(vec![row], Freshness::Unknown).await?)
    }
}

/// Some at once, until all are done or one fails.
async fn several(work: Vec<BoxFuture<'_, Result<(), MigrateError>>>) -> Result<(), MigrateError> {
    futures_util::stream::iter(work).buffer_unordered(UNITS_AT_ONCE).try_collect().await
}
