//! The runs. They need a cluster that tells its clients other addresses than it has: `scripts/fleet/nemesis.sh` starts one.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_checker::{Rule, Server, check_of};

use super::{fault::Fault, figures::Figures, fleet::Fleet, proxy::Weather};
use crate::proof::{audit, run::Run};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(120);

/// So many acknowledgements show that there is service again.
const SERVED: u64 = 50;

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

/// Each kind of fault once; with `NEMESIS_SECONDS`, whatever comes to mind for so long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: make test, or make nemesis for long"]
async fn faults_lose_double_and_reorder_nothing() {
    let seconds = setting("NEMESIS_SECONDS");
    let seed = setting("NEMESIS_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    let nodes = usize::try_from(setting("NEMESIS_NODES").unwrap_or(3)).unwrap();
    eprintln!("seed {seed}, {nodes} nodes of Tidings");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut fleet = Fleet::start(nodes).await;
    let mut run = Run::roaming(rng.random(), &fleet.urls()).await;
    run.world.recorder.mark("well");
    served(&mut fleet, &run).await;
    match seconds {
        None => {
            for fault in each(nodes) {
                happens(&mut fleet, &run, &fault, Duration::from_millis(500)).await;
            }
        }
        Some(seconds) => {
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(seconds) {
                let fault = Fault::any(&mut rng, &fleet);
                let lasting = Duration::from_millis(rng.random_range(200..8_000));
                happens(&mut fleet, &run, &fault, lasting).await;
            }
        }
    }
    run.world.recorder.mark("over");
    run.finish().await;
    for url in fleet.urls() {
        audit::agree(&run, &url).await;
    }
    audit::read_all(&run.world, &fleet.urls()[0]).await;
    let history = run.world.recorder.history();
    let server = if nodes > 1 { Server::Fleet } else { Server::Alone };
    let report = check_of(server, &history).expect("the recording is in order");
    let figures = Figures::new(&history, &report);
    eprintln!("{figures}\n{report}");
    report.assert_green(Rule::ALL);
    assert!(figures.repeats() > 0, "nobody was ever left without an answer: the faults do nothing");

    let report = check_of(server, &audit::without_one_final_entry(&history, &mut rng)).expect("it still is a history");
    assert!(report.red().contains(&Rule::Durable), "a lost entry goes unseen\n{report}");
}

/// A fault of each kind.
fn each(nodes: usize) -> Vec<Fault> {
    let mut faults = vec![
        Fault::KillNode(0),
        Fault::AtDoor(0, Weather::NoAnswer),
        Fault::AtStores(0, vec![0, 1, 2], Weather::NoAnswer),
        Fault::AtStores(0, vec![1], Weather::HalfOpen),
        Fault::AtStores(0, vec![0, 2], Weather::Mute),
        Fault::KillStores(vec![0, 1, 2]),
        Fault::DeployNode(0),
        Fault::PauseNode(0),
    ];
    if nodes > 1 {
        faults.extend([Fault::KillNats, Fault::AtNats(1, Weather::Silent), Fault::KillNode(1)]);
    }
    faults
}

/// A fault, as long as it lasts, and service again.
async fn happens(fleet: &mut Fleet, run: &Run, fault: &Fault, lasting: Duration) {
    let world = &run.world;
    world.recorder.mark(&fault.to_string());
    let unavailable = world.unavailable();
    fault.strike(fleet);
    tokio::time::sleep(lasting).await;
    if fault.stops_all(fleet) {
        until(|| world.unavailable() > unavailable, "sends are refused as unavailable").await;
    }
    world.recorder.mark("  being mended");
    fault.mend(fleet);
    world.recorder.mark("  mended");
    served(fleet, run).await;
}

/// Waits for acknowledgements.
async fn served(fleet: &mut Fleet, run: &Run) {
    let before = run.world.acked();
    let is_served = || {
        fleet.revive();
        run.world.acked() >= before + SERVED
    };
    until(is_served, "there is service again").await;
}

async fn until(mut condition: impl FnMut() -> bool, what: &str) {
    let met = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, met).await.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"));
}
