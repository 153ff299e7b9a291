//! Writing rows: small ones share a request, many requests are under way at once, and each is asked until it is answered.

use futures_util::{StreamExt as _, TryStreamExt as _};
use scylla::{
    statement::batch::{Batch, BatchType},
    value::CqlValue,
};

use super::{CassandraTables, Row, WRITES_AT_ONCE, statements};
use crate::cassandra::StoreError;

/// A request has so many rows, or so many bytes, at most, unless a single row is larger: above this Cassandra warns of
/// each in its log. Rows in one request need not be one partition's: it saves more than going to their replicas would.
const ROWS_A_REQUEST: usize = 10;
const BYTES_A_REQUEST: usize = 4_000;
/// What a row takes beside its value.
const ROW_BYTES: usize = 60;

impl CassandraTables {
    /// Returns when a quorum has all of them.
    pub(super) async fn write(&self, mut rows: Vec<Row>) -> Result<(), StoreError> {
        // Rows of one partition side by side.
        rows.sort_by(|one, other| one.key.cmp(&other.key));
        let requests = futures_util::stream::iter(split(rows).into_iter().map(|rows| self.write_some(rows)));
        requests.buffer_unordered(WRITES_AT_ONCE).try_collect().await
    }

    async fn write_some(&self, rows: Vec<Row>) -> Result<(), StoreError> {
        let mut batch = Batch::new(BatchType::Unlogged);
        let mut values = Vec::with_capacity(rows.len());
        for row in rows {
            let of_table = self.statements.of(&row.key);
            let version = i64::try_from(row.version.0)
                .map_err(|_| StoreError::Answer(format!("the version {} of a row is too large", row.version.0)))?;
            let mut row_values = vec![CqlValue::BigInt(version)];
            let statement = match row.value {
                Some(value) => {
                    row_values.push(CqlValue::Blob(value.into()));
                    &of_table.put
                }
                None => &of_table.delete,
            };
            row_values.extend(statements::place(&row.key));
            batch.append_statement(statement.clone());
            values.push(row_values);
        }
        self.store.ask_batch(&batch, values).await?;
        Ok(())
    }
}

fn split(rows: Vec<Row>) -> Vec<Vec<Row>> {
    let mut requests: Vec<Vec<Row>> = Vec::new();
    let mut bytes = 0;
    for row in rows {
        let row_bytes = ROW_BYTES + row.value.as_ref().map_or(0, bytes::Bytes::len);
        match requests.last_mut().filter(|open| open.len() < ROWS_A_REQUEST && bytes + row_bytes <= BYTES_A_REQUEST) {
            Some(open) => {
                open.push(row);
                bytes += row_bytes;
            }
            None => {
                requests.push(vec![row]);
                bytes = row_bytes;
            }
        }
    }
    requests
}
