use std::collections::HashMap;

use smallvec::smallvec;

use super::*;
use crate::journal::memory::{FailedCommit, MemoryJournal};

type Tagged = (usize, u64);

fn start(journal: &Arc<MemoryJournal>, options: CommitterOptions) -> (Committer<Tagged>, CommittedReceiver<Tagged>) {
    Committer::start(Arc::clone(journal) as _, options, Handle::current())
}

fn submission(payload: Tagged) -> Submission<Tagged> {
    Submission { events: smallvec![event(payload)], payload, permit: None }
}

fn event((sender, number): Tagged) -> Vec<u8> {
    format!("{sender}:{number}").into_bytes()
}

async fn committed(receiver: &mut CommittedReceiver<Tagged>) -> Committed<Tagged> {
    match receiver.recv().await {
        Some(Outcome::Committed(committed)) => committed,
        other => panic!("{other:?}"),
    }
}

/// Each sender's submissions come out in its order, with their own events, and what the journal holds says the same.
/// Also finds a lost wake-up: then this never ends.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_senders_keep_their_order() {
    let journal = Arc::new(MemoryJournal::new());
    let options = CommitterOptions {
        pace: Pace { target_commit_bytes: 300, max_commit_items: 7, ..Pace::LOCAL },
        ..Default::default()
    };
    let (committer, mut receiver) = start(&journal, options);
    for sender in 0..16 {
        let committer = committer.clone();
        tokio::spawn(async move {
            for number in 0..2_000 {
                if number % 3 == 0 {
                    tokio::task::yield_now().await;
                }
                let events = match number % 5 {
                    0 => smallvec![],
                    1 => smallvec![event((sender, number)), event((sender, number))],
                    _ => smallvec![event((sender, number))],
                };
                let permit = Some(committer.reserve(20).await.unwrap());
                committer.submit(Submission { events, payload: (sender, number), permit });
            }
        });
    }
    let mut next = HashMap::new();
    let mut last = Position::NONE;
    let mut handed_on = Vec::new();
    while handed_on.len() < 16 * 2_000 {
        let batch = committed(&mut receiver).await;
        assert!(batch.position == if batch.commit.is_empty() { last } else { last.next() });
        last = batch.position;
        for item in &batch.items {
            let expected = next.entry(item.payload.0).or_insert(0);
            assert_eq!(item.payload.1, *expected);
            *expected += 1;
            let copies = [0, 2, 1, 1, 1][item.payload.1 as usize % 5];
            assert_eq!(item.events(&batch.commit).collect::<Vec<_>>(), vec![Bytes::from(event(item.payload)); copies]);
            handed_on.push(item.events(&batch.commit).collect::<Vec<_>>());
        }
    }
    let stopping = tokio::spawn(async move { committer.stop().await });
    assert!(receiver.recv().await.is_none());
    stopping.await.unwrap();

    let commits = journal.read(Position::NONE, usize::MAX).await.unwrap();
    let durable = commits.into_iter().flat_map(|(_, commit)| framing::events(commit)).collect::<Result<Vec<_>, _>>();
    assert!(durable.unwrap() == handed_on.concat());
}

