//! Asking until there is an answer. What passes (a node that hangs, too few that live, a broken connection) is asked
//! again, for as long as the process lives: both kinds of statement here can be repeated.
//!
//! * A **plain** one names its version as time stamp, so that a repeat changes nothing; or it only reads.
//! * A **conditional** one carries an id: a repeat that is refused by a row with this id was applied the first time.

use std::time::{Duration, Instant};

use scylla::{
    errors::{DbError, ExecutionError, RequestAttemptError},
    response::query_result::QueryResult,
    serialize::{batch::BatchValues, row::SerializeRow},
    statement::{batch::Batch, prepared::PreparedStatement},
    value::{CqlValue, Row},
};
use tokio::sync::{SemaphorePermit, watch};

use super::{Store, StoreError};

/// Rows that a page of a read has.
pub(crate) const PAGE_ROWS: i32 = 64;

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);
/// After so long without an answer the log says so, and again after as long; once for all that wait.
const SAY_AFTER: Duration = Duration::from_secs(3);

/// What became of a conditional statement.
#[derive(Debug)]
pub enum Conditional {
    Applied,
    /// By what stands there: of a batch the first row of the answer.
    Refused(Found),
}

/// A row by the names of its columns: their order in an answer is not that of the statement.
#[derive(Debug, Default)]
pub struct Found(Vec<(String, Option<CqlValue>)>);

impl Store {
    pub(crate) async fn ask(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, StoreError> {
        self.until_answered(true, || self.session().execute_unpaged(statement, &values)).await
    }

    /// The same, past those who wait for their turn: for the few small requests that are to be in time.
    pub(crate) async fn ask_at_once(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<QueryResult, StoreError> {
        self.until_answered(false, || self.session().execute_unpaged(statement, &values)).await
    }

    pub(crate) async fn ask_batch(&self, batch: &Batch, values: impl BatchValues) -> Result<QueryResult, StoreError> {
        self.until_answered(true, || self.session().batch(batch, &values)).await
    }

    async fn until_answered<F>(&self, takes_turns: bool, attempt: impl Fn() -> F) -> Result<QueryResult, StoreError>
    where
        F: Future<Output = Result<QueryResult, ExecutionError>>,
    {
        let mut patience = Patience::new(self);
        loop {
            let permit = if takes_turns { Some(self.permit().await) } else { None };
            let answer = attempt().await;
            drop(permit);
            match answer {
                Ok(answer) => return Ok(answer),
                Err(error) => patience.after(error).await?,
            }
        }
    }

    /// A conditional statement. `Refused` may mean that an earlier attempt of this call was applied: compare the id.
    pub(crate) async fn ask_conditional(
        &self,
        statement: &PreparedStatement,
        values: impl SerializeRow,
    ) -> Result<Conditional, StoreError> {
        conditional(self.ask(statement, values).await?)
    }

    /// Whether the log was not told for a while that there are no answers.
    fn may_say(&self) -> bool {
        let mut said = self.said.lock();
        let is_due = said.is_none_or(|said| said.elapsed() >= SAY_AFTER);
        if is_due {
            *said = Some(Instant::now());
        }
        is_due
    }

    async fn permit(&self) -> SemaphorePermit<'_> {
        self.requests.acquire().await.expect("the semaphore is never closed")
    }
}

/// How long to wait between attempts, and whether to go on.
struct Patience<'s> {
    store: &'s Store,
    giving_up: watch::Receiver<bool>,
    pause: Duration,
    began: Instant,
}

impl<'s> Patience<'s> {
    fn new(store: &'s Store) -> Self {
        Self { store, giving_up: store.giving_up.subscribe(), pause: FIRST_PAUSE, began: Instant::now() }
    }

    /// Returns when the next attempt may be made.
    async fn after(&mut self, error: ExecutionError) -> Result<(), StoreError> {
        if !passes(&error) {
            return Err(StoreError::Refused(Box::new(error)));
        }
        if self.began.elapsed() >= SAY_AFTER && self.store.may_say() {
            tracing::warn!(%error, "Cassandra does not answer; asking on");
        }
        let pause = self.pause.mul_f32(0.5 + rand::random::<f32>() / 2.0);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(()),
            _ = self.giving_up.wait_for(|giving_up| *giving_up) => Err(StoreError::NoAnswer(Box::new(error))),
        }
    }
}

/// Whether the same statement may succeed later, or may have succeeded.
fn passes(error: &ExecutionError) -> bool {
    match error {
        ExecutionError::BadQuery(_) | ExecutionError::PrepareError(_) | ExecutionError::UseKeyspaceError(_) => false,
        ExecutionError::LastAttemptError(RequestAttemptError::DbError(error, _)) => !matches!(
            error,
            DbError::SyntaxError
                | DbError::Invalid
                | DbError::AlreadyExists { .. }
                | DbError::FunctionFailure { .. }
                | DbError::AuthenticationError
                | DbError::Unauthorized
                | DbError::ConfigError
                | DbError::ProtocolError
        ),
        ExecutionError::LastAttemptError(
            RequestAttemptError::SerializationError(_) | RequestAttemptError::CqlRequestSerialization(_),
        ) => false,
        _ => true,
    }
}

/// `[applied]` first, then whatever columns there are.
pub(crate) fn conditional(answer: QueryResult) -> Result<Conditional, StoreError> {
    let mut rows = found(answer)?;
    if rows.is_empty() {
        return Err(StoreError::Answer("a conditional statement was answered without a row".to_owned()));
    }
    let first = rows.swap_remove(0);
    match first.get("[applied]") {
        Some(CqlValue::Boolean(true)) => Ok(Conditional::Applied),
        Some(CqlValue::Boolean(false)) => Ok(Conditional::Refused(first)),
        other => Err(StoreError::Answer(format!("[applied] is {other:?}"))),
    }
}

/// The rows of an answer, by names.
pub(crate) fn found(answer: QueryResult) -> Result<Vec<Found>, StoreError> {
    let rows = answer.into_rows_result().map_err(|error| StoreError::Answer(error.to_string()))?;
    let names: Vec<String> = rows.column_specs().iter().map(|column| column.name().to_owned()).collect();
    let rows = rows.rows::<Row>().map_err(|error| StoreError::Answer(error.to_string()))?;
    rows.map(|row| match row {
        Ok(row) => Ok(Found(names.iter().cloned().zip(row.columns).collect())),
        Err(error) => Err(StoreError::Answer(error.to_string())),
    })
    .collect()
}

impl Found {
    pub fn get(&self, name: &str) -> Option<&CqlValue> {
        self.0.iter().find(|(column, _)| column == name)?.1.as_ref()
    }

    pub fn number(&self, name: &str) -> Option<i64> {
        match self.get(name)? {
            CqlValue::BigInt(number) => Some(*number),
            CqlValue::Int(number) => Some(i64::from(*number)),
            _ => None,
        }
    }

    pub fn id(&self, name: &str) -> Option<u128> {
        match self.get(name)? {
            CqlValue::Uuid(id) => Some(id.as_u128()),
            _ => None,
        }
    }

    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name)?.as_text().map(String::as_str)
    }

    pub fn is_true(&self, name: &str) -> bool {
        matches!(self.get(name), Some(CqlValue::Boolean(true)))
    }

    /// Takes the bytes out of it.
    pub fn take_bytes(&mut self, name: &str) -> Option<Vec<u8>> {
        match self.0.iter_mut().find(|(column, _)| column == name)?.1.take()? {
            CqlValue::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}
