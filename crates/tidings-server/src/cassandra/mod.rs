//! The way to Apache Cassandra that journal, tables and membership share: connecting (`connect`), asking until there is an
//! answer (`ask`), the tables there (`schema`), whether the cluster keeps what it acknowledges (`check`), how far each
//! journal is in the tables (`marks`), and what the nodes of a fleet agree on (`fleet`).
//!
//! It knows no commit and no message. Nothing is retried by the driver: whoever asks decides, because of a
//! conditional statement without an answer nobody knows what became of it.

pub mod ask;
pub mod check;
pub mod connect;
pub mod fleet;
pub(crate) mod marks;
pub mod schema;
#[cfg(test)]
mod tests;

use std::time::Instant;

use parking_lot::Mutex;
use scylla::{
    client::session::Session,
    errors::{ExecutionError, NewSessionError, PrepareError},
    statement::prepared::PreparedStatement,
};
use tokio::sync::{Semaphore, watch};
use uuid::Uuid;

use crate::node::NodeId;

/// What every request goes through: one session with the cluster, and the bound on requests under way.
pub struct Store {
    session: Session,
    keyspace: String,
    requests: Semaphore,
    giving_up: watch::Sender<bool>,
    /// When the log was told last that there are no answers.
    said: Mutex<Option<Instant>>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    #[error("failed to connect to Cassandra: {0}")]
    Connect(#[from] Box<NewSessionError>),
    #[error("Cassandra refused the login of {user:?}: {said}; correct cassandra.user and cassandra.password")]
    Login { user: String, said: String },
    #[error("Cassandra asks who this is: set cassandra.user and cassandra.password")]
    LoginMissing,
    #[error("failed to use TLS to Cassandra: {0}")]
    Tls(String),
    /// Asking again would bring the same.
    #[error("Cassandra refused: {0}")]
    Refused(Box<ExecutionError>),
    #[error("Cassandra refused a statement: {0}; was the schema applied (tidings schema apply)?")]
    Prepare(#[from] Box<PrepareError>),
    /// The process stops and there was no answer.
    #[error("Cassandra did not answer: {0}")]
    NoAnswer(Box<ExecutionError>),
    #[error("Cassandra answered something unexpected: {0}")]
    Answer(String),
}

/// As the columns hold it.
pub(crate) fn uuid(id: NodeId) -> Uuid {
    Uuid::from_u128(id.as_u128())
}

impl StoreError {
    /// As the errors of journal and tables carry it.
    pub fn into_io(self) -> std::io::Error {
        std::io::Error::other(self)
    }
}

impl Store {
    pub(crate) fn new(session: Session, keyspace: String, requests: usize) -> Self {
        let (requests, giving_up) = (Semaphore::new(requests), watch::Sender::new(false));
        Self { session, keyspace, requests, giving_up, said: Mutex::default() }
    }

    pub fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// From now on what does not answer is asked no more: for the end of a stop.
    pub fn give_up(&self) {
        self.giving_up.send_replace(true);
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Prepares a statement about tables of this keyspace.
    pub(crate) async fn prepare(&self, cql: &str) -> Result<PreparedStatement, StoreError> {
        let mut statement = self.session.prepare(cql).await.map_err(Box::new)?;
        statement.set_page_size(ask::PAGE_ROWS);
        Ok(statement)
    }
}
