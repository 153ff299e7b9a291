//! Several hosts that share tables and talk over a bus inside the test, which says who hosts what: no socket, no cluster store.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tidings_proto::{ConversationId, SHARDS, Seq, ShardId};

use crate::{
    bus::local::LocalNetwork,
    cluster::view::Node,
    config::Config,
    data_folder::Lineage,
    host::{
        Host,
        open::Parts,
        peers::Peers,
        shards::{Shards, Slot},
    },
    journal::{Journal, Position, memory::MemoryJournal},
    metrics::Metrics,
    node::NodeId,
    session::reply::Answer,
    shutdown::Shutdown,
    tables::{Prefix, Tables, memory::MemoryTables},
};

use super::{Device, Rig, clock, direct, send, send_in, user};

pub(super) struct Fleet {
    network: LocalNetwork,
    tables: MemoryTables,
    nodes: Vec<Option<Rig>>,
    /// Who hosts each shard, by place, and since which epoch.
    hosts: Vec<(usize, u64)>,
}

fn id(place: usize) -> NodeId {
    NodeId::from_u128(place as u128 + 1)
}

impl Fleet {
    /// Shards go around among the nodes.
    pub(super) async fn start(count: usize) -> Self {
        let mut fleet = Self {
            network: LocalNetwork::default(),
            tables: MemoryTables::new(),
            nodes: Vec::new(),
            hosts: (0..usize::from(SHARDS)).map(|shard| (shard % count, 1)).collect(),
        };
        for place in 0..count {
            let rig = fleet.node(place).await;
            fleet.nodes.push(Some(rig));
        }
        for place in 0..count {
            fleet.learn(place);
            let own: Vec<_> = fleet.hosted_by(place).into_iter().map(|shard| (shard, 1)).collect();
            fleet.at(place).open_shards(&own).await;
        }
        fleet
    }

