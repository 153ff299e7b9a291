//! Journals in Cassandra: a commit is one conditional row, acknowledged by a quorum, and a seal is one too.
//!
//! * **One writer a journal**, the process that began it: a [`NodeId`] is new at every start and never used again.
//! * **Appending** (`append`) inserts at the next position `IF NOT EXISTS`. What became of it is unknown until an attempt
//!   is answered; the same row with the same id is sent again until then. Refused by that id: it is in. By a seal: this
//!   journal has ended. By anything else: somebody else writes here, which must not be, and ends it too.
//! * **Sealing** (`seal`) puts a row without a body behind the last one. Whoever is refused there reads the end anew.
//! * **Trimming** (`trim`) deletes whole old buckets, but never the one that a writer may still append to, nor those
//!   around a seal: in a deleted bucket `IF NOT EXISTS` holds again, and a writer that slept would get a false ack.
//!
//! It knows nothing of what a commit holds, and not which journal is whose.

mod append;
mod current;
mod moving;
mod seal;
mod shared;
mod trim;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use scylla::{
    statement::{Consistency, prepared::PreparedStatement},
    value::CqlValue,
};
use tokio::sync::Mutex;
use uuid::Uuid;

use super::{AppendError, Journal, Pace, Position, ReadError};
use crate::cassandra::{
    Store, StoreError,
    ask::{Found, found},
    marks::Marks,
    uuid,
};
use crate::node::NodeId;
pub use current::Claim;
pub use moving::{MOVING, Reserved};

/// Positions whose rows are in one partition. The same for all who ever use a keyspace.
const BUCKET: u64 = 256;
/// The largest row. Cassandra takes half a segment of its commit log, and Paxos keeps a second copy.
const MAX_COMMIT_BYTES: usize = 3 << 20;
/// Bodies that one conditional batch gives up.
const BLANKED_AT_ONCE: usize = 60;

/// All journals of a keyspace: to begin one, and to read, seal and give up those of others.
#[derive(Clone)]
pub struct Journals {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<Store>,
    bucket: u64,
    statements: Statements,
    marks: Marks,
}

struct Statements {
    current: current::Statements,
    moving: moving::Statements,
    append: PreparedStatement,
    seal: PreparedStatement,
    blank: PreparedStatement,
    /// The last row of a bucket, and the row at a position, as all that were ever answered left them.
    last_row: PreparedStatement,
    row: PreparedStatement,
    read: PreparedStatement,
    /// The ids of a bucket's commits.
    ids: PreparedStatement,
    written_at: PreparedStatement,
    delete_bucket: PreparedStatement,
    list: PreparedStatement,
}

/// Where a journal ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// The last commit.
    pub last: Position,
    /// Whether a seal stands behind it.
    pub is_sealed: bool,
}

/// A journal, and up to where its events are in the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: NodeId,
    pub flushed: Position,
}

