//! A node's way to the tables, with the steps of `tables/cassandra`: a flush is many requests, of which a crash may leave half.

use std::{io, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures_util::{StreamExt as _, TryStreamExt as _};
use tidings_proto::{ConversationId, Seq};
use tidings_server::{
    conversation::entry::Entry,
    journal::Position,
    node::NodeId,
    tables::{Freshness, Key, LogRange, Prefix, Row, Slice, Stored, Tables, TablesError, stages},
};

use super::{
    flaw::Flaw,
    store::{Link, Store, at_once},
    world::{World, digest},
};

const ROWS_A_REQUEST: usize = 10;
const WRITES_AT_ONCE: usize = 8;
/// How much later than it says a flush is written by a node with that flaw.
const LATE: Duration = Duration::from_secs(3);

#[derive(Clone)]
pub struct NodeTables {
    pub link: Link,
    pub journal: NodeId,
    pub flaw: Option<Flaw>,
}

fn failed(error: io::Error) -> TablesError {
    TablesError::Failed(Arc::new(error))
}

impl NodeTables {
    async fn write_all(&self, rows: Vec<Row>) -> Result<(), TablesError> {
        for mut rows in stages(rows) {
            rows.sort_by(|one, other| one.key.cmp(&other.key));
            let requests: Vec<Vec<Row>> = rows.chunks(ROWS_A_REQUEST).map(<[Row]>::to_vec).collect();
            let requests = futures_util::stream::iter(requests.into_iter().map(|rows| self.write(rows)));
            requests.buffer_unordered(WRITES_AT_ONCE).try_collect::<()>().await?;
        }
        Ok(())
    }

    async fn write(&self, rows: Vec<Row>) -> Result<(), TablesError> {
        let journal = self.journal;
        let write = move |store: &mut Store, world: &Arc<World>| {
            for row in &rows {
                let (key, version) = (digest(&row.key.encode()), row.version.0);
                let value = row.value.as_ref().map_or(0, |value| digest(value));
                world.note(format_args!("row {key:016x} {version} {value:016x} by {journal}"));
            }
            at_once(store.tables.put_max(rows.clone(), Freshness::Unknown))
        };
        self.link.try_ask(write).await.map_err(failed)?
    }
}

#[async_trait]
impl Tables for NodeTables {
    async fn put_max(&self, rows: Vec<Row>, _: Freshness) -> Result<(), TablesError> {
        if self.flaw == Some(Flaw::FlushNotAwaited) {
            let tables = self.clone();
            tokio::spawn(async move {
                tokio::time::sleep(LATE).await;
                tables.write_all(rows).await
            });
            return Ok(());
        }
        self.write_all(rows).await
    }

    async fn get(&self, keys: Vec<Key>) -> Result<Vec<Option<Stored>>, TablesError> {
        // One by one, at different times, as the store has them.
        let reads = keys.into_iter().map(|key| async move {
            let read = move |store: &mut Store, _: &Arc<_>| at_once(store.tables.get(vec![key.clone()]));
            self.link.try_ask(read).await.map_err(failed)?
        });
        let found: Vec<Vec<_>> = futures_util::stream::iter(reads).buffered(WRITES_AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn rows(&self, prefix: Prefix, after: Option<Key>, limit: usize) -> Result<Vec<(Key, Stored)>, TablesError> {
        let read =
            move |store: &mut Store, _: &Arc<_>| at_once(store.tables.rows(prefix.clone(), after.clone(), limit));
        self.link.try_ask(read).await.map_err(failed)?
    }

    async fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        let read = move |store: &mut Store, _: &Arc<_>| at_once(store.tables.conversations(slice, after, limit));
        self.link.try_ask(read).await.map_err(failed)?
    }

    async fn log(&self, id: ConversationId, range: LogRange, limit: usize) -> Result<Vec<Entry>, TablesError> {
        let read = move |store: &mut Store, _: &Arc<_>| at_once(store.tables.log(id, range, limit));
        self.link.try_ask(read).await.map_err(failed)?
    }

    async fn log_rows(&self, wanted: Vec<(ConversationId, Seq)>) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        let read = move |store: &mut Store, _: &Arc<_>| at_once(store.tables.log_rows(wanted.clone()));
        self.link.try_ask(read).await.map_err(failed)?
    }

    async fn log_rows_between(
        &self,
        id: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        let read = move |store: &mut Store, _: &Arc<_>| at_once(store.tables.log_rows_between(id, from, to, limit));
        self.link.try_ask(read).await.map_err(failed)?
    }

    async fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        let journal = self.journal;
        let set = move |store: &mut Store, _: &Arc<_>| store.set_mark(journal, position);
        self.link.try_ask(set).await.map_err(failed)
    }

    async fn flushed(&self) -> Result<Position, TablesError> {
        let journal = self.journal;
        self.link.try_ask(move |store, _| store.mark(journal)).await.map_err(failed)
    }
}
