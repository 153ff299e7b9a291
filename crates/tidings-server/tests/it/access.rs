//! People who stand in every relation to a conversation, for the matrix of who may do what: `access_http.rs` over calls,
//! `access_frames.rs` over frames.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tempfile::{TempDir, tempdir};

use crate::{
    http_client::Caller,
    support::{TestClient, TestServer},
};

/// The columns of the matrix, in this order.
pub const WHO: [&str; 6] = ["member", "gone", "stranger", "blocked", "revoked", "nobody"];
pub const MEMBER: usize = 0;
pub const BLOCKED: usize = 3;

/// Their names. Those who are to be compared have names that differ in no more than a digit.
const NAMES: [&str; 6] = ["twin-1", "gone", "stranger", "twin-2", "twin-1", "nobody"];

/// What each of [`WHO`] gets.
pub type Cells = [&'static str; 6];

/// A group of `owner` with `member` and `blocked`; `gone` was one of them. `owner` blocks `blocked`, who otherwise stands exactly as
/// `member`. `revoked` is a device of `member` that was signed out.
pub struct World {
    pub server: TestServer,
    pub group: String,
    /// One of each of [`WHO`].
    pub callers: Vec<Caller>,
    _folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let folder = tempdir().expect("a folder");
        let settings = [("store", "memory"), ("rates.sends_burst", "10000")];
        let server = TestServer::start(folder.path(), &settings).await;
        let owner = server.log_in("owner", "d").await;
        server.log_in("new", "d").await;
        let mut callers = Vec::new();
        for name in &NAMES[..4] {
            server.log_in(name, "spare").await;
            callers.push(server.log_in(name, "d").await);
        }
        callers.push(server.log_in("twin-1", "lost").await);
        callers.push(server.nobody());
        callers[MEMBER].delete("/v1/me/devices/lost").await.ok();

        let create = json!({"name": "Team", "members": ["twin-1", "gone", "twin-2"]});
        let group = owner.post("/v1/conversations", create).await.ok();
        let group = group["conversation"].as_str().expect("an id").to_owned();
        let hi = json!({"to": {"conversation": group}, "text": "hi"});
        assert_eq!(owner.post("/v1/messages", hi).await.ok()["seq"], 2);
        owner.delete(&format!("/v1/conversations/{group}/members/gone")).await.ok();
        for name in ["twin-1", "twin-2"] {
            owner.post("/v1/messages", json!({"to": {"user": name}, "text": "before"})).await.ok();
        }
        owner.put("/v1/blocks/twin-2", json!({})).await.ok();
        for caller in [&callers[MEMBER], &callers[BLOCKED]] {
            let after = json!({"to": {"user": "owner"}, "text": "after"});
            let direct = caller.post("/v1/messages", after).await.ok()["conversation"].clone();
            // What the owner has read is told to the one, and not to the other.
            let read = format!("/v1/conversations/{}/read", direct.as_str().expect("an id"));
            owner.put(&read, json!({"seq": 1})).await.ok();
        }
        Self { server, group, callers, _folder: folder }
    }

    /// A row's text for one caller: `GROUP` and `ME` are put in.
    pub fn fill(&self, text: &str, who: usize) -> String {
        text.replace("GROUP", &self.group).replace("ME", NAMES[who])
    }

    /// A connection of one who may have one.
    pub async fn connect(&self, who: usize) -> TestClient {
        self.server.connect(NAMES[who], "d").await
    }
}

/// An answer without what differs between two people who stand in the same place: their names, numbers, ids and tokens. Whether
/// somebody is there is left out, too: who is blocked sees that person as offline.
pub fn likeness(answer: &Value) -> Value {
    match answer {
        Value::String(text) => json!(text.replace("twin-1", "TWIN").replace("twin-2", "TWIN")),
        Value::Number(_) => json!(0),
        Value::Array(values) => {
            let values: BTreeSet<String> = values.iter().map(|value| likeness(value).to_string()).collect();
            json!(values)
        }
        Value::Object(object) => {
            let left_out = ["sync", "token", "ticket", "id", "conversation", "client_msg_id", "last_seen", "presence"];
            let kept = object.iter().filter(|(name, _)| !left_out.contains(&name.as_str()));
            kept.map(|(name, value)| (name.clone(), likeness(value))).collect()
        }
        other => other.clone(),
    }
}
