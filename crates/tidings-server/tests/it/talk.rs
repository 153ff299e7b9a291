//! Two people, three devices: what one says the others hear, and find again.

use serde_json::json;
use tempfile::tempdir;

use crate::support::TestServer;

#[tokio::test]
async fn a_message_reaches_every_device_and_the_inbox() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut bob = server.connect("bob", "phone").await;
    let mut bob_laptop = server.connect("bob", "laptop").await;
    let mut ada = server.connect("Ada", "laptop").await;
    let mut ada_phone = server.connect("ada", "phone").await;

    let sent = ada.send("bob", "c-1", "hi").await;
    assert_eq!(sent["seq"], 1);
    for device in [&mut bob, &mut bob_laptop, &mut ada_phone] {
        let item = device.next_of("changes").await;
        assert_eq!(item["items"][0]["conversation"], sent["conversation"]);
        let entry = device.next_of("entry").await;
        assert_eq!((&entry["seq"], &entry["text"], &entry["from"]), (&json!(1), &json!("hi"), &json!("ada")));
    }

    let repeat = ada_phone.send("bob", "c-1", "hi again").await;
    assert_eq!((&repeat["seq"], &repeat["repeat"]), (&json!(1), &json!(true)));

    let item = bob.item(&sent["conversation"]).await;
    assert_eq!((&item["unread"], &item["with"], &item["last"]["text"]), (&json!(1), &json!("ada"), &json!("hi")));
    assert_eq!(bob.texts(&sent["conversation"]).await, ["hi"]);

    let read = bob.ask(json!({"type": "mark_read", "conversation": sent["conversation"], "seq": 1})).await;
    assert_eq!(read["type"], "ok");
    assert_eq!(bob_laptop.item(&sent["conversation"]).await["unread"], 0);
    let receipt = ada.next_of("receipt").await;
    assert_eq!((&receipt["user"], &receipt["read_seq"]), (&json!("bob"), &json!(1)));
    assert_eq!(ada.item(&sent["conversation"]).await["peer"]["read_seq"], 1);
    server.stop().await;
}

#[tokio::test]
async fn unknown_people_and_strangers_are_refused() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let send = json!({"type": "send", "to": {"user": "nobody"}, "client_msg_id": "c", "text": "hi"});
    let refused = ada.ask(send).await;
    assert_eq!((&refused["code"], &refused["users"]), (&json!("unknown_user"), &json!(["nobody"])));

    let mut bob = server.connect("bob", "laptop").await;
    let sent = ada.send("bob", "c", "hi").await;
    let mut eve = server.connect("eve", "laptop").await;
    let refused = eve.ask(json!({"type": "fetch", "conversation": sent["conversation"]})).await;
    assert_eq!(refused["code"], "unknown_conversation");
    assert_eq!(bob.texts(&sent["conversation"]).await, ["hi"]);
    server.stop().await;
}

#[tokio::test]
async fn a_group_has_members_that_come_and_go() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut bob = server.connect("bob", "laptop").await;
    let mut eve = server.connect("eve", "laptop").await;
    let create = json!({"type": "create", "client_msg_id": "g", "name": "Team", "members": ["bob"]});
    let created = ada.ask(create.clone()).await;
    assert_eq!((&created["type"], &created["seq"]), (&json!("created"), &json!(1)), "{created}");
    assert_eq!(ada.ask(create).await["repeat"], true);
    let group = &created["conversation"];
    let item = bob.next_of("changes").await;
    assert_eq!(item["items"][0]["name"], "Team");
    assert_eq!(bob.next_of("entry").await["add"], json!(["ada", "bob"]));

    let add = json!({"type": "members", "client_msg_id": "m", "conversation": group, "add": ["eve"]});
    assert_eq!(bob.ask(add.clone()).await["code"], "forbidden");
    assert_eq!(ada.ask(add).await["seq"], 2);
    assert_eq!(eve.next_of("changes").await["items"][0]["member_count"], 3);
    let remove = json!({"type": "members", "client_msg_id": "m2", "conversation": group, "remove": ["eve"]});
    assert_eq!(ada.ask(remove).await["seq"], 3);
    assert_eq!(eve.next_of("entry").await["seq"], 2);
    assert_eq!(eve.next_of("entry").await["remove"], json!(["eve"]));
    assert_eq!(eve.next_of("changes").await["removed"], json!([group]));
    assert_eq!(eve.ask(json!({"type": "fetch", "conversation": group})).await["code"], "unknown_conversation");

    let leave = json!({"type": "leave", "client_msg_id": "l", "conversation": group});
    assert_eq!(ada.ask(leave).await["seq"], 4);
    assert_eq!(ada.next_of("changes").await["removed"], json!([group]), "behind the answer");
    assert_eq!(bob.item(group).await["role"], "owner", "the last owner hands on");
    server.stop().await;
}

