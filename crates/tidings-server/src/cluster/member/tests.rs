//! Nodes of one process on a store in memory, in a time that passes as fast as they work. What they do with shards is
//! written into one ledger, which notices what must not be.

mod ledger;
mod random;

use std::collections::BTreeMap;

use tidings_proto::SHARDS;

use super::*;
use crate::cluster::{
    store::{Part, memory::MemoryClusterStore},
    suspicion::STILL,
};
use ledger::{Ledger, Link, Recorder, is_written};
use operate::OperateError;

/// Of the time in which the nodes live.
const PATIENCE: Duration = Duration::from_secs(300);

/// A fleet, and what its nodes do.
struct Fleet {
    store: Arc<MemoryClusterStore>,
    ledger: Arc<Ledger>,
    began: tokio::time::Instant,
    /// 0: the store answers at once. Else what its answers' delays are drawn from.
    seed: u64,
}

struct Running {
    member: Member,
    id: NodeId,
    /// While it is `true` nothing that this node asks for reaches the store.
    is_paused: channel::Sender<bool>,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        Self { store: Arc::default(), ledger: Arc::default(), began: tokio::time::Instant::now(), seed }
    }

    async fn join(&self, name: &str) -> Running {
        let id = NodeId::random();
        let url = format!("https://{name}.chat.example");
        let me = Node { url, ..Node::new(id, name, format!("{name}:8090")) };
        let is_paused = channel::Sender::new(false);
        let seed = self.seed.wrapping_mul(31).wrapping_add(name.bytes().map(u64::from).sum());
        let link = Link::new(self.store.clone(), is_paused.subscribe(), (self.seed != 0).then_some(seed));
        let hosting = Recorder::new(id, self.ledger.clone(), (self.seed != 0).then_some(seed + 1));
        let began = self.began;
        let clock = Clock::new(move || 1 + u64::try_from(began.elapsed().as_millis()).expect("tests are short"));
        let member = Member::start(Arc::new(link), me, Arc::new(hosting), clock).await.unwrap();
        self.ledger.has_joined(&member.shared);
        Running { member, id, is_paused }
    }

    async fn join_all(&self, names: &[&str]) -> Vec<Running> {
        let mut running = Vec::new();
        for name in names {
            running.push(self.join(name).await);
        }
        self.until_served(&running).await;
        running
    }

    /// Until each shard is served by the one of `running` whom the view wishes it to have.
    async fn until_served(&self, running: &[Running]) {
        let ids: Vec<_> = running.iter().map(|running| running.id).collect();
        let is_done = async || {
            let view = self.store.view().await.unwrap();
            if view.nodes().len() != ids.len() || !ids.iter().all(|id| view.node(*id).is_some()) {
                return false;
            }
            let placement = view.placement();
            (0..SHARDS).map(tidings_proto::ShardId).all(|shard| {
                let wished = placement.host(shard).map(|place| view.nodes()[place].id);
                self.store.row(shard).host == wished && self.ledger.serves(shard) == wished
            })
        };
        self.until("all shards are served as wished", is_done).await;
    }

    async fn until(&self, what: &str, is_so: impl AsyncFn() -> bool) {
        let waiting = async {
            while !is_so().await {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "in time: {what}; {:?}", self.counts().await);
        self.ledger.check();
    }

    /// How many shards name a host, and of how many of these its journal has something that the tables lack.
    fn hosted_by(&self, host: NodeId) -> (usize, usize) {
        let shards =
            || (0..SHARDS).map(tidings_proto::ShardId).filter(|shard| self.store.row(*shard).host == Some(host));
        (shards().count(), shards().filter(|shard| is_written(*shard)).count())
    }

    /// How many shards name each host.
    async fn counts(&self) -> BTreeMap<Option<NodeId>, usize> {
        let mut counts = BTreeMap::new();
        for part in Part::all() {
            let rows = self.store.shards(part).await.unwrap();
            rows.iter().for_each(|(_, row)| *counts.entry(row.host).or_default() += 1);
        }
        counts
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_alone_hosts_all_and_goes_on_when_it_cannot_drain() {
    let fleet = Fleet::new(0);
    let alone = fleet.join_all(&["one"]).await.remove(0);
    assert!(fleet.began.elapsed() < Duration::from_secs(2), "nobody has to be waited for");
    assert_eq!(fleet.ledger.opened(), usize::from(SHARDS));
    assert_eq!(alone.member.drain().await.unwrap(), Drained::NobodyElse);
    assert_eq!(fleet.counts().await, BTreeMap::from([(Some(alone.id), usize::from(SHARDS))]));
    alone.member.leave().await.unwrap();
    assert_eq!(alone.member.ended().await, Membership::Left);
    // The next one finds its rows, and seals.
    let next = fleet.join_all(&["two"]).await;
    assert_eq!(fleet.ledger.seals(alone.id), 1);
    assert_eq!(fleet.counts().await, BTreeMap::from([(Some(next[0].id), usize::from(SHARDS))]));
}

#[tokio::test(start_paused = true)]
async fn who_joins_gets_its_share_and_little_else_moves() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two"]).await;
    let bound = |nodes: usize| (usize::from(SHARDS) * 110).div_ceil(nodes * 100);
    assert!(fleet.counts().await.values().all(|count| *count <= bound(2)));
    let before = fleet.ledger.opened();
    running.push(fleet.join("three").await);
    fleet.until_served(&running).await;
    let counts = fleet.counts().await;
    assert!(counts.len() == 3 && counts.values().all(|count| *count <= bound(3)), "{counts:?}");
    let moved = fleet.ledger.opened() - before;
    assert!(moved <= counts[&Some(running[2].id)] * 2, "{moved} were moved for {counts:?}");
    assert_eq!(fleet.ledger.sealed(), 0, "all were given");
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_noticed_and_its_shards_are_taken_once_and_its_journal_given_up() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let dead = running.remove(1).id;
    let (its, written) = fleet.hosted_by(dead);
    let before = fleet.ledger.opened();
    fleet.until_served(&running).await;
    let moved = fleet.ledger.opened() - before;
    assert!(moved >= its && fleet.ledger.taken(dead) == written, "{moved} were opened, {its} were its own");
    assert!(fleet.ledger.seals(dead) >= 1);
    let is_retired = async || fleet.ledger.is_retired(dead) && !fleet.store.beats().await.unwrap().contains_key(&dead);
    fleet.until("the journal is given up", is_retired).await;
    assert_eq!(fleet.store.beats().await.unwrap().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_slept_until_others_had_removed_it_is_told_so() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let sleeper = running.remove(2);
    sleeper.is_paused.send_replace(true);
    fleet.until_served(&running).await;
    assert_eq!(sleeper.member.known().membership, Membership::In(NodeState::Live), "it does not know yet");
    sleeper.is_paused.send_replace(false);
    let ended = tokio::time::timeout(PATIENCE, sleeper.member.ended()).await;
    assert_eq!(ended.expect("it is told in time"), Membership::Removed);
    fleet.until_served(&running).await;
}

#[tokio::test(start_paused = true)]
async fn a_new_run_takes_at_once_what_the_old_one_of_its_name_had() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let began = tokio::time::Instant::now();
    let old = std::mem::replace(&mut running[1], fleet.join("two").await);
    fleet.until_served(&running).await;
    assert!(began.elapsed() < STILL, "nobody waited for suspicion");
    let ended = tokio::time::timeout(PATIENCE, old.member.ended()).await;
    assert_eq!(ended.expect("it is told in time"), Membership::Replaced);
    // Whoever is replaced is not removed by others: that would count against the bound.
    let view = fleet.store.view().await.unwrap();
    assert!(view.removed(running[0].id, 1).is_ok());
}

#[tokio::test(start_paused = true)]
async fn who_drains_leaves_nothing_behind() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let leaving = running.remove(0);
    assert_eq!(leaving.member.drain().await.unwrap(), Drained::Empty);
    assert_eq!(fleet.ledger.served_by(leaving.id), 0);
    leaving.member.leave().await.unwrap();
    assert_eq!(leaving.member.ended().await, Membership::Left);
    fleet.until_served(&running).await;
    assert_eq!(fleet.ledger.sealed(), 0);
}

