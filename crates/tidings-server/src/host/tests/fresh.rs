//! A read that begins after somebody saw an entry shows it: one member's sessions are handed it before another's home is told.

use std::sync::Arc;

use serde_json::json;
use tidings_proto::ConversationId;

use crate::{journal::memory::MemoryJournal, tables::memory::MemoryTables};

use super::{Rig, send_in, user};

/// As many as are told one by one.
const MEMBERS: usize = 60;
const MESSAGES: u64 = 300;

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_inbox_shows_what_another_member_has_seen() {
    let rig = Rig::start(MemoryJournal::new(), Arc::new(MemoryTables::new()), 1).await;
    let names: Vec<String> = (0..MEMBERS).map(|n| format!("m{n:02}")).collect();
    rig.make_known(&names).await;
    let ada = rig.device("ada", "laptop").await;
    ada.make(json!({"type": "create", "client_msg_id": "g", "name": "Team", "members": names})).await;
    let id = ConversationId::group(&user("ada"), "g");
    let mut devices = Vec::new();
    for name in &names {
        devices.push(rig.device(name, "phone").await);
    }
    let (first, last) = (devices.remove(0), devices.pop().expect("there are many"));
    let watching = tokio::spawn(async move {
        let (mut seen, mut looks) = (1, 0);
        while seen < MESSAGES {
            let heard = first.heard().iter().filter_map(|frame| frame["seq"].as_u64()).max();
            seen = heard.unwrap_or(seen);
            if heard.is_some() {
                let told = last.item(id).await["last_seq"].as_u64().expect("it is there");
                assert!(told >= seen, "m00 has seen {seen}, the inbox of m59 says {told}");
                looks += 1;
            }
            // Nothing is waited for: the moment between the two is short.
            tokio::task::yield_now().await;
        }
        looks
    });
    for n in 2..=MESSAGES {
        assert_eq!(ada.make(send_in(id, &format!("c-{n}"))).await, n);
    }
    assert!(watching.await.expect("all that was seen is told") > 0);
    rig.crash().await;
}
