//! What a sealed journal has that the tables may lack: for whoever takes over.

use std::io;

use bytes::Bytes;

use super::{Position, ReadError, SharedJournals};
use crate::node::NodeId;

/// Bytes of commits that are read at once.
const READ_BYTES: usize = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum UnflushedError {
    #[error(transparent)]
    Store(#[from] io::Error),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("its journal is not sealed")]
    NotSealed,
    #[error("its journal ends at position {0}, but {1} was sealed")]
    TooShort(Position, Position),
}

/// Commits from the mark `flushed` to the seal.
pub struct Unflushed<'j> {
    journals: &'j dyn SharedJournals,
    id: NodeId,
    after: Position,
    last: Position,
}

impl<'j> Unflushed<'j> {
    pub async fn of(journals: &'j dyn SharedJournals, id: NodeId) -> Result<Self, UnflushedError> {
        let last = journals.sealed(id).await?.ok_or(UnflushedError::NotSealed)?;
        Ok(Self { journals, id, after: journals.flushed(id).await?, last })
    }

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
