//! The way to the cluster for what is compared: the driver, set as the server sets it, and the statements that the server makes.

use std::{sync::Arc, time::Duration};

use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::retry::FallthroughRetryPolicy,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
};

pub struct Statements {
    pub session: Session,
    /// A commit: node, bucket, position, id, bytes.
    pub append: PreparedStatement,
    /// A row of the tables: version, bytes, user, conversation.
    pub inbox: PreparedStatement,
    /// A message by itself: conversation, seq, id, bytes.
    pub message: PreparedStatement,
}

impl Statements {
    /// In the server's own keyspace, beside its rows.
    pub async fn prepare(contacts: &[String], keyspace: &str) -> anyhow::Result<Self> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::Quorum)
            .serial_consistency(Some(SerialConsistency::Serial))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .request_timeout(Some(Duration::from_secs(10)))
            .build();
        let builder = SessionBuilder::new().known_nodes(contacts).tcp_nodelay(true);
        let session = builder.default_execution_profile_handle(profile.into_handle()).build().await?;
        session
            .query_unpaged(
                format!(
                    "CREATE TABLE IF NOT EXISTS {keyspace}.naive (conversation uuid, seq bigint, id uuid, e blob, PRIMARY KEY (conversation, seq))"
                ),
                (),
            )
            .await?;
        let append =
            format!("INSERT INTO {keyspace}.journal (node, bucket, pos, id, e) VALUES (?, ?, ?, ?, ?) IF NOT EXISTS");
        let inbox = format!("UPDATE {keyspace}.inbox USING TIMESTAMP ? SET e = ? WHERE name = ? AND conversation = ?");
        let message =
            format!("INSERT INTO {keyspace}.naive (conversation, seq, id, e) VALUES (?, ?, ?, ?) IF NOT EXISTS");
        Ok(Self {
            append: session.prepare(append).await?,
            inbox: session.prepare(inbox).await?,
            message: session.prepare(message).await?,
            session,
        })
    }
}