#[tokio::test(start_paused = true)]
async fn of_three_only_one_is_taken_for_dead_until_a_person_says_so() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let (first, second) = (running.remove(2).id, running.remove(1).id);
    let survivor = running[0].id;
    let is_removed = async || fleet.store.view().await.unwrap().nodes().len() == 2;
    fleet.until("one of them is removed", is_removed).await;
    tokio::time::sleep(STILL * 10).await;
    let view = fleet.store.view().await.unwrap();
    let left = view.nodes().iter().map(|node| node.id).find(|id| *id != survivor).unwrap();
    assert!(view.nodes().len() == 2 && [first, second].contains(&left), "{view:?}");
    assert!(fleet.store.swap_view(view.epoch, &view.left(left).unwrap()).await.unwrap());
    fleet.until_served(&running).await;
}

/// All stand still at once, as when their machine sleeps: nobody accuses anybody.
#[tokio::test(start_paused = true)]
async fn when_all_slept_nobody_is_removed() {
    let fleet = Fleet::new(0);
    let running = fleet.join_all(&["one", "two", "three"]).await;
    let epoch = fleet.store.view().await.unwrap().epoch;
    running.iter().for_each(|running| _ = running.is_paused.send_replace(true));
    tokio::time::sleep(STILL * 10).await;
    running.iter().for_each(|running| _ = running.is_paused.send_replace(false));
    tokio::time::sleep(STILL * 3).await;
    assert_eq!(fleet.store.view().await.unwrap().epoch, epoch);
    fleet.until_served(&running).await;
}

