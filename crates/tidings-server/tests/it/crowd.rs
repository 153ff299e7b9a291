//! Many at once over real sockets: a group of a thousand who are all there, and an inbox of a thousand conversations.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::HashSet;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::task::JoinSet;

use crate::support::{TestClient, TestServer};

const CROWD: usize = 1_000;
/// Messages before the members change, and after it.
const HALF: u64 = 8;
/// Connections that are made at once.
const AT_ONCE: usize = 32;

const QUICK: (&str, &str) = ("rates.sends_burst", "100000");

/// The seqs that come, up to the entry of this seq or until the group is gone; each text is that of its seq.
async fn follow(mut client: TestClient, group: Value, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    loop {
        let frame = client.next().await;
        if frame["type"] == "changes" && frame["removed"] == json!([group]) {
            return seqs;
        }
        if frame["type"] != "entry" {
            continue;
        }
        let seq = frame["seq"].as_u64().unwrap();
        if frame["kind"] == "message" {
            assert_eq!(frame["text"], format!("number {seq}"));
        }
        seqs.push(seq);
        if seq == last {
            return seqs;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_members_hear_all_once_and_in_order() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[QUICK]).await;
    let names: Vec<String> = (0..CROWD).map(|n| format!("user-{n}")).collect();
    let connect = |name: String| async {
        let client = server.connect(&name, "phone").await;
        (name, client)
    };
    let mut clients: Vec<_> = stream::iter(names.clone()).map(connect).buffer_unordered(AT_ONCE).collect().await;
    let mut ada = server.connect("ada", "laptop").await;
    // The last one comes later.
    let late_at = clients.iter().position(|(name, _)| *name == names[CROWD - 1]).unwrap();
    let (_, late) = clients.swap_remove(late_at);
    let create = json!({"type": "create", "client_msg_id": "g", "name": "All", "members": names[..CROWD - 1]});
    let group = ada.ask(create).await["conversation"].clone();

    // The creation, half, who is put out, who is added, the other half.
    let (removed, added, last) = (HALF + 2, HALF + 3, 2 * HALF + 3);
    let mut following = JoinSet::new();
    for (name, client) in clients {
        let group = group.clone();
        following.spawn(async move { (name, follow(client, group, last).await) });
    }
    let late = tokio::spawn(follow(late, group.clone(), last));
    let mut pipelined = Vec::new();
    for seq in 2..=last {
        let mut frame = match seq {
            _ if seq == removed => {
                json!({"type": "members", "client_msg_id": "out", "conversation": group, "remove": [names[0]]})
            }
            _ if seq == added => {
                json!({"type": "members", "client_msg_id": "in", "conversation": group, "add": [names[CROWD - 1]]})
            }
            _ => {
                json!({"type": "send", "to": {"conversation": group}, "client_msg_id": format!("c-{seq}"), "text": format!("number {seq}")})
            }
        };
        pipelined.push((ada.start(&mut frame).await, seq));
    }
    for (id, seq) in pipelined {
        let sent = ada.next_of("sent").await;
        assert_eq!((&sent["re"], &sent["seq"]), (&json!(id), &json!(seq)), "{sent}");
    }
    while let Some(heard) = following.join_next().await {
        let (name, seqs) = heard.unwrap();
        let until = if name == names[0] { removed } else { last };
        assert_eq!(seqs, (1..=until).collect::<Vec<_>>(), "{name}");
    }
    assert_eq!(late.await.unwrap(), (added..=last).collect::<Vec<_>>(), "from when it was added");
    let mut out = server.connect(&names[0], "laptop").await;
    assert_eq!(out.ask(json!({"type": "fetch", "conversation": group})).await["code"], "unknown_conversation");
    server.stop().await;
}

fn ids(items: &Value) -> Vec<String> {
    items.as_array().unwrap().iter().map(|item| item["conversation"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_thousand_conversations_are_one_request_and_later_what_changed() {
    let folder = tempdir().unwrap();
    let settings = [QUICK, ("users.unknown_recipient", "accept"), ("flush.window_ms", "50")];
    let server = TestServer::start(folder.path(), &settings).await;
    let mut ada = server.connect("ada", "laptop").await;
    let send = |n: usize, text: &str| json!({"type": "send", "to": {"user": format!("user-{n}")}, "client_msg_id": format!("{text}-{n}"), "text": text});
    for n in 0..CROWD {
        ada.start(&mut send(n, "first")).await;
    }
    let mut sent = Vec::new();
    while sent.len() < CROWD {
        sent.push(ada.next_of("sent").await["conversation"].as_str().unwrap().to_owned());
    }
    let inbox = ada.ask(json!({"type": "inbox", "limit": 1000})).await;
    assert!(inbox["next"].is_null());
    let shown = ids(&inbox["items"]);
    assert_eq!(shown.iter().collect::<HashSet<_>>(), sent.iter().collect::<HashSet<_>>());
    assert_eq!(shown.len(), CROWD, "each once");

    // The same in pages, and by sync without a token.
    let (mut paged, mut cursor) = (Vec::new(), json!(null));
    while paged.len() < CROWD {
        let page = ada.ask(json!({"type": "inbox", "limit": 300, "cursor": cursor})).await;
        paged.extend(ids(&page["items"]));
        cursor = page["next"].clone();
    }
    assert_eq!((&paged, &cursor), (&shown, &json!(null)));
    let mut full = ada.ask(json!({"type": "sync"})).await;
    assert_eq!(full["full"], true);
    let mut synced = ids(&full["items"]);
    while full["more"] == true {
        full = ada.ask(json!({"type": "sync", "sync": full["sync"]})).await;
        synced.extend(ids(&full["items"]));
    }
    assert_eq!(synced.iter().collect::<HashSet<_>>(), shown.iter().collect::<HashSet<_>>());

    // Later, from another process, a token brings what differs, latest first.
    let token = full["sync"].clone();
    drop(ada);
    server.stop().await;
    let server = TestServer::start(folder.path(), &settings).await;
    let mut phone = server.connect("ada", "phone").await;
    for n in [17, 400, 999] {
        phone.ask(send(n, "second")).await;
    }
    let hello = json!({"type": "hello", "username": "ada", "device": "laptop", "sync": token, "tail": 2});
    let (mut ada, _) = server.hello(hello).await;
    let changes = ada.next_of("changes").await;
    let shown: Vec<_> = changes["items"].as_array().unwrap().iter().map(|item| item["with"].clone()).collect();
    assert_eq!(shown, [json!("user-999"), json!("user-400"), json!("user-17")], "{changes}");
    assert!(changes["items"].as_array().unwrap().iter().all(|item| item["tail"][1]["text"] == "second"));
    assert_eq!(ids(&ada.ask(json!({"type": "inbox", "limit": 1000})).await["items"]).len(), CROWD);
    server.stop().await;
}
