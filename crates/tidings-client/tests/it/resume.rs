//! Deliveries: gaps, cuts, moves, readers that are slow.

use serde_json::json;
use tidings_client::{Event, Status};

use crate::script::{Script, conversation, delivered, item};

#[tokio::test]
async fn a_gap_between_live_entries_is_fetched_and_nothing_is_handed_on_twice() {
    let script = Script::start().await;
    let (_client, mut events, mut line) = script.connect(script.builder(), json!([item(4, None)])).await;
    for seq in [5, 9, 5, 10] {
        line.entry(seq).await;
    }
    let fetch = line.hears("fetch").await;
    assert_eq!(fetch["ranges"][0]["after"], 5);
    line.entry(11).await;
    line.entries(&fetch, 8).await;
    assert_eq!(delivered(&mut events, 7).await, [5, 6, 7, 8, 9, 10, 11]);
}

#[tokio::test]
async fn after_a_cut_the_tail_is_enough_or_the_rest_is_fetched() {
    let script = Script::start().await;
    let (_client, mut events, line) = script.connect(script.builder(), json!([item(4, None)])).await;

    line.closes(3001, "lagging").await;
    let (mut line, hello) = script.accept().await;
    assert_eq!((&hello["sync"], &hello["tail"]), (&json!("t-0"), &json!(20)));
    line.welcome().await;
    let changes =
        json!({"type":"changes","items":[item(7, Some(3..=7))],"removed":[],"sync":"t-1","more":false,"full":false});
    line.says(changes).await;
    assert_eq!(delivered(&mut events, 3).await, [5, 6, 7]);

    line.closes(3000, "draining").await;
    let (mut line, hello) = script.accept().await;
    assert_eq!(hello["sync"], "t-1", "the token of what was handed on");
    line.welcome().await;
    let changes = json!({"type":"changes","items":[item(500, Some(498..=500))],"removed":[],"sync":"t-2","more":false,"full":false});
    line.says(changes).await;
    line.entry(501).await;
    for after in [7, 207, 407] {
        let fetch = line.hears("fetch").await;
        assert_eq!(fetch["ranges"][0]["after"], after);
        line.entries(&fetch, 500).await;
    }
    assert_eq!(delivered(&mut events, 494).await, (8..=501).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_says_when_to_come_back_is_left_alone_until_then() {
    let script = Script::start().await;
    let (client, mut events, line) = script.connect(script.builder(), json!([item(4, None)])).await;
    let mut status = client.status();
    line.closes(3000, "draining").await;
    let (mut line, _) = script.accept().await;
    line.says(json!({"type":"error","re":null,"code":"unavailable","message":"a crowd","retry_after_ms":1500})).await;
    line.closes(3004, "try_later").await;
    let is_told = |status: &Status| matches!(status, Status::Waiting { retry_in_ms, .. } if *retry_in_ms >= 1_500);
    status.wait_for(is_told).await.expect("it goes on");
    let (mut line, hello) = script.accept().await;
    assert_eq!(hello["sync"], "t-0");
    line.welcome().await;
    line.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-1","more":false,"full":false})).await;
    line.entry(5).await;
    assert_eq!(delivered(&mut events, 1).await, [5]);
}

#[tokio::test]
async fn a_conversation_that_began_during_the_cut_is_handed_on_from_its_beginning() {
    let script = Script::start().await;
    let (_client, mut events, line) = script.connect(script.builder(), json!([])).await;
    line.closes(3000, "draining").await;
    let (mut line, _) = script.accept().await;
    line.welcome().await;
    // More than one page of changes, and the second only when asked for.
    line.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-1","more":true,"full":false})).await;
    let sync = line.hears("sync").await;
    assert_eq!((&sync["sync"], &sync["tail"]), (&json!("t-1"), &json!(20)));
    let items = json!([item(30, Some(29..=30))]);
    line.says(
        json!({"type":"changes","re":sync["id"],"items":items,"removed":[],"sync":"t-2","more":false,"full":false}),
    )
    .await;
    let fetch = line.hears("fetch").await;
    line.entries(&fetch, 30).await;
    assert_eq!(delivered(&mut events, 30).await, (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_is_slow_loses_no_entry() {
    let script = Script::start().await;
    let (_client, mut events, mut line) =
        script.connect(script.builder().events_queue(8), json!([item(4, None)])).await;
    for seq in 5..=300 {
        line.entry(seq).await;
    }
    // The client has seen them all and had no room for most; nothing is asked for while nobody reads.
    line.says(json!({"type":"ping"})).await;
    line.hears("pong").await;
    let read = delivered(&mut events, 296);
    let serve = async {
        loop {
            let fetch = line.hears("fetch").await;
            line.entries(&fetch, 300).await;
        }
    };
    let seqs = tokio::select! { seqs = read => seqs, () = serve => unreachable!("it serves until all is read") };
    assert_eq!(seqs, (5..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn on_a_move_the_new_line_stands_before_the_old_is_let_go() {
    let script = Script::start().await;
    let (client, mut events, mut old) = script.connect(script.builder(), json!([item(4, None)])).await;
    let sending = client.start_send(send("c-1")).await.unwrap();
    let unanswered = old.hears("send").await;
    old.says(json!({"type":"move","after_ms":50})).await;
    let (mut new, hello) = script.accept().await;
    assert_eq!(hello["sync"], "t-0");
    // Until the new one is welcome, the old one delivers.
    old.entry(5).await;
    assert_eq!(delivered(&mut events, 1).await, [5]);
    new.welcome().await;
    new.says(
        json!({"type":"changes","items":[item(5, Some(1..=5))],"removed":[],"sync":"t-1","more":false,"full":false}),
    )
    .await;
    let again = new.hears("send").await;
    assert_eq!(again["client_msg_id"], unanswered["client_msg_id"]);
    old.until_left().await;
    new.sent(&again, 6).await;
    new.entry(7).await;
    assert_eq!(sending.await.unwrap().seq.0, 6);
    assert_eq!(delivered(&mut events, 2).await, [6, 7]);
}

#[tokio::test]
async fn who_is_removed_hears_no_more_of_it_and_who_watches_goes_on_watching() {
    let script = Script::start().await;
    let (client, mut events, mut line) = script.connect(script.builder(), json!([item(4, None)])).await;
    let watch = tokio::spawn({
        let client = client.clone();
        async move { client.watch(vec!["bob".parse().unwrap()]).await }
    });
    let asked = line.hears("watch").await;
    line.says(json!({"type":"ok","re":asked["id"]})).await;
    watch.await.unwrap().unwrap();
    line.says(json!({"type":"changes","items":[],"removed":[conversation()],"sync":"t-1","more":false,"full":false}))
        .await;
    assert!(matches!(events.next().await, Some(Event::Changes(changes)) if changes.removed == [conversation()]));
    line.closes(3000, "draining").await;
    let (mut line, hello) = script.accept().await;
    assert_eq!(hello["sync"], "t-1");
    line.welcome().await;
    line.says(json!({"type":"changes","items":[],"removed":[],"sync":"t-1","more":false,"full":false})).await;
    assert_eq!(line.hears("watch").await["users"], json!(["bob"]));
}

fn send(client_msg_id: &str) -> tidings_proto::frames::client::Send {
    tidings_proto::frames::client::Send {
        to: tidings_client::To::Conversation(conversation()),
        client_msg_id: client_msg_id.to_owned(),
        text: "hi".to_owned(),
        mentions: vec![],
        reply_to: None,
        attachments: vec![],
        data: None,
    }
}
