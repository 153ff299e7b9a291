//! The same statements without the server: one conditional row after the other, and beside it the rows of the tables, as many and
//! as many at once as the server writes.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::statement::batch::{Batch, BatchType};
use uuid::Uuid;

use super::statements::Statements;

/// As the server's: rows of a request, requests at once, time that a flush gathers, commits of a partition.
const ROWS_A_REQUEST: usize = 10;
const WRITES_AT_ONCE: usize = 8;
const WINDOW: Duration = Duration::from_secs(2);
const BUCKET: u64 = 1_024;
/// A row of the tables, roughly: an inbox item, a state.
const ROW_BYTES: usize = 200;

/// What the server did for one commit.
pub struct Shape {
    pub commit_bytes: usize,
    pub rows_a_commit: f64,
}

pub async fn commits_per_s(statements: &Statements, shape: &Shape, length: Duration) -> anyhow::Result<f64> {
    let commits = AtomicU64::new(0);
    let began = Instant::now();
    let append = async {
        let (node, bytes) = (Uuid::from_u128(rand::random()), vec![7u8; shape.commit_bytes]);
        while began.elapsed() < length {
            let position = commits.load(Relaxed) + 1;
            let (bucket, position) = (i32::try_from(position / BUCKET)?, i64::try_from(position)?);
            let values = (node, bucket, position, Uuid::from_u128(rand::random()), &bytes);
            statements.session.execute_unpaged(&statements.append, values).await?;
            commits.fetch_add(1, Relaxed);
        }
        anyhow::Ok(())
    };
    let flush = async {
        let mut flushed = 0;
        while began.elapsed() < length {
            tokio::time::sleep(WINDOW.min(length.saturating_sub(began.elapsed()))).await;
            let now = commits.load(Relaxed);
            let rows = ((now - flushed) as f64 * shape.rows_a_commit) as usize;
            write(statements, rows).await?;
            flushed = now;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(append, flush)?;
    Ok(commits.load(Relaxed) as f64 / length.as_secs_f64())
}

async fn write(statements: &Statements, rows: usize) -> anyhow::Result<()> {
    let requests = (0..rows.div_ceil(ROWS_A_REQUEST)).map(|number| {
        let count = ROWS_A_REQUEST.min(rows - number * ROWS_A_REQUEST);
        async move {
            let mut batch = Batch::new(BatchType::Unlogged);
            let mut values = Vec::with_capacity(count);
            for _ in 0..count {
                batch.append_statement(statements.inbox.clone());
                let name = format!("bare-{}", rand::random_range(0..1_000));
                values.push((1i64, vec![7u8; ROW_BYTES], name, rand::random_range(0..1_000u64).to_be_bytes().to_vec()));
            }
            statements.session.batch(&batch, values).await?;
            anyhow::Ok(())
        }
    });
    stream::iter(requests).buffer_unordered(WRITES_AT_ONCE).try_collect::<Vec<_>>().await?;
    Ok(())
}