#[tokio::test]
async fn edits_redactions_and_reactions_fold() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut bob = server.connect("bob", "laptop").await;
    let conversation = ada.send("bob", "c-1", "frist").await["conversation"].clone();
    let edit = json!({"type": "edit", "client_msg_id": "e", "conversation": conversation, "seq": 1, "text": "first"});
    assert_eq!(bob.ask(edit.clone()).await["code"], "forbidden");
    assert_eq!(ada.ask(edit).await["seq"], 2);
    let react = json!({"type": "react", "client_msg_id": "r", "conversation": conversation, "seq": 1, "emoji": "👍", "on": true});
    assert_eq!(bob.ask(react.clone()).await["seq"], 3);
    let again = json!({"type": "react", "client_msg_id": "r2", "conversation": conversation, "seq": 1, "emoji": "👍", "on": true});
    assert_eq!(bob.ask(again).await["type"], "ok", "nothing changes, nothing is made");
    let page = bob.ask(json!({"type": "fetch", "conversation": conversation})).await;
    let first = &page["entries"][0];
    assert_eq!((&first["text"], &first["edited_seq"]), (&json!("first"), &json!(2)));
    assert_eq!(first["reactions"], json!([{"emoji": "👍", "count": 1, "mine": true}]));
    assert_eq!(bob.item(&conversation).await["last"]["text"], "first");

    let redact = json!({"type": "redact", "client_msg_id": "d", "conversation": conversation, "seq": 1});
    assert_eq!(ada.ask(redact).await["seq"], 4);
    let page = bob.ask(json!({"type": "fetch", "conversation": conversation})).await;
    let first = &page["entries"][0];
    assert_eq!((&first["text"], &first["redacted"]["by"]), (&json!(null), &json!("ada")));
    let edit = &page["entries"][1];
    assert_eq!((&edit["text"], &edit["redacted"]["seq"]), (&json!(null), &json!(4)), "the edit's text is gone, too");
    assert_eq!(bob.item(&conversation).await["unread"], 0, "bob has reacted after it");
    server.stop().await;
}

#[tokio::test]
async fn who_is_blocked_reaches_nobody_and_learns_nothing() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut mal = server.connect("mal", "laptop").await;
    let conversation = mal.send("ada", "c-1", "hi").await["conversation"].clone();
    assert_eq!(ada.ask(json!({"type": "block", "user": "mal"})).await["type"], "ok");
    assert_eq!(ada.item(&conversation).await["blocked"], true);
    assert_eq!(mal.send("ada", "c-2", "can you hear me?").await["seq"], 2);
    assert_eq!(
        ada.next_of("entry").await,
        json!({"type": "entry", "conversation": conversation, "seq": 2, "kind": "void"})
    );
    let item = ada.item(&conversation).await;
    assert_eq!((&item["unread"], &item["last_seq"], &item["last"]["seq"]), (&json!(1), &json!(2), &json!(1)));
    assert_eq!(ada.texts(&conversation).await, ["hi", ""]);
    assert_eq!(mal.texts(&conversation).await, ["hi", "can you hear me?"]);
    assert_eq!(mal.item(&conversation).await["last"]["text"], "can you hear me?");
    assert_eq!(ada.ask(json!({"type": "unblock", "user": "mal"})).await["type"], "ok");
    mal.send("ada", "c-3", "and now?").await;
    assert_eq!(ada.next_of("entry").await["text"], "and now?");
    server.stop().await;
}

