//! What a fleet's nodes agree on, in Cassandra: `fleet` holds the view and `shard` who hosts what, both written by
//! conditional statements only; `alive` holds the beats, written by plain ones.
//!
//! A conditional statement that was asked twice may be refused because of its own first attempt. Then the rows are read as all
//! attempts left them (SERIAL), and compared with what was wanted. Plain looks are at QUORUM: they see all that was
//! answered to anybody before.

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use scylla::{
    statement::{
        Consistency,
        batch::{Batch, BatchType},
        prepared::PreparedStatement,
    },
    value::CqlValue,
};
use tidings_proto::ShardId;

use super::{
    Store, StoreError,
    ask::{Conditional, Found, conditional, found},
    uuid,
};
use crate::{
    cluster::{
        store::{ClusterError, ClusterStore, MOVES_AT_ONCE, Move, Part, ShardRow},
        view::View,
    },
    node::NodeId,
};

/// The time stamp with which a node is forgotten: above all that it ever counts to, a beat a second.
const FORGOTTEN: i64 = 1 << 40;

pub struct CassandraCluster {
    store: Arc<Store>,
    statements: Statements,
}

struct Statements {
    make_view: PreparedStatement,
    swap_view: PreparedStatement,
    view: PreparedStatement,
    /// The same, and as all that was ever attempted left it.
    settled_view: PreparedStatement,
    first_row: PreparedStatement,
    move_row: PreparedStatement,
    rows: PreparedStatement,
    settled_rows: PreparedStatement,
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
        let rows = format!("SELECT shard, host, epoch FROM {k}.shard WHERE part = ?");
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
            first_row: prepare(
                format!("INSERT INTO {k}.shard (host, epoch, part, shard) VALUES (?, ?, ?, ?) IF NOT EXISTS"),
                quorum,
            )
            .await?,
            move_row: prepare(
                format!(
                    "UPDATE {k}.shard SET host = ?, epoch = ? WHERE part = ? AND shard = ? IF host = ? AND epoch = ?"
                ),
                quorum,
            )
            .await?,
            rows: prepare(rows.clone(), quorum).await?,
            settled_rows: prepare(rows, serial).await?,
            beat: prepare(format!("UPDATE {k}.alive USING TIMESTAMP ? SET beat = ? WHERE node = ?"), quorum).await?,
            beats: prepare(format!("SELECT node, beat FROM {k}.alive"), quorum).await?,
            forget: prepare(format!("DELETE FROM {k}.alive USING TIMESTAMP ? WHERE node = ?"), quorum).await?,
        })
    }
}

impl CassandraCluster {
    pub async fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let statements = Statements::prepare(&store).await?;
        Ok(Self { store, statements })
    }

    async fn view_by(&self, statement: &PreparedStatement) -> Result<View, ClusterError> {
        let answer = self.store.ask_at_once(statement, ()).await;
        let Some(mut row) = answer.and_then(found).map_err(failed)?.pop() else { return Ok(View::default()) };
        let bytes = row.take_bytes("e").ok_or_else(|| ClusterError::damaged("a view", &"it is empty"))?;
        minicbor::decode(&bytes).map_err(|error| ClusterError::damaged("a view", &error))
    }

    /// The rows of a part; those that are not there are new.
    async fn rows_by(
        &self,
        statement: &PreparedStatement,
        part: Part,
    ) -> Result<Vec<(ShardId, ShardRow)>, ClusterError> {
        let answer = self.store.ask(statement, (i32::from(part.0),)).await;
        let mut rows: Vec<_> = part.shards().map(|shard| (shard, ShardRow::default())).collect();
        for row in answer.and_then(found).map_err(failed)? {
            let (shard, stands) = read(&row).ok_or_else(|| ClusterError::damaged("the row of a shard", &part.0))?;
            let place = rows.binary_search_by_key(&shard, |(other, _)| *other);
            rows[place.map_err(|_| ClusterError::damaged("the row of a shard", &shard.0))?].1 = stands;
        }
        Ok(rows)
    }
}

fn read(row: &Found) -> Option<(ShardId, ShardRow)> {
    let shard = u16::try_from(row.number("shard")?).ok()?;
    let host = NodeId::from_u128(row.id("host")?);
    let epoch = u64::try_from(row.number("epoch")?).ok()?;
    Some((ShardId(shard), ShardRow { host: Some(host), epoch }))
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
        self.rows_by(&self.statements.rows, part).await
    }

    async fn move_shards(&self, part: Part, moves: &[Move]) -> Result<bool, ClusterError> {
        assert!(moves.len() <= MOVES_AT_ONCE && moves.iter().all(|one| Part::of(one.shard) == part), "{moves:?}");
        if moves.is_empty() {
            return Ok(true);
        }
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values = Vec::with_capacity(moves.len());
        for Move { shard, from, to } in moves {
            let host = to.host.ok_or_else(|| ClusterError::damaged("a move", &"it leads to nobody"))?;
            let row = (CqlValue::Uuid(uuid(host)), CqlValue::BigInt(number(to.epoch)));
            let mut row = vec![row.0, row.1, CqlValue::Int(i32::from(part.0)), CqlValue::Int(i32::from(shard.0))];
            let statement = match from.host {
                Some(host) => {
                    row.extend([CqlValue::Uuid(uuid(host)), CqlValue::BigInt(number(from.epoch))]);
                    &self.statements.move_row
                }
                None => &self.statements.first_row,
            };
            batch.append_statement(statement.clone());
            values.push(row);
        }
        match self.store.ask_batch(&batch, values).await.and_then(conditional).map_err(failed)? {
            Conditional::Applied => return Ok(true),
            Conditional::Refused(_) if moves.iter().all(Move::may_be_anybodys) => return Ok(false),
            Conditional::Refused(_) => {}
        }
        let rows = self.rows_by(&self.statements.settled_rows, part).await?;
        Ok(moves.iter().all(|one| rows.contains(&(one.shard, one.to))))
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
