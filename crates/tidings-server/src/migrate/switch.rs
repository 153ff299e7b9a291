//! The last phase: nothing is taken for a moment, the last rows are written, and the target is opened for others.

use std::{sync::Arc, time::Instant};

use super::{MigrateError, Parts, Phase, target::TargetError, walk::Walk};
use crate::data_folder;

impl Walk<'_> {
    /// Nothing of it changes anything here until the target is opened; that is the one step that cannot be taken back.
    pub async fn switch(&self) -> Result<(), MigrateError> {
        let Parts { host, folder, switch_within, .. } = self.parts();
        // So that little is left for the time in which nothing is taken.
        host.flush_or_fail().await?;
        self.follow().await?;
        self.migration.note(|status| (status.phase, status.error) = (Phase::Switching, None));
        let began = Instant::now();
        let settling = host.clone();
        // To its end, also when it is too late for the switch.
        let read_only = tokio::spawn(async move { settling.make_read_only().await });
        let last_rows = async {
            let is_read_only = matches!(read_only.await, Ok(Ok(())));
            is_read_only.then_some(()).ok_or(MigrateError::HostFailed)?;
            self.follow().await?;
            // It may have gone meanwhile, and what follows cannot be taken back while nobody knows whether it was done.
            Ok(self.target.answers().await?)
        };
        let settled = tokio::time::timeout(*switch_within, last_rows).await;
        if let Err(error) = settled.unwrap_or(Err(MigrateError::Slow(*switch_within))) {
            return Err(self.take_back(error));
        }
        if let Some(folder) = folder
            && let Err(error) = data_folder::moved::note(folder, self.target.place())
        {
            return Err(self.take_back(MigrateError::Folder { path: folder.clone(), error: Arc::new(error) }));
        }
        match self.finish().await {
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
        self.migration.note(|status| {
            (status.phase, status.read_only_ms, status.error) = (Phase::Done, Some(read_only_ms), None);
        });
        Ok(())
    }

    /// Opens the target for others. If it does not answer nothing is taken until it does: it may be open, and to go on here would be
    /// a second life of the same data.
    async fn finish(&self) -> Result<(), TargetError> {
        let Parts { epoch, switch_within, .. } = self.parts();
        let mut finish = self.target.finish(*epoch);
        loop {
            match tokio::time::timeout(*switch_within, &mut finish).await {
                Ok(finished) => return finished,
                Err(_) => {
                    let place = self.target.place();
                    let why = format!(
                        "{place} does not answer, and may have been opened for others: nothing is taken until it answers"
                    );
                    tracing::error!("{why}");
                    self.migration.note(|status| status.error = Some(why));
                }
            }
        }
    }

    /// Sends are taken again.
    fn take_back(&self, error: MigrateError) -> MigrateError {
        self.parts().host.end_read_only();
        tracing::warn!(%error, "the switch was given up");
        self.migration.note(|status| (status.phase, status.error) = (Phase::Following, Some(error.to_string())));
        error
    }
}
