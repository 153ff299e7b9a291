//! The migration of this process: one task that goes through the phases, and the calls that begin it and ask for the switch.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::{
    MigrateError, Phase, Status,
    copy::{Copier, Pace},
    target::{Identity, OpenTarget, Target},
    tracked::TrackedTables,
    walk::Walk,
};
use crate::{archive::Job, blobs::Blobs, host::Host, metrics::Part, shutdown::Shutdown};

/// How often what was written is written again, while the switch is waited for.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);
/// A switch that takes longer is given up, and sends are taken again.
pub const SWITCH_WITHIN: Duration = Duration::from_secs(8);

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
    /// A switch that takes longer is given up: [`SWITCH_WITHIN`].
    pub switch_within: Duration,
    pub shutdown: Shutdown,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// 0: as fast as it goes.
    pub rows_per_s: u64,
}

pub struct Migration {
    pub(super) parts: Parts,
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

    pub(super) fn note(&self, change: impl FnOnce(&mut Status)) {
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
