//! What is done without a journal: each message is a conditional row of its conversation and an update of both inboxes.

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use uuid::Uuid;

use super::statements::Statements;

/// Conversations that are written to at once. More make each slower, and Cassandra's share no smaller.
const SENDERS: u64 = 32;
const MESSAGE_BYTES: usize = 216;
const ITEM_BYTES: usize = 200;

/// How many were sent within a time.
pub async fn messages(statements: &Statements, length: Duration) -> anyhow::Result<u64> {
    let began = Instant::now();
    let counts = try_join_all((0..SENDERS).map(|sender| async move {
        let conversation = Uuid::from_u128(rand::random());
        let mut sent = 0u64;
        while began.elapsed() < length {
            let seq = i64::try_from(sent + 1)?;
            let values = (conversation, seq, Uuid::from_u128(rand::random()), vec![7u8; MESSAGE_BYTES]);
            statements.session.execute_unpaged(&statements.message, values).await?;
            let update = |name: String| {
                let values = (seq, vec![7u8; ITEM_BYTES], name, conversation.as_bytes().to_vec());
                statements.session.execute_unpaged(&statements.inbox, values)
            };
            tokio::try_join!(update(format!("naive-{sender}-a")), update(format!("naive-{sender}-b")))?;
            sent += 1;
        }
        anyhow::Ok(sent)
    }));
    Ok(counts.await?.iter().sum())
}
