//! Decided is not committed: while a commit is held back nobody sees anything of it, and what rests on it waits.

use futures_util::FutureExt as _;
use serde_json::json;
use tidings_proto::{Code, ConversationId, Seq};

use crate::{
    journal::memory::{FailedCommit, MemoryJournal},
    session::reply::Answer,
    tables::memory::MemoryTables,
};

use super::{Device, Rig, code, direct, send, send_in, user};
use std::sync::Arc;

async fn rig() -> Rig {
    Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await
}

fn sent(answer: &Answer) -> (u64, bool) {
    match answer {
        Answer::Sent { seq, repeat, .. } | Answer::Created { seq, repeat, .. } => (seq.0, *repeat),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_conversation_that_is_only_decided_is_not_there() {
    let rig = rig().await;
    let (ada, phone, bob) =
        (rig.device("ada", "laptop").await, rig.device("ada", "phone").await, rig.device("bob", "laptop").await);
    let id = direct("ada", "bob");
    let tokens = (ada.token().await, bob.token().await);
    let hold = rig.journal.hold();
    let mut first = ada.begin(send("bob", "c-1")).await;
    hold.reached().await;

    assert_eq!(bob.fetch(id).await["code"], "unknown_conversation");
    assert_eq!(ada.fetch(id).await["code"], "unknown_conversation");
    assert!(bob.inbox().await.is_empty() && ada.inbox().await.is_empty());
    assert_eq!((ada.token().await, bob.token().await), tokens, "a token stands for what is committed");
    let changes = bob.read(json!({"type": "sync", "sync": tokens.1})).await;
    assert_eq!((&changes["items"], &changes["sync"]), (&json!([]), &tokens.1));
    let refused = bob.ask(json!({"type": "mark_read", "conversation": id, "seq": 1})).await;
    assert_eq!(code(&refused), Some(Code::UnknownConversation));
    assert_eq!(
        code(&bob.ask(json!({"type": "set", "conversation": id, "muted": true})).await),
        Some(Code::UnknownConversation)
    );

    // What rests on it waits: the repeat from another device, the other one's answer, what changes nothing, a refusal.
    let mut repeat = phone.begin(send("bob", "c-1")).await;
    let mut answer = bob.begin(send("ada", "c-1")).await;
    let same_text = json!({"type": "edit", "client_msg_id": "e", "conversation": id, "seq": 1, "text": "text of c-1"});
    let mut nothing = ada.begin(same_text).await;
    let mut refused =
        bob.begin(json!({"type": "edit", "client_msg_id": "e", "conversation": id, "seq": 1, "text": "no"})).await;
    for asked in [&mut first, &mut repeat, &mut answer, &mut nothing, &mut refused] {
        assert!(!asked.is_answered());
    }
    assert!([&ada, &phone, &bob].iter().all(|device| device.heard().is_empty()));

    drop(hold);
    assert_eq!(sent(&first.answer().await), (1, false));
    assert_eq!(sent(&repeat.answer().await), (1, true));
    assert_eq!(sent(&answer.answer().await), (2, false));
    assert_eq!(nothing.answer().await, Answer::Done);
    assert_eq!(refused.code().await, Some(Code::Forbidden));
    assert_eq!(bob.fetch(id).await["last_seq"], 2);
    assert_eq!(bob.item(id).await["unread"], 0, "bob has answered");
    assert_eq!(phone.item(id).await["unread"], 1);
    let seqs = |device: &Device| device.heard().iter().filter_map(|frame| frame["seq"].as_u64()).collect::<Vec<_>>();
    assert_eq!((seqs(&phone), seqs(&bob)), (vec![1, 2], vec![1, 2]));
    rig.crash().await;
}

#[tokio::test]
async fn entries_receipts_and_settings_show_when_they_are_committed() {
    let rig = rig().await;
    let (ada, bob, phone) =
        (rig.device("ada", "laptop").await, rig.device("bob", "laptop").await, rig.device("bob", "phone").await);
    let id = direct("ada", "bob");
    for n in 1..=3 {
        ada.make(send("bob", &format!("c-{n}"))).await;
    }
    let token = bob.token().await;
    ada.heard();
    phone.heard();
    let hold = rig.journal.hold();
    let mut fourth = ada.begin(send("bob", "c-4")).await;
    hold.reached().await;
    let mut edit =
        ada.begin(json!({"type": "edit", "client_msg_id": "e", "conversation": id, "seq": 3, "text": "new"})).await;
    let mut read = bob.begin(json!({"type": "mark_read", "conversation": id, "seq": 3})).await;
    let mut set = bob.begin(json!({"type": "set", "conversation": id, "pinned": true})).await;
    let mut block = bob.begin(json!({"type": "block", "user": "ada"})).await;
    let mut void = ada.begin(send("bob", "c-5")).await;
    for asked in [&mut fourth, &mut edit, &mut read, &mut set, &mut block, &mut void] {
        assert!(!asked.is_answered());
    }
    let early = bob.ask(json!({"type": "mark_read", "conversation": id, "seq": 4})).await;
    assert_eq!(code(&early), Some(Code::UnknownEntry));

    let page = bob.fetch(id).await;
    assert_eq!((&page["last_seq"], &page["entries"][2]["text"]), (&json!(3), &json!("text of c-3")));
    let item = phone.item(id).await;
    let shown = ["last_seq", "unread", "read_seq", "pinned", "blocked"].map(|field| item[field].clone());
    assert_eq!(shown, [json!(3), json!(3), json!(0), json!(false), json!(false)]);
    assert_eq!(ada.item(id).await["peer"]["read_seq"], 0);
    assert_eq!(bob.read(json!({"type": "sync", "sync": token})).await["items"], json!([]));
    assert!(ada.heard().is_empty() && phone.heard().is_empty());

    drop(hold);
    assert_eq!(sent(&fourth.answer().await), (4, false));
    assert_eq!(sent(&edit.answer().await), (5, false));
    assert_eq!(sent(&void.answer().await), (6, false), "the blocked one is told that it was sent");
    let page = bob.fetch(id).await;
    assert_eq!((&page["entries"][2]["text"], &page["entries"][5]["kind"]), (&json!("new"), &json!("void")));
    let item = phone.item(id).await;
    let shown = ["last_seq", "unread", "read_seq", "pinned", "blocked"].map(|field| item[field].clone());
    assert_eq!(shown, [json!(6), json!(1), json!(3), json!(true), json!(true)]);
    assert_eq!(ada.item(id).await["peer"]["read_seq"], 3, "it was read before the block");
    rig.crash().await;
}

#[tokio::test]
async fn who_was_put_out_by_an_uncommitted_entry_still_reads_and_is_refused_later() {
    let rig = rig().await;
    let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "laptop").await);
    ada.make(json!({"type": "create", "client_msg_id": "g", "name": "Team", "members": ["bob"]})).await;
    let id = ConversationId::group(&user("ada"), "g");
    let hold = rig.journal.hold();
    let mut remove =
        ada.begin(json!({"type": "members", "client_msg_id": "m", "conversation": id, "remove": ["bob"]})).await;
    hold.reached().await;
    let mut refused = bob.begin(send_in(id, "c-1")).await;
    assert!(!remove.is_answered() && !refused.is_answered());
    assert_eq!(bob.fetch(id).await["last_seq"], 1);
    drop(hold);
    assert_eq!(sent(&remove.answer().await), (2, false));
    assert_eq!(refused.code().await, Some(Code::UnknownConversation));
    assert_eq!(bob.fetch(id).await["code"], "unknown_conversation");
    rig.crash().await;
}

