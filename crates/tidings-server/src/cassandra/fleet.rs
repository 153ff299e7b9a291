//! What a fleet's nodes agree on, in Cassandra: `fleet` holds the view and `shards` who hosts what, a row for each part, both
//! written by conditional statements only; `alive` holds the beats, written by plain ones.
//!
//! A conditional statement that was asked twice may be refused because of its own first attempt. Then the row is read as all
//! attempts left it (SERIAL), and compared with what was wanted. Plain looks are at QUORUM: they see all that was
//! answered to anybody before.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use minicbor::{Decode, Encode};
use parking_lot::Mutex;
use scylla::statement::{Consistency, prepared::PreparedStatement};
use tidings_proto::ShardId;

use super::{
    Store, StoreError,
    ask::{Conditional, Found, found},
    uuid,
};
use crate::{
    cluster::{
        store::{ClusterError, ClusterStore, Move, PART_SHARDS, Part, ShardRow},
        view::View,
    },
    node::NodeId,
};

/// The time stamp with which a node is forgotten: above all that it ever counts to, a beat a second.
const FORGOTTEN: i64 = 1 << 40;

pub struct CassandraCluster {
    store: Arc<Store>,
    statements: Statements,
    /// As this node has read or written them last, by their parts: others may have changed them since.
    seen: Mutex<HashMap<u16, PartRow>>,
}

struct Statements {
    make_view: PreparedStatement,
    swap_view: PreparedStatement,
    view: PreparedStatement,
    /// The same, and as all that was ever attempted left it.
    settled_view: PreparedStatement,
    make_part: PreparedStatement,
    swap_part: PreparedStatement,
    part: PreparedStatement,
    settled_part: PreparedStatement,
    beat: PreparedStatement,
    beats: PreparedStatement,
    forget: PreparedStatement,
}

impl Statements {
    async fn prepare(store: &Store) -> Result<Self, StoreError> {
        let k = store.keyspace();
        let prepare = async |text: String, consistency| {
            let mut statement = store.prepare(&text).await?;
            statement.set_consistency(consistency);
            Ok::<_, StoreError>(statement)
        };
        let (quorum, serial) = (Consistency::Quorum, Consistency::Serial);
        let view = format!("SELECT e FROM {k}.fleet WHERE name = 'main'");
        let part = format!("SELECT version, e FROM {k}.shards WHERE part = ?");
        Ok(Self {
            make_view: prepare(
                format!("INSERT INTO {k}.fleet (name, epoch, e) VALUES ('main', ?, ?) IF NOT EXISTS"),
                quorum,
            )
            .await?,
            swap_view: prepare(
                format!("UPDATE {k}.fleet SET epoch = ?, e = ? WHERE name = 'main' IF epoch = ?"),
                quorum,
            )
            .await?,
            view: prepare(view.clone(), quorum).await?,
            settled_view: prepare(view, serial).await?,
            make_part: prepare(
                format!("INSERT INTO {k}.shards (version, e, part) VALUES (?, ?, ?) IF NOT EXISTS"),
                quorum,
            )
            .await?,
            swap_part: prepare(
                format!("UPDATE {k}.shards SET version = ?, e = ? WHERE part = ? IF version = ?"),
                quorum,
            )
            .await?,
            part: prepare(part.clone(), quorum).await?,
            settled_part: prepare(part, serial).await?,
            beat: prepare(format!("UPDATE {k}.alive USING TIMESTAMP ? SET beat = ? WHERE node = ?"), quorum).await?,
            beats: prepare(format!("SELECT node, beat FROM {k}.alive"), quorum).await?,
            forget: prepare(format!("DELETE FROM {k}.alive USING TIMESTAMP ? WHERE node = ?"), quorum).await?,
        })
    }
}

impl CassandraCluster {
    pub async fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let statements = Statements::prepare(&store).await?;
        Ok(Self { store, statements, seen: Mutex::default() })
    }

    async fn view_by(&self, statement: &PreparedStatement) -> Result<View, ClusterError> {
        let answer = self.store.ask_at_once(statement, ()).await;
        let Some(mut row) = answer.and_then(found).map_err(failed)?.pop() else { return Ok(View::default()) };
        let bytes = row.take_bytes("e").ok_or_else(|| ClusterError::damaged("a view", &"it is empty"))?;
        minicbor::decode(&bytes).map_err(|error| ClusterError::damaged("a view", &error))
    }

    async fn part_by(&self, statement: &PreparedStatement, part: Part) -> Result<PartRow, ClusterError> {
        let answer = self.store.ask(statement, (i32::from(part.0),)).await;
        let Some(mut row) = answer.and_then(found).map_err(failed)?.pop() else { return Ok(PartRow::absent()) };
        let damaged = |why: &dyn std::fmt::Display| {
            ClusterError::damaged("the rows of shards", &format!("part {}: {why}", part.0))
        };
        let version = row.number("version").ok_or_else(|| damaged(&"it has no version"))?;
        let bytes = row.take_bytes("e").ok_or_else(|| damaged(&"it is empty"))?;
        let packed: Packed = minicbor::decode(&bytes).map_err(|error| damaged(&error))?;
        let rows = packed.unpack().filter(|rows| rows.len() == usize::from(PART_SHARDS));
        Ok(PartRow { version, rows: rows.ok_or_else(|| damaged(&"it names other shards, or unknown hosts"))? })
    }

    /// Makes the row of a part what `next` says, if its version is still the one that was read.
    async fn swap_part(&self, part: Part, before: i64, next: &PartRow) -> Result<Conditional, ClusterError> {
        let (number, e) =
            (i32::from(part.0), minicbor::to_vec(Packed::of(&next.rows)).expect("rows are packed into memory"));
        let answer = if before == 0 {
            self.store.ask_conditional(&self.statements.make_part, (next.version, e, number)).await
        } else {
            self.store.ask_conditional(&self.statements.swap_part, (next.version, e, number, before)).await
        };
        answer.map_err(failed)
    }
}

