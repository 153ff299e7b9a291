//! Operators: an import comes in once, whole and read, and goes out again as it was.

use serde_json::{Value, json};
use tempfile::tempdir;

use crate::{
    http_client::{ADMIN, Caller},
    support::TestServer,
};

/// Names that only differ in case, one that is no username, texts with everything but NUL.
const LINES: [(&str, &str); 6] = [
    ("Ada", "one\ttwo\u{7} three "),
    ("ada", ""),
    ("a b", "\u{202e}right to left\u{feff}"),
    ("Ada", "line\nline\r\n"),
    ("|trey|", "\u{1b}[31mred"),
    ("ada", "last"),
];

async fn import(operator: &Caller, lines: &[(&str, &str)], first: usize) -> Value {
    let names: Vec<_> = lines.iter().map(|(from, _)| *from).collect();
    let users = operator.post("/v1/admin/users/resolve", json!({"names": names})).await.ok()["users"].clone();
    let messages: Vec<_> = lines
        .iter()
        .enumerate()
        .map(|(at, (_, text))| {
            let line = first + at;
            let client_msg_id = format!("import:{line}");
            json!({"client_msg_id": client_msg_id, "from": users[at]["user"], "at": 1_000 * line, "text": text})
        })
        .collect();
    let body = json!({"conversation": {"name": "past"}, "users": users, "messages": messages});
    operator.post("/v1/admin/import", body).await.ok()
}

#[tokio::test]
async fn an_import_is_there_once_and_goes_out_as_it_came() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let operator = server.operator();
    let first = import(&operator, &LINES, 1).await;
    assert_eq!((&first["imported"], &first["repeats"], &first["last_seq"]), (&json!(6), &json!(0), &json!(6)));
    let again = import(&operator, &LINES, 1).await;
    assert_eq!((&again["imported"], &again["repeats"], &again["last_seq"]), (&json!(0), &json!(6), &json!(6)));
    server.stop().await;

    // From the tables, a part that is there already and a part that is not.
    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let operator = server.operator();
    let mixed = import(&operator, &[LINES[5], ("new", "more")], 6).await;
    assert_eq!((&mixed["imported"], &mixed["repeats"], &mixed["last_seq"]), (&json!(1), &json!(1), &json!(7)));
    let found = operator.get("/v1/admin/conversations?name=past").await.ok();
    assert_eq!(found["conversations"], json!([first["conversation"]]));

    let path = format!("/v1/admin/conversations/{}/entries", first["conversation"].as_str().unwrap());
    let page = operator.get(&format!("{path}?after=0&limit=6")).await.ok();
    assert_eq!(page["last_seq"], 7);
    let entries = page["entries"].as_array().unwrap();
    let out: Vec<_> =
        entries.iter().map(|entry| (entry["from_name"].as_str().unwrap(), entry["text"].as_str().unwrap())).collect();
    assert_eq!(out, LINES);
    let ids: Vec<_> = entries.iter().map(|entry| entry["from"].as_str().unwrap()).collect();
    assert_eq!(ids, ["ada", "ada~2", "a%20b", "ada", "|trey|", "ada~2"]);
    assert_eq!(
        (&entries[1]["seq"], &entries[1]["at"], &entries[1]["kind"]),
        (&json!(2), &json!(2_000), &json!("message"))
    );
    server.stop().await;
}

#[tokio::test]
async fn what_was_imported_is_read_and_what_follows_is_not() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let operator = server.operator();
    let past = import(&operator, &LINES, 1).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut trey = server.connect("|trey|", "laptop").await;
    let item = ada.item(&past["conversation"]).await;
    let shown = (&item["unread"], &item["read_seq"], &item["last"]["text"], &item["member_count"], &item["name"]);
    assert_eq!(shown, (&json!(0), &json!(6), &json!("last"), &json!(4), &json!("past")));

    // A second import reads what was said in between, too, and so does one that makes the group large.
    let says = |text: &str| json!({"type": "send", "to": {"conversation": past["conversation"]}, "client_msg_id": text, "text": text});
    trey.ask(says("live")).await;
    assert_eq!(ada.item(&past["conversation"]).await["unread"], 1);
    let many: Vec<_> = (0..80).map(|n| format!("user{n}")).collect();
    let lines: Vec<_> = many.iter().map(|name| (name.as_str(), "hello")).collect();
    assert_eq!(import(&operator, &lines, 100).await["last_seq"], 87);
    let item = ada.item(&past["conversation"]).await;
    let shown = (&item["unread"], &item["read_seq"], &item["last"]["text"], &item["member_count"]);
    assert_eq!(shown, (&json!(0), &json!(87), &json!("hello"), &json!(84)));

    // In a large group homes are not told, they ask.
    import(&operator, &[("user1", "later")], 300).await;
    trey.ask(says("unread")).await;
    let mut user = server.connect("user1", "laptop").await;
    for client in [&mut ada, &mut user] {
        let item = client.item(&past["conversation"]).await;
        assert_eq!((&item["unread"], &item["read_seq"], &item["last_seq"]), (&json!(1), &json!(88), &json!(89)));
    }
    server.stop().await;

    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let item = server.connect("user2", "phone").await.item(&past["conversation"]).await;
    assert_eq!((&item["unread"], &item["last"]["text"]), (&json!(1), &json!("unread")));
    server.stop().await;
}

