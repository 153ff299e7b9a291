//! A keyspace that a server alone moves into: reserved by a journal that is none, until everything is there.

use scylla::{
    statement::{Consistency, prepared::PreparedStatement},
    value::CqlValue,
};

use super::{Journals, prepare_with, uuid};
use crate::{
    cassandra::{Store, StoreError, ask::Conditional},
    node::NodeId,
};

/// Stands in for the journal of a server alone whose data are being moved here. It has no commit, and never gets one.
pub const MOVING: NodeId = NodeId::from_u128(0x6d6f_7669_6e67_0000_0000_0000_0000_0001);

/// Whose a keyspace is, for somebody who moves into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    Moving,
    /// It was moved whole, and opened.
    Finished,
    OfOthers,
}

pub(super) struct Statements {
    reserve: PreparedStatement,
    open: PreparedStatement,
}

impl Statements {
    pub async fn prepare(store: &Store) -> Result<Self, StoreError> {
        let data = format!("{}.data", store.keyspace());
        let reserve = format!(
            "INSERT INTO {data} (name, epoch, lineage, secret, journal) VALUES ('main', 0, ?, ?, ?) IF NOT EXISTS"
        );
        let open =
            format!("UPDATE {data} SET journal = null, epoch = ? WHERE name = 'main' IF journal = ? AND epoch = ?");
        Ok(Self {
            reserve: prepare_with(store, reserve, Consistency::Quorum).await?,
            open: prepare_with(store, open, Consistency::Quorum).await?,
        })
    }
}

impl Journals {
    /// Makes this the keyspace of the data of this lineage, to be opened by nobody yet.
    pub async fn reserve(&self, lineage: [u8; 8], secret: &str) -> Result<Reserved, StoreError> {
        let values = (CqlValue::Blob(lineage.to_vec()), secret, uuid(MOVING));
        // Applied, refused, or applied without an answer: the next look tells.
        self.inner.store.ask_conditional(&self.inner.statements.moving.reserve, values).await?;
        let Some(mut row) = self.current_row().await? else {
            return Err(StoreError::Answer("the row of the data is not there".to_owned()));
        };
        let is_ours = row.take_bytes("lineage").is_some_and(|found| found == lineage);
        Ok(match row.id("journal") {
            Some(journal) if is_ours && journal == MOVING.as_u128() => Reserved::Moving,
            None if is_ours => Reserved::Finished,
            _ => Reserved::OfOthers,
        })
    }

    /// Whoever comes next may open it, in an epoch above `epoch`. `false`: it is not reserved.
    pub async fn open_reserved(&self, epoch: u64) -> Result<bool, StoreError> {
        loop {
            let Some(row) = self.current_row().await? else { return Ok(false) };
            let stands = row.number("epoch").unwrap_or_default();
            if row.id("journal") != Some(MOVING.as_u128()) {
                // Perhaps by this call's own first attempt, of which no answer came.
                return Ok(row.id("journal").is_none() && stands.unsigned_abs() >= epoch);
            }
            let next = i64::try_from(epoch).unwrap_or(i64::MAX).max(stands);
            let values = (next, uuid(MOVING), stands);
            if let Conditional::Applied =
                self.inner.store.ask_conditional(&self.inner.statements.moving.open, values).await?
            {
                return Ok(true);
            }
        }
    }
}
