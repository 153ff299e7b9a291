//! Tables whose next write is cut off by a crash: some of its rows land, states only behind all others, as the contract of
//! [`Tables::put_max`] says.

use std::{io, sync::Arc};

use async_trait::async_trait;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq};

use crate::{
    conversation::entry::Entry,
    journal::Position,
    tables::{Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, memory::MemoryTables},
};

#[derive(Clone)]
pub(super) struct TornTables {
    inner: MemoryTables,
    tear: Arc<Mutex<Option<Tear>>>,
    late: Arc<Mutex<Vec<Vec<Row>>>>,
}

/// Where a write is cut off.
#[derive(Clone, Copy, Debug)]
pub(super) enum Tear {
    /// Among the rows that are no states: so many 256ths of them land, whichever.
    Others(u8),
    /// Among the states, when all others have landed.
    States(u8),
    /// When all rows have landed, and the mark has not.
    Mark,
    /// At the first write that deletes: so many 256ths of the deletions land.
    Deletions(u8),
    /// At the first write of places in the archive: the last one lands alone.
    Places,
    /// Not at all: whoever writes goes on, and all of it lands much later ([`TornTables::wake`]).
    Asleep,
}

impl TornTables {
    pub fn new(inner: MemoryTables) -> Self {
        Self { inner, tear: Arc::default(), late: Arc::default() }
    }

    /// The same rows, as another node has them: what is torn there is whole here.
    pub fn beside(&self) -> Self {
        Self::new(self.inner.clone())
    }

    /// Cuts the next write off.
    pub fn tear(&self, tear: Tear) {
        *self.tear.lock() = Some(tear);
    }

    /// What was written asleep lands now, one write after the other.
    pub async fn wake(&self) {
        self.mend();
        let late = std::mem::take(&mut *self.late.lock());
        for rows in late {
            self.inner.put_max(rows, Freshness::Unknown).await.expect("the tables in memory are open");
        }
    }

    /// From here on writes land again.
    pub fn mend(&self) {
        *self.tear.lock() = None;
    }
}

fn is_state(row: &Row) -> bool {
    matches!(row.key, Key::Conversation(_) | Key::Home(_) | Key::Meta(_))
}

fn torn() -> TablesError {
    TablesError::Failed(Arc::new(io::Error::other("torn by a test")))
}

/// Some of the rows, scattered: which ones follows from where they stand.
fn some(rows: Vec<Row>, share: u8) -> impl Iterator<Item = Row> {
    let lands = move |at: usize| (at.wrapping_mul(0x9e37_79b9) >> 7) as u8 <= share;
    rows.into_iter().enumerate().filter(move |(at, _)| lands(*at)).map(|(_, row)| row)
}

#[async_trait]
impl Tables for TornTables {
    async fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        let tear = *self.tear.lock();
        if let Some(Tear::Asleep) = tear {
            self.late.lock().push(rows);
            return Ok(());
        }
        let (states, others): (Vec<_>, Vec<_>) = rows.into_iter().partition(is_state);
        let landed = match tear {
            Some(Tear::Deletions(_)) if others.iter().chain(&states).all(|row| row.value.is_some()) => {
                return self.inner.put_max([others, states].concat(), freshness).await;
            }
            Some(Tear::Deletions(share)) => some(others, share).collect(),
            Some(Tear::Places) if !others.iter().any(|row| matches!(row.key, Key::Archived(..))) => {
                return self.inner.put_max([others, states].concat(), freshness).await;
            }
            Some(Tear::Places) => others.into_iter().last().into_iter().collect(),
            None | Some(Tear::Mark | Tear::Asleep) => {
                return self.inner.put_max([others, states].concat(), freshness).await;
            }
            Some(Tear::Others(share)) => some(others, share).collect(),
            Some(Tear::States(share)) => others.into_iter().chain(some(states, share)).collect(),
        };
        self.inner.put_max(landed, freshness).await?;
        Err(torn())
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        self.inner.get(keys).await
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        self.inner.rows(prefix, after, limit).await
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        self.inner.conversations(slice, after, limit).await
    }

    async fn log(&self, id: ConversationId, range: LogRange, limit: usize) -> Result<Vec<Entry>, TablesError> {
        self.inner.log(id, range, limit).await
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        self.inner.log_rows(wanted).await
    }

    async fn log_rows_between(
        &self,
        id: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        self.inner.log_rows_between(id, from, to, limit).await
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        if self.tear.lock().is_some() {
            return Err(torn());
        }
        self.inner.set_flushed(position).await
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        self.inner.flushed().await
    }
}
