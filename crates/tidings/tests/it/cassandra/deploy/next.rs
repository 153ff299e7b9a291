//! This version and the next one side by side, deployed while people talk whose clients are of this version.

use std::process::Command;

use super::{
    OFTEN, deploy,
    fleet::{Fleet, next_server},
    fleet_with_talk,
};
use crate::server::{get, tidings};

const NODES: usize = 3;

/// Logs in and sends, by a client of either version, at a node of either.
fn sends(fleet: &Fleet, client: fn() -> Command, node: usize) {
    for words in [&["login", "other"][..], &["login", "stranger"], &["send", "other", "by hand"]] {
        let mut client = client();
        client.env("XDG_CONFIG_HOME", fleet.folder(node)).env("TIDINGS_URL", &fleet.urls()[node]);
        let output = client.args(words).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn protocol(fleet: &Fleet, node: usize) -> String {
    let (_, version) = get(&fleet.urls()[node], "/version");
    serde_json::from_str::<serde_json::Value>(&version).unwrap()["protocol"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra and another build: make nemesis"]
async fn the_next_version_is_deployed_taken_back_and_deployed_for_good() {
    let (mut fleet, talk) = fleet_with_talk("next", NODES, OFTEN).await;
    deploy(&mut fleet, &talk, 0, "node 0 of this version", false).await;

    deploy(&mut fleet, &talk, 0, "node 0 of the next", true).await;
    assert_eq!([protocol(&fleet, 0), protocol(&fleet, 1)], ["1.1", "1.0"]);
    for node in [0, 1] {
        sends(&fleet, tidings, node);
        sends(&fleet, next_server, node);
    }
    deploy(&mut fleet, &talk, 0, "node 0 back to this version", false).await;
    for node in 0..NODES {
        deploy(&mut fleet, &talk, node, &format!("node {node} of the next"), true).await;
    }
    assert!((0..NODES).all(|node| protocol(&fleet, node) == "1.1"));

    // All of it is written as the next version does: this one is not let in any more, and says why.
    fleet.stop(0).await;
    let refused = fleet.refused(0);
    assert!(refused.contains("this fleet writes format 2"), "{refused}");
    fleet.start_again(0, true).await;
    fleet.is_settled().await;
    talk.goes_on().await;
    talk.phase("this version was refused");
    eprintln!("{}", talk.end().await);
}