#[tokio::test(start_paused = true)]
async fn who_is_asked_by_another_to_drain_finds_it_in_the_view_and_hands_over() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    let draining = running.remove(1);
    let asked = &running[0].member;
    assert_eq!(asked.drain_other("two").await.unwrap(), draining.id);
    assert_eq!(asked.drain_other(&draining.id.to_string()).await.unwrap(), draining.id, "asking again changes nothing");
    // What the process does when it reads that.
    let mut known = draining.member.subscribe();
    let is_draining = |known: &Known| known.membership == Membership::In(NodeState::Draining);
    assert!(tokio::time::timeout(PATIENCE, known.wait_for(is_draining)).await.is_ok());
    assert_eq!(draining.member.drain().await.unwrap(), Drained::Empty);
    draining.member.leave().await.unwrap();
    fleet.until_served(&running).await;
    assert_eq!(fleet.ledger.sealed(), 0, "all were given");
}

#[tokio::test(start_paused = true)]
async fn what_a_person_asks_for_in_vain_is_said_why() {
    let fleet = Fleet::new(0);
    let running = fleet.join_all(&["one", "two"]).await;
    let member = &running[0].member;
    let epoch = fleet.store.view().await.unwrap().epoch;
    let unknown = member.drain_other("three").await.unwrap_err();
    assert!(unknown.to_string().contains("\"three\"; its nodes are one, two"), "{unknown}");
    assert!(matches!(member.remove_other("one", true).await, Err(OperateError::Itself(_))));
    assert!(matches!(member.remove_other("two", false).await, Err(OperateError::Alive { .. })));
    assert_eq!(fleet.store.view().await.unwrap().epoch, epoch, "nothing has changed");
    member.drain_other("two").await.unwrap();
    assert!(
        matches!(member.drain_other("one").await, Err(OperateError::NobodyElse(_))),
        "somebody must take the shards"
    );
    running[0].is_paused.send_replace(true);
    assert!(matches!(member.remove_other("two", true).await, Err(OperateError::Late)), "the store does not answer");
}

#[tokio::test(start_paused = true)]
async fn a_person_removes_as_many_dead_as_there_are() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two", "three"]).await;
    drop((running.remove(2), running.remove(1)));
    let survivor = &running[0].member;
    let is_removed = async || fleet.store.view().await.unwrap().nodes().len() == 2;
    fleet.until("one of them is removed", is_removed).await;
    let view = fleet.store.view().await.unwrap();
    let left = view.nodes().iter().find(|node| node.id != survivor.id()).unwrap().clone();
    let is_silent = async || survivor.known().quiet.get(&left.id).is_some_and(|quiet| *quiet >= STILL);
    fleet.until("the other one is silent", is_silent).await;
    assert_eq!(survivor.remove_other(&left.name, false).await.unwrap(), left.id);
    fleet.until_served(&running).await;
    let round = || survivor.known().round;
    fleet.until("nothing moves any more", async || round().moving == 0 && round().hosted.len() == 1).await;
}

#[tokio::test(start_paused = true)]
async fn one_that_lives_is_removed_by_force_and_is_told() {
    let fleet = Fleet::new(0);
    let mut running = fleet.join_all(&["one", "two"]).await;
    let removed = running.remove(1);
    running[0].member.remove_other("two", true).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, removed.member.ended()).await;
    assert_eq!(ended.expect("it is told in time"), Membership::Removed);
    fleet.until_served(&running).await;
}
