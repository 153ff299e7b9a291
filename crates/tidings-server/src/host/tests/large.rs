//! Groups above 64 members: no home is told of each entry, and yet nobody misses any.

use std::sync::Arc;

use serde_json::{Value, json};
use tidings_proto::ConversationId;

use crate::{journal::memory::MemoryJournal, tables::memory::MemoryTables};

use super::{Device, Rig, send_in, user};

/// A group of ada's with so many members, the first of whom are bob and cid.
async fn group(rig: &Rig, ada: &Device, count: usize) -> ConversationId {
    let names: Vec<_> =
        ["bob", "cid"].into_iter().map(str::to_owned).chain((3..count).map(|n| format!("m-{n}"))).collect();
    rig.make_known(&names).await;
    ada.make(json!({"type": "create", "client_msg_id": "g", "name": "Big", "members": names})).await;
    ConversationId::group(&user("ada"), "g")
}

fn seqs(device: &Device) -> Vec<u64> {
    device.heard().iter().filter(|frame| frame["type"] == "entry").filter_map(|frame| frame["seq"].as_u64()).collect()
}

#[tokio::test]
async fn who_comes_back_while_the_old_line_ends_hears_everything() {
    let rig = Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
    let ada = rig.device("ada", "laptop").await;
    let id = group(&rig, &ada, 70).await;
    let old = rig.device("bob", "phone").await;
    let new = rig.device("bob", "phone").await;
    ada.make(send_in(id, "c-1")).await;
    assert_eq!((seqs(&old), seqs(&new)), (vec![2], vec![2]));
    rig.host.detach(&old.caller.home, &old.outbox);
    ada.make(send_in(id, "c-2")).await;
    assert_eq!(seqs(&new), [3]);
    rig.host.detach(&new.caller.home, &new.outbox);
    ada.make(send_in(id, "c-3")).await;
    let back = rig.device("bob", "phone").await;
    assert_eq!(back.item(id).await["last_seq"], 4);
    rig.crash().await;
}

#[tokio::test]
async fn a_mention_of_all_before_a_mention_of_oneself_counts() {
    let rig = Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
    let ada = rig.device("ada", "laptop").await;
    let id = group(&rig, &ada, 70).await;
    let bob = rig.device("bob", "phone").await;
    let mention = |name: &str, id: Value| {
        let mut frame = id;
        frame["mentions"] = json!([name]);
        frame
    };
    ada.make(mention("@all", send_in(id, "c-1"))).await;
    ada.make(mention("bob", send_in(id, "c-2"))).await;
    assert_eq!(bob.item(id).await["mentions"], 2);
    ada.make(json!({"type": "redact", "client_msg_id": "d", "conversation": id, "seq": 2})).await;
    let item = bob.item(id).await;
    assert_eq!((&item["mentions"], &item["unread"]), (&json!(1), &json!(1)), "what is deleted counts no more");
    rig.crash().await;
}

#[tokio::test]
async fn a_group_that_grows_and_shrinks_stays_one_and_the_same() {
    let tables = Arc::new(MemoryTables::new());
    let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
    let ada = rig.device("ada", "laptop").await;
    let id = group(&rig, &ada, 64).await;
    let bob = rig.device("bob", "phone").await;
    rig.device("eve", "phone").await;
    let members = |client_msg_id: &str, field: &str| {
        let mut frame = json!({"type": "members", "client_msg_id": client_msg_id, "conversation": id});
        frame[field] = json!(["eve"]);
        frame
    };
    bob.heard();
    ada.make(members("m-1", "add")).await;
    ada.make(send_in(id, "c-1")).await;
    ada.make(members("m-2", "remove")).await;
    ada.make(send_in(id, "c-2")).await;
    assert_eq!(seqs(&bob), [2, 3, 4, 5]);
    rig.flush().await;
    let before = (bob.fetch(id).await, bob.item(id).await);
    assert_eq!((&before.1["unread"], &before.1["member_count"]), (&json!(2), &json!(64)));

    let rig = Rig::start(rig.crash().await, tables.clone(), 2).await;
    let (ada, bob, eve) =
        (rig.device("ada", "laptop").await, rig.device("bob", "phone").await, rig.device("eve", "phone").await);
    assert_eq!((bob.fetch(id).await, bob.item(id).await), before);
    ada.make(send_in(id, "c-3")).await;
    assert_eq!((seqs(&bob), seqs(&eve)), (vec![6], vec![]));
    assert_eq!(bob.item(id).await["last"]["seq"], 6);
    assert_eq!(eve.fetch(id).await["code"], "unknown_conversation", "who was put out is no member again");
    rig.crash().await;
}

#[tokio::test]
async fn a_flush_without_a_commit_does_not_set_the_mark_back() {
    let tables = Arc::new(MemoryTables::new());
    let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
    let ada = rig.device("ada", "laptop").await;
    let id = group(&rig, &ada, 70).await;
    rig.device("bob", "phone").await;
    ada.make(send_in(id, "c-1")).await;
    rig.flush().await;
    let flushed = rig.host.flushed().await.unwrap();
    let rig = Rig::start(rig.crash().await, tables.clone(), 2).await;
    // Bob's home asks the group, and so is to be written.
    assert_eq!(rig.device("bob", "phone").await.item(id).await["last_seq"], 2);
    rig.flush().await;
    assert_eq!(rig.host.flushed().await.unwrap(), flushed);
    Rig::start(rig.crash().await, tables, 3).await.crash().await;
}
