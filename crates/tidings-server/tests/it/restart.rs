//! What was acknowledged is there after a restart; who comes back gets what was missed.

use serde_json::json;
use tempfile::tempdir;

use crate::support::TestServer;

#[tokio::test]
async fn everything_is_there_again_after_a_restart() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    server.connect("bob", "phone").await;
    let mut conversation = json!(null);
    for n in 1..=30 {
        conversation = ada.send("bob", &format!("c-{n}"), &format!("message {n}")).await["conversation"].clone();
    }
    let sync = ada.ask(json!({"type": "inbox"})).await["sync"].clone();
    server.stop().await;

    let server = TestServer::start(folder.path(), &[]).await;
    let (mut bob, _) = server.hello(json!({"type": "hello", "username": "bob", "device": "phone"})).await;
    let texts = bob.texts(&conversation).await;
    assert_eq!(texts, (1..=30).map(|n| format!("message {n}")).collect::<Vec<_>>());
    let item = bob.item(&conversation).await;
    assert_eq!((&item["unread"], &item["last_seq"]), (&json!(30), &json!(30)));
    let hello = json!({"type": "hello", "username": "ada", "device": "laptop", "sync": sync});
    let (mut ada, _) = server.hello(hello).await;
    assert_eq!(ada.next_of("changes").await["items"], json!([]), "a token survives a restart");
    assert_eq!(ada.send("bob", "c-30", "again").await["seq"], 30, "a repeat is found after a restart");
    assert_eq!(ada.send("bob", "c-31", "more").await["seq"], 31);
    server.stop().await;
}

#[tokio::test]
async fn who_comes_back_gets_what_was_missed_and_no_more() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("flush.window_ms", "10")]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut bob = server.connect("bob", "phone").await;
    server.connect("eve", "phone").await;
    let with_bob = ada.send("bob", "b-1", "one").await["conversation"].clone();
    ada.send("eve", "e-1", "one").await;
    bob.next_of("entry").await;
    let sync = bob.ask(json!({"type": "sync"})).await["sync"].clone();
    drop(bob);
    ada.send("eve", "e-2", "two").await;
    for n in 2..=5 {
        ada.send("bob", &format!("b-{n}"), &format!("text {n}")).await;
    }
    let hello = json!({"type": "hello", "username": "bob", "device": "phone", "sync": sync, "tail": 2});
    let (mut bob, _) = server.hello(hello).await;
    let changes = bob.next().await;
    assert_eq!((&changes["type"], &changes["full"]), (&json!("changes"), &json!(false)));
    assert_eq!(changes["items"].as_array().unwrap().len(), 1);
    let item = &changes["items"][0];
    assert_eq!((&item["conversation"], &item["last_seq"], &item["unread"]), (&with_bob, &json!(5), &json!(5)));
    assert_eq!(item["tail"][0]["seq"], 4);
    ada.send("bob", "b-6", "live").await;
    assert_eq!(bob.next().await["seq"], 6);
    let nothing = bob.ask(json!({"type": "sync", "sync": changes["sync"]})).await;
    assert_eq!(nothing["items"].as_array().unwrap().len(), 1);
    let nothing = bob.ask(json!({"type": "sync", "sync": nothing["sync"]})).await;
    assert!(nothing.to_string().len() < 200 && nothing["items"] == json!([]), "{nothing}");
    assert_eq!(bob.ask(json!({"type": "sync", "sync": "nonsense"})).await["code"], "bad_sync");
    server.stop().await;
}
