//! The power is cut: journal and tables together have only what was synced at that moment, and every acked entry is there. The
//! real server runs under `strace`; what it wrote and synced is followed up to the moment, and a server starts on what is left.
//!
//! A moment is when a client had an ack in its hands: what the kernel had not answered by then counts as not done.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tidings_client::http::Http;

use crate::server::serving;

use super::{
    lost_power::Disk,
    strace::traced,
    trace::{self, CALLS, Call},
};

const SENDS: usize = 160;
const SETTINGS: &[(&str, &str)] = &[("journal.segment_bytes", "8 MiB"), ("flush.window_ms", "20")];

/// What a client was told, and when it had it.
struct Acked {
    at_us: u64,
    conversation: String,
    seq: u64,
    client_msg_id: String,
    to: &'static str,
}

/// A run that was followed.
struct Recorded {
    folder: TempDir,
    trace: PathBuf,
    started_us: u64,
    acked: Vec<Acked>,
}

fn now_us() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros() as u64
}

/// Starts a server on the data in `folder`; `Err`: what it said in place of being ready.
fn start(command: &mut Command) -> Result<(std::process::Child, String), String> {
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    match line.trim().strip_prefix("listening on ") {
        Some(url) => Ok((process, url.to_owned())),
        None => {
            let mut said = String::new();
            process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
            process.wait().unwrap();
            Err(said)
        }
    }
}

async fn log_in(url: &str, user: &str) -> Http {
    let http = Http::new(url).unwrap();
    let login = http.login(user, Some("laptop")).await.unwrap();
    http.with_token(&login.token)
}

async fn ask(http: &Http, frame: Value) -> Value {
    let answers: Value = http.call(http::Method::POST, "/v1/frames", Some(&json!({"frames": [frame]}))).await.unwrap();
    answers["answers"][0].clone()
}

fn send(to: &str, client_msg_id: &str) -> Value {
    json!({"type": "send", "id": 1, "to": {"user": to}, "client_msg_id": client_msg_id, "text": format!("text of {client_msg_id}")})
}

/// One send after the other, each on its own: what is acked hangs on one sync.
async fn record() -> Recorded {
    let folder = tempfile::tempdir().unwrap();
    let trace = folder.path().join("trace");
    let served = folder.path().join("served");
    std::fs::create_dir(&served).unwrap();
    let command = serving(&served, "127.0.0.1:0", SETTINGS);
    let (mut process, url) = start(&mut traced(&command, CALLS, &trace)).expect("it starts");
    let started_us = now_us();
    let mut acked = Vec::new();
    for name in ["bob", "eve", "dan"] {
        log_in(&url, name).await;
    }
    let ada = log_in(&url, "ada").await;
    for n in 0..SENDS {
        let (to, client_msg_id) = (["bob", "eve", "dan"][n % 3], format!("c-{n}"));
        let sent = ask(&ada, send(to, &client_msg_id)).await;
        let at_us = now_us();
        assert_eq!(sent["type"], "sent", "{sent}");
        let conversation = sent["conversation"].as_str().unwrap().to_owned();
        acked.push(Acked { at_us, conversation, seq: sent["seq"].as_u64().unwrap(), client_msg_id, to });
    }
    process.kill().unwrap();
    process.wait().unwrap();
    Recorded { folder, trace, started_us, acked }
}

impl Recorded {
    /// Cuts the power at each of `moments` (ascending), leaving out the syncs that `forgets` names; what is wrong then, of each.
    async fn cut(&self, moments: &[u64], forgets: impl Fn(&Disk, &Call) -> bool) -> Vec<Result<(), String>> {
        let mut disk = Disk::new(&self.folder.path().join("served"));
        let mut calls = trace::read(&self.trace).peekable();
        let mut results = Vec::new();
        for &moment in moments {
            while let Some(call) = calls.next_if(|call| call.at_us <= moment) {
                if !(call.name.ends_with("sync") && forgets(&disk, &call)) {
                    disk.follow(&call);
                }
            }
            let left = tempfile::tempdir().unwrap();
            disk.leave(left.path());
            let acked = self.acked.iter().filter(|acked| acked.at_us <= moment).collect::<Vec<_>>();
            results.push(judge(left.path(), &acked).await);
        }
        results
    }
}

