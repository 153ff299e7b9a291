//! Who is there: told over the socket to those who watch, with a grace period for whoever only changes the line.

use serde_json::json;
use tempfile::tempdir;

use crate::{metrics::figures_when, support::TestServer};

/// The server has noticed who came and went.
async fn sessions(server: &TestServer, count: f64) {
    figures_when(server, |figures| figures.get("tidings_sessions") == Some(&count)).await;
}

#[tokio::test]
async fn who_comes_back_in_time_was_never_away() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("presence.grace_ms", "600000")]).await;
    let bob = server.connect("bob", "phone").await;
    let mut ada = server.connect("ada", "laptop").await;
    ada.send("bob", "c-1", "hi").await;
    ada.say(&json!({"type": "watch", "users": ["bob", "nobody"]})).await;
    let online = json!({"type": "presence", "user": "bob", "state": "online"});
    let seen = ada.next_of("presence").await;
    assert_eq!((&seen["user"], &seen["state"], &seen["last_seen"]), (&online["user"], &online["state"], &json!(null)));
    assert_eq!(ada.next_of("presence").await["state"], "offline", "nobody was ever here");

    drop(bob);
    sessions(&server, 1.0).await;
    let http = server.log_in("ada", "laptop").await;
    assert_eq!(http.get("/v1/users/bob").await.ok()["presence"], "online", "it may be a change of lines");
    let mut bob = server.connect("bob", "laptop").await;
    bob.send("ada", "b-1", "back").await;
    loop {
        let frame = ada.next().await;
        assert!(frame["type"] != "presence" || frame["state"] == "online", "{frame}");
        if frame["text"] == "back" {
            break;
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn who_stays_away_was_last_seen() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("presence.grace_ms", "20")]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let bob = server.connect("bob", "phone").await;
    ada.send("bob", "c-1", "hi").await;
    ada.say(&json!({"type": "watch", "users": ["bob"]})).await;
    assert_eq!(ada.next_of("presence").await["state"], "online");
    drop(bob);
    // It is told when the grace is over; what is stored of it follows.
    assert_eq!(ada.next_of("presence").await["state"], "offline");
    let mut last_seen = json!(null);
    while last_seen.is_null() {
        ada.say(&json!({"type": "watch", "users": ["bob"]})).await;
        let seen = ada.next_of("presence").await;
        assert_eq!(seen["state"], "offline");
        last_seen = seen["last_seen"].clone();
    }
    let bob = server.connect("bob", "phone").await;
    let seen = ada.next_of("presence").await;
    assert_eq!((&seen["state"], &seen["last_seen"]), (&json!("online"), &json!(null)));

    // Whoever wants to be seen by nobody is not.
    let http = server.log_in("bob", "phone").await;
    http.patch("/v1/me", json!({"presence": "nobody"})).await.ok();
    drop(bob);
    ada.say(&json!({"type": "watch", "users": ["bob"]})).await;
    let seen = loop {
        let seen = ada.next_of("presence").await;
        if seen["state"] == "offline" {
            break seen;
        }
    };
    assert_eq!(seen["last_seen"], json!(null), "{seen}");
    server.stop().await;
}
