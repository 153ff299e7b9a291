//! Ending a journal for ever, and finding its end. Anybody may do it, several at once, while its writer is at full speed.
//!
//! A sealer may sleep between reading the end and inserting behind it, for so long that the bucket was trimmed meanwhile;
//! its insert then succeeds in an empty bucket and fences nobody. So a seal counts only if, read afterwards, the mark
//! `flushed` is still below it: a bucket is trimmed only after the mark has passed all of it.

use super::{Journals, Position, Tail, is_own, new_row_id, number, position, uuid};
use crate::cassandra::{
    StoreError,
    ask::{Conditional, Found, found},
};
use crate::node::NodeId;

impl Journals {
    /// Seals a journal and tells its last position; again, or by another: the same answer.
    pub async fn seal(&self, id: NodeId) -> Result<Position, StoreError> {
        loop {
            let tail = self.tail(id).await?;
            if tail.is_sealed {
                return Ok(tail.last);
            }
            let at = tail.last.next();
            if self.insert_seal(id, at).await? && self.flushed(id).await? < at {
                return Ok(tail.last);
            }
            // The writer was faster, or the end was read too long ago.
        }
    }

    /// Whether this journal was sealed, and behind which position. Says so only of a seal that holds.
    pub async fn sealed(&self, id: NodeId) -> Result<Option<Position>, StoreError> {
        let tail = self.tail(id).await?;
        Ok(tail.is_sealed.then_some(tail.last))
    }

    /// Where a journal ends now: everything that was acknowledged before this call is at or before it.
    pub async fn tail(&self, id: NodeId) -> Result<Tail, StoreError> {
        loop {
            let flushed = self.flushed(id).await?;
            let tail = self.find_tail(id, flushed).await?;
            // Buckets that were empty because they were trimmed meanwhile mislead; then the mark has moved.
            if self.flushed(id).await? == flushed || (tail.last > flushed && !tail.is_sealed) {
                return Ok(tail);
            }
        }
    }

    /// Whether a seal stands at this position now, by whomever.
    pub(crate) async fn insert_seal(&self, id: NodeId, at: Position) -> Result<bool, StoreError> {
        let row_id = new_row_id();
        let values = (uuid(id), self.bucket_of(at), number(at), row_id);
        match self.inner.store.ask_conditional(&self.inner.statements.seal, values).await? {
            Conditional::Applied => Ok(true),
            Conditional::Refused(row) => Ok(is_own(&row, row_id) || row.is_true("seal")),
        }
    }

    /// Goes through the buckets from the first that may hold what is not flushed.
    async fn find_tail(&self, id: NodeId, flushed: Position) -> Result<Tail, StoreError> {
        let mut last = flushed;
        loop {
            let bucket = self.bucket_of(last.next());
            let Some(row) = self.last_row(id, bucket).await? else { return Ok(Tail { last, is_sealed: false }) };
            let at = position(row.number("pos").unwrap_or_default());
            if row.is_true("seal") {
                return Ok(Tail { last: Position(at.0 - 1), is_sealed: true });
            }
            last = at;
            if at < self.end_of(bucket) {
                return Ok(Tail { last, is_sealed: false });
            }
        }
    }

    pub(super) async fn last_row(&self, id: NodeId, bucket: i32) -> Result<Option<Found>, StoreError> {
        let answer = self.inner.store.ask(&self.inner.statements.last_row, (uuid(id), bucket)).await?;
        Ok(found(answer)?.pop())
    }
}
