//! Profiles and members over HTTP: what a page needs to show people.

use serde_json::json;
use tempfile::tempdir;

use crate::support::TestServer;

#[tokio::test]
async fn people_are_shown_to_members_and_unknown_ones_are_named() {
    let folder = tempdir().unwrap();
    let server = TestServer::start(folder.path(), &[]).await;
    let ada = server.log_in("ada", "laptop").await;
    server.log_in("bob", "laptop").await;
    let eve = server.log_in("eve", "laptop").await;
    let bob = ada.get("/v1/users/bob").await.ok();
    assert_eq!((&bob["user"], &bob["name"]), (&json!("bob"), &json!(null)));
    ada.get("/v1/users/nobody").await.problem(404, "unknown_user");
    let users = ada.get("/v1/users?ids=bob,nobody,eve").await.ok();
    assert_eq!(users["users"].as_array().unwrap().len(), 2, "{users}");

    let create =
        json!({"frames": [{"type": "create", "id": 1, "client_msg_id": "g", "name": "Team", "members": ["bob"]}]});
    let created = ada.post("/v1/frames", create).await.ok();
    let path = format!("/v1/conversations/{}/members", created["answers"][0]["conversation"].as_str().unwrap());
    let first = ada.get(&format!("{path}?limit=1")).await.ok();
    assert_eq!((&first["members"][0]["user"], &first["next"]), (&json!("ada"), &json!("ada")));
    let second = ada.get(&format!("{path}?limit=1&cursor=ada")).await.ok();
    assert_eq!(second["members"][0]["role"], "member");
    eve.get(&path).await.problem(404, "unknown_conversation");
    ada.get(&format!("{path}?limit=0")).await.problem(400, "bad_request");
    server.stop().await;
}
