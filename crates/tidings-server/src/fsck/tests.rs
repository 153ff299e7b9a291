use std::sync::Arc;

use bytes::Bytes;
use tidings_proto::UserId;

use super::*;
use crate::{
    conversation::{
        entry::{Body, Entry, Message, Role},
        event::{Change, History, ProfileOf},
        tell,
    },
    home::{
        event::{Joined, Tell, Told},
        item::Item,
        state::{HomeRow, HomeState},
    },
    host::row::{ConversationRow, encode},
    tables::{
        LogRange, Version,
        chunk::{self, Shape},
        flush::OpenTail,
        memory::MemoryTables,
    },
};

const EPOCH: u64 = 3;

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn message(seq: u64, from: &str) -> Entry {
    Entry {
        seq: Seq(seq),
        at_ms: 1_795_132_800_000 + seq,
        from: user(from),
        ord: seq,
        client_msg_id: Some(format!("c-{seq}").into()),
        body: Body::Message(Message { text: format!("text {seq}").into(), ..Message::default() }),
        void: false,
        fold: None,
    }
}

/// Tables in which Ada and Bob have talked `count` times.
async fn talked(count: u64) -> (Arc<dyn Tables>, ConversationId) {
    let tables: Arc<dyn Tables> = Arc::new(MemoryTables::new());
    let id = talk(&tables, count).await;
    (tables, id)
}

/// Has Ada and Bob talk, with rows as the server leaves them.
async fn talk(tables: &Arc<dyn Tables>, count: u64) -> ConversationId {
    let id = ConversationId::direct(&user("ada"), &user("bob"));
    let profile = ProfileOf::default();
    let created = tell::direct((&user("ada"), &profile), (&user("bob"), &profile), 1);
    let mut state = State::default();
    let mut homes = ["ada", "bob"].map(|name| HomeState::new(user(name), 1, HomeRow::default()));
    let mut tell_all = |change: Change, state: &mut State| {
        let version = state.version + 1;
        state.apply(version, &change);
        let event = crate::conversation::event::ConversationEvent { conversation: id, version, change };
        for (to, told) in tell::tells(&event, state, true) {
            let home = homes.iter_mut().find(|home| home.user == to).unwrap();
            let _ = home.tell(&told);
        }
    };
    tell_all(Change::Created(created), &mut state);
    let entries: Vec<_> = (1..=count).map(|seq| message(seq, if seq % 3 == 0 { "ada" } else { "bob" })).collect();
    for entry in &entries {
        tell_all(Change::Entry(Arc::new(entry.clone())), &mut state);
    }
    let mut rows: Vec<_> = entries
        .chunks(20)
        .map(|entries| Row {
            key: Key::Log(id, entries[0].seq),
            version: Version(state.version),
            value: Some(chunk::encode(Shape::Chunk, entries).into()),
        })
        .collect();
    let row = ConversationRow::new(&state, OpenTail::default(), Seq::FIRST);
    rows.push(Row { key: Key::Conversation(id), version: Version(state.version), value: Some(encode(&row)) });
    for home in &homes {
        let item = &home.items[&id];
        let key = Key::Inbox(home.user.clone(), id);
        rows.push(Row { key, version: Version(item.row_version()), value: Some(encode(item)) });
        let key = Key::Home(home.user.clone());
        rows.push(Row { key, version: Version(home.version()), value: Some(encode(&home.row)) });
    }
    tables.put_max(rows, Freshness::Newest).await.unwrap();
    id
}

async fn check(tables: &Arc<dyn Tables>, mends: bool) -> Report {
    Fsck::new(tables.clone(), |_| EPOCH, mends).run().await.unwrap()
}

/// Finds exactly these faults, mends them all, and finds nothing afterwards.
async fn found_and_mended(tables: &Arc<dyn Tables>, faults: &[Fault]) {
    assert_eq!(check(tables, false).await.faults, faults, "found");
    assert_eq!(check(tables, false).await.faults, faults, "a check alone alters nothing");
    let mended = check(tables, true).await;
    assert_eq!((mended.faults.as_slice(), mended.mended), (faults, faults.len() as u64));
    assert_eq!(check(tables, false).await.faults, []);
}

async fn item(tables: &Arc<dyn Tables>, name: &str, id: ConversationId) -> Item {
    let stored = tables.get(vec![Key::Inbox(user(name), id)]).await.unwrap().remove(0).unwrap();
    minicbor::decode(&stored.value).unwrap()
}

async fn put(tables: &Arc<dyn Tables>, key: Key, value: Option<Bytes>) {
    let stored = tables.get(vec![key.clone()]).await.unwrap().remove(0);
    let version = Version(stored.map_or(1_000, |stored| stored.version.0 + 1));
    tables.put_max(vec![Row { key, version, value }], Freshness::Newest).await.unwrap();
}