impl Journals {
    pub async fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        Self::with_buckets(store, BUCKET).await
    }

    /// With other buckets than everybody's: for tests.
    pub(crate) async fn with_buckets(store: Arc<Store>, bucket: u64) -> Result<Self, StoreError> {
        let statements = Statements::prepare(&store).await?;
        let marks = Marks::open(store.clone()).await?;
        Ok(Self { inner: Arc::new(Inner { store, bucket, statements, marks }) })
    }

    /// A new journal of this process, listed before anything is in it.
    pub async fn begin(&self) -> Result<CassandraJournal, StoreError> {
        self.begin_as(NodeId::random()).await
    }

    /// The same, with an id that was made before and never used.
    pub async fn begin_as(&self, id: NodeId) -> Result<CassandraJournal, StoreError> {
        self.set_flushed(id, Position::NONE).await?;
        Ok(CassandraJournal::new(self.clone(), id, Position::NONE))
    }

    /// A journal that goes on where it ended, as its only writer: for tests. A server begins a new one.
    #[cfg(test)]
    pub(crate) async fn resume(&self, id: NodeId) -> Result<CassandraJournal, StoreError> {
        let tail = self.tail(id).await?;
        Ok(CassandraJournal::new(self.clone(), id, tail.last))
    }

    /// Every journal there ever was. Not in any order, and not for the way of a message: it reads all of the list.
    pub async fn list(&self) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        let mut after = i64::MIN;
        loop {
            let rows = found(self.inner.store.ask(&self.inner.statements.list, (after,)).await?)?;
            let Some(last) = rows.last().and_then(|row| row.number("place")) else { return Ok(listed) };
            after = last;
            listed.extend(rows.iter().filter_map(|row| {
                Some(Listed { id: NodeId::from_u128(row.id("node")?), flushed: position(row.number("flushed")?) })
            }));
        }
    }

    /// Up to which position the tables have all events of this journal. Never goes back.
    pub async fn flushed(&self, id: NodeId) -> Result<Position, StoreError> {
        self.inner.marks.of(id).await
    }

    /// To be called only when all rows up to there were acknowledged. A lower one than before changes nothing.
    pub async fn set_flushed(&self, id: NodeId, up_to: Position) -> Result<(), StoreError> {
        self.inner.marks.set(id, up_to).await
    }

    /// The commits of any journal after `after`, until about `max_bytes` are reached (at least one if there is one).
    pub async fn read(
        &self,
        id: NodeId,
        after: Position,
        max_bytes: usize,
    ) -> Result<Vec<(Position, Bytes)>, ReadError> {
        let failed = |error: StoreError| ReadError::Failed(error.into_io());
        let mut commits: Vec<(Position, Bytes)> = Vec::new();
        let (mut bytes, mut last) = (0, after);
        loop {
            let bucket = self.bucket_of(last.next());
            let rows = self.inner.store.ask(&self.inner.statements.read, (uuid(id), bucket, number(last))).await;
            let rows = found(rows.map_err(failed)?).map_err(failed)?;
            if rows.is_empty() && commits.is_empty() {
                // The end, or all of the bucket was trimmed: what was trimmed is below this mark.
                let flushed = self.flushed(id).await.map_err(failed)?;
                return if flushed > after { Err(trimmed(after, flushed)) } else { Ok(commits) };
            }
            if rows.is_empty() {
                return Ok(commits);
            }
            for mut row in rows {
                if row.is_true("seal") || (bytes >= max_bytes && !commits.is_empty()) {
                    return Ok(commits);
                }
                let at = position(row.number("pos").unwrap_or_default());
                let body = row.take_bytes("e");
                let Some(body) = body.filter(|_| at == last.next()) else {
                    // A hole, or a body that was given up: only the beginning is ever given up.
                    return Err(trimmed(after, at));
                };
                bytes += body.len();
                last = at;
                commits.push((at, Bytes::from(body)));
            }
        }
    }

    fn bucket_of(&self, at: Position) -> i32 {
        i32::try_from(at.0.saturating_sub(1) / self.inner.bucket).unwrap_or(i32::MAX)
    }

    /// The last position that stands in this bucket.
    fn end_of(&self, bucket: i32) -> Position {
        Position((u64::from(bucket.unsigned_abs()) + 1) * self.inner.bucket)
    }
}