#[tokio::test]
async fn wrong_bytes_are_told_and_ended() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let mut ada = server.connect("ada", "laptop").await;
    for (text, code) in [
        ("{", "bad_frame"),
        (r#"{"type":"shout","id":7}"#, "unknown_type"),
        (r#"{"type":"send","id":8}"#, "bad_request"),
    ] {
        ada.say_text(text).await;
        assert_eq!(ada.next().await["code"], code);
    }
    let long = json!({"type": "send", "to": {"user": "ada"}, "client_msg_id": "c", "text": "x".repeat(16_385)});
    assert_eq!(ada.ask(long).await["code"], "bad_request");
    ada.say_text(&"x".repeat(70_000)).await;
    assert_eq!(u16::from(ada.closed().await.code), 3500);

    let mut silent = server.open().await;
    silent.say_text(r#"{"type":"hello"}"#).await;
    assert_eq!(silent.next().await["code"], "unauthenticated");
    assert_eq!(u16::from(silent.closed().await.code), 3501);
    server.stop().await;
}

#[tokio::test]
async fn a_large_group_is_followed_live_and_over_a_cut() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let names: Vec<String> = (0..80).map(|n| format!("user-{n}")).collect();
    for name in &names {
        server.connect(name, "phone").await;
    }
    let mut ada = server.connect("ada", "laptop").await;
    let create = json!({"type": "create", "client_msg_id": "g", "name": "All", "members": names[..60]});
    let group = ada.ask(create).await["conversation"].clone();
    let mut early = server.connect("user-0", "laptop").await;
    let sync = early.ask(json!({"type": "sync"})).await["sync"].clone();
    let add = json!({"type": "members", "client_msg_id": "m", "conversation": group, "add": names[60..]});
    assert_eq!(ada.ask(add).await["seq"], 2, "the group grows over 64");
    assert_eq!(early.next_of("entry").await["seq"], 2);
    let mut late = server.connect("user-79", "laptop").await;
    let say = |n: u32, text: &str, mentions: serde_json::Value| json!({"type": "send", "to": {"conversation": group}, "client_msg_id": format!("c-{n}"), "text": text, "mentions": mentions});
    assert_eq!(ada.ask(say(1, "hello all", json!([]))).await["seq"], 3);
    assert_eq!(early.next_of("entry").await["text"], "hello all");
    assert_eq!(late.next_of("entry").await["text"], "hello all");
    drop(early);
    assert_eq!(ada.ask(say(2, "you there?", json!(["user-0"]))).await["seq"], 4);
    assert_eq!(ada.ask(say(3, "all of you?", json!(["@all"]))).await["seq"], 5);
    let hello = json!({"type": "hello", "username": "user-0", "device": "laptop", "sync": sync});
    let (mut early, _) = server.hello(hello).await;
    let changes = early.next_of("changes").await;
    let item = &changes["items"][0];
    assert_eq!((&item["last_seq"], &item["unread"], &item["mentions"]), (&json!(5), &json!(3), &json!(2)), "{item}");
    assert_eq!((&item["member_count"], &item["last"]["text"]), (&json!(81), &json!("all of you?")));
    assert_eq!(ada.ask(say(4, "live again", json!([]))).await["seq"], 6);
    assert_eq!(early.next_of("entry").await["text"], "live again");
    server.stop().await;

    let server = TestServer::start(folder.path(), &[]).await;
    let mut early = server.connect("user-0", "laptop").await;
    let item = early.item(&group).await;
    assert_eq!(
        (&item["last_seq"], &item["unread"], &item["member_count"]),
        (&json!(6), &json!(4), &json!(81)),
        "{item}"
    );
    assert_eq!(early.texts(&group).await[2..], ["hello all", "you there?", "all of you?", "live again"]);
    server.stop().await;
}
