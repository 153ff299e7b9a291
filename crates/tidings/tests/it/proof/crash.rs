//! `kill -9` at random moments, again and again.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_checker::{Rule, check};

use crate::server::Server;

use super::{audit, run::Run};

/// Every rule: a round that leaves one nothing to judge is a weaker test than it looks.
const EXERCISED: &[Rule] = Rule::ALL;

/// A number from the environment: `CRASH_ROUNDS=5000 cargo test …` is a night's run.
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} must be a number")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_at_random_moments_lose_nothing_that_was_acked() {
    let rounds = setting("CRASH_ROUNDS").unwrap_or(50);
    let seed = setting("CRASH_SEED").unwrap_or_else(|| rand::random_range(0..1_000_000));
    eprintln!("{rounds} rounds; again with CRASH_SEED={seed}");
    let began = Instant::now();
    let mut rng = StdRng::seed_from_u64(seed);
    let mut server = Server::start_with(&settings(&mut rng));
    let mut run = Run::new(rng.random(), &server.url).await;
    for round in 1..=rounds {
        run.begin_round(&server.url);
        tokio::time::sleep(Duration::from_millis(rng.random_range(10..400))).await;
        run.world.recorder.mark(&format!("kill {round}"));
        server.kill();
        run.end_round().await;
        server.restart_with(&settings(&mut rng));
        run.world.recorder.mark("restarted");
        audit::agree(&run, &server.url).await;
    }
    run.begin_round(&server.url);
    run.finish().await;
    audit::agree(&run, &server.url).await;
    audit::read_all(&run.world, &server.url).await;
    let history = run.world.recorder.history();
    let report = check(&history).expect("the recording is in order");
    report.assert_green(EXERCISED);
    eprintln!("{report}{} s", began.elapsed().as_secs());

    let report = check(&audit::without_one_final_entry(&history, &mut rng)).expect("it still is a history");
    assert!(report.red().contains(&Rule::Durable), "a lost entry goes unseen\n{report}");
}

/// The control: a disk that says "synced" and forgets half of it must not go unseen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_forgets_is_found_out() {
    let settings = [("journal.segment_bytes", "8 MiB"), ("flush.window_ms", "60000")];
    let mut server = Server::start_with(&settings);
    let mut run = Run::new(1, &server.url).await;
    run.begin_round(&server.url);
    run.until(|held| held.told.values().any(|seq| seq.0 > 50)).await;
    server.kill();
    run.end_round().await;
    forget_half(&server.folder.path().join("data/journal"));
    server.restart_with(&settings);
    run.finish().await;
    audit::read_all(&run.world, &server.url).await;
    let report = check(&run.world.recorder.history()).expect("the recording is in order");
    assert!(report.red().contains(&Rule::Durable), "{report}");
}

/// Zeroes the later half of what was written to the journal.
fn forget_half(journal: &Path) {
    const BLOCK: usize = 4096;
    let files = std::fs::read_dir(journal).unwrap().map(|file| file.unwrap().path());
    let used = |bytes: &[u8]| bytes.chunks(BLOCK).filter(|block| block.iter().any(|byte| *byte != 0)).count();
    let files = files.map(|path| (std::fs::read(&path).unwrap(), path));
    let (mut bytes, path) = files.max_by_key(|(bytes, _)| used(bytes)).expect("there is a journal");
    let half = used(&bytes) / 2 * BLOCK;
    bytes[half..].fill(0);
    std::fs::write(path, bytes).unwrap();
}

/// How the server is set in a round: what is flushed when, and how much is cached, make different crashes.
fn settings(rng: &mut StdRng) -> Vec<(&'static str, &'static str)> {
    let pick = |rng: &mut StdRng, values: &[&'static str]| values[rng.random_range(0..values.len())];
    vec![
        ("journal.segment_bytes", "8 MiB"),
        ("flush.window_ms", pick(rng, &["10", "50", "200", "2000"])),
        ("cache.conversations_bytes", pick(rng, &["1 MiB", "128 MiB"])),
        ("cache.homes_bytes", pick(rng, &["1 MiB", "128 MiB"])),
        ("rates.sends_per_s", "1000000"),
        ("rates.sends_burst", "1000000"),
        ("rates.requests_per_s", "1000000"),
    ]
}
