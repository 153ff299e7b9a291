//! The marks `flushed`, one for each journal: up to which position the tables hold its events. They are in the list of the
//! journals, and written as rows are: the number itself is the time stamp, so the highest stays.

use std::sync::Arc;

use scylla::statement::prepared::PreparedStatement;

use super::{Store, StoreError, ask::found, uuid};
use crate::{journal::Position, node::NodeId};

pub(crate) struct Marks {
    store: Arc<Store>,
    set: PreparedStatement,
    get: PreparedStatement,
}

impl Marks {
    pub async fn open(store: Arc<Store>) -> Result<Self, StoreError> {
        let k = store.keyspace();
        let set =
            store.prepare(&format!("UPDATE {k}.journals USING TIMESTAMP ? SET flushed = ? WHERE node = ?")).await?;
        let get = store.prepare(&format!("SELECT flushed FROM {k}.journals WHERE node = ?")).await?;
        Ok(Self { store, set, get })
    }

    /// To be called only when all rows up to there were acknowledged. A lower one than before changes nothing.
    pub async fn set(&self, journal: NodeId, up_to: Position) -> Result<(), StoreError> {
        let number = i64::try_from(up_to.0).unwrap_or(i64::MAX);
        self.store.ask(&self.set, (number, number, uuid(journal))).await?;
        Ok(())
    }

    pub async fn of(&self, journal: NodeId) -> Result<Position, StoreError> {
        let rows = found(self.store.ask(&self.get, (uuid(journal),)).await?)?;
        let number = rows.first().and_then(|row| row.number("flushed"));
        Ok(number.map_or(Position::NONE, |number| Position(number.unsigned_abs())))
    }
}
