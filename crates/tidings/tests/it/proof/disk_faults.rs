//! The disk of the whole server fails: the Nth write, sync or rename of journal and tables, with each error. From then on
//! nothing is acknowledged, `/readyz` says why, reads are answered, and after a restart on a good disk every acked entry is there.

use std::{
    collections::HashMap,
    io::Read,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tidings_checker::{Event, Record, Rule, check};
use tidings_client::http::Http;

use crate::server::{Server, serving};

use super::{
    audit,
    run::{PATIENCE, Run},
    strace::{Fault, Strace, Whom, sabotaged},
};

const ERRORS: [(&str, &str); 2] = [("EIO", "Input/output error"), ("ENOSPC", "No space left on device")];

/// Marks in the history that `/readyz` was seen to be red.
const RED: &str = "not ready";

/// Small, and flushed all the time, so that every kind of call comes soon.
const SETTINGS: &[(&str, &str)] = &[
    ("journal.segment_bytes", "8 MiB"),
    ("flush.window_ms", "10"),
    ("rates.sends_per_s", "1000000"),
    ("rates.sends_burst", "1000000"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_fails_ends_all_acks_and_loses_none() {
    for call in ["pwritev", "fdatasync"] {
        for (error, words) in ERRORS {
            for nth in [1, 2, 3, 40] {
                let fault = Fault { call, error, nth, paths: Vec::new() };
                fail_and_come_back(&Whom::Thread("committer"), fault, words).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_that_fail_end_all_acks_and_lose_none() {
    for call in ["write", "fsync", "renameat"] {
        for (error, words) in ERRORS {
            for nth in [1, 2, 3, 10] {
                let fault = Fault { call, error, nth, paths: Vec::new() };
                fail_and_come_back(&Whom::All, fault, words).await;
            }
        }
    }
}

/// Talks until the fault strikes, looks whether the server is honest about it, and restarts it on a good disk.
async fn fail_and_come_back(whom: &Whom, mut fault: Fault<'_>, words: &str) {
    let what = format!("{} number {} fails with {}", fault.call, fault.nth, fault.error);
    let mut server = Server::start_with(SETTINGS);
    if fault.call == "write" {
        // Sockets and wake-ups are written to as well: only the tables' files are meant.
        fault.paths = tables_files(&server.folder.path().join("data/tables/keyspaces"));
    }
    let mut run = Run::new(7, &server.url).await;
    let strace = Strace::attach(server.id(), whom, &fault);
    run.world.recorder.mark(&what);
    run.begin_round(&server.url);
    let why = not_ready(&server.url, &what).await;
    assert!(why.contains(words), "{what}: /readyz says {why}");

    run.world.recorder.mark(RED);
    refuses(&server.url, &what).await;
    refuses(&server.url, &what).await;
    server.kill();
    drop(strace);
    run.end_round().await;
    assert_eq!(acked_after_red(&run), Vec::<String>::new(), "{what}: was asked afterwards and acked");

    server.restart_with(SETTINGS);
    audit::agree(&run, &server.url).await;
    run.begin_round(&server.url);
    run.until(|held| held.told.values().any(|seq| seq.0 > 30)).await;
    run.finish().await;
    audit::read_all(&run.world, &server.url).await;
    let report = check(&run.world.recorder.history()).expect("the recording is in order");
    assert!(report.is_green(), "{what}: {report}");
    report.assert_green(&[Rule::Durable, Rule::RepeatsAgree, Rule::NoGaps]);
}

/// What the tables' files are called now and later.
fn tables_files(keyspaces: &Path) -> Vec<String> {
    let keyspaces = std::fs::read_dir(keyspaces).unwrap().map(|keyspace| keyspace.unwrap().path());
    let files = |keyspace: std::path::PathBuf| {
        (0..200).map(move |number| keyspace.join("tables").join(number.to_string()).to_str().unwrap().to_owned())
    };
    keyspaces.flat_map(files).collect()
}

/// Waits until `/readyz` is red; what it says.
async fn not_ready(url: &str, what: &str) -> String {
    let since = Instant::now();
    loop {
        let (status, text) = crate::server::get(url, "/readyz");
        if status == 503 {
            return text;
        }
        assert!(since.elapsed() < PATIENCE, "{what}: nobody noticed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Sends are refused as unavailable, by whomever and however often; reads are answered.
async fn refuses(url: &str, what: &str) {
    let http = Http::new(url).unwrap();
    // A device that is known already: a new one would have to be stored.
    let login = http.login("ada", Some("set-up")).await.unwrap_or_else(|error| panic!("{what}: a login: {error}"));
    let http = http.with_token(&login.token);
    let send = |n: u32| json!({"type": "send", "id": n, "to": {"user": "bob"}, "client_msg_id": format!("late-{n}"), "text": "late"});
    let frames: Vec<Value> = (0..20).map(send).chain([json!({"type": "inbox", "id": 20})]).collect();
    let answers: Value = http.call(http::Method::POST, "/v1/frames", Some(&json!({"frames": frames}))).await.unwrap();
    for answer in &answers["answers"].as_array().unwrap()[..20] {
        assert_eq!(answer["code"], "unavailable", "{what}: {answer}");
    }
    assert_eq!(answers["answers"][20]["type"], "inbox", "{what}: {answers}");
}

/// What was asked when `/readyz` was red, and acked as something new. (An ack that was given before may come later. A repeat of
/// what is stored rests on no commit.)
fn acked_after_red(run: &Run) -> Vec<String> {
    let history = run.world.recorder.history();
    let is_red = |record: &&Record| matches!(&record.event, Event::Mark { text } if text == RED);
    let red_at = history.records().find(is_red).expect("it was marked").at;
    let asked: HashMap<_, _> = history
        .records()
        .filter(|record| record.at > red_at)
        .filter_map(|record| match &record.event {
            Event::Send(asked) => Some((asked.operation, &asked.client_msg_id)),
            _ => None,
        })
        .collect();
    let acked = history.records().filter_map(|record| match &record.event {
        Event::Sent { operation, repeat: false, .. } => asked.get(operation).map(ToString::to_string),
        _ => None,
    });
    acked.collect()
}

/// A start is a time of many writes: replay, flush, a new segment. One of them fails, and the next start is on a good disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_a_failing_disk_says_so_and_harms_nothing() {
    let settings = [("journal.segment_bytes", "8 MiB"), ("flush.window_ms", "60000")];
    let mut server = Server::start_with(&settings);
    let mut run = Run::new(8, &server.url).await;
    let mut struck = 0;
    for (round, call) in ["fsync", "fdatasync", "pwritev", "renameat", "rename", "ftruncate"].into_iter().enumerate() {
        run.begin_round(&server.url);
        run.until(|held| held.told.values().any(|seq| seq.0 > 40 * (round as u64 + 1))).await;
        server.kill();
        run.end_round().await;
        for nth in [1, 2, 4, 8, 16] {
            let (error, words) = ERRORS[nth as usize % 2];
            let fault = Fault { call, error, nth, paths: Vec::new() };
            let command = serving(server.folder.path(), "127.0.0.1:0", &settings);
            let mut process =
                sabotaged(&command, &fault).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            let mut line = [0; 9];
            let is_up = process.stdout.as_mut().unwrap().read_exact(&mut line).is_ok();
            if is_up {
                process.kill().unwrap();
            }
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            process.wait().unwrap();
            assert!(!said.contains("panicked"), "{call} {nth} {error}: {said}");
            if !is_up {
                struck += 1;
                assert!(said.contains(words), "{call} {nth} {error}: {said}");
            }
        }
        server.restart_with(&settings);
        audit::agree(&run, &server.url).await;
    }
    assert!(struck >= 10, "only {struck} faults struck");
    run.finish().await;
    audit::read_all(&run.world, &server.url).await;
    check(&run.world.recorder.history()).expect("the recording is in order").assert_green(&[Rule::Durable]);
}
