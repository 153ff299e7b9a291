//! Appending and confirming: what the one writer does.

use std::{io, sync::Arc};

use bytes::Bytes;

use super::{
    AppendError, CassandraJournal, MAX_COMMIT_BYTES, Position, Writer, failed, is_own, new_row_id, number, uuid,
};
use crate::cassandra::{
    StoreError,
    ask::{Conditional, Found, found},
};

impl CassandraJournal {
    pub(super) async fn append_next(&self, commit: Bytes) -> Result<Position, AppendError> {
        if commit.len() > MAX_COMMIT_BYTES {
            return Err(AppendError::TooLarge { bytes: commit.len(), max: MAX_COMMIT_BYTES });
        }
        let mut writer = self.writer.lock().await;
        writer.check()?;
        let at = writer.last.next();
        match self.insert(at, &commit).await {
            Ok(()) => {
                writer.last = at;
                Ok(at)
            }
            Err(error) => Err(writer.end(error)),
        }
    }

    async fn insert(&self, at: Position, commit: &[u8]) -> Result<(), AppendError> {
        let inner = &self.journals.inner;
        let id = new_row_id();
        let values = (uuid(self.id), self.journals.bucket_of(at), number(at), id, commit);
        match inner.store.ask_conditional(&inner.statements.append, values).await.map_err(failed)? {
            Conditional::Applied => Ok(()),
            // An earlier attempt of this very call, which nobody answered.
            Conditional::Refused(row) if is_own(&row, id) => Ok(()),
            Conditional::Refused(row) => Err(refused(at, &row)),
        }
    }

    /// Nobody has sealed it: the place behind the last commit is empty.
    pub(super) async fn confirm_end(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock().await;
        writer.check()?;
        let at = writer.last.next();
        let inner = &self.journals.inner;
        let values = (uuid(self.id), self.journals.bucket_of(at), number(at));
        let answer = inner.store.ask(&inner.statements.row, values).await.and_then(found);
        let refusal = match answer {
            Ok(rows) if rows.is_empty() => return Ok(()),
            Ok(rows) => refused(at, &rows[0]),
            Err(error) => failed(error),
        };
        Err(writer.end(refusal))
    }
}

impl Writer {
    fn check(&self) -> Result<(), AppendError> {
        self.ended.as_ref().map_or(Ok(()), |ended| Err(again(ended)))
    }

    fn end(&mut self, error: AppendError) -> AppendError {
        self.ended = Some(again(&error));
        error
    }
}

fn refused(at: Position, row: &Found) -> AppendError {
    if row.is_true("seal") {
        return AppendError::Fenced;
    }
    let what = format!("another process has written position {at} of this journal");
    AppendError::Failed(Arc::new(io::Error::other(StoreError::Answer(what))))
}

fn again(error: &AppendError) -> AppendError {
    match error {
        AppendError::Fenced => AppendError::Fenced,
        AppendError::TooLarge { bytes, max } => AppendError::TooLarge { bytes: *bytes, max: *max },
        AppendError::Failed(error) => AppendError::Failed(Arc::clone(error)),
    }
}