#[tokio::test]
async fn operators_calls_refuse_what_is_wrong() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[ADMIN, ("store", "memory")]).await;
    let (operator, ada) = (server.operator(), server.log_in("ada", "laptop").await);
    for caller in [&server.nobody(), &ada] {
        caller.post("/v1/admin/import", json!({})).await.problem(401, "unauthenticated");
        caller.get("/v1/admin/conversations?name=x").await.problem(401, "unauthenticated");
    }
    let message = |id: &str, text: &str| json!({"client_msg_id": id, "from": "ada", "at": 1, "text": text});
    let import = |messages: Value| json!({"conversation": {"name": "x"}, "users": [], "messages": messages});
    let wrong = [
        (import(json!([message("a", "x"), message("b", "nul\0")])), "messages[1].text"),
        (import(json!([message("", "x")])), "messages[0].client_msg_id"),
        (import(json!([{"client_msg_id": "a", "from": "", "at": 1, "text": ""}])), "messages[0].from"),
        (import(Value::from(vec![message("a", "x"); 1_001])), "messages"),
        (json!({"conversation": {"name": " "}}), "conversation.name"),
        (json!({"messages": []}), "conversation"),
    ];
    for (body, field) in wrong {
        let detail = operator.post("/v1/admin/import", body).await.problem(400, "bad_request");
        assert!(detail.contains(field), "{detail}");
    }
    operator.raw("POST", "/v1/admin/import", &[], vec![b' '; 1 << 20 | 1].into()).await.problem(413, "too_large");
    let invalid = b"{\"names\":[\"\xff\"]}".as_slice();
    operator.raw("POST", "/v1/admin/users/resolve", &[], invalid.into()).await.problem(400, "bad_request");
    operator.get("/v1/admin/import").await.problem(405, "method_not_allowed");
    operator.get("/v1/admin/nothing").await.problem(404, "not_found");
    // Nothing of it happened.
    assert_eq!(operator.get("/v1/admin/conversations?name=x").await.ok(), json!({"conversations": []}));
    server.stop().await;
}

#[tokio::test]
async fn a_server_alone_is_a_fleet_of_one_that_nobody_can_be_taken_out_of() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let operator = server.operator();
    let fleet = operator.get("/v1/admin/cluster").await.ok();
    assert_eq!((&fleet["is_alone"], &fleet["moving"], &fleet["shards"]), (&json!(true), &json!(0), &json!(16_384)));
    let nodes = fleet["nodes"].as_array().unwrap();
    assert_eq!(nodes.len(), 1);
    assert_eq!((&nodes[0]["answers"], &nodes[0]["hosted"]), (&json!(true), &json!(16_384)));
    for act in ["drain", "remove"] {
        let refused = operator.post(&format!("/v1/admin/cluster/{act}"), json!({"node": "node-1"})).await;
        assert_eq!((refused.status, &refused.body["code"]), (409, &json!("conflict")));
        assert!(refused.body["detail"].as_str().unwrap().contains("alone"), "{}", refused.body);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_move_needs_a_place_and_a_switch_needs_a_move() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[ADMIN]).await;
    let operator = server.operator();
    assert_eq!(operator.get("/v1/admin/migration").await.ok()["phase"], "idle");
    for (settings, what) in [(json!({}), "cassandra.nodes"), (json!({"listen": "127.0.0.1:1"}), "listen")] {
        let refused = operator.post("/v1/admin/migration", json!({ "settings": settings })).await;
        assert_eq!((refused.status, &refused.body["code"]), (400, &json!("bad_request")), "{}", refused.body);
        assert!(refused.body["detail"].as_str().unwrap().contains(what), "{}", refused.body);
    }
    let refused = operator.post("/v1/admin/migration/switch", json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("conflict")));
    server.stop().await;

    let server = TestServer::start(folder.path(), &[ADMIN, ("store", "memory")]).await;
    let refused = server.operator().post("/v1/admin/migration", json!({"settings": {}})).await;
    assert_eq!((refused.status, &refused.body["code"]), (409, &json!("conflict")), "{}", refused.body);
    server.stop().await;
}
