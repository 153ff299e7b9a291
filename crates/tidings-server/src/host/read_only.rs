//! Taking nothing more for a while, with everything that was acknowledged in the tables: for a migration's last moments.

use std::{sync::atomic::Ordering, time::Duration};

use super::{Host, release::Failed};

/// Between two looks whether all that was begun is through.
const LOOK: Duration = Duration::from_millis(5);

impl Host {
    /// From here on whoever sends is refused as `unavailable`. When this returns the tables have everything that was ever
    /// acknowledged, and nothing more comes. An error also if sends are taken again meanwhile. Not to be given up half-way: it flushes.
    pub async fn make_read_only(&self) -> Result<(), Failed> {
        self.is_read_only.store(true, Ordering::SeqCst);
        loop {
            self.settle_submitted().await?;
            self.flush_or_fail().await.map_err(|_| Failed)?;
            // Whoever has a permit from before counts until what it submitted is in the tables.
            if self.committer_status().is_none_or(|status| status.backlog_bytes == 0) {
                return Ok(());
            }
            if !self.is_read_only() {
                return Err(Failed);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    pub fn end_read_only(&self) {
        self.is_read_only.store(false, Ordering::SeqCst);
    }

    pub fn is_read_only(&self) -> bool {
        self.is_read_only.load(Ordering::SeqCst)
    }
}
