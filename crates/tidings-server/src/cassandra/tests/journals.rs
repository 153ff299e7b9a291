//! Journals on real nodes: the suite that all pass, seals, stale writers, trimming.

use async_trait::async_trait;
use bytes::Bytes;

use super::*;
use crate::journal::{
    AppendError, Journal, Position, ReadError,
    cassandra::Journals,
    conformance::{self, Place, sample},
};
use crate::node::NodeId;

/// Small buckets, so that a short test crosses and trims several.
const BUCKET: u64 = 16;

struct InCassandra {
    journals: Journals,
    id: Option<NodeId>,
}

#[async_trait]
impl Place for InCassandra {
    async fn open(&mut self) -> (Vec<(Position, Bytes)>, Arc<dyn Journal>) {
        let Some(id) = self.id else {
            let journal = self.journals.begin().await.unwrap();
            self.id = Some(journal.id());
            return (Vec::new(), Arc::new(journal));
        };
        let mut held = Vec::new();
        let mut after = Position::NONE;
        loop {
            match self.journals.read(id, after, usize::MAX).await {
                Ok(commits) => {
                    held.extend(commits);
                    break;
                }
                // Up to the mark of this bucket, or to a row that is there: never further than one bucket too far.
                Err(ReadError::Trimmed { trimmed, .. }) => after = trimmed,
                Err(error) => panic!("{error}"),
            }
        }
        (held, Arc::new(self.journals.resume(id).await.unwrap()))
    }
}

pub(super) async fn journals() -> Journals {
    Journals::with_buckets(store().await, BUCKET).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn journals_conform() {
    let journals = journals().await;
    in_time(conformance::run_all(|| InCassandra { journals: journals.clone(), id: None })).await;
}

async fn fill(journal: &dyn Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(journal.append(sample(number)).await.unwrap(), Position(number));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn a_stale_writer_gets_no_ack_after_seal_and_retirement() {
    let journals = journals().await;
    // Where the seal falls into a bucket, and where into an empty one.
    for last in [BUCKET * 2 + 5, BUCKET * 2] {
        let writer = journals.begin().await.unwrap();
        fill(&writer, 1..=last).await;
        journals.set_flushed(writer.id(), Position(BUCKET + 3)).await.unwrap();
        assert_eq!(journals.seal(writer.id()).await.unwrap(), Position(last));
        let replayed = journals.read(writer.id(), Position(BUCKET + 3), usize::MAX).await.unwrap();
        assert_eq!(replayed.last().unwrap(), &(Position(last), sample(last)));
        journals.retire(writer.id()).await.unwrap();
        journals.retire(writer.id()).await.unwrap();
        let read = journals.read(writer.id(), Position(BUCKET), 1).await;
        assert!(matches!(read, Err(ReadError::Trimmed { .. })), "{read:?}");

        // It slept all the while.
        assert!(matches!(writer.append(sample(last + 1)).await, Err(AppendError::Fenced)));
        assert!(matches!(writer.append(sample(last + 1)).await, Err(AppendError::Fenced)));
        assert_eq!(journals.sealed(writer.id()).await.unwrap(), Some(Position(last)));
        assert_eq!(journals.seal(writer.id()).await.unwrap(), Position(last));
        let listed = journals.list().await.unwrap();
        assert!(listed.iter().any(|listed| listed.id == writer.id() && listed.flushed == Position(last)));
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn a_seal_put_where_all_was_trimmed_does_not_count() {
    let journals = journals().await;
    let writer = journals.begin().await.unwrap();
    fill(&writer, 1..=BUCKET * 3 + 2).await;
    journals.set_flushed(writer.id(), Position(BUCKET * 3)).await.unwrap();
    writer.trim(Position(BUCKET * 3)).await.unwrap();
    // A sealer that read the end long ago inserts now; the negative control: its insert does succeed there.
    assert!(journals.insert_seal(writer.id(), Position(5)).await.unwrap());
    assert_eq!(journals.sealed(writer.id()).await.unwrap(), None);
    fill(&writer, BUCKET * 3 + 3..=BUCKET * 4 + 1).await;
    assert_eq!(journals.seal(writer.id()).await.unwrap(), Position(BUCKET * 4 + 1));
    assert!(matches!(writer.confirm().await, Err(AppendError::Fenced)));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn two_writers_of_one_journal_cannot_both_be_acknowledged() {
    let journals = journals().await;
    let one = journals.begin().await.unwrap();
    fill(&one, 1..=3).await;
    let other = journals.resume(one.id()).await.unwrap();
    assert_eq!(other.append(sample(4)).await.unwrap(), Position(4));
    assert!(matches!(one.append(sample(4)).await, Err(AppendError::Failed(_))));
    assert!(matches!(one.append(sample(5)).await, Err(AppendError::Failed(_))), "it has ended for this process");
    assert_eq!(other.append(sample(5)).await.unwrap(), Position(5));
}

/// A writer at full speed, two that seal it: both learn the same end, all that was acknowledged is before it, and
/// nothing is acknowledged afterwards.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Cassandra: make test"]
async fn sealers_and_a_writer_at_full_speed_agree_on_the_end() {
    let journals = journals().await;
    for round in 0..4 {
        let writer = Arc::new(journals.begin().await.unwrap());
        let (told, mut acked) = tokio::sync::watch::channel(0u64);
        let writing = tokio::spawn({
            let writer = writer.clone();
            async move {
                loop {
                    let next = *told.borrow() + 1;
                    match writer.append(sample(next)).await {
                        Ok(position) => told.send_replace(position.0),
                        Err(error) => break (error, *told.borrow()),
                    };
                }
            }
        });
        in_time(acked.wait_for(|acked| *acked >= 5 + round * 4)).await.unwrap();
        let seals = (0..2).map(|_| {
            let (journals, id) = (journals.clone(), writer.id());
            tokio::spawn(async move { journals.seal(id).await.unwrap() })
        });
        let ends: Vec<_> =
            in_time(futures_util::future::join_all(seals)).await.into_iter().map(Result::unwrap).collect();
        let (error, last_acked) = in_time(writing).await.unwrap();
        assert!(matches!(error, AppendError::Fenced), "{error}");
        assert_eq!(ends[0], ends[1]);
        // One in flight: its commit may be in without that the writer knows.
        assert!(ends[0].0 == last_acked || ends[0].0 == last_acked + 1, "{} acked, end {}", last_acked, ends[0]);
        let read = journals.read(writer.id(), Position::NONE, usize::MAX).await.unwrap();
        assert_eq!(read.last().unwrap().0, ends[0]);
        for (position, commit) in read {
            assert_eq!(commit, sample(position.0));
        }
    }
}