#[tokio::test]
async fn tables_as_the_server_leaves_them_are_clean() {
    let (tables, _) = talked(50).await;
    let report = check(&tables, false).await;
    assert_eq!(report.faults, []);
    assert_eq!((report.conversations, report.entries, report.homes, report.items), (1, 50, 2, 2));
}

#[tokio::test]
async fn an_item_that_ends_elsewhere_is_set_right() {
    wrong_items_are_set_right(Arc::new(MemoryTables::new())).await;
}

/// On tables that are empty.
pub(crate) async fn wrong_items_are_set_right(tables: Arc<dyn Tables>) {
    let id = talk(&tables, 50).await;
    let right = item(&tables, "ada", id).await;
    for wrong in [30, 51, 0] {
        let damaged = Item { last_seq: Seq(wrong), muted: true, ..item(&tables, "ada", id).await };
        put(&tables, Key::Inbox(user("ada"), id), Some(encode(&damaged))).await;
        let (last_seq, must_be) = (Seq(wrong), Seq(50));
        found_and_mended(&tables, &[Fault::ItemWrong { user: user("ada"), conversation: id, last_seq, must_be }]).await;
        let mended = item(&tables, "ada", id).await;
        assert_eq!((mended.last_seq, mended.unread(), mended.muted), (Seq(50), right.unread(), true));
        assert_eq!(mended.preview, right.preview);
        assert!(mended.version > right.version, "a sync tells it");
    }
}

#[tokio::test]
async fn a_missing_item_is_made_again() {
    let (tables, id) = talked(50).await;
    let right = item(&tables, "bob", id).await;
    put(&tables, Key::Inbox(user("bob"), id), None).await;
    found_and_mended(&tables, &[Fault::ItemMissing { user: user("bob"), conversation: id }]).await;
    let mended = item(&tables, "bob", id).await;
    assert_eq!((mended.last_seq, &mended.preview, mended.kind), (Seq(50), &right.preview, right.kind));
    assert_eq!(mended.with.unwrap().user, user("ada"));
    let gone = Item { gone: true, ..item(&tables, "bob", id).await };
    put(&tables, Key::Inbox(user("bob"), id), Some(encode(&gone))).await;
    found_and_mended(&tables, &[Fault::ItemMissing { user: user("bob"), conversation: id }]).await;
}

#[tokio::test]
async fn a_state_behind_its_log_is_brought_up() {
    let (tables, id) = talked(50).await;
    let more: Vec<_> = (51..=60).map(|seq| message(seq, "bob")).collect();
    put(&tables, Key::Log(id, Seq(51)), Some(chunk::encode(Shape::Small, &more).into())).await;
    let wrong =
        |name: &str| Fault::ItemWrong { user: user(name), conversation: id, last_seq: Seq(50), must_be: Seq(60) };
    let behind = Fault::StateBehind { conversation: id, last_seq: Seq(50), log_ends: Seq(60) };
    found_and_mended(&tables, &[behind, wrong("ada"), wrong("bob")]).await;
    assert_eq!(item(&tables, "ada", id).await.last_ord, 60);
}

#[tokio::test]
async fn an_item_of_somebody_who_is_no_member_is_taken_back() {
    let (tables, id) = talked(5).await;
    let stray = Joined {
        kind: crate::conversation::event::Kind::Direct,
        with: None,
        name: "".into(),
        member_count: 2,
        role: Role::Member,
        history: History::All,
        large: false,
        entry: None,
        preview: None,
        last_seq: Seq(5),
        last_ord: 5,
        at_ms: 1,
    };
    let mut mal = HomeState::new(user("mal"), 1, HomeRow::default());
    let _ = mal.tell(&Tell { conversation: id, version: 1, what: Told::Joined(Box::new(stray)) });
    put(&tables, Key::Home(user("mal")), Some(encode(&mal.row))).await;
    put(&tables, Key::Inbox(user("mal"), id), Some(encode(&mal.items[&id]))).await;
    found_and_mended(&tables, &[Fault::ItemStray { user: user("mal"), conversation: id }]).await;
    assert!(item(&tables, "mal", id).await.gone);
}

#[tokio::test]
async fn what_cannot_be_mended_is_named() {
    let (tables, id) = talked(50).await;
    put(&tables, Key::Log(id, Seq(21)), None).await;
    put(&tables, Key::Inbox(user("bob"), id), Some(Bytes::from_static(b"no item"))).await;
    let report = check(&tables, true).await;
    let missing: Vec<_> = (21..=40).map(|seq| Fault::EntryMissing { conversation: id, seq: Seq(seq) }).collect();
    assert_eq!((&report.faults[..20], report.mended), (&missing[..], 0));
    assert!(report.faults[20..].iter().all(|fault| matches!(fault, Fault::Unreadable { .. })), "{:?}", report.faults);
    assert_eq!(report.faults[20..].iter().filter(|fault| fault.can_be_mended()).count(), 0);
    assert_eq!(tables.log(id, LogRange::After(Seq(20)), 1).await.unwrap()[0].seq, Seq(41));
}