#[tokio::test]
async fn nothing_comes_out_before_its_commit_and_the_next_one_gathers() {
    let journal = Arc::new(MemoryJournal::new());
    let (committer, mut receiver) = start(&journal, CommitterOptions::default());
    let hold = journal.hold();
    committer.submit(submission((0, 0)));
    hold.reached().await;
    for number in 1..10 {
        committer.submit(submission((0, number)));
    }
    committer.submit(Submission { events: smallvec![], payload: (0, 10), permit: None });
    assert!(futures_util::poll!(std::pin::pin!(receiver.recv())).is_pending());
    drop(hold);
    assert_eq!(committed(&mut receiver).await.items.len(), 1);
    let gathered = committed(&mut receiver).await;
    assert_eq!(gathered.position, Position(2));
    assert_eq!(gathered.items.iter().map(|item| item.payload.1).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_a_failure_everything_comes_back_failed() {
    let journal = Arc::new(MemoryJournal::new());
    let (committer, mut receiver) = start(&journal, CommitterOptions::default());
    committer.submit(submission((0, 0)));
    assert_eq!(committed(&mut receiver).await.position, Position(1));
    let hold = journal.hold();
    journal.fail_next_append(FailedCommit::Kept);
    committer.submit(submission((0, 1)));
    hold.reached().await;
    committer.submit(submission((0, 2)));
    drop(hold);
    let mut failed = Vec::new();
    while failed.len() < 4 {
        match receiver.recv().await {
            Some(Outcome::Failed(Failed { payloads, error })) => {
                assert!(matches!(*error, AppendError::Failed(_)));
                failed.extend(payloads);
            }
            other => panic!("{other:?}"),
        }
        if failed.len() == 2 {
            committer.submit(submission((0, 3)));
            committer.submit(Submission { events: smallvec![], payload: (0, 4), permit: None });
        }
    }
    assert_eq!(failed, [(0, 1), (0, 2), (0, 3), (0, 4)]);
    assert!(committer.reserve(1).await.is_err());
    let status = committer.status();
    assert!(status.broken.is_some() && status.commits == 1 && status.position == Position(1));
}

/// Nothing was submitted, and nothing will be, for nothing is taken any more: somebody must hear of it all the same.
#[tokio::test]
async fn a_confirm_that_fails_comes_out_alone() {
    let journal = Arc::new(MemoryJournal::new());
    let options = CommitterOptions {
        pace: Pace { confirm_after: Duration::from_millis(1), ..Pace::LOCAL },
        ..Default::default()
    };
    let (committer, mut receiver) = start(&journal, options);
    let hold = journal.hold();
    committer.submit(submission((0, 0)));
    hold.reached().await;
    journal.break_after_next_append();
    drop(hold);
    assert_eq!(committed(&mut receiver).await.items.len(), 1);
    let Some(Outcome::Failed(Failed { payloads, error })) = receiver.recv().await else { panic!("all is well") };
    assert!(payloads.is_empty() && matches!(*error, AppendError::Failed(_)));
    assert!(committer.reserve(1).await.is_err());
}

#[tokio::test]
async fn a_fence_and_a_submission_that_is_too_large() {
    let journal = Arc::new(MemoryJournal::new());
    let (committer, mut receiver) = start(&journal, CommitterOptions::default());
    let too_large = vec![0; journal.max_commit_bytes()];
    committer.submit(Submission { events: smallvec![too_large], payload: (0, 0), permit: None });
    committer.submit(submission((0, 1)));
    let Some(Outcome::Failed(refused)) = receiver.recv().await else { panic!("it was committed") };
    assert!(matches!(*refused.error, AppendError::TooLarge { .. }) && refused.payloads == [(0, 0)]);
    assert_eq!(committed(&mut receiver).await.items[0].payload, (0, 1));
    journal.fence();
    committer.submit(submission((0, 2)));
    let Some(Outcome::Failed(fenced)) = receiver.recv().await else { panic!("it was committed") };
    assert!(matches!(*fenced.error, AppendError::Fenced));
}

#[tokio::test]
async fn the_backlog_is_bounded_until_it_is_flushed() {
    let journal = Arc::new(MemoryJournal::new());
    let options = CommitterOptions { backlog_bytes: 10_000, ..Default::default() };
    let (committer, mut receiver) = start(&journal, options);
    let mut last = Position::NONE;
    for number in 0..9 {
        let permit = Some(committer.reserve(1_000).await.unwrap());
        committer.submit(Submission { events: smallvec![vec![0; 998]], payload: (0, number), permit });
        last = committed(&mut receiver).await.position;
    }
    assert_eq!(committer.status().backlog_bytes, 9 * (1_000 + ITEM_BYTES as u64));
    let mut waiting = std::pin::pin!(committer.reserve(1_000));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    committer.flushed(Position(1));
    assert!(waiting.await.is_ok());
    committer.flushed(last);
    assert_eq!(committer.status().backlog_bytes, 0);
}

#[tokio::test]
async fn stopping_commits_what_was_submitted() {
    let journal = Arc::new(MemoryJournal::new());
    let (committer, mut receiver) = start(&journal, CommitterOptions::default());
    let hold = journal.hold();
    committer.submit(submission((0, 0)));
    hold.reached().await;
    committer.submit(submission((0, 1)));
    let stopping = tokio::spawn({
        let committer = committer.clone();
        async move { committer.stop().await }
    });
    drop(hold);
    assert_eq!(committed(&mut receiver).await.items[0].payload, (0, 0));
    assert_eq!(committed(&mut receiver).await.items[0].payload, (0, 1));
    assert!(receiver.recv().await.is_none());
    stopping.await.unwrap();
    committer.submit(submission((0, 2)));
    assert!(committer.reserve(1).await.is_err());
    assert_eq!(journal.read(Position::NONE, usize::MAX).await.unwrap().len(), 2);
}

#[tokio::test]
async fn an_idle_journal_that_was_sealed_is_noticed() {
    let journal = Arc::new(MemoryJournal::new());
    let pace = Pace { confirm_every: Some(Duration::from_millis(5)), ..Pace::LOCAL };
    let (committer, mut receiver) = start(&journal, CommitterOptions { pace, ..Default::default() });
    journal.fence();
    // Nothing was submitted, before or after.
    let Some(Outcome::Failed(told)) = receiver.recv().await else { panic!("the end is told") };
    assert!(matches!(*told.error, AppendError::Fenced) && told.payloads.is_empty());
    assert!(committer.reserve(1).await.is_err());
    committer.stop().await;
    assert!(receiver.recv().await.is_none(), "it is told once");
}

#[tokio::test]
async fn while_the_journal_does_not_answer_new_senders_are_refused() {
    let journal = Arc::new(MemoryJournal::new());
    let pace = Pace { refuse_after: Some(Duration::ZERO), ..Pace::LOCAL };
    let (committer, mut receiver) = start(&journal, CommitterOptions { pace, ..Default::default() });
    let hold = journal.hold();
    let permit = committer.reserve(1).await.unwrap();
    committer.submit(Submission { events: smallvec![vec![1]], payload: (0, 0), permit: Some(permit) });
    hold.reached().await;
    assert!(committer.reserve(1).await.is_err());
    assert!(committer.reserve_patiently(1).await.is_ok(), "the journal may answer yet");
    drop(hold);
    assert!(matches!(receiver.recv().await, Some(Outcome::Committed(_))), "what was taken before is committed");
    assert!(committer.reserve(1).await.is_ok());
    committer.stop().await;
}

/// As a process finds it that was paused: time has passed, and the journal has said nothing.
#[tokio::test(start_paused = true)]
async fn who_has_not_heard_from_a_journal_that_others_may_seal_is_out_of_touch() {
    let journal = Arc::new(MemoryJournal::new());
    for (confirm_every, is_shared) in [(Some(Duration::from_secs(2)), true), (None, false)] {
        let pace = Pace { confirm_every, refuse_after: Some(Duration::from_secs(5)), ..Pace::LOCAL };
        let options = CommitterOptions { pace, runs_as: RunsAs::Task, ..CommitterOptions::default() };
        let (committer, mut receiver) = start(&journal, options);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!committer.is_out_of_touch(), "it is confirmed while nothing comes");
        let hold = journal.hold();
        committer.submit(submission((0, 0)));
        hold.reached().await;
        assert!(!committer.is_out_of_touch());
        tokio::time::advance(Duration::from_secs(6)).await;
        assert_eq!(committer.is_out_of_touch(), is_shared);
        drop(hold);
        committed(&mut receiver).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!committer.is_out_of_touch());
        committer.stop().await;
    }
}
