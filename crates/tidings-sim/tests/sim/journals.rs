//! Journals in the simulated store, with the steps of `journal/cassandra`: a commit is a conditional row, and so is a seal; what a
//! writer gives up is deleted by whole buckets.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use tidings_server::{
    journal::{AppendError, Journal, Pace, Position, ReadError, SharedJournals},
    node::NodeId,
};
use tokio::sync::Mutex;

use super::{
    flaw::Flaw,
    store::{JournalRow, Link, Store},
};

/// Positions that are given up together.
const BUCKET: u64 = 16;

fn bucket(at: u64) -> u64 {
    at.saturating_sub(1) / BUCKET
}

#[derive(Clone)]
pub struct Journals {
    pub link: Link,
    pub flaw: Option<Flaw>,
}

#[derive(Clone, Copy)]
struct Tail {
    last: u64,
    is_sealed: bool,
}

impl Journals {
    pub async fn begin(&self, id: NodeId) -> WrittenJournal {
        self.link.ask(move |store, _| store.set_mark(id, Position::NONE)).await;
        let writer = Mutex::new(Writer { last: 0, ended: None, first_bucket: 0 });
        WrittenJournal { journals: self.clone(), id, writer: Arc::new(writer), promised: Arc::default() }
    }

    async fn mark(&self, id: NodeId) -> io::Result<Position> {
        self.link.try_ask(move |store, _| store.mark(id)).await
    }

    async fn tail(&self, id: NodeId) -> io::Result<Tail> {
        loop {
            let flushed = self.mark(id).await?;
            let tail = self.find_tail(id, flushed).await?;
            if self.mark(id).await? == flushed || (tail.last > flushed.0 && !tail.is_sealed) {
                return Ok(tail);
            }
        }
    }

    async fn find_tail(&self, id: NodeId, flushed: Position) -> io::Result<Tail> {
        let mut last = flushed.0;
        loop {
            let of = bucket(last + 1);
            let range = of * BUCKET + 1..=(of + 1) * BUCKET;
            let read = move |store: &mut Store, _: &Arc<_>| {
                let rows = store.journals.get(&id);
                let row = rows.and_then(|rows| rows.range(range.clone()).next_back());
                row.map(|(at, row)| (*at, row.is_seal))
            };
            match self.link.try_ask(read).await? {
                None => return Ok(Tail { last, is_sealed: false }),
                Some((at, true)) => return Ok(Tail { last: at - 1, is_sealed: true }),
                Some((at, false)) if at < (of + 1) * BUCKET => return Ok(Tail { last: at, is_sealed: false }),
                Some((at, false)) => last = at,
            }
        }
    }

    async fn insert_seal(&self, id: NodeId, at: u64) -> io::Result<bool> {
        let row = JournalRow { id: self.link.world.number(), body: None, is_seal: true };
        let inserted = self.link.try_ask(move |store, world| store.insert(world, id, at, &row)).await?;
        Ok(inserted.is_ok_and(|()| true) || self.is_seal(id, at).await?)
    }

    async fn is_seal(&self, id: NodeId, at: u64) -> io::Result<bool> {
        let read = move |store: &mut Store, _: &Arc<_>| {
            store.journals.get(&id).and_then(|rows| rows.get(&at)).is_some_and(|row| row.is_seal)
        };
        self.link.try_ask(read).await
    }
}

#[async_trait]
impl SharedJournals for Journals {
    async fn seal(&self, id: NodeId) -> io::Result<Position> {
        if self.flaw == Some(Flaw::NoSeal) {
            return Ok(Position(self.tail(id).await?.last));
        }
        loop {
            let tail = self.tail(id).await?;
            if tail.is_sealed {
                return Ok(Position(tail.last));
            }
            let at = tail.last + 1;
            if self.insert_seal(id, at).await? && self.mark(id).await?.0 < at {
                return Ok(Position(tail.last));
            }
        }
    }

    async fn sealed(&self, id: NodeId) -> io::Result<Option<Position>> {
        let tail = self.tail(id).await?;
        Ok((tail.is_sealed || self.flaw == Some(Flaw::NoSeal)).then_some(Position(tail.last)))
    }

    async fn flushed(&self, id: NodeId) -> io::Result<Position> {
        if self.flaw == Some(Flaw::NoReplay) {
            return Ok(self.sealed(id).await?.unwrap_or_default());
        }
        self.mark(id).await
    }

    async fn read(&self, id: NodeId, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let read = move |store: &mut Store, _: &Arc<_>| {
            let flushed = store.mark(id);
            let trimmed = |at| ReadError::Trimmed { asked: after, trimmed: at };
            let (mut commits, mut bytes, mut last) = (Vec::new(), 0, after.0);
            for (at, row) in store.journals.get(&id).into_iter().flat_map(|rows| rows.range(after.0 + 1..)) {
                if row.is_seal || (bytes >= max_bytes && !commits.is_empty()) {
                    break;
                }
                let body = row.body.clone().filter(|_| *at == last + 1);
                let Some(body) = body else { return Err(trimmed(Position(*at))) };
                bytes += body.len();
                last = *at;
                commits.push((Position(*at), body));
            }
            if commits.is_empty() && flushed > after { Err(trimmed(flushed)) } else { Ok(commits) }
        };
        self.link.try_ask(read).await?
    }

