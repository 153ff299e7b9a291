use proptest::prelude::*;
use tidings_proto::UserId;

use super::*;
use crate::{
    conversation::entry::Message,
    tables::{Freshness, Stored, memory::MemoryTables},
};

fn conversation(n: u8) -> ConversationId {
    ConversationId::from_bytes([n; 16])
}

fn message(seq: u64, text: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at_ms: 1_795_132_800_000 + seq,
        from: UserId::new("ada").unwrap(),
        ord: seq,
        client_msg_id: Some(format!("c-{seq}").into()),
        body: Body::Message(Message { text: text.into(), ..Message::default() }),
        void: false,
        fold: None,
    }
}

/// Text that does not compress away, so that chunks get full.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let letters = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b' ' + (state >> 33) as u8 % 90)
    });
    letters.take(bytes).collect()
}

/// One conversation's log and what the server would know of it.
#[derive(Clone, Default)]
struct Log {
    entries: Vec<Entry>,
    tail: OpenTail,
    version: u64,
}

impl Log {
    /// Adds messages of these lengths and changes earlier entries, as one window.
    async fn window(
        &mut self,
        tables: &MemoryTables,
        lengths: &[usize],
        changes: &[Change],
        freshness: Freshness,
    ) -> Vec<Row> {
        let first = self.entries.len();
        for length in lengths {
            let seq = self.entries.len() as u64 + 1;
            self.entries.push(message(seq, &noise(seq, *length)));
        }
        self.version += (lengths.len() + changes.len()) as u64;
        let new: Vec<_> = self.entries[first..].iter().cloned().map(Arc::new).collect();
        for change in changes {
            fold::apply(&mut self.entries[usize::try_from(change.seq.0 - 1).unwrap()], &change.by);
        }
        let mut flush = LogFlush {
            conversation: conversation(1),
            tail: &mut self.tail,
            version: Version(self.version),
            new: &new,
            changed: changes,
        };
        let rows = log_rows(tables, std::slice::from_mut(&mut flush)).await.unwrap();
        tables.put_max(rows.clone(), freshness).await.unwrap();
        rows
    }

    async fn assert_stands_in(&self, tables: &MemoryTables) {
        let count = self.entries.len() + 1;
        let read = tables.log(conversation(1), LogRange::After(Seq::NONE), count).await.unwrap();
        assert_eq!(read, self.entries);
    }
}

fn redact(seq: u64) -> Change {
    change(seq, Body::Redaction { target: Seq(seq), edits: Vec::new() })
}

fn edit(seq: u64) -> Change {
    change(seq, Body::Edit { target: Seq(seq), text: "edited".into() })
}

fn change(seq: u64, body: Body) -> Change {
    Change { seq: Seq(seq), by: Arc::new(Entry { body, ..message(1_000_000, "") }) }
}

async fn rows_of_log(tables: &MemoryTables, last: u64) -> Vec<(Seq, Stored)> {
    let wanted = (1..=last).map(|seq| (conversation(1), Seq(seq))).collect();
    let mut rows = tables.log_rows(wanted).await.unwrap().concat();
    rows.dedup();
    rows
}

#[tokio::test]
async fn small_rows_are_closed_into_a_chunk_and_leave_nothing_behind() {
    let (tables, mut log) = (MemoryTables::new(), Log::default());
    for _ in 0..50 {
        log.window(&tables, &[150], &[], Freshness::Newest).await;
    }
    log.assert_stands_in(&tables).await;
    let rows = rows_of_log(&tables, 50).await;
    let chunks: Vec<_> =
        rows.iter().filter(|(_, row)| chunk::open(&row.value).unwrap().shape == Shape::Chunk).collect();
    assert!(!chunks.is_empty() && rows.len() - chunks.len() == log.tail.rows.len());
    let held: usize = rows.iter().map(|(_, row)| chunk::open(&row.value).unwrap().count).sum();
    assert_eq!(held, 50, "each entry stands in one row");
}

#[tokio::test]
async fn a_busy_conversation_is_written_as_chunks_without_reading() {
    let (tables, mut log) = (MemoryTables::new(), Log::default());
    let rows = log.window(&tables, &[150; 200], &[], Freshness::Newest).await;
    assert!(rows.iter().all(|row| row.value.as_ref().is_some_and(|value| value.len() < 8 * 1_024)));
    log.assert_stands_in(&tables).await;
}