impl Statements {
    async fn prepare(store: &Store) -> Result<Self, StoreError> {
        let k = store.keyspace();
        let at = "node = ? AND bucket = ?";
        let prepare = |text: String| prepare_with(store, text, Consistency::Quorum);
        let serial = |text: String| prepare_with(store, text, Consistency::Serial);
        Ok(Self {
            current: current::Statements::prepare(store).await?,
            moving: moving::Statements::prepare(store).await?,
            append: prepare(format!(
                "INSERT INTO {k}.journal (node, bucket, pos, id, e) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS"
            ))
            .await?,
            seal: prepare(format!(
                "INSERT INTO {k}.journal (node, bucket, pos, id, seal) VALUES (?, ?, ?, ?, true) IF NOT EXISTS"
            ))
            .await?,
            blank: prepare(format!("UPDATE {k}.journal SET e = null WHERE {at} AND pos = ? IF id = ?")).await?,
            last_row: serial(format!("SELECT pos, id, seal FROM {k}.journal WHERE {at} ORDER BY pos DESC LIMIT 1"))
                .await?,
            row: serial(format!("SELECT pos, id, seal FROM {k}.journal WHERE {at} AND pos = ?")).await?,
            read: prepare(format!("SELECT pos, seal, e FROM {k}.journal WHERE {at} AND pos > ? LIMIT 32")).await?,
            ids: prepare(format!("SELECT pos, id FROM {k}.journal WHERE {at} AND pos > ? LIMIT {BLANKED_AT_ONCE}"))
                .await?,
            written_at: prepare(format!(
                "SELECT writetime(id) AS at FROM {k}.journal WHERE {at} ORDER BY pos DESC LIMIT 1"
            ))
            .await?,
            delete_bucket: prepare(format!("DELETE FROM {k}.journal USING TIMESTAMP ? WHERE {at}")).await?,
            list: prepare(format!(
                "SELECT node, flushed, token(node) AS place FROM {k}.journals WHERE token(node) > ? LIMIT 60"
            ))
            .await?,
        })
    }
}

async fn prepare_with(store: &Store, text: String, consistency: Consistency) -> Result<PreparedStatement, StoreError> {
    let mut statement = store.prepare(&text).await?;
    statement.set_consistency(consistency);
    Ok(statement)
}

/// One journal as its writer has it.
pub struct CassandraJournal {
    journals: Journals,
    id: NodeId,
    writer: Mutex<Writer>,
}

struct Writer {
    last: Position,
    /// Set once it has ended: everything more is answered so.
    ended: Option<AppendError>,
    /// Buckets below are deleted.
    first_bucket: i32,
}

impl CassandraJournal {
    fn new(journals: Journals, id: NodeId, last: Position) -> Self {
        Self { journals, id, writer: Mutex::new(Writer { last, ended: None, first_bucket: 0 }) }
    }

    pub fn id(&self) -> NodeId {
        self.id
    }
}

#[async_trait]
impl Journal for CassandraJournal {
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError> {
        self.append_next(commit).await
    }

    async fn confirm(&self) -> Result<(), AppendError> {
        self.confirm_end().await
    }

    async fn read(&self, after: Position, max_bytes: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        self.journals.read(self.id, after, max_bytes).await
    }

    async fn trim(&self, up_to: Position) -> Result<(), AppendError> {
        self.trim_own(up_to).await
    }

    async fn seal(&self) -> Result<Position, AppendError> {
        self.journals.seal(self.id).await.map_err(failed)
    }

    fn max_commit_bytes(&self) -> usize {
        MAX_COMMIT_BYTES
    }

    fn pace(&self) -> Pace {
        Pace {
            target_commit_bytes: 256 << 10,
            max_commit_items: 1_024,
            gather: Duration::from_millis(20),
            confirm_after: Duration::from_millis(500),
            confirm_every: Some(Duration::from_secs(2)),
            refuse_after: Some(Duration::from_secs(5)),
        }
    }
}

fn failed(error: StoreError) -> AppendError {
    AppendError::Failed(Arc::new(error.into_io()))
}

fn trimmed(asked: Position, trimmed: Position) -> ReadError {
    ReadError::Trimmed { asked, trimmed }
}

fn number(position: Position) -> i64 {
    i64::try_from(position.0).unwrap_or(i64::MAX)
}

fn position(number: i64) -> Position {
    Position(number.unsigned_abs())
}

/// A new id for one row.
fn new_row_id() -> Uuid {
    Uuid::from_u128(rand::random())
}

fn is_own(row: &Found, id: Uuid) -> bool {
    matches!(row.get("id"), Some(CqlValue::Uuid(found)) if *found == id)
}
