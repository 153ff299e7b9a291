//! Requests: pipelining, refusals, cuts in the middle.

use serde_json::json;
use tidings_client::{Client, ClientError, Sending, To};
use tidings_proto::{codes::Code, frames::client::Send};

use crate::script::{Script, conversation, delivered, item};

async fn start(client: &Client, text: &str) -> Sending {
    let send = Send {
        to: To::User("bob".parse().unwrap()),
        client_msg_id: format!("c-{text}"),
        text: text.to_owned(),
        mentions: vec![],
        reply_to: None,
        attachments: vec![],
        data: None,
    };
    client.start_send(send).await.unwrap()
}

#[tokio::test]
async fn sends_are_pipelined_and_their_entries_stand_among_the_events() {
    let script = Script::start().await;
    let (client, mut events, mut line) = script.connect(script.builder(), json!([])).await;
    let (one, two) = (start(&client, "1").await, start(&client, "2").await);
    let (first, second) = (line.hears("send").await, line.hears("send").await);
    line.sent(&first, 1).await;
    line.entry(2).await;
    line.sent(&second, 3).await;
    assert_eq!((one.await.unwrap().seq.0, two.await.unwrap().seq.0), (1, 3));
    assert_eq!(delivered(&mut events, 3).await, [1, 2, 3]);
}

#[tokio::test]
async fn what_is_unanswered_at_a_cut_is_sent_again_in_order_before_what_is_new() {
    let script = Script::start().await;
    let (client, mut events, mut line) = script.connect(script.builder(), json!([])).await;
    let (one, two, three) = (start(&client, "1").await, start(&client, "2").await, start(&client, "3").await);
    let first = line.hears("send").await;
    line.sent(&first, 1).await;
    one.await.unwrap();
    line.closes(3000, "draining").await;
    let four = start(&client, "4").await;

    let (mut line, hello) = script.accept().await;
    assert_eq!(hello["sync"], "t-0", "it resumes");
    line.welcome().await;
    line.says(
        json!({"type":"changes","items":[item(2, Some(1..=2))],"removed":[],"sync":"t-1","more":false,"full":false}),
    )
    .await;
    for (seq, text) in [(2, "2"), (3, "3"), (4, "4")] {
        let send = line.hears("send").await;
        assert_eq!((&send["text"], &send["client_msg_id"]), (&json!(text), &json!(format!("c-{text}"))));
        // The second was saved before the cut; its answer was lost with the line.
        let repeat = seq == 2;
        line.says(
            json!({"type":"sent","re":send["id"],"conversation":conversation(),"seq":seq,"at":1,"repeat":repeat}),
        )
        .await;
    }
    assert!(two.await.unwrap().repeat);
    assert_eq!((three.await.unwrap().seq.0, four.await.unwrap().seq.0), (3, 4));
    assert_eq!(delivered(&mut events, 4).await, [1, 2, 3, 4], "each entry once, whichever way it came");
}

#[tokio::test]
async fn a_refusal_for_now_is_outlived_and_holds_back_what_follows_in_its_conversation() {
    let script = Script::start().await;
    let (client, _events, mut line) = script.connect(script.builder(), json!([])).await;
    let one = start(&client, "1").await;
    let first = line.hears("send").await;
    let refusal = json!({"type":"error","re":first["id"],"code":"unavailable","message":"later","retry_after_ms":300});
    line.says(refusal).await;
    // The client has read the refusal when it answers what was said behind it.
    line.says(json!({"type":"ping"})).await;
    line.hears("pong").await;
    let two = start(&client, "2").await;
    for seq in [1, 2] {
        let send = line.hears("send").await;
        assert_eq!(send["text"], json!(seq.to_string()));
        line.sent(&send, seq).await;
    }
    assert_eq!((one.await.unwrap().seq.0, two.await.unwrap().seq.0), (1, 2));
}

#[tokio::test]
async fn a_refusal_reaches_its_caller_and_nobody_else() {
    let script = Script::start().await;
    let (client, _events, mut line) = script.connect(script.builder(), json!([])).await;
    let (one, two) = (start(&client, "1").await, start(&client, "2").await);
    let (first, second) = (line.hears("send").await, line.hears("send").await);
    line.says(json!({"type":"error","re":first["id"],"code":"unknown_user","message":"no bob","retry_after_ms":null,"users":["bob"]}))
        .await;
    line.sent(&second, 1).await;
    assert_eq!(one.await.unwrap_err().code(), Some(Code::UnknownUser));
    assert_eq!(two.await.unwrap().seq.0, 1);
}

#[tokio::test]
async fn a_close_for_good_ends_the_client_and_tells_all_who_wait() {
    let script = Script::start().await;
    let (client, mut events, mut line) = script.connect(script.builder(), json!([])).await;
    let one = start(&client, "1").await;
    line.hears("send").await;
    line.closes(3502, "revoked").await;
    assert!(matches!(one.await, Err(ClientError::Closed { code: 3502, .. })));
    assert!(events.next().await.is_none());
    let later = client.send(To::User("bob".parse().unwrap()), "2").await;
    assert!(matches!(later, Err(ClientError::Closed { code: 3502, .. })), "{later:?}");
}

#[tokio::test]
async fn a_frame_beyond_the_server_s_limit_is_refused_here_and_not_sent() {
    let script = Script::start().await;
    let (client, _events, mut line) = script.connect(script.builder(), json!([])).await;
    let large = start(&client, &"x".repeat(70_000)).await;
    let small = start(&client, "1").await;
    assert!(matches!(large.await, Err(ClientError::TooLarge { max: 65_536, .. })));
    let send = line.hears("send").await;
    assert_eq!(send["text"], "1");
    line.sent(&send, 1).await;
    small.await.unwrap();
}

#[tokio::test]
async fn the_last_handle_finishes_what_is_unanswered_and_says_goodbye() {
    let script = Script::start().await;
    let (client, _events, mut line) = script.connect(script.builder(), json!([])).await;
    let one = start(&client, "1").await;
    drop(client);
    let send = line.hears("send").await;
    line.sent(&send, 1).await;
    assert_eq!(one.await.unwrap().seq.0, 1);
    line.until_left().await;
}

#[tokio::test]
async fn who_cannot_log_in_is_told_at_once() {
    let script = Script::start().await;
    let serve = async {
        let (mut line, _) = script.accept().await;
        line.says(json!({"type":"error","re":null,"code":"unauthenticated","message":"log in","retry_after_ms":null}))
            .await;
        line.closes(3501, "unauthenticated").await;
    };
    let (connected, ()) = tokio::join!(script.builder().connect(), serve);
    assert_eq!(connected.unwrap_err().code(), Some(Code::Unauthenticated));
    let nowhere = Client::builder("http://127.0.0.1:1").user("ada").connect().await;
    assert!(matches!(nowhere, Err(ClientError::Unreachable { .. })));
}