#[tokio::test]
async fn a_failed_commit_leaves_no_trace_and_ends_all_acks() {
    for fate in [FailedCommit::Lost, FailedCommit::Kept] {
        let tables = Arc::new(MemoryTables::new());
        let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
        let (ada, phone, bob) =
            (rig.device("ada", "laptop").await, rig.device("ada", "phone").await, rig.device("bob", "laptop").await);
        let id = direct("ada", "bob");
        ada.make(send("bob", "c-1")).await;
        let token = bob.token().await;
        phone.heard();
        bob.heard();

        rig.journal.fail_next_append(fate);
        let hold = rig.journal.hold();
        let failed = ada.begin(send("bob", "c-2")).await;
        hold.reached().await;
        let (repeat, behind) = (phone.begin(send("bob", "c-2")).await, bob.begin(send("ada", "b-1")).await);
        drop(hold);
        for asked in [failed, repeat, behind] {
            assert_eq!(asked.code().await, Some(Code::Unavailable));
        }
        assert_eq!(ada.begin(send("bob", "c-3")).await.code().await, Some(Code::Unavailable));
        assert!(rig.host.failure().is_some());
        assert!(phone.heard().is_empty() && bob.heard().is_empty());
        assert_eq!(bob.fetch(id).await["last_seq"], 1);
        assert_eq!(bob.item(id).await["unread"], 1);
        assert_eq!(bob.token().await, token);

        // The next process finds what the disk had.
        let rig = Rig::start(rig.crash().await, tables, 2).await;
        let ada = rig.device("ada", "laptop").await;
        let again = ada.ask(send("bob", "c-2")).await;
        assert_eq!(sent(&again), (2, fate == FailedCommit::Kept));
        let bob = rig.device("bob", "laptop").await;
        assert_eq!(bob.fetch(id).await["last_seq"], 2, "what came behind was lost");
        rig.crash().await;
    }
}

/// The tables fail while a send is on its way into the journal: it is there, but nobody is told so by a server that can store
/// nothing more.
#[tokio::test]
async fn tables_that_fail_end_the_acks_of_what_is_under_way() {
    let tables = Arc::new(MemoryTables::new());
    let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
    let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "laptop").await);
    let id = direct("ada", "bob");
    ada.make(send("bob", "c-1")).await;
    let token = bob.token().await;
    bob.heard();
    let hold = rig.journal.hold();
    let sending = ada.begin(send("bob", "c-2")).await;
    hold.reached().await;
    rig.host.fail("the tables' disk failed".to_owned());
    drop(hold);
    assert_eq!(sending.code().await, Some(Code::Unavailable));
    assert_eq!(ada.begin(send("bob", "c-3")).await.code().await, Some(Code::Unavailable));
    assert!(bob.heard().is_empty());
    assert_eq!((bob.fetch(id).await["last_seq"].clone(), bob.token().await), (json!(1), token));
    // A flush that was under way has not said that the tables have it.
    rig.flush().await;

    let rig = Rig::start(rig.crash().await, tables, 2).await;
    let ada = rig.device("ada", "laptop").await;
    assert_eq!(sent(&ada.ask(send("bob", "c-2")).await), (2, true), "the journal had it");
    assert_eq!(sent(&ada.ask(send("bob", "c-3")).await), (3, false));
    rig.crash().await;
}