/// Whether a server starts on what is left and has all that was acked.
async fn judge(left: &Path, acked: &[&Acked]) -> Result<(), String> {
    let (mut process, url) = start(&mut serving(left, "127.0.0.1:0", SETTINGS))?;
    let found = compare(&url, acked).await;
    process.kill().unwrap();
    process.wait().unwrap();
    found
}

async fn compare(url: &str, acked: &[&Acked]) -> Result<(), String> {
    let ada = log_in(url, "ada").await;
    let mut logs: HashMap<&str, Vec<Value>> = HashMap::new();
    for Acked { conversation, seq, client_msg_id, .. } in acked {
        let log = match logs.get(&**conversation) {
            Some(log) => log,
            None => {
                let page =
                    ask(&ada, json!({"type": "fetch", "id": 1, "conversation": conversation, "limit": 200})).await;
                logs.entry(conversation).or_insert(page["entries"].as_array().cloned().unwrap_or_default())
            }
        };
        let is_there = log.iter().any(|entry| {
            entry["seq"] == *seq
                && entry["client_msg_id"] == **client_msg_id
                && entry["text"] == format!("text of {client_msg_id}")
        });
        if !is_there {
            return Err(format!("{client_msg_id} was acked at {seq} and is not there"));
        }
    }
    if let Some(Acked { client_msg_id, seq, to, .. }) = acked.last() {
        let again = ask(&ada, send(to, client_msg_id)).await;
        if again["seq"] != *seq || again["repeat"] != true {
            return Err(format!("{client_msg_id} was acked at {seq}, and sent again answered {again}"));
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_synced_when_the_power_went_holds_all_that_was_acked() {
    let recorded = record().await;
    let first_us = trace::read(&recorded.trace).next().expect("something was done").at_us;
    let starting = (1..6).map(|sixth| first_us + (recorded.started_us - first_us) * sixth / 6);
    let acks: Vec<u64> = recorded.acked.iter().step_by(8).map(|acked| acked.at_us).collect();
    let moments: Vec<u64> = starting.chain(acks.iter().copied()).collect();
    for (result, moment) in recorded.cut(&moments, |_, _| false).await.into_iter().zip(&moments) {
        if let Err(what) = result {
            panic!("cut {} us after the start: {what}", moment - first_us);
        }
    }

    // The controls: a server that leaves out a sync is found out.
    let mut lost = 0;
    let few = acks.iter().skip(1).step_by(4).copied().collect::<Vec<_>>();
    for &moment in &few {
        let last = last_journal_sync(&recorded, moment);
        lost += usize::from(recorded.cut(&[moment], |_, call| call.at_us == last).await[0].is_err());
    }
    assert!(lost * 2 > few.len(), "one journal sync less: {lost} of {} cuts show it", few.len());
    let of_tables = |disk: &Disk, call: &Call| {
        disk.synced_path(call).is_some_and(|path| path.parent().is_some_and(|folder| folder.ends_with("tables")))
    };
    let results = recorded.cut(&few, of_tables).await;
    assert!(results.iter().any(Result::is_err), "no sync of the tables' files: nobody notices");
}

/// When the journal was synced for the last time before a moment.
fn last_journal_sync(recorded: &Recorded, moment: u64) -> u64 {
    let mut disk = Disk::new(&recorded.folder.path().join("served"));
    let mut last = 0;
    for call in trace::read(&recorded.trace).take_while(|call| call.at_us <= moment) {
        let is_journal = || disk.synced_path(&call).is_some_and(|path| path.starts_with("data/journal"));
        if call.name == "fdatasync" && is_journal() {
            last = call.at_us;
        }
        disk.follow(&call);
    }
    last
}
