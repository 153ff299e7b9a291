//! Giving up what the tables have. Rows of a bucket go together, by a time stamp that is theirs: a clock may be behind
//! that of the conditional rows, and ahead of a later one.

use scylla::statement::batch::{Batch, BatchType};

use super::{AppendError, CassandraJournal, Journals, Position, failed, number, position, uuid};
use crate::cassandra::{StoreError, ask::found};
use crate::node::NodeId;

impl CassandraJournal {
    /// Deletes the buckets that are wholly at or below `up_to`, and below the one of the last commit.
    ///
    /// The mark first, then a look whether somebody has sealed it, then the rows: whoever seals it afterwards reads the mark
    /// after the seal and finds all that is above it.
    pub(super) async fn trim_own(&self, up_to: Position) -> Result<(), AppendError> {
        let up_to = {
            let writer = self.writer.lock().await;
            let up_to = up_to.min(writer.last);
            let own = self.journals.bucket_of(writer.last);
            if writer.first_bucket >= own || self.journals.end_of(writer.first_bucket) > up_to {
                return Ok(());
            }
            up_to
        };
        self.journals.set_flushed(self.id, up_to).await.map_err(failed)?;
        self.confirm_end().await?;
        let buckets = {
            let mut writer = self.writer.lock().await;
            let own = self.journals.bucket_of(writer.last);
            let first = writer.first_bucket;
            let count = (first..own).take_while(|bucket| self.journals.end_of(*bucket) <= up_to).count();
            writer.first_bucket += i32::try_from(count).unwrap_or_default();
            first..writer.first_bucket
        };
        self.journals.delete_buckets(self.id, buckets).await.map_err(failed)
    }
}

impl Journals {
    /// Gives up a sealed journal, when all its events are elsewhere and nobody will replay it any more. What stays, for
    /// ever, are the last rows' ids and the seal: they refuse a writer that slept.
    pub async fn retire(&self, id: NodeId) -> Result<(), StoreError> {
        let last = self.seal(id).await?;
        let mut from = self.bucket_of(self.flushed(id).await?.next());
        // What its writer had no time to trim.
        while from > 0 && self.last_row(id, from - 1).await?.is_some() {
            from -= 1;
        }
        // Also the bucket of the last commit stays: of a writer that slept this may be what it repeats.
        let kept = self.bucket_of(last);
        self.set_flushed(id, last).await?;
        self.delete_buckets(id, from.min(kept)..kept).await?;
        self.blank(id, kept).await
    }

    /// The mark must have passed them, so that who looks for the end looks behind what is deleted.
    async fn delete_buckets(&self, id: NodeId, buckets: std::ops::Range<i32>) -> Result<(), StoreError> {
        let inner = &self.inner;
        for bucket in buckets {
            let rows = found(inner.store.ask(&inner.statements.written_at, (uuid(id), bucket)).await?)?;
            let Some(written_at) = rows.first().and_then(|row| row.number("at")) else { continue };
            inner.store.ask(&inner.statements.delete_bucket, (written_at, uuid(id), bucket)).await?;
        }
        Ok(())
    }

    /// Takes the bodies out of a bucket, and leaves the rows.
    async fn blank(&self, id: NodeId, bucket: i32) -> Result<(), StoreError> {
        let mut after = 0;
        loop {
            let answer = self.inner.store.ask(&self.inner.statements.ids, (uuid(id), bucket, after)).await?;
            let rows = found(answer)?;
            let rows: Vec<_> = rows.iter().filter_map(|row| Some((row.number("pos")?, row.id("id")?))).collect();
            let Some((last, _)) = rows.last() else { return Ok(()) };
            after = *last;
            let mut batch = Batch::new(BatchType::Unlogged);
            rows.iter().for_each(|_| batch.append_statement(self.inner.statements.blank.clone()));
            let values: Vec<_> = rows
                .iter()
                .map(|(at, row_id)| (uuid(id), bucket, number(position(*at)), uuid::Uuid::from_u128(*row_id)))
                .collect();
            self.inner.store.ask_batch(&batch, values).await?;
        }
    }
}
