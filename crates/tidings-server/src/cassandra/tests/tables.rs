//! Tables on real nodes: the suite that all pass, logs over several parts, the mark.

use async_trait::async_trait;
use bytes::Bytes;
use tidings_proto::{ConversationId, Seq, UserId};

use super::*;
use crate::{
    conversation::entry::{Body, Entry, Message},
    journal::Position,
    node::NodeId,
    tables::{
        Freshness, Key, LogRange, Row, Tables, Version,
        cassandra::CassandraTables,
        chunk::{self, Shape},
        conformance::{self, Place},
    },
};

/// A journal of its own; the tables are emptied first.
struct Emptied {
    store: Arc<Store>,
    journal: NodeId,
}

#[async_trait]
impl Place for Emptied {
    async fn open(&self) -> Arc<dyn Tables> {
        for table in ["conversation", "log", "member", "fingerprints", "home", "inbox", "archive"] {
            self.store.session().query_unpaged(format!("TRUNCATE tidings_tests.{table}"), ()).await.unwrap();
        }
        Arc::new(CassandraTables::open(self.store.clone(), self.journal).await.unwrap())
    }

    async fn reopen(&self, tables: Arc<dyn Tables>) -> Arc<dyn Tables> {
        drop(tables);
        Arc::new(CassandraTables::open(store().await, self.journal).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn cassandra_tables_keep_the_promises() {
    let place = Emptied { store: store().await, journal: NodeId::random() };
    in_time(conformance::promises(&place)).await;
}

#[test]
#[ignore = "needs Cassandra: make test"]
fn cassandra_tables_agree_with_the_reference() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store = runtime.block_on(store());
    conformance::agrees_with_the_reference(|| Emptied { store: store.clone(), journal: NodeId::random() }, 3);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn a_wrong_item_in_cassandra_is_found_and_mended() {
    let place = Emptied { store: store().await, journal: NodeId::random() };
    in_time(crate::fsck::tests::wrong_items_are_set_right(place.open().await)).await;
}

fn log_row(conversation: ConversationId, version: u64, seqs: std::ops::RangeInclusive<u64>) -> Row {
    let entries: Vec<_> = seqs
        .map(|seq| Entry {
            seq: Seq(seq),
            at_ms: seq,
            from: UserId::new("ada").unwrap(),
            ord: seq,
            client_msg_id: None,
            body: Body::Message(Message::default()),
            void: false,
            fold: None,
        })
        .collect();
    let value = Some(Bytes::from(chunk::encode(Shape::Small, &entries)));
    Row { key: Key::Log(conversation, entries[0].seq), version: Version(version), value }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn a_long_log_is_read_over_its_parts() {
    const LAST: u64 = 8_192 * 3 + 40;
    let tables = CassandraTables::open(store().await, NodeId::random()).await.unwrap();
    let conversation = ConversationId::from_bytes(rand::random());
    // Rows of 100, so that some begin in one part and end in the next.
    let rows = (1..=LAST).step_by(100).map(|from| log_row(conversation, 1, from..=(from + 99).min(LAST)));
    tables.put_max(rows.collect(), Freshness::Newest).await.unwrap();
    let seqs = async |range, limit| -> Vec<u64> {
        tables.log(conversation, range, limit).await.unwrap().into_iter().map(|entry| entry.seq.0).collect()
    };
    for after in [0, 8_100, 8_191, 8_192, 8_200, 16_383, LAST - 5] {
        let expected: Vec<_> = (after + 1..=LAST).take(250).collect();
        assert_eq!(seqs(LogRange::After(Seq(after)), 250).await, expected, "after {after}");
    }
    for before in [1, 2, 8_192, 8_193, 8_230, LAST, LAST + 1, LAST + 100_000, u64::MAX] {
        let expected: Vec<_> = (1..before.min(LAST + 1)).rev().take(250).collect();
        assert_eq!(seqs(LogRange::Before(Seq(before)), 250).await, expected, "before {before}");
    }
    assert_eq!(seqs(LogRange::After(Seq::NONE), usize::MAX).await.len() as u64, LAST);
    let found = tables.log_rows(vec![(conversation, Seq(8_195)), (conversation, Seq(8_250))]).await.unwrap();
    let found: Vec<Vec<u64>> = found.into_iter().map(|rows| rows.into_iter().map(|(seq, _)| seq.0).collect()).collect();
    assert_eq!(found, [vec![8_101], vec![8_201]]);
}

/// The mark never runs ahead by a late write of an older one.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn the_mark_of_a_journal_never_goes_back() {
    let journal = NodeId::random();
    let tables = CassandraTables::open(store().await, journal).await.unwrap();
    for (set, stands) in [(5, 5), (9, 9), (7, 9), (9, 9), (0, 9)] {
        tables.set_flushed(Position(set)).await.unwrap();
        assert_eq!(tables.flushed().await.unwrap(), Position(stands));
    }
}
