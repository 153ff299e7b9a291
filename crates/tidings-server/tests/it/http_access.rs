//! Who may do what with a conversation: to whom is no member, it is the same as none.

use serde_json::json;
use tempfile::tempdir;

use crate::support::TestServer;

/// Every call about a conversation, with a body where it needs one, and what a plain member gets.
const CALLS: &[(&str, &str, &str, u16)] = &[
    ("GET", "", "", 200),
    ("PATCH", "", r#"{"name":"Other"}"#, 200),
    ("GET", "/members", "", 200),
    ("PUT", "/members/new", "", 403),
    ("DELETE", "/members/owner", "", 403),
    ("GET", "/entries", "", 200),
    ("PUT", "/read", r#"{"seq":1}"#, 204),
    ("PATCH", "/settings", r#"{"pinned":true}"#, 204),
    ("GET", "/entries/2/receipts", "", 200),
    ("PATCH", "/entries/2", r#"{"text":"x"}"#, 403),
    ("DELETE", "/entries/2", "", 403),
    ("PUT", "/entries/2/reactions/x", "", 200),
    ("DELETE", "/entries/2/reactions/x", "", 200),
];

#[tokio::test]
async fn members_may_and_strangers_learn_nothing() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[("store", "memory")]).await;
    let owner = server.log_in("owner", "d").await;
    let (member, gone) = (server.log_in("member", "d").await, server.log_in("gone", "d").await);
    let (stranger, _new) = (server.log_in("stranger", "d").await, server.log_in("new", "d").await);
    let group = owner.post("/v1/conversations", json!({"name": "Team", "members": ["member", "gone"]})).await.ok();
    let conversation = group["conversation"].as_str().unwrap();
    let to = json!({"to": {"conversation": conversation}, "text": "hi"});
    assert_eq!(owner.post("/v1/messages", to.clone()).await.ok()["seq"], 2);
    owner.delete(&format!("/v1/conversations/{conversation}/members/gone")).await.ok();

    for (method, rest, body, status) in CALLS {
        let path = format!("/v1/conversations/{conversation}{rest}");
        let call =
            async |caller: &crate::http_client::Caller| caller.raw(method, &path, &[], body.as_bytes().into()).await;
        call(&server.nobody()).await.problem(401, "unauthenticated");
        for outsider in [&stranger, &gone] {
            call(outsider).await.problem(404, "unknown_conversation");
        }
        // The same words as for one that never was: ids tell nothing.
        let never = format!("/v1/conversations/{}{rest}", "a".repeat(26));
        let never = stranger.raw(method, &never, &[], body.as_bytes().into()).await;
        assert_eq!(call(&stranger).await.body, never.body, "{method} {rest}");
        let allowed = call(&member).await;
        assert_eq!(allowed.status, *status, "{method} {rest}: {allowed:?}");
        if *status == 403 {
            allowed.problem(403, "forbidden");
        }
    }
    for outsider in [&stranger, &gone] {
        outsider.post("/v1/messages", to.clone()).await.problem(404, "unknown_conversation");
    }
    assert_eq!(gone.get("/v1/conversations").await.ok()["items"], json!([]));
    server.stop().await;
}
