//! The first message of a direct conversation makes it; a first message that is refused makes nothing.

use std::sync::Arc;

use serde_json::json;
use tidings_proto::Code;

use crate::{journal::memory::MemoryJournal, tables::memory::MemoryTables};

use super::{Rig, code, direct, send};

#[tokio::test]
async fn a_first_message_that_is_refused_makes_no_conversation() {
    let tables = Arc::new(MemoryTables::new());
    let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
    let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "laptop").await);
    let id = direct("ada", "bob");
    let mut to_all = send("bob", "c-1");
    to_all["mentions"] = json!(["@all"]);
    assert_eq!(code(&ada.ask(to_all).await), Some(Code::Forbidden));
    let mut reply = send("bob", "c-2");
    reply["reply_to"] = json!(4);
    assert_eq!(code(&ada.ask(reply).await), Some(Code::UnknownEntry));
    assert_eq!(bob.fetch(id).await["code"], "unknown_conversation");
    assert!(ada.inbox().await.is_empty());

    assert_eq!(ada.make(send("bob", "c-3")).await, 1);
    assert_eq!(bob.make(send("ada", "b-1")).await, 2);
    let rig = Rig::start(rig.crash().await, tables, 2).await;
    assert_eq!(rig.device("bob", "laptop").await.fetch(id).await["last_seq"], 2);
    rig.crash().await;
}
