//! Nodes that join, die, sleep, wake, drain and come back while the store and the actors' side are slow, late and failing:
//! each shard always has at most one host, nothing of a sealed journal is left out, and in the end all is as wished.

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};

use super::*;

const SEEDS: u64 = 5;
const STEPS: usize = 8;
const NAMES: [&str; 4] = ["one", "two", "three", "four"];

#[tokio::test(start_paused = true)]
async fn whatever_happens_each_shard_has_one_host() {
    for seed in 1..=SEEDS {
        live(seed).await;
    }
}

async fn live(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let fleet = Fleet::new(seed);
    let mut running: Vec<(&str, Running)> = Vec::new();
    // Sleeping or replaced, and not needed any more: they go on until the end.
    let mut old = Vec::new();
    for _ in 0..STEPS {
        match rng.random_range(0..10) {
            0..5 => {
                let name = NAMES[rng.random_range(0..NAMES.len())];
                let new = fleet.join(name).await;
                if let Some(place) = running.iter().position(|(other, _)| *other == name) {
                    old.push(running.remove(place).1);
                }
                running.push((name, new));
            }
            5 if running.len() > 1 => drop(running.remove(0)),
            6 if running.len() > 1 => {
                let (_, sleeper) = running.remove(0);
                sleeper.is_paused.send_replace(true);
                old.push(sleeper);
            }
            7 if running.len() > 1 => {
                let (_, leaving) = running.remove(0);
                // However far it comes: it may have been removed meanwhile.
                let _ = tokio::time::timeout(Duration::from_secs(20), leaving.member.drain()).await;
                leaving.member.leave().await.unwrap();
            }
            8 => old.iter().for_each(|old| _ = old.is_paused.send_replace(false)),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..8_000))).await;
        fleet.ledger.check();
    }
    if running.is_empty() {
        running.push((NAMES[0], fleet.join(NAMES[0]).await));
    }
    settle(&fleet, running).await;
}

/// A person removes whom the bound keeps in; whoever was taken for dead comes back.
async fn settle(fleet: &Fleet, mut running: Vec<(&str, Running)>) {
    for (name, running) in &mut running {
        if !matches!(running.member.known().membership, Membership::In(NodeState::Live)) {
            *running = fleet.join(name).await;
        }
    }
    let running: Vec<_> = running.into_iter().map(|(_, running)| running).collect();
    let ids: Vec<_> = running.iter().map(|running| running.id).collect();
    loop {
        let view = fleet.store.view().await.unwrap();
        let Some(dead) = view.nodes().iter().find(|node| !ids.contains(&node.id)) else { break };
        let _ = fleet.store.swap_view(view.epoch, &view.left(dead.id).unwrap()).await;
    }
    fleet.until_served(&running).await;
}