    async fn retire(&self, id: NodeId) -> io::Result<()> {
        let last = self.seal(id).await?;
        let blank = move |store: &mut Store, _: &Arc<_>| {
            store.set_mark(id, last);
            let kept = bucket(last.0);
            let Some(rows) = store.journals.get_mut(&id) else { return };
            rows.retain(|at, _| bucket(*at) >= kept);
            rows.values_mut().for_each(|row| row.body = None);
        };
        self.link.try_ask(blank).await
    }
}

/// A journal as its writer has it. Clones are the same one.
#[derive(Clone)]
pub struct WrittenJournal {
    journals: Journals,
    id: NodeId,
    writer: Arc<Mutex<Writer>>,
    /// Of a node that acknowledges too early.
    promised: Arc<AtomicU64>,
}

struct Writer {
    last: u64,
    /// It takes nothing more; `true`: because it is sealed.
    ended: Option<bool>,
    first_bucket: u64,
}

impl Writer {
    fn check(&self) -> Result<(), AppendError> {
        match self.ended {
            None => Ok(()),
            Some(is_fenced) => Err(error(is_fenced)),
        }
    }

    fn end(&mut self, is_fenced: bool) -> AppendError {
        self.ended = Some(is_fenced);
        error(is_fenced)
    }
}

fn error(is_fenced: bool) -> AppendError {
    if is_fenced { AppendError::Fenced } else { AppendError::Failed(Arc::new(io::Error::other("the journal failed"))) }
}

impl WrittenJournal {
    async fn append_next(&self, commit: Bytes) -> Result<Position, AppendError> {
        let mut writer = self.writer.lock().await;
        writer.check()?;
        let (node, at, id) = (self.id, writer.last + 1, self.journals.link.world.number());
        let row = JournalRow { id, body: Some(commit), is_seal: false };
        let asked = self.journals.link.try_ask(move |store, world| store.insert(world, node, at, &row)).await;
        match asked {
            Ok(Ok(())) => {}
            // An earlier attempt of this very call, which nobody answered.
            Ok(Err(row)) if row.id == id => {}
            Ok(Err(row)) => return Err(writer.end(row.is_seal)),
            Err(_) => return Err(writer.end(false)),
        }
        writer.last = at;
        Ok(Position(at))
    }
}

#[async_trait]
impl Journal for WrittenJournal {
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError> {
        if self.journals.flaw == Some(Flaw::AckBeforeCommit) {
            let at = Position(self.promised.fetch_add(1, Ordering::Relaxed) + 1);
            let journal = self.clone();
            tokio::spawn(async move { journal.append_next(commit).await });
            return Ok(at);
        }
        self.append_next(commit).await
    }

    async fn confirm(&self) -> Result<(), AppendError> {
        let mut writer = self.writer.lock().await;
        writer.check()?;
        let (node, at) = (self.id, writer.last + 1);
        let read = move |store: &mut Store, _: &Arc<_>| {
            store.journals.get(&node).and_then(|rows| rows.get(&at)).map(|row| row.is_seal)
        };
        match self.journals.link.try_ask(read).await {
            Ok(None) => Ok(()),
            Ok(Some(is_seal)) => Err(writer.end(is_seal)),
            Err(_) => Err(writer.end(false)),
        }
    }

    async fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        self.journals.read(self.id, after, max_bytes).await
    }

    async fn trim(&self, up_to: Position) -> Result<(), AppendError> {
        let (up_to, own) = {
            let writer = self.writer.lock().await;
            let (up_to, own) = (up_to.0.min(writer.last), bucket(writer.last));
            if writer.first_bucket >= own || (writer.first_bucket + 1) * BUCKET > up_to {
                return Ok(());
            }
            (up_to, own)
        };
        let node = self.id;
        self.journals.link.ask(move |store, _| store.set_mark(node, Position(up_to))).await;
        self.confirm().await?;
        let until = own.min(up_to / BUCKET);
        self.writer.lock().await.first_bucket = until;
        let trim = move |store: &mut Store, _: &Arc<_>| {
            store.journals.entry(node).or_default().retain(|at, row| bucket(*at) >= until || row.is_seal);
        };
        self.journals.link.ask(trim).await;
        Ok(())
    }

    async fn seal(&self) -> Result<Position, AppendError> {
        self.journals.seal(self.id).await.map_err(|error| AppendError::Failed(Arc::new(error)))
    }

    fn max_commit_bytes(&self) -> usize {
        3 << 20
    }

    fn pace(&self) -> Pace {
        Pace {
            target_commit_bytes: 256 << 10,
            max_commit_items: 1_024,
            gather: Duration::ZERO,
            confirm_after: Duration::from_millis(500),
            confirm_every: Some(Duration::from_secs(2)),
            refuse_after: Some(Duration::from_secs(5)),
        }
    }
}
