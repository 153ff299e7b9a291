//! A rolling deploy while people talk: a node gets SIGTERM and is started again, and the next one. Nothing is lost, doubled or out of
//! order; who was refused, how late something came and the longest time without an acknowledgement are printed. The same of a node
//! that is killed, whose shards the others take over.
//!
//! `scripts/fleet/next.sh` has all nodes deployed, to a build of the version after this one and back: `next` needs that
//! build, which `NEXT_SERVER` names.

pub mod fleet;
mod next;
mod talk;

use std::time::{Duration, Instant};

use fleet::Fleet;
use talk::Talk;

/// Pairs of people; their homes and conversations are on all nodes.
const PAIRS: usize = 8;

/// How often each of them sends.
const OFTEN: Duration = Duration::from_millis(100);
/// So that two cores, which three nodes of Cassandra share with all else, have time for a takeover, too.
const SELDOM: Duration = Duration::from_millis(400);

/// A fleet of nodes, and people who talk to all of them, each writer once in `every`.
async fn fleet_with_talk(name: &str, nodes: usize, every: Duration) -> (Fleet, Talk) {
    let fleet = Fleet::start(name, nodes).await;
    let talk = Talk::begin(&fleet.urls(), PAIRS, every).await;
    talk.all_go_on().await;
    talk.phase("nothing happens");
    (fleet, talk)
}

/// Stops a node, and starts it as a server of this version or of the next.
async fn deploy(fleet: &mut Fleet, talk: &Talk, node: usize, what: &str, is_next: bool) {
    let began = Instant::now();
    fleet.stop(node).await;
    let stopped = began.elapsed().as_millis();
    // Others have all of it, for some time.
    talk.goes_on().await;
    fleet.start_again(node, is_next).await;
    fleet.is_settled().await;
    talk.goes_on().await;
    talk.phase(&format!("{what}: stopped in {stopped} ms, settled after {} ms", began.elapsed().as_millis()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: make test"]
async fn a_node_is_deployed_while_people_talk_and_nothing_is_lost_or_doubled() {
    let (mut fleet, talk) = fleet_with_talk("deploy", 2, OFTEN).await;
    deploy(&mut fleet, &talk, 0, "node 0", false).await;
    eprintln!("{}", talk.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: make test"]
async fn a_node_is_killed_while_people_talk_and_the_others_take_over() {
    let (mut fleet, talk) = fleet_with_talk("takeover", 3, SELDOM).await;
    fleet.node(0).kill();
    talk.all_go_on().await;
    talk.phase("node 0 killed");
    fleet.start_again(0, false).await;
    fleet.is_settled().await;
    talk.all_go_on().await;
    talk.phase("node 0 is back");
    eprintln!("{}", talk.end().await);
}
