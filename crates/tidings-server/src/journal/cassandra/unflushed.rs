//! What a sealed journal has that the tables may lack: for whoever takes over.

use bytes::Bytes;

use super::{Journals, Position, ReadError, StoreError};
use crate::node::NodeId;

/// Bytes of commits that are read at once.
const READ_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum UnflushedError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("it is not sealed")]
    NotSealed,
    #[error("it ends at position {0}, but {1} was sealed")]
    TooShort(Position, Position),
}

/// Commits from the mark `flushed` to the seal.
pub struct Unflushed<'j> {
    journals: &'j Journals,
    id: NodeId,
    after: Position,
    last: Position,
}

impl Journals {
    pub async fn unflushed(&self, id: NodeId) -> Result<Unflushed<'_>, UnflushedError> {
        let last = self.sealed(id).await?.ok_or(UnflushedError::NotSealed)?;
        Ok(Unflushed { journals: self, id, after: self.flushed(id).await?, last })
    }
}

impl Unflushed<'_> {
    /// The next commits, in order; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Vec<(Position, Bytes)>>, UnflushedError> {
        if self.after >= self.last {
            return Ok(None);
        }
        let commits = self.journals.read(self.id, self.after, READ_BYTES).await?;
        let end = commits.last().map(|(position, _)| *position);
        self.after = end.ok_or(UnflushedError::TooShort(self.after, self.last))?;
        Ok(Some(commits))
    }
}
