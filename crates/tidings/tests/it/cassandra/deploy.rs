//! A rolling deploy while people talk: a node gets SIGTERM and is started again, and the next one. Nothing is lost, doubled or out of
//! order; who was refused, how late something came and the longest time without an acknowledgement are printed. The same of a node
//! that is killed, whose shards the others take over.
//!
//! `scripts/fleet/next.sh` has all nodes deployed, to a build of the version after this one and back: `next` needs that
//! build, which `NEXT_SERVER` names.

pub mod fleet;
mod next;
mod talk;

use std::time::Instant;

use fleet::Fleet;
use talk::Talk;

/// Pairs of people; their homes and conversations are on all nodes.
const PAIRS: usize = 8;

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
    let mut fleet = Fleet::start("deploy", 2).await;
    fleet.is_settled().await;
    let talk = Talk::begin(&fleet.urls(), PAIRS).await;
    talk.goes_on().await;
    talk.phase("nothing happens");
    deploy(&mut fleet, &talk, 0, "node 0", false).await;
    eprintln!("{}", talk.end().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: make test"]
async fn a_node_is_killed_while_people_talk_and_the_others_take_over() {
    let mut fleet = Fleet::start("takeover", 3).await;
    fleet.is_settled().await;
    let talk = Talk::begin(&fleet.urls(), PAIRS).await;
    talk.all_go_on().await;
    talk.phase("nothing happens");
    fleet.node(0).kill();
    talk.all_go_on().await;
    talk.phase("node 0 killed");
    fleet.start_again(0, false).await;
    fleet.is_settled().await;
    talk.all_go_on().await;
    talk.phase("node 0 is back");
    eprintln!("{}", talk.end().await);
}