/// The row of a part. Its version counts the changes; 0: it is not there.
struct PartRow {
    version: i64,
    /// Of all shards of the part, in their order.
    rows: Vec<ShardRow>,
}

impl PartRow {
    fn absent() -> Self {
        Self { version: 0, rows: vec![ShardRow::default(); usize::from(PART_SHARDS)] }
    }

    fn is(&self, moves: &[Move], stands: impl Fn(&Move) -> ShardRow) -> bool {
        moves.iter().all(|one| self.rows[Part::place(one.shard)] == stands(one))
    }

    fn moved(&self, moves: &[Move]) -> Self {
        let mut next = Self { version: self.version + 1, rows: self.rows.clone() };
        moves.iter().for_each(|one| next.rows[Part::place(one.shard)] = one.to);
        next
    }
}

/// What its bytes hold: few hosts, and for each shard which of them, and the epoch.
#[derive(Encode, Decode)]
struct Packed {
    #[n(0)]
    hosts: Vec<NodeId>,
    /// The host's place in `hosts`, counted from 1. 0: nobody.
    #[n(1)]
    rows: Vec<(u16, u64)>,
}

impl Packed {
    fn of(rows: &[ShardRow]) -> Self {
        let mut hosts: Vec<NodeId> = rows.iter().filter_map(|row| row.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        let place = |host: NodeId| hosts.binary_search(&host).map_or(0, |place| place as u16 + 1);
        let rows = rows.iter().map(|row| (row.host.map_or(0, place), row.epoch)).collect();
        Self { hosts, rows }
    }

    /// `None`: a row names a host that is not there.
    fn unpack(&self) -> Option<Vec<ShardRow>> {
        let host = |place: u16| match usize::from(place).checked_sub(1) {
            Some(place) => self.hosts.get(place).map(|host| Some(*host)),
            None => Some(None),
        };
        self.rows.iter().map(|&(place, epoch)| host(place).map(|host| ShardRow { host, epoch })).collect()
    }
}

#[async_trait]
impl ClusterStore for CassandraCluster {
    async fn view(&self) -> Result<View, ClusterError> {
        self.view_by(&self.statements.view).await
    }

    async fn swap_view(&self, before_epoch: u64, next: &View) -> Result<bool, ClusterError> {
        let bytes = minicbor::to_vec(next).expect("a view can be encoded into memory");
        let answer = if before_epoch == 0 {
            self.store.ask_conditional(&self.statements.make_view, (number(next.epoch), bytes)).await
        } else {
            let values = (number(next.epoch), bytes, number(before_epoch));
            self.store.ask_conditional(&self.statements.swap_view, values).await
        };
        match answer.map_err(failed)? {
            Conditional::Applied => Ok(true),
            Conditional::Refused(_) => Ok(self.view_by(&self.statements.settled_view).await? == *next),
        }
    }

    async fn shards(&self, part: Part) -> Result<Vec<(ShardId, ShardRow)>, ClusterError> {
        let stands = self.part_by(&self.statements.part, part).await?;
        let rows = part.shards().zip(stands.rows.clone()).collect();
        self.seen.lock().insert(part.0, stands);
        Ok(rows)
    }

    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError> {
        assert!(moves.iter().all(|one| Part::of(one.shard) == part), "{moves:?}");
        let seen = self.seen.lock().remove(&part.0).filter(|seen| seen.is(moves, |one| one.from));
        let mut stands = match seen {
            Some(seen) => seen,
            None => self.part_by(&self.statements.part, part).await?,
        };
        let mut has_asked = false;
        while stands.is(moves, |one| one.from) {
            has_asked = true;
            let next = stands.moved(moves);
            match self.swap_part(part, stands.version, &next).await? {
                Conditional::Applied => {
                    self.seen.lock().insert(part.0, next);
                    return Ok(true);
                }
                // Others move other shards of the part, too.
                Conditional::Refused(_) => stands = self.part_by(&self.statements.settled_part, part).await?,
            }
        }
        Ok(has_asked && stands.is(moves, |one| one.to) && !moves.iter().any(Move::may_be_anybodys))
    }

    async fn beat(&self, node: NodeId, counter: u64) -> Result<(), ClusterError> {
        let counter = number(counter).min(FORGOTTEN - 1);
        let answer = self.store.ask_at_once(&self.statements.beat, (counter, counter, uuid(node))).await;
        answer.map(drop).map_err(failed)
    }

    async fn beats(&self) -> Result<HashMap<NodeId, u64>, ClusterError> {
        let answer = self.store.ask_at_once(&self.statements.beats, ()).await;
        let rows = answer.and_then(found).map_err(failed)?;
        let beat = |row: &Found| Some((NodeId::from_u128(row.id("node")?), row.number("beat")?.unsigned_abs()));
        Ok(rows.iter().filter_map(beat).collect())
    }

    async fn forget(&self, node: NodeId) -> Result<(), ClusterError> {
        let answer = self.store.ask(&self.statements.forget, (FORGOTTEN, uuid(node))).await;
        answer.map(drop).map_err(failed)
    }
}

fn failed(error: StoreError) -> ClusterError {
    ClusterError::Failed(Arc::new(error.into_io()))
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
