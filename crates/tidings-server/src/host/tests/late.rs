//! A store that does not answer for a while: whoever waits for what it holds is told so in time, and nothing else goes wrong.

use std::sync::Arc;

use serde_json::json;
use tidings_proto::{Code, ConversationId};

use crate::{
    host::load::LoadError,
    journal::memory::MemoryJournal,
    session::reply::Answer,
    tables::{TablesError, memory::MemoryTables},
};

use super::{
    Rig, code, direct,
    fleet::{Fleet, people},
    send, send_in, user,
};

#[tokio::test]
async fn whoever_waits_for_tables_that_do_not_answer_is_told_to_come_again() {
    let tables = MemoryTables::new();
    let rig = Rig::start(MemoryJournal::new(), Arc::new(tables.clone()), 1).await;
    let ada = rig.device("ada", "laptop").await;
    rig.make_known(&["bob".to_owned()]).await;
    ada.make(send("bob", "c-1")).await;
    rig.flush().await;
    let journal = rig.crash().await;

    // A host that has nothing in memory but Ada's home.
    let rig = Rig::start(journal, Arc::new(tables.clone()), 2).await;
    let ada = rig.device("ada", "laptop").await;
    tables.mute(true);
    let bob = user("bob");
    let (sent, fetched, home) =
        tokio::join!(ada.ask(send("bob", "c-2")), ada.fetch(direct("ada", "bob")), rig.host.home(&bob));
    assert_eq!(code(&sent), Some(Code::Unavailable));
    assert_eq!(fetched["code"], json!(Code::Unavailable), "{fetched}");
    assert!(matches!(home, Err(LoadError::Tables(TablesError::Late(_)))));

    tables.mute(false);
    assert_eq!(ada.make(send("bob", "c-2")).await, 2, "nothing of the first try was stored");
    assert_eq!(ada.make(send("bob", "c-2")).await, 2);
    rig.crash().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_node_refuses_is_refused_although_the_own_journal_takes_nothing() {
    let fleet = Fleet::start(2).await;
    let ada = people(2, &[0]).remove(0);
    let device = fleet.device(&ada, "phone").await;
    let group = |place: u16| {
        let ids = (0..).map(|number| format!("g-{number}")).map(|g| (ConversationId::group(&user(&ada), &g), g));
        let mut ids = ids.filter(|(id, _)| id.shard().0 % 2 == place);
        ids.next().expect("ids do not end")
    };
    let hold = fleet.rig(0).journal.hold();
    let (_, here) = group(0);
    let mut held = device.begin(json!({"type": "create", "client_msg_id": here, "name": "Team", "members": []})).await;
    hold.reached().await;
    // Nobody has made it: its node knows that, and this one does not.
    let (there, _) = group(1);
    assert_eq!(device.begin(send_in(there, "c-1")).await.code().await, Some(Code::UnknownConversation));
    assert!(!held.is_answered());
    drop(hold);
    assert!(matches!(held.answer().await, Answer::Created { .. }));
    fleet.end().await;
}
