//! Each call once right and once wrong: status, code and body.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{http_client::Caller, support::TestServer};

async fn start() -> (tempfile::TempDir, TestServer) {
    let folder = tempdir().expect("a folder");
    let server = TestServer::start(folder.path(), &[("store", "memory")]).await;
    (folder, server)
}

fn path(conversation: &Value, rest: &str) -> String {
    format!("/v1/conversations/{}{rest}", conversation.as_str().expect("a conversation"))
}

async fn send(caller: &Caller, to: &str, id: &str, text: &str) -> Value {
    caller.post("/v1/messages", json!({"to": {"user": to}, "client_msg_id": id, "text": text})).await.ok()
}

#[tokio::test]
async fn a_message_is_sent_once_over_http_and_websocket() {
    let (_folder, server) = start().await;
    let (ada, _bob) = (server.log_in("ada", "laptop").await, server.log_in("bob", "phone").await);
    let body = json!({"to": {"user": "bob"}, "client_msg_id": "c-1", "text": "hi", "data": {"n": 1.50}});
    let first = ada.post("/v1/messages", body.clone()).await;
    assert_eq!((first.status, &first.body["type"], &first.body["seq"]), (201, &json!("sent"), &json!(1)));
    let again = ada.post("/v1/messages", body).await;
    assert_eq!((again.status, &again.body["seq"], &again.body["repeat"]), (200, &json!(1), &json!(true)));
    let mut socket = server.connect("ada", "phone").await;
    assert_eq!(socket.send("bob", "c-1", "hi").await["repeat"], true);
    socket.send("bob", "c-2", "from the socket").await;
    // The header stands in for the field, with or without quotes; neither makes a new id each time.
    let body = json!({"to": {"user": "bob"}, "text": "x"});
    for (key, status, seq) in [("c-2", 200, 2), ("\"c-1\"", 200, 1), ("c-3", 201, 3)] {
        let answer = ada.call("POST", "/v1/messages", &[("idempotency-key", key)], Some(body.clone())).await;
        assert_eq!((answer.status, &answer.body["seq"]), (status, &json!(seq)), "{key}");
    }
    assert_eq!(ada.post("/v1/messages", body.clone()).await.ok()["seq"], 4);
    assert_eq!(ada.post("/v1/messages", body).await.ok()["seq"], 5);

    let unknown = ada.post("/v1/messages", json!({"to": {"user": "eve"}, "text": "x"})).await;
    assert_eq!(unknown.body["users"], json!(["eve"]));
    unknown.problem(404, "unknown_user");
    let wrong = [
        (json!({"to": {"user": "bob"}}), "text"),
        (json!({"to": {"user": ""}, "text": "x"}), "to"),
        (json!({"to": {"user": "bob"}, "text": 7}), "text"),
        (json!({"to": {"user": "bob"}, "text": "x".repeat(16_385)}), "text"),
        (json!({"to": {"user": "bob"}, "text": "x", "client_msg_id": "c".repeat(65)}), "client_msg_id"),
        (json!({"text": "x"}), "to"),
    ];
    for (body, field) in wrong {
        let detail = ada.post("/v1/messages", body).await.problem(400, "bad_request");
        assert!(detail.contains(field), "{detail}");
    }
    ada.raw("POST", "/v1/messages", &[], b"{".as_slice().into()).await.problem(400, "bad_request");
    ada.raw("POST", "/v1/messages", &[], vec![b' '; 65_537].into()).await.problem(413, "too_large");
    let wrong_method = ada.get("/v1/messages").await;
    assert!(wrong_method.header("allow").contains("POST"), "{wrong_method:?}");
    wrong_method.problem(405, "method_not_allowed");
    ada.get("/v1/nothing").await.problem(404, "not_found");
    server.nobody().post("/v1/messages", json!({})).await.problem(401, "unauthenticated");
    // Whatever refuses, it is a problem document.
    server.nobody().get("/v1/ws").await.problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn groups_have_members_roles_a_name_and_settings() {
    let (_folder, server) = start().await;
    let ada = server.log_in("ada", "laptop").await;
    let (bob, slashed) = (server.log_in("bob", "phone").await, server.log_in("a/b%c", "phone").await);
    let body = json!({"name": "Team", "members": ["bob"], "client_msg_id": "g"});
    let made = ada.post("/v1/conversations", body.clone()).await;
    assert_eq!((made.status, &made.body["type"]), (201, &json!("created")));
    assert_eq!(ada.post("/v1/conversations", body).await.status, 200);
    ada.post("/v1/conversations", json!({"name": " "})).await.problem(400, "bad_request");
    ada.post("/v1/conversations", json!({"name": "x", "members": ["nobody"]})).await.problem(404, "unknown_user");
    let team = &made.body["conversation"];

    // A name with signs that a path must encode.
    let member = path(team, "/members/a%2Fb%25c");
    assert_eq!(ada.call("PUT", &member, &[], None).await.ok()["seq"], 2);
    assert_eq!(ada.call("PUT", &member, &[], None).await.status, 204, "it is so already: no entry");
    assert_eq!(slashed.get(&path(team, "")).await.ok()["role"], "member");
    bob.put(&path(team, "/members/bob"), json!({"role": "owner"})).await.problem(403, "forbidden");
    ada.put(&path(team, "/members/bob"), json!({"role": "emperor"})).await.problem(400, "bad_request");
    ada.put(&path(team, "/members/bob"), json!({"role": "admin"})).await.ok();
    // An admin adds with the role that members have anyway, but sets none.
    bob.put(&member, json!({"role": "member"})).await.problem(403, "forbidden");
    bob.delete(&member).await.ok();
    bob.put(&member, json!({"role": "member"})).await.ok();
    assert_eq!(slashed.delete(&member).await.status, 200, "leaving");
    slashed.get(&path(team, "")).await.problem(404, "unknown_conversation");

    assert_eq!(bob.patch(&path(team, ""), json!({"name": "Crew"})).await.status, 200);
    assert_eq!(bob.patch(&path(team, ""), json!({"name": "Crew"})).await.status, 204);
    bob.patch(&path(team, ""), json!({"name": "x".repeat(129)})).await.problem(400, "bad_request");
    let details = bob.get(&path(team, "")).await.ok();
    assert_eq!(
        (&details["name"], &details["history"], &details["member_count"]),
        (&json!("Crew"), &json!("all"), &json!(2))
    );
    let members = details["members"].as_array().unwrap();
    assert_eq!((&members[1]["user"], &members[1]["role"]), (&json!("bob"), &json!("admin")));
    assert_eq!(members[1]["read_seq"], details["last_seq"]);

    let page = bob.get(&path(team, "/members?limit=1")).await.ok();
    assert_eq!(page["members"], json!([{"user": "ada", "role": "owner"}]));
    let next = format!("/members?limit=1&cursor={}", page["next"].as_str().unwrap());
    let page = bob.get(&path(team, &next)).await.ok();
    assert_eq!((&page["members"][0]["user"], &page["next"]), (&json!("bob"), &Value::Null));
    let detail = bob.get(&path(team, "/members?limit=0")).await.problem(400, "bad_request");
    assert!(detail.starts_with("limit"), "{detail}");

    assert_eq!(bob.patch(&path(team, "/settings"), json!({"muted": true})).await.status, 204);
    let inbox = bob.get("/v1/conversations?limit=5&unknown=x").await.ok();
    assert_eq!((&inbox["items"][0]["muted"], &inbox["items"][0]["pinned"]), (&json!(true), &json!(false)));
    bob.patch(&path(team, "/settings"), json!({"muted": "yes"})).await.problem(400, "bad_request");
    for (query, name) in [("limit=x", "limit"), ("limit=1001", "limit"), ("cursor=x", "cursor"), ("tail=21", "tail")] {
        let detail = bob.get(&format!("/v1/conversations?{query}")).await.problem(400, "bad_request");
        assert!(detail.contains(name), "{detail}");
    }
    let detail = bob.get("/v1/conversations/xyz").await.problem(400, "bad_request");
    assert!(detail.starts_with("conversation"), "{detail}");
    server.stop().await;
}

#[tokio::test]
async fn history_is_read_tagged_edited_and_deleted() {
    let (_folder, server) = start().await;
    let (ada, bob) = (server.log_in("ada", "laptop").await, server.log_in("bob", "phone").await);
    let mut sent = Value::Null;
    for n in 1..=5 {
        sent = send(&ada, "bob", &format!("c-{n}"), &format!("text {n}")).await;
    }
    let entries = path(&sent["conversation"], "/entries");
    let seqs = |page: &Value| -> Vec<u64> {
        page["entries"].as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    for (query, expected) in [
        ("", vec![1, 2, 3, 4, 5]),
        ("?limit=2", vec![4, 5]),
        ("?before=4&limit=2", vec![2, 3]),
        ("?after=1&limit=2", vec![2, 3]),
        ("?around=3&limit=3", vec![2, 3, 4]),
    ] {
        let page = bob.get(&format!("{entries}{query}")).await.ok();
        assert_eq!((seqs(&page), &page["first_seq"], &page["last_seq"]), (expected, &json!(1), &json!(5)), "{query}");
    }
    for wrong in ["?before=4&after=1", "?limit=201", "?before=-1"] {
        bob.get(&format!("{entries}{wrong}")).await.problem(400, "bad_request");
    }

    let first = bob.get(&entries).await;
    assert_eq!(first.header("cache-control"), "private, no-cache");
    let tag = first.header("etag").to_owned();
    let known = format!("\"other\", W/{tag}");
    let cached = bob.call("GET", &entries, &[("if-none-match", &known)], None).await;
    assert_eq!((cached.status, cached.header("etag"), &cached.body), (304, &*tag, &Value::Null));

    assert_eq!(ada.patch(&format!("{entries}/1"), json!({"text": "new"})).await.ok()["seq"], 6);
    bob.patch(&format!("{entries}/1"), json!({"text": "no"})).await.problem(403, "forbidden");
    bob.call("PUT", &format!("{entries}/1/reactions/%F0%9F%91%8D"), &[], None).await.ok();
    bob.call("PUT", &format!("{entries}/9/reactions/x"), &[], None).await.problem(404, "unknown_entry");
    let page = bob.call("GET", &entries, &[("if-none-match", &tag)], None).await;
    assert_eq!(page.status, 200, "what was folded in changes the tag");
    let entry = &page.body["entries"][0];
    assert_eq!((&entry["text"], &entry["edited_seq"]), (&json!("new"), &json!(6)));
    assert_eq!(entry["reactions"], json!([{"emoji": "👍", "count": 1, "mine": true}]));
    bob.delete(&format!("{entries}/1/reactions/%F0%9F%91%8D")).await.ok();
    assert_eq!(bob.delete(&format!("{entries}/1/reactions/%F0%9F%91%8D")).await.status, 204);
    bob.delete(&format!("{entries}/1")).await.problem(403, "forbidden");
    let delete = ada.call("DELETE", &format!("{entries}/1"), &[("idempotency-key", "d-1")], None).await;
    let again = ada.call("DELETE", &format!("{entries}/1"), &[("idempotency-key", "d-1")], None).await;
    assert_eq!((delete.status, again.status, &again.body["seq"]), (200, 200, &delete.body["seq"]));
    let page = ada.get(&entries).await.ok();
    assert_eq!((&page["entries"][0]["text"], &page["entries"][0]["redacted"]["by"]), (&Value::Null, &json!("ada")));

    let stranger = json!({"conversation": "a".repeat(26), "limit": 1});
    let ranges = json!({"ranges": [{"conversation": sent["conversation"], "after": 3, "limit": 1}, stranger]});
    let answer = bob.post("/v1/fetch", ranges).await.ok();
    assert_eq!((seqs(&answer["ranges"][0]), &answer["ranges"][1]["code"]), (vec![4], &json!("unknown_conversation")));
    bob.post("/v1/fetch", json!({})).await.problem(400, "bad_request");

    assert_eq!(bob.put(&path(&sent["conversation"], "/read"), json!({"seq": 3})).await.status, 204);
    bob.put(&path(&sent["conversation"], "/read"), json!({"seq": 99})).await.problem(404, "unknown_entry");
    bob.put(&path(&sent["conversation"], "/read"), json!({})).await.problem(400, "bad_request");
    let reached = |answer: Value| -> Vec<String> {
        let members = answer["members"].as_array().unwrap().clone();
        members.iter().map(|member| member["user"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(reached(ada.get(&format!("{entries}/3/receipts")).await.ok()), ["ada", "bob"]);
    ada.get(&format!("{entries}/0/receipts")).await.problem(404, "unknown_entry");
    ada.get(&format!("{entries}/x/receipts")).await.problem(400, "bad_request");
    server.stop().await;
}

#[tokio::test]
async fn people_have_profiles_devices_and_blocks() {
    let (_folder, server) = start().await;
    let (ada, bob) = (server.log_in("ada", "laptop").await, server.log_in("bob", "phone").await);
    let me = ada.patch("/v1/me", json!({"name": "Ada L.", "presence": "everyone"})).await.ok();
    assert_eq!(
        me,
        json!({"user": "ada", "device": "laptop", "name": "Ada L.", "picture": null, "presence": "everyone"})
    );
    assert_eq!(ada.get("/v1/me").await.ok(), me);
    ada.patch("/v1/me", json!({"presence": "sometimes"})).await.problem(400, "bad_request");
    let profile = bob.get("/v1/users/ada").await.ok();
    assert_eq!((&profile["name"], &profile["presence"]), (&json!("Ada L."), &json!("offline")));
    let mut socket = server.connect("ada", "tablet").await;
    assert_eq!(bob.get("/v1/users/ada").await.ok()["presence"], "online");
    bob.get("/v1/users/nobody").await.problem(404, "unknown_user");
    let users = bob.get("/v1/users?ids=ada,nobody,%62ob").await.ok();
    assert_eq!((&users["users"][0]["user"], &users["users"][1]["user"]), (&json!("ada"), &json!("bob")));
    assert_eq!(users["users"].as_array().unwrap().len(), 2);
    bob.get("/v1/users").await.problem(400, "bad_request");
    bob.get(&format!("/v1/users?ids={}", vec!["ada"; 101].join(","))).await.problem(400, "bad_request");

    let names = |devices: Value| -> Vec<(String, bool)> {
        let devices = devices["devices"].as_array().unwrap().clone();
        let one = |device: &Value| (device["device"].as_str().unwrap().to_owned(), device["connected"] == true);
        devices.iter().map(one).collect()
    };
    let all = names(ada.get("/v1/me/devices").await.ok());
    assert_eq!(all, [("laptop".to_owned(), false), ("tablet".to_owned(), true)]);
    ada.delete("/v1/me/devices/nothing").await.problem(404, "not_found");
    let tablet = server.log_in("ada", "tablet").await;
    assert_eq!(ada.delete("/v1/me/devices/tablet").await.status, 204);
    assert_eq!(u16::from(socket.closed().await.code), 3502);
    tablet.get("/v1/me").await.problem(401, "unauthenticated");
    assert_eq!(names(ada.get("/v1/me/devices").await.ok()), [("laptop".to_owned(), false)]);
    // Who logs in again has it again.
    let back = server.log_in("ada", "tablet").await;
    back.get("/v1/me").await.ok();
    assert_eq!(names(ada.get("/v1/me/devices").await.ok()).len(), 2);

    assert_eq!(ada.call("PUT", "/v1/blocks/bob", &[], None).await.status, 204);
    assert_eq!(ada.get("/v1/blocks").await.ok(), json!({"blocks": ["bob"]}));
    ada.call("PUT", "/v1/blocks/ada", &[], None).await.problem(400, "bad_request");
    ada.call("PUT", "/v1/blocks/nobody", &[], None).await.problem(404, "unknown_user");
    // The blocked one sees it as sent, and learns nothing more.
    let sent = send(&bob, "ada", "c", "hello?").await;
    assert_eq!(
        ada.get(&path(&sent["conversation"], "/entries")).await.ok()["entries"][0],
        json!({"seq": 1, "kind": "void"})
    );
    ada.put(&path(&sent["conversation"], "/read"), json!({"seq": 1})).await.ok();
    let details = bob.get(&path(&sent["conversation"], "")).await.ok();
    assert_eq!((&details["members"][0]["user"], &details["members"][0]["read_seq"]), (&json!("ada"), &json!(0)));
    let receipts = bob.get(&path(&sent["conversation"], "/entries/1/receipts")).await.ok();
    assert_eq!(receipts["members"].as_array().unwrap().len(), 1, "{receipts}");
    assert_eq!(ada.delete("/v1/blocks/bob").await.status, 204);
    assert_eq!(ada.get("/v1/blocks").await.ok(), json!({"blocks": []}));
    server.stop().await;
}

#[tokio::test]
async fn frames_are_answered_in_order_and_act_for_the_device() {
    let (_folder, server) = start().await;
    let (ada, _bob) = (server.log_in("ada", "laptop").await, server.log_in("bob", "phone").await);
    let mut laptop = server.connect("ada", "laptop").await;
    let frames = json!({"frames": [
        {"type": "ping", "id": 1},
        {"type": "send", "id": 2, "to": {"user": "bob"}, "client_msg_id": "c", "text": "hi"},
        {"type": "watch", "id": 3, "users": ["bob"]},
        {"type": "inbox", "id": "four", "limit": 5},
        {"type": "hello", "id": 5, "username": "ada"},
        {"type": "nonsense", "id": 6},
    ]});
    let answers = ada.post("/v1/frames", frames).await.ok();
    let answers = answers["answers"].as_array().unwrap();
    let kinds: Vec<_> = answers.iter().map(|answer| (answer["type"].as_str().unwrap(), answer["re"].clone())).collect();
    let expected = [
        ("pong", json!(1)),
        ("sent", json!(2)),
        ("ok", json!(3)),
        ("inbox", json!("four")),
        ("error", json!(5)),
        ("error", json!(6)),
    ];
    assert_eq!(kinds, expected);
    assert_eq!((&answers[4]["code"], &answers[5]["code"]), (&json!("bad_request"), &json!("unknown_type")));
    assert_eq!(laptop.next_of("presence").await["user"], "bob");

    // Who reads behind what was made in the same call finds it.
    let to = json!({"conversation": answers[1]["conversation"]});
    let send = |id: &str| json!({"type": "send", "id": id, "to": to, "client_msg_id": id, "text": id});
    let fetch = json!({"type": "fetch", "id": 9, "conversation": answers[1]["conversation"], "limit": 2});
    let frames = json!({"frames": [send("a"), send("b"), fetch, send("a")]});
    let answers = ada.post("/v1/frames", frames).await.ok();
    let seqs: Vec<_> = [0, 1, 3].iter().map(|at| answers["answers"][*at]["seq"].clone()).collect();
    assert_eq!((seqs, &answers["answers"][2]["last_seq"]), (vec![json!(2), json!(3), json!(2)], &json!(3)));
    ada.post("/v1/frames", json!({"frames": vec![json!({"type": "ping"}); 101]})).await.problem(400, "bad_request");
    ada.post("/v1/frames", json!({"frames": 1})).await.problem(400, "bad_request");
    server.stop().await;
}
