//! Cursors of sessions that outlive their connections: set by what is told, moved by what is delivered, the same after a
//! crash wherever the last flush was.

use std::sync::Arc;

use serde_json::json;
use tidings_proto::{ConversationId, Seq};

use crate::{
    home::kept::{InboxSubscription, KeptSession, NEVER_S},
    host::cursors::Delivered,
    journal::memory::MemoryJournal,
    tables::memory::MemoryTables,
};

use super::{Device, Rig, direct, send};

const CURSORS: u64 = 7;

async fn subscribe(rig: &Rig, bob: &Device) {
    let inbox = Some(InboxSubscription { cursors: CURSORS, qos: 1, no_local: false });
    let session = KeptSession { inbox, expiry_s: NEVER_S, ..KeptSession::default() };
    let (home, device) = (&bob.caller.home, &bob.caller.device);
    rig.host.keep_session(home, device, Some(session), true).await.expect("it is stored");
}

async fn behind(rig: &Rig, bob: &Device) -> Vec<(ConversationId, Seq)> {
    let behind = rig.host.behind(&bob.caller.home, CURSORS).await.expect("readable");
    behind.into_iter().map(|place| (place.conversation, place.seq)).collect()
}

async fn deliver(rig: &Rig, bob: &Device, conversation: ConversationId, seq: u64) {
    let delivered = Delivered { seq: Seq(seq), is_acked: true };
    rig.host.delivered(&bob.caller.user, Some(CURSORS), &[(conversation, delivered)]).await;
}

#[tokio::test]
async fn a_cursor_is_there_after_a_crash_before_and_after_a_flush() {
    // Each bit is a step after which is flushed.
    for flushes in 0..8 {
        let tables = Arc::new(MemoryTables::new());
        let rig = Rig::start(MemoryJournal::new(), tables.clone(), 1).await;
        let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "phone").await);
        let id = direct("ada", "bob");
        ada.make(send("bob", "c-1")).await;
        subscribe(&rig, &bob).await;
        if flushes & 1 > 0 {
            rig.flush().await;
        }
        assert_eq!(behind(&rig, &bob).await, [], "what was there before is not owed");
        for n in 2..=4 {
            ada.make(send("bob", &format!("c-{n}"))).await;
        }
        if flushes & 2 > 0 {
            rig.flush().await;
        }
        deliver(&rig, &bob, id, 3).await;
        if flushes & 4 > 0 {
            rig.flush().await;
        }
        let rig = Rig::start(rig.crash().await, tables.clone(), 2).await;
        let (ada, bob) = (rig.device("ada", "laptop").await, rig.device("bob", "phone").await);
        assert_eq!(behind(&rig, &bob).await, [(id, Seq(3))], "flushes {flushes:b}");
        deliver(&rig, &bob, id, 4).await;
        assert_eq!(behind(&rig, &bob).await, []);
        ada.make(send("bob", "c-5")).await;
        deliver(&rig, &bob, id, 5).await;
        deliver(&rig, &bob, id, 4).await;
        assert_eq!(behind(&rig, &bob).await, [], "an old one moves nothing back");
        ada.make(send("bob", "c-6")).await;
        let after = bob.token().await;
        deliver(&rig, &bob, id, 5).await;
        deliver(&rig, &bob, id, 6).await;
        let changes = bob.read(json!({"type": "sync", "sync": after})).await;
        assert_eq!(changes["items"], json!([]), "that a cursor moved is nothing to tell");
        rig.crash().await;
    }
}