    fn host(&self, tables: Arc<dyn Tables>) -> Arc<Host> {
        let settings =
            [("flush.window_ms", "60000"), ("presence.grace_ms", "600000"), ("rates.sends_burst", "1000000")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load(None, settings).expect("the settings are right");
        let metrics = Arc::new(Metrics::default());
        let shards = Shards::of_fleet();
        Host::new(Parts { config, clock: clock(), metrics, lineage: Lineage([7; 8]), shards }, tables)
    }

    async fn node(&self, place: usize) -> Rig {
        let tables = self.tables.beside();
        let host = self.host(Arc::new(tables));
        let (bus, inlets) = self.network.join(id(place));
        host.join(Peers::new(id(place), Arc::new(bus)), inlets);
        let journal = Arc::new(MemoryJournal::new());
        let shutdown = Shutdown::default();
        let tasks = host.run(journal.clone(), &shutdown);
        Rig { host, journal, shutdown, tasks }
    }

    fn at(&self, place: usize) -> &Arc<Host> {
        &self.rig(place).host
    }

    pub(super) fn rig(&self, place: usize) -> &Rig {
        self.nodes[place].as_ref().expect("it was not killed")
    }

    fn hosted_by(&self, place: usize) -> Vec<ShardId> {
        (0..SHARDS).map(ShardId).filter(|shard| self.hosts[usize::from(shard.0)].0 == place).collect()
    }

    /// Tells a node who there is, and where everything is.
    fn learn(&self, place: usize) {
        let there = self.nodes.iter().enumerate().filter(|(_, rig)| rig.is_some());
        let node = |(place, _)| Arc::new(Node::new(id(place), format!("node-{place}"), ""));
        self.at(place).learn_nodes(there.map(node).collect());
        let elsewhere = self.hosts.iter().enumerate().filter(|(_, (host, _))| *host != place);
        let slot = |(shard, (host, epoch)): (usize, &(usize, u64))| {
            (ShardId(u16::try_from(shard).expect("there are few")), Slot::There { node: id(*host), epoch: *epoch })
        };
        let slots: Vec<_> = elsewhere.map(slot).collect();
        self.at(place).learn_shards(&slots);
    }

    fn learn_all(&self) {
        (0..self.nodes.len()).filter(|place| self.nodes[*place].is_some()).for_each(|place| self.learn(place));
    }

    /// Hands a shard over, as the members of a cluster do.
    async fn hand_over(&mut self, shard: ShardId, to: usize) {
        let (from, epoch) = self.hosts[usize::from(shard.0)];
        self.at(from).release_shards(&[shard]).await.expect("it can store");
        self.hosts[usize::from(shard.0)] = (to, epoch + 1);
        self.at(to).open_shards(&[(shard, epoch + 1)]).await;
        self.learn_all();
    }

    /// Kills a node without a flush; another takes what it hosted.
    async fn kill(&mut self, place: usize, taker: usize) {
        self.kill_for(place, &[taker], |_| taker).await;
    }

    /// The same, with several takers, one after the other, each of the shards of which `taker_of` says so.
    async fn kill_for(&mut self, place: usize, takers: &[usize], taker_of: impl Fn(ShardId) -> usize) {
        let rig = self.nodes[place].take().expect("it was not killed before");
        let tables = rig.host.tables.clone();
        self.network.cut_off(id(place));
        let journal = rig.crash().await;
        let shards = self.hosted_by(place);
        let flushed = tables.flushed().await.expect("readable");
        let commits = journal.read(flushed, usize::MAX).await.expect("readable");
        let commits: Vec<_> = commits.into_iter().map(|(_, commit)| (Position::NONE, commit)).collect();
        for &taker in takers {
            let its = shards.iter().filter(|shard| taker_of(**shard) == taker);
            let epochs: Vec<_> = its.map(|shard| (*shard, self.hosts[usize::from(shard.0)].1 + 1)).collect();
            let tables = self.tables.beside();
            let scratch = self.host(Arc::new(tables));
            scratch.take_only(&epochs);
            scratch.replay(commits.clone()).await.expect("what was written can be read");
            scratch.end_replay().await.expect("the tables take it");
            for (shard, epoch) in &epochs {
                self.hosts[usize::from(shard.0)] = (taker, *epoch);
            }
            self.at(taker).open_shards(&epochs).await;
        }
        self.learn_all();
    }

    /// A device of somebody whose home is on that node.
    pub(super) async fn device(&self, name: &str, device: &str) -> Device {
        let place = self.hosts[usize::from(user(name).shard().0)].0;
        Device::attach(self.at(place), name, device).await
    }

    pub(super) async fn end(self) {
        for rig in self.nodes.into_iter().flatten() {
            rig.crash().await;
        }
    }
}

/// Names of people whose homes are on the nodes of these places, of as many as there are.
pub(super) fn people(count: usize, places: &[usize]) -> Vec<String> {
    let mut names = (0..).map(|number| format!("p-{number}"));
    let at = |name: &String| usize::from(user(name).shard().0) % count;
    places.iter().map(|place| names.find(|name| at(name) == *place).expect("names do not end")).collect()
}

/// Waits until `seen` holds; what it waits for comes over the bus.
#[track_caller]
fn until(mut seen: impl AsyncFnMut() -> bool) -> impl Future<Output = ()> {
    let at = std::panic::Location::caller();
    let wait = async move {
        while !seen().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    async move {
        let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
        assert!(waited.is_ok(), "it does not come to pass: {at}");
    }
}

/// The seqs of a conversation in what a device heard, `sent` and `entry`, in order, until the last is `last`.
async fn hears(device: &Device, conversation: ConversationId, last: u64) -> Vec<u64> {
    let mut seqs = Vec::new();
    until(async || {
        let of = |frame: &Value| frame["type"] == "entry" && frame["conversation"] == json!(conversation);
        seqs.extend(device.heard().iter().filter(|frame| of(frame)).filter_map(|frame| frame["seq"].as_u64()));
        seqs.last() == Some(&last)
    })
    .await;
    seqs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_people_on_two_nodes_talk() {
    let fleet = Fleet::start(2).await;
    let names = people(2, &[0, 1]);
    let (ada, bob) = (fleet.device(&names[0], "laptop").await, fleet.device(&names[1], "phone").await);
    let id = direct(&names[0], &names[1]);
    assert_eq!(ada.make(send(&names[1], "a-1")).await, 1);
    assert_eq!(bob.make(send(&names[0], "b-1")).await, 2);
    assert_eq!(bob.make(send_in(id, "b-2")).await, 3);
    assert_eq!(ada.make(send(&names[1], "a-1")).await, 1, "a repeat");
    assert_eq!(hears(&ada, id, 3).await, [1, 2, 3]);
    assert_eq!(hears(&bob, id, 3).await, [1, 2, 3]);
    for device in [&ada, &bob] {
        assert_eq!(device.fetch(id).await["entries"].as_array().map(Vec::len), Some(3));
        assert_eq!(device.item(id).await["last_seq"], 3);
    }
    assert_eq!(ada.item(id).await["unread"], 2);
    ada.make(json!({"type": "mark_read", "conversation": id, "seq": 3})).await;
    assert_eq!(ada.item(id).await["unread"], 0);
    until(async || bob.item(id).await["peer"]["read_seq"] == 3).await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_block_comes_before_what_is_sent_after_it() {
    let fleet = Fleet::start(2).await;
    let names = people(2, &[0, 1]);
    let (ada, bob) = (fleet.device(&names[0], "laptop").await, fleet.device(&names[1], "phone").await);
    let id = direct(&names[0], &names[1]);
    ada.make(send(&names[1], "a-1")).await;
    bob.make(json!({"type": "block", "user": names[0]})).await;
    assert_eq!(ada.make(send(&names[1], "a-2")).await, 2, "the blocked one learns nothing");
    ada.make(json!({"type": "block", "user": names[1]})).await;
    bob.make(json!({"type": "unblock", "user": names[0]})).await;
    bob.make(send(&names[0], "b-1")).await;
    let of = |page: Value| {
        let entries = page["entries"].as_array().expect("a page").clone();
        entries.iter().map(|entry| entry["kind"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(bob.fetch(id).await), ["message", "void", "message"]);
    assert_eq!(of(ada.fetch(id).await), ["message", "message", "void"]);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_told_wherever_their_members_are() {
    let fleet = Fleet::start(3).await;
    let names = people(3, &[0, 1, 2, 1]);
    let mut devices = Vec::new();
    for name in &names {
        devices.push(fleet.device(name, "phone").await);
    }
    let id = ConversationId::group(&user(&names[0]), "g");
    devices[0].make(json!({"type": "create", "client_msg_id": "g", "name": "Few", "members": &names[1..3]})).await;
    for (number, device) in devices[..3].iter().enumerate() {
        until(async || device.item(id).await["last_seq"].as_u64() >= Some(1)).await;
        device.make(send_in(id, &format!("m-{number}"))).await;
    }
    for device in &devices[..3] {
        assert_eq!(hears(device, id, 4).await, [1, 2, 3, 4]);
    }
    devices[0].make(json!({"type": "members", "client_msg_id": "x", "conversation": id, "add": [names[3]], "remove": [names[2]]})).await;
    assert_eq!(hears(&devices[3], id, 5).await, [5]);
    until(async || devices[2].item(id).await.is_null()).await;
    let refused = devices[2].ask(send_in(id, "late")).await;
    assert!(matches!(refused, Answer::Refused(_)), "{refused:?}");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_read_any_log_at_any_node() {
    let fleet = Fleet::start(3).await;
    let names = people(3, &[0, 1, 2]);
    let mut devices = Vec::new();
    for name in &names {
        devices.push(fleet.device(name, "phone").await);
        devices.last().expect("one").make(json!({"type": "profile", "name": name.to_uppercase()})).await;
    }
    let id = ConversationId::group(&user(&names[0]), "g");
    devices[0].make(json!({"type": "create", "client_msg_id": "g", "name": "Few", "members": &names[1..]})).await;
    for device in &devices {
        until(async || device.item(id).await["last_seq"].as_u64() >= Some(1)).await;
        device.make(send_in(id, "m")).await;
    }
    for place in 0..3 {
        fleet.at(place).flush_or_fail().await.expect("it can store");
    }
    for place in 0..3 {
        let host = fleet.at(place);
        let page = host.export(id, Seq::FIRST, 2).await.expect("any node gives it");
        let authors: Vec<_> = page.entries.iter().map(|entry| &*page.names[&entry.from]).collect();
        assert_eq!(authors, [names[0].to_uppercase(), names[1].to_uppercase()]);
        assert_eq!((page.entries[0].seq, page.last_seq), (Seq(2), Seq(4)));
        assert_eq!(host.groups_named("Few", 10).await.expect("any node finds it"), [id]);
        let other = host.export(ConversationId::group(&user(&names[0]), "none"), Seq::NONE, 1).await;
        assert!(other.is_err_and(|error| format!("{error:?}").contains("no such conversation")));
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_moves_while_people_talk_loses_and_doubles_nothing() {
    let mut fleet = Fleet::start(3).await;
    let names = people(3, &[0, 1]);
    let (ada, bob) = (fleet.device(&names[0], "laptop").await, fleet.device(&names[1], "phone").await);
    let id = direct(&names[0], &names[1]);
    // The home of the one moves with it, so only the other one sends on.
    let (stays, moves) = if id.shard() == user(&names[0]).shard() { (&bob, &ada) } else { (&ada, &bob) };
    let to = moves.caller.user.to_string();
    assert_eq!(stays.make(send(&to, "first")).await, 1);
    let mut answers = Vec::new();
    for number in 0..300 {
        answers.push(stays.begin(send(&to, &format!("m-{number}"))).await);
        if number % 60 == 30 {
            let host = fleet.hosts[usize::from(id.shard().0)].0;
            fleet.hand_over(id.shard(), (host + 1) % 3).await;
        }
    }
    let mut seqs = Vec::new();
    for answer in answers {
        match answer.answer().await {
            Answer::Sent { seq, .. } => seqs.push(seq.0),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seqs, (2..302).collect::<Vec<_>>());
    assert_eq!(hears(stays, id, 301).await, (1..302).collect::<Vec<_>>());
    let back = fleet.device(&to, "phone").await;
    until(async || back.item(id).await["last_seq"] == 301).await;
    assert_eq!(back.item(id).await["unread"], 301);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_to_a_node_before_it_has_opened_arrives_when_it_has() {
    let mut fleet = Fleet::start(3).await;
    let ada = people(3, &[0]).remove(0);
    let shard = user(&ada).shard();
    let at_one: Vec<_> = people(3, &[1; 40]);
    let bob = at_one.iter().find(|name| direct(&ada, name).shard() == shard).expect("half of them");
    let carl = at_one.iter().find(|name| direct(&ada, name).shard() == user(name).shard()).expect("the other half");
    fleet.device(&ada, "phone").await;
    let (bobs, carls) = (fleet.device(bob, "laptop").await, fleet.device(carl, "laptop").await);
    assert_eq!(bobs.make(send(&ada, "b-1")).await, 1);
    assert_eq!(carls.make(send(&ada, "c-1")).await, 1);

    fleet.at(0).release_shards(&[shard]).await.expect("it can store");
    fleet.hosts[usize::from(shard.0)] = (2, 2);
    fleet.learn_all();
    // A tell, and a command: both are refused, as often as they are tried.
    assert_eq!(carls.make(send_in(direct(&ada, carl), "c-2")).await, 2);
    until(async || fleet.at(1).peers().has_stranded()).await;
    let answer = bobs.begin(send_in(direct(&ada, bob), "b-2")).await;
    fleet.at(2).open_shards(&[(shard, 2)]).await;

    assert!(matches!(answer.answer().await, Answer::Sent { seq: Seq(2), .. }));
    let back = fleet.device(&ada, "tablet").await;
    for other in [bob, carl] {
        until(async || back.item(direct(&ada, other)).await["unread"] == 2).await;
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_node_had_acknowledged_is_told_by_its_successor() {
    let mut fleet = Fleet::start(3).await;
    let names = people(3, &[0, 1]);
    let (ada, bob) = (fleet.device(&names[0], "laptop").await, fleet.device(&names[1], "phone").await);
    let conversation = direct(&names[0], &names[1]);
    let (dies, lives) =
        if fleet.hosts[usize::from(conversation.shard().0)].0 == 0 { (&ada, &bob) } else { (&bob, &ada) };
    let (dead, other) = if std::ptr::eq(dies, &ada) { (0, 1) } else { (1, 0) };
    dies.make(send(lives.caller.user.as_str(), "d-1")).await;
    assert_eq!(hears(lives, conversation, 1).await, [1]);
    // The other node hears nothing from here on: what is acknowledged there is told to nobody.
    fleet.network.cut_off(id(other));
    dies.make(send(lives.caller.user.as_str(), "d-2")).await;
    dies.make(send(lives.caller.user.as_str(), "d-3")).await;
    fleet.kill(dead, 2).await;
    fleet.network.mend(id(other));
    assert!(hears(lives, conversation, 3).await.ends_with(&[2, 3]));
    until(async || lives.item(conversation).await["unread"] == 3).await;
    assert_eq!(lives.make(send_in(conversation, "l-1")).await, 4);
    let back = fleet.device(dies.caller.user.as_str(), "new").await;
    assert_eq!(back.item(conversation).await["last_seq"], 4);
    assert_eq!(back.make(send(lives.caller.user.as_str(), "d-2")).await, 2, "a repeat is known to the successor");
    fleet.end().await;
}

/// The journal has what a conversation told a home of its node under the conversation only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_takes_a_home_alone_takes_what_its_conversations_had_told_it() {
    let mut fleet = Fleet::start(3).await;
    let names = people(3, &[0, 0, 0]);
    let (group, id) = (ConversationId::group(&user(&names[0]), "g"), direct(&names[0], &names[1]));
    let mut devices = Vec::new();
    for name in &names {
        devices.push(fleet.device(name, "phone").await);
    }
    devices[0].make(send(&names[1], "d-1")).await;
    devices[0].make(json!({"type": "create", "client_msg_id": "g", "name": "Few", "members": &names[1..2]})).await;
    devices[1].make(send(&names[0], "d-2")).await;
    let change = json!({"type": "members", "client_msg_id": "x", "conversation": group, "add": [names[2]], "remove": [names[1]]});
    let last = devices[0].make(change).await;
    let shown = |item: &Value| json!([item["last_seq"], item["unread"], item["peer"]]);
    let mut before = Vec::new();
    for device in &devices[..2] {
        before.push(shown(&device.item(id).await));
    }
    // Nobody has taken the conversations yet.
    let conversations = [group.shard(), id.shard()];
    fleet.kill_for(0, &[1], |shard| if conversations.contains(&shard) { 0 } else { 1 }).await;
    for (name, before) in names.iter().zip(before).filter(|(name, _)| !conversations.contains(&user(name).shard())) {
        let back = fleet.device(name, "tablet").await;
        assert_eq!(shown(&back.item(id).await), before, "{name}");
    }
    assert_eq!(fleet.device(&names[2], "tablet").await.item(group).await["last_seq"], last);
    if !conversations.contains(&user(&names[1]).shard()) {
        assert!(fleet.device(&names[1], "tablet").await.item(group).await.is_null());
    }
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_flushed_and_not_confirmed_is_told_again() {
    let mut fleet = Fleet::start(3).await;
    let names = people(3, &[0, 1]);
    let (ada, bob) = (fleet.device(&names[0], "laptop").await, fleet.device(&names[1], "phone").await);
    let conversation = direct(&names[0], &names[1]);
    let host = fleet.hosts[usize::from(conversation.shard().0)].0;
    let (dies, lives) = if host == 0 { (&ada, &bob) } else { (&bob, &ada) };
    let other = 1 - host;
    dies.make(send(lives.caller.user.as_str(), "d-0")).await;
    assert_eq!(hears(lives, conversation, 1).await, [1]);
    fleet.network.cut_off(id(other));
    dies.make(send(lives.caller.user.as_str(), "d-1")).await;
    dies.make(json!({"type": "redact", "client_msg_id": "r-1", "conversation": conversation, "seq": 2})).await;
    fleet.rig(host).flush().await;
    let part = conversation.as_bytes()[0];
    assert_eq!(fleet.tables.rows(Prefix::Pending(part), None, 10).await.expect("readable").len(), 1);
    // The journal alone has this one: who replays it has told less than the host before.
    dies.make(send(lives.caller.user.as_str(), "d-2")).await;
    fleet.kill(host, 2).await;
    fleet.network.mend(id(other));
    assert_eq!(hears(lives, conversation, 4).await, [2, 3, 4]);
    until(async || lives.item(conversation).await["unread"] == 2).await;
    // Confirmed: the next flush takes the row back.
    until(async || {
        fleet.rig(2).flush().await;
        fleet.tables.rows(Prefix::Pending(part), None, 10).await.expect("readable").is_empty()
    })
    .await;
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_a_large_group_hear_it_on_every_node() {
    let mut fleet = Fleet::start(2).await;
    let names = people(2, &[0, 1, 1]);
    let mut devices = Vec::new();
    for name in &names {
        devices.push(fleet.device(name, "phone").await);
    }
    let id = ConversationId::group(&user(&names[0]), "g");
    let many: Vec<_> = (0..70).map(|number| format!("m-{number}")).collect();
    for place in 0..2 {
        let own: Vec<_> = many.iter().filter(|name| usize::from(user(name).shard().0) % 2 == place).cloned().collect();
        fleet.rig(place).make_known(&own).await;
    }
    let members: Vec<_> = names[1..].iter().chain(&many).collect();
    devices[0].make(json!({"type": "create", "client_msg_id": "g", "name": "Big", "members": members})).await;
    for device in &devices {
        until(async || device.item(id).await["last_seq"].as_u64() >= Some(1)).await;
    }
    // Whoever hosts it knows by now that the other listens, or soon will.
    until(async || {
        let before = devices[0].item(id).await["last_seq"].as_u64().unwrap_or_default();
        devices[0].make(send_in(id, &format!("probe-{before}"))).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        devices[2].heard().iter().any(|frame| frame["type"] == "entry")
    })
    .await;
    devices[1].heard();
    let last = devices[1].make(send_in(id, "m-1")).await;
    assert_eq!(hears(&devices[2], id, last).await, [last]);
    assert!(devices[1].heard().iter().filter(|frame| frame["type"] == "entry").all(|frame| frame["seq"] != last + 1));
    fleet.hand_over(id.shard(), 1 - fleet.hosts[usize::from(id.shard().0)].0).await;
    let last = devices[1].make(send_in(id, "m-2")).await;
    until(async || devices[2].item(id).await["last_seq"] == last).await;
    fleet.end().await;
}