/// A disk may fail while nobody sends: the server must not call itself ready until somebody does.
#[tokio::test]
async fn a_journal_that_fails_while_nothing_happens_is_told_of() {
    let rig = rig().await;
    rig.journal.break_after_next_append();
    let ada = rig.device("ada", "laptop").await;
    let has_failed = async {
        while rig.host.failure().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), has_failed).await.expect("it is noticed");
    assert_eq!(ada.begin(send("ada", "c-1")).await.code().await, Some(Code::Unavailable));
    rig.crash().await;
}

#[tokio::test]
async fn what_waits_for_a_flush_is_read_as_after_it() {
    let tables = MemoryTables::new();
    let rig = Rig::start(MemoryJournal::new(), Arc::new(tables.clone()), 1).await;
    let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "laptop").await);
    let id = direct("ada", "bob");
    for n in 1..=5 {
        ada.make(send("bob", &format!("c-{n}"))).await;
    }
    ada.make(json!({"type": "edit", "client_msg_id": "e", "conversation": id, "seq": 2, "text": "new"})).await;
    let before = (bob.fetch(id).await, bob.item(id).await);
    tables.hold();
    let flushing = tokio::spawn({
        let host = rig.host.clone();
        async move { host.flush_or_fail().await }
    });
    tables.until_held().await;
    assert_eq!((bob.fetch(id).await, bob.item(id).await), before);
    // Decided and committed while the flush is under way: the next one's.
    assert_eq!(ada.make(json!({"type": "redact", "client_msg_id": "d", "conversation": id, "seq": 2})).await, 7);
    assert_eq!(
        bob.ask(send("ada", "b-1")).await,
        Answer::Sent { conversation: id, seq: Seq(8), at_ms: at(&bob, id, 8).await, repeat: false }
    );
    let during = (bob.fetch(id).await, bob.item(id).await);
    tables.release();
    flushing.await.unwrap().unwrap();
    assert_eq!((bob.fetch(id).await, bob.item(id).await), during);
    rig.flush().await;
    assert_eq!((bob.fetch(id).await, bob.item(id).await), during);
    rig.crash().await;
}

async fn at(device: &Device, id: ConversationId, seq: u64) -> u64 {
    let page = device.read(json!({"type": "fetch", "conversation": id, "after": seq - 1, "limit": 1})).await;
    page["entries"][0]["at"].as_u64().expect("it is there")
}

/// As one is when its task is ended, at a stop or when the node has left its fleet.
#[tokio::test]
async fn after_a_flush_that_was_given_up_no_other_marks_what_it_had_taken() {
    let tables = MemoryTables::new();
    let rig = Rig::start(MemoryJournal::new(), Arc::new(tables.clone()), 1).await;
    rig.device("ada", "laptop").await.make(send("ada", "c-1")).await;
    rig.flush().await;
    let flushed = rig.host.flushed().await.unwrap();
    rig.device("ada", "laptop").await.make(send("ada", "c-2")).await;
    tables.hold();
    let flushing = tokio::spawn({
        let host = rig.host.clone();
        async move { host.flush_or_fail().await }
    });
    tables.until_held().await;
    flushing.abort();
    assert!(flushing.await.unwrap_err().is_cancelled());
    tables.release();
    assert!(rig.host.flush_or_fail().await.is_err());
    assert_eq!(rig.host.flushed().await.unwrap(), flushed);
    assert!(rig.host.failure().is_some(), "only a restart finds it again");
    rig.crash().await;
}

/// A host that opens a shard tells homes again what they may lack. What is decided before would overtake it.
#[tokio::test]
async fn nothing_is_decided_in_a_shard_that_opens() {
    let rig = rig().await;
    let (ada, _bob) = (rig.device("ada", "laptop").await, rig.device("bob", "phone").await);
    ada.make(send("bob", "c-1")).await;
    let id = direct("ada", "bob");
    let frames = || {
        let read = json!({"type": "mark_read", "conversation": id, "seq": 1});
        [send("bob", "c-2"), read, json!({"type": "block", "user": "bob"})]
    };
    let opening = [id.shard()].into_iter().collect();
    rig.host.begin_opening(&opening);
    for frame in frames() {
        assert!(ada.begin(frame.clone()).now_or_never().is_none(), "{frame} is decided");
    }
    rig.host.end_opening(&opening);
    for frame in frames() {
        assert!(ada.begin(frame.clone()).now_or_never().is_some(), "{frame} is not decided");
    }
    rig.crash().await;
}