#[tokio::test]
async fn a_redaction_takes_the_text_out_of_every_row_that_had_it() {
    let (tables, mut log) = (MemoryTables::new(), Log::default());
    log.window(&tables, &[150; 60], &[], Freshness::Newest).await;
    // A row that overlaps, as a replay may leave it.
    let overlapping = chunk::encode(Shape::Small, &log.entries[2..5]);
    let row = Row { key: Key::Log(conversation(1), Seq(3)), version: Version(1), value: Some(overlapping.into()) };
    tables.put_max(vec![row], Freshness::Newest).await.unwrap();

    log.window(&tables, &[20], &[redact(4)], Freshness::Newest).await;
    log.assert_stands_in(&tables).await;
    let holding = tables.log_rows(vec![(conversation(1), Seq(4))]).await.unwrap().remove(0);
    assert_eq!(holding.len(), 2);
    for (_, stored) in holding {
        let entries = chunk::open(&stored.value).unwrap().entries().unwrap();
        let entry = entries.iter().find(|entry| entry.seq == Seq(4)).unwrap();
        assert_eq!(entry.body, Body::Message(Message::default()));
        assert_eq!(entry.client_msg_id.as_deref(), Some("c-4"));
    }
}

#[tokio::test]
async fn a_hole_in_the_log_is_reported_and_not_written_over() {
    let (tables, mut log) = (MemoryTables::new(), Log::default());
    log.window(&tables, &[150, 150], &[], Freshness::Newest).await;
    let lost = Row { key: Key::Log(conversation(1), Seq(1)), version: Version(9), value: None };
    tables.put_max(vec![lost], Freshness::Newest).await.unwrap();

    let new: Vec<_> = (3..90).map(|seq| Arc::new(message(seq, &noise(seq, 150)))).collect();
    let flush =
        LogFlush { conversation: conversation(1), tail: &mut log.tail, version: Version(99), new: &new, changed: &[] };
    let closing = log_rows(&tables, &mut [flush]).await;
    assert!(matches!(closing, Err(TablesError::Damaged { what, .. }) if what.contains("entry 1")));

    let mut tail = OpenTail::default();
    let flush = LogFlush {
        conversation: conversation(2),
        tail: &mut tail,
        version: Version(1),
        new: &[],
        changed: &[redact(1)],
    };
    assert!(matches!(log_rows(&tables, &mut [flush]).await, Err(TablesError::Damaged { .. })));
}

#[derive(Clone, Debug)]
struct Window {
    lengths: Vec<usize>,
    /// Places in the log, to be redacted or to get another text.
    changes: Vec<(prop::sample::Index, bool)>,
}

fn a_window() -> impl Strategy<Value = Window> {
    let lengths =
        prop_oneof![4 => prop::collection::vec(0..300usize, 0..4), 1 => prop::collection::vec(0..300usize, 0..160)];
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..3);
    (lengths, changes).prop_map(|(lengths, changes)| Window { lengths, changes })
}

impl Window {
    fn changes(&self, log: &Log) -> Vec<Change> {
        let count = log.entries.len() + self.lengths.len();
        let changes = self.changes.iter().filter(|_| count > 0).map(|(place, redacts)| {
            let seq = place.index(count) as u64 + 1;
            if *redacts { redact(seq) } else { edit(seq) }
        });
        changes.collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// What is read equals what was flushed, also if the server crashed at some moment and replays other windows over
    /// rows that the first try left behind.
    #[test]
    fn the_log_is_read_as_it_was_flushed(
        before in prop::collection::vec(a_window(), 0..12),
        lost in prop::collection::vec(a_window(), 0..8),
        cuts in prop::collection::vec(any::<bool>(), 8),
        after in prop::collection::vec(a_window(), 0..8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (tables, mut log) = (MemoryTables::new(), Log::default());
            for window in &before {
                let changes = window.changes(&log);
                log.window(&tables, &window.lengths, &changes, Freshness::Newest).await;
            }
            log.assert_stands_in(&tables).await;

            // The first try: rows are written, but the state (tail, version) is not.
            let mut first_try = log.clone();
            for window in &lost {
                let changes = window.changes(&first_try);
                first_try.window(&tables, &window.lengths, &changes, Freshness::Newest).await;
            }
            // The replay: the same events, some windows joined.
            let (mut lengths, mut changes) = (Vec::new(), Vec::new());
            for (index, window) in lost.iter().enumerate() {
                let known = Log { entries: [&log.entries[..], &vec![message(1, ""); lengths.len()]].concat(), ..Log::default() };
                changes.extend(window.changes(&known));
                lengths.extend(&window.lengths);
                if cuts[index] || index + 1 == lost.len() {
                    log.window(&tables, &std::mem::take(&mut lengths), &std::mem::take(&mut changes), Freshness::Unknown).await;
                }
            }
            assert_eq!(log.entries, first_try.entries);
            log.assert_stands_in(&tables).await;

            for window in &after {
                let changes = window.changes(&log);
                log.window(&tables, &window.lengths, &changes, Freshness::Newest).await;
            }
            log.assert_stands_in(&tables).await;
        });
    }
}
