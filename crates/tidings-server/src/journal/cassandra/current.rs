//! Which journal is the one that is written now, where one process at a time serves all: a row that moves by
//! compare-and-set. Whoever starts claims a new epoch, seals the journal that the row names, brings the tables up to its
//! end, and then puts its own there. Of two that start at once the later claim wins; the other is told.
//!
//! The epoch is claimed before the replay: homes that two replays write have different versions, and the higher is that of
//! the one that goes on.

use rand::Rng as _;
use scylla::{
    statement::{Consistency, prepared::PreparedStatement},
    value::CqlValue,
};

use super::{Journals, prepare_with, uuid};
use crate::cassandra::{
    Store, StoreError,
    ask::{Conditional, Found, found},
};
use crate::node::NodeId;

pub(super) struct Statements {
    make: PreparedStatement,
    look: PreparedStatement,
    claim: PreparedStatement,
    take: PreparedStatement,
}

/// What a claim found, and got.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Higher than that of any claim before.
    pub epoch: u64,
    /// The journal to be sealed and replayed.
    pub previous: Option<NodeId>,
    /// Which history of the data this is.
    pub lineage: [u8; 8],
    /// What the tokens that this data's servers give are signed with.
    pub secret: String,
    taker: NodeId,
}

impl Statements {
    pub async fn prepare(store: &Store) -> Result<Self, StoreError> {
        let data = format!("{}.data", store.keyspace());
        let prepare = |text: String, consistency| prepare_with(store, text, consistency);
        Ok(Self {
            make: prepare(
                format!("INSERT INTO {data} (name, epoch, lineage, secret) VALUES ('main', 0, ?, ?) IF NOT EXISTS"),
                Consistency::Quorum,
            )
            .await?,
            look: prepare(
                format!("SELECT epoch, taker, journal, lineage, secret FROM {data} WHERE name = 'main'"),
                Consistency::Serial,
            )
            .await?,
            claim: prepare(
                format!("UPDATE {data} SET epoch = ?, taker = ? WHERE name = 'main' IF epoch = ?"),
                Consistency::Quorum,
            )
            .await?,
            take: prepare(
                format!("UPDATE {data} SET journal = ? WHERE name = 'main' IF epoch = ? AND taker = ?"),
                Consistency::Quorum,
            )
            .await?,
        })
    }
}

impl Journals {
    /// Claims the next epoch for the process whose journal will be `taker`. The first claim of all makes the data.
    pub async fn claim(&self, taker: NodeId) -> Result<Claim, StoreError> {
        let (store, statements) = (&self.inner.store, &self.inner.statements.current);
        loop {
            let Some(mut row) = self.current_row().await? else {
                let (mut lineage, mut secret) = ([0; 8], [0; 32]);
                rand::rng().fill(&mut lineage);
                rand::rng().fill(&mut secret);
                let secret: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
                // Whoever makes it: the next look tells.
                store.ask_conditional(&statements.make, (CqlValue::Blob(lineage.to_vec()), secret)).await?;
                continue;
            };
            let epoch = row.number("epoch").ok_or_else(|| wrong("epoch"))?;
            if is_by(&row, taker) {
                return Ok(Claim {
                    epoch: epoch.unsigned_abs(),
                    previous: row.id("journal").map(NodeId::from_u128),
                    lineage: row
                        .take_bytes("lineage")
                        .and_then(|bytes| bytes.try_into().ok())
                        .ok_or_else(|| wrong("lineage"))?,
                    secret: row.text("secret").ok_or_else(|| wrong("secret"))?.to_owned(),
                    taker,
                });
            }
            // Applied, refused, or applied without an answer: the next look tells.
            store.ask_conditional(&statements.claim, (epoch + 1, uuid(taker), epoch)).await?;
        }
    }

    /// Makes the claimant's journal the current one. `false`: another has claimed since, and nothing may be done.
    pub async fn take(&self, claim: &Claim) -> Result<bool, StoreError> {
        let epoch = i64::try_from(claim.epoch).map_err(|_| wrong("epoch"))?;
        let values = (uuid(claim.taker), epoch, uuid(claim.taker));
        // Setting it twice is setting it once, so a repeat that is refused was overtaken.
        let answer = self.inner.store.ask_conditional(&self.inner.statements.current.take, values).await?;
        Ok(matches!(answer, Conditional::Applied))
    }

    pub(super) async fn current_row(&self) -> Result<Option<Found>, StoreError> {
        Ok(found(self.inner.store.ask(&self.inner.statements.current.look, ()).await?)?.pop())
    }
}

fn is_by(row: &Found, taker: NodeId) -> bool {
    row.id("taker") == Some(taker.as_u128())
}

fn wrong(column: &str) -> StoreError {
    StoreError::Answer(format!("the row of the data has no usable {column}"))
}
