//! What every journal must do, as one suite: `memory`, `file` and whatever comes later run it in their own tests.
#![allow(clippy::unwrap_used, reason = "a suite of tests: to panic is its answer")]

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use super::{AppendError, Journal, Position, ReadError};

/// Where a journal lives from one process to the next.
#[async_trait]
pub trait Place: Send {
    /// Opens it as a new process does: what it still holds, and, as if all of that had been flushed, the journal. The
    /// caller has dropped the one it had before.
    async fn open(&mut self) -> (Vec<(Position, Bytes)>, Arc<dyn Journal>);
}

/// Runs every case, each on a new place.
pub async fn run_all<P: Place>(new_place: impl Fn() -> P) {
    positions_are_dense_and_reads_have_no_hole(new_place()).await;
    what_was_appended_is_there_after_reopening(new_place()).await;
    positions_go_on_after_trim_and_reopening(new_place()).await;
    trim_gives_up_nothing_above(new_place()).await;
    confirming_takes_no_position(new_place()).await;
    too_large_a_commit_is_refused_and_harms_nothing(new_place()).await;
    a_sealed_journal_takes_nothing_more(new_place()).await;
}

/// A commit that tells its number and has a length that varies with it.
#[must_use]
pub fn sample(number: u64) -> Bytes {
    let length = 9 + (number * number * 37 % 9_000) as usize;
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.extend((bytes.len()..length).map(|index| (number as usize * 31 + index) as u8));
    Bytes::from(bytes)
}

async fn append_samples(journal: &dyn Journal, numbers: std::ops::RangeInclusive<u64>) {
    for number in numbers {
        assert_eq!(journal.append(sample(number)).await.unwrap(), Position(number));
    }
}

/// All commits after `after`, read in pieces of about `max_bytes`.
async fn read_all(journal: &dyn Journal, mut after: Position, max_bytes: usize) -> Vec<(Position, Bytes)> {
    let mut commits = Vec::new();
    loop {
        let piece = journal.read(after, max_bytes).await.unwrap();
        let Some(last) = piece.last() else { return commits };
        after = last.0;
        let before_last = piece[..piece.len() - 1].iter().map(|(_, commit)| commit.len()).sum::<usize>();
        assert!(before_last < max_bytes.max(1), "{before_last} bytes were reached before the last commit");
        commits.extend(piece);
    }
}

#[track_caller]
fn assert_samples(commits: &[(Position, Bytes)], numbers: std::ops::RangeInclusive<u64>) {
    let positions = commits.iter().map(|(position, _)| position.0).collect::<Vec<_>>();
    assert_eq!(positions, numbers.clone().collect::<Vec<_>>());
    for ((_, commit), number) in commits.iter().zip(numbers) {
        assert!(*commit == sample(number), "commit {number} is not what was appended");
    }
}

async fn positions_are_dense_and_reads_have_no_hole(mut place: impl Place) {
    let (held, journal) = place.open().await;
    assert!(held.is_empty());
    assert!(journal.read(Position::NONE, 1_000).await.unwrap().is_empty());
    append_samples(&*journal, 1..=60).await;
    for max_bytes in [0, 1, 10_000, usize::MAX] {
        assert_samples(&read_all(&*journal, Position::NONE, max_bytes).await, 1..=60);
        assert_samples(&read_all(&*journal, Position(37), max_bytes).await, 38..=60);
    }
    assert!(journal.read(Position(60), 1_000).await.unwrap().is_empty());
}

async fn what_was_appended_is_there_after_reopening(mut place: impl Place) {
    let (_, journal) = place.open().await;
    append_samples(&*journal, 1..=60).await;
    drop(journal);
    let (held, journal) = place.open().await;
    assert_samples(&held, 1..=60);
    append_samples(&*journal, 61..=70).await;
    assert_samples(&read_all(&*journal, Position(60), 5_000).await, 61..=70);
    drop(journal);
    let (held, _journal) = place.open().await;
    assert_samples(&held[held.len() - 10..], 61..=70);
}

async fn positions_go_on_after_trim_and_reopening(mut place: impl Place) {
    let (_, journal) = place.open().await;
    append_samples(&*journal, 1..=30).await;
    journal.trim(Position(30)).await.unwrap();
    drop(journal);
    for number in 31..40 {
        let (_, journal) = place.open().await;
        append_samples(&*journal, number..=number).await;
        journal.trim(Position(number)).await.unwrap();
    }
}

async fn trim_gives_up_nothing_above(mut place: impl Place) {
    let (_, journal) = place.open().await;
    for last in (20..=200).step_by(20) {
        append_samples(&*journal, last - 19..=last).await;
        let up_to = Position(last - 7);
        journal.trim(up_to).await.unwrap();
        assert_samples(&read_all(&*journal, up_to, 10_000).await, last - 6..=last);
        // Repeating it, or trimming less, does nothing.
        journal.trim(Position(1)).await.unwrap();
        assert_samples(&read_all(&*journal, up_to, usize::MAX).await, last - 6..=last);
    }
    match journal.read(Position::NONE, 1).await {
        Err(ReadError::Trimmed { asked, trimmed }) => assert!(asked == Position::NONE && trimmed <= Position(193)),
        Ok(kept) => assert_samples(&kept[..1], 1..=1),
        Err(error) => panic!("{error}"),
    }
    drop(journal);
    let (held, _journal) = place.open().await;
    assert_samples(&held[held.len() - 7..], 194..=200);
}

async fn confirming_takes_no_position(mut place: impl Place) {
    let (_, journal) = place.open().await;
    journal.confirm().await.unwrap();
    for number in 1..=20 {
        append_samples(&*journal, number..=number).await;
        journal.confirm().await.unwrap();
        journal.confirm().await.unwrap();
    }
    assert_samples(&read_all(&*journal, Position::NONE, 1_000).await, 1..=20);
    drop(journal);
    let (held, journal) = place.open().await;
    assert_samples(&held, 1..=20);
    append_samples(&*journal, 21..=21).await;
}

async fn too_large_a_commit_is_refused_and_harms_nothing(mut place: impl Place) {
    let (_, journal) = place.open().await;
    let max = journal.max_commit_bytes();
    let refusal = journal.append(Bytes::from(vec![1; max + 1])).await;
    assert!(matches!(refusal, Err(AppendError::TooLarge { bytes, max: told }) if bytes == max + 1 && told == max));
    for number in 1..=3 {
        assert_eq!(journal.append(Bytes::from(vec![number as u8; max])).await.unwrap(), Position(number));
    }
    drop(journal);
    let (held, _journal) = place.open().await;
    assert_eq!(held.len(), 3);
    assert!(
        held.iter()
            .all(|(position, commit)| commit.len() == max && commit.iter().all(|byte| u64::from(*byte) == position.0))
    );
}

async fn a_sealed_journal_takes_nothing_more(mut place: impl Place) {
    let (_, journal) = place.open().await;
    append_samples(&*journal, 1..=5).await;
    assert_eq!(journal.seal().await.unwrap(), Position(5));
    assert!(matches!(journal.append(sample(6)).await, Err(AppendError::Fenced)));
    assert!(matches!(journal.confirm().await, Err(AppendError::Fenced)));
    assert_eq!(journal.seal().await.unwrap(), Position(5));
    assert_samples(&read_all(&*journal, Position::NONE, 1_000).await, 1..=5);
    drop(journal);
    let (held, journal) = place.open().await;
    assert_samples(&held, 1..=5);
    assert!(matches!(journal.append(sample(6)).await, Err(AppendError::Fenced)));
    assert_eq!(journal.seal().await.unwrap(), Position(5));
}
