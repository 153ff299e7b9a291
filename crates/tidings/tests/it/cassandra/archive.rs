//! The archive of a fleet: old entries of groups on two nodes are moved, one of the nodes is killed meanwhile, and in the end a node
//! serves it all that has written none of it. Every page of the history is the same, byte for byte, whoever is asked.
//!
//! The segments are in a bucket of a store that speaks S3.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use super::{
    call,
    deploy::fleet::{Fleet, TOKEN},
    until,
};
use crate::{
    archive::{
        SETTINGS, count_files,
        s3::{in_bucket, store},
    },
    server::{self, Server},
};

const GROUPS: [&str; 6] = ["One", "Two", "Three", "Four", "Five", "Six"];
const LINES: u64 = 450;
const PEOPLE: u64 = 7;
/// They are members of all groups.
const READER: &str = "person-0";

/// A store of its own, which is gone when dropped. What is in its bucket are files of a folder.
struct Bucket {
    folder: TempDir,
}

impl Bucket {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        store("start", Some(folder.path()));
        Self { folder }
    }

    fn settings(&self) -> Vec<(&'static str, String)> {
        let endpoint = store("endpoint", Some(self.folder.path()));
        let settings = [&SETTINGS[..], &in_bucket(&endpoint)[..]].concat();
        settings.into_iter().map(|(name, value)| (name, value.to_owned())).collect()
    }

    fn segments(&self) -> PathBuf {
        self.folder.path().join("objects/tidings/archive")
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        store("wipe", Some(self.folder.path()));
    }
}

fn log_in(url: &str, user: &str) -> String {
    let login = json!({"username": user, "device": "d-1"}).to_string();
    until("a login", || call(url, "POST", "/v1/login", "", &login).1["token"].as_str().map(str::to_owned))
}

/// The groups, whichever nodes have them, by one node. The ids of the conversations.
fn import_all(server: &Server) -> Vec<String> {
    let import = |group: &str| {
        let file = server.folder.path().join(group);
        let line = |n: u64| {
            let text = format!("{group} says: number {n}, {}", "word ".repeat(usize::try_from(n % 17).unwrap()));
            // Two of the names are the same username.
            let from = if n == 5 { "PERSON-1".to_owned() } else { format!("person-{}", n % PEOPLE) };
            json!({ "from": from, "text": text, "at": 1_100_000_000_000 + n * 60_000 }).to_string()
        };
        fs::write(&file, (1..=LINES).map(line).collect::<Vec<_>>().join("\n")).unwrap();
        let words = ["import", file.to_str().unwrap(), "--conversation", group, "--admin-token", TOKEN];
        let done = server.json("op", &words).remove(0);
        assert_eq!((&done["imported"], &done["authors"]), (&json!(LINES), &json!(PEOPLE + 1)));
        let again = server.json("op", &words).remove(0);
        assert_eq!((&again["imported"], &again["repeats"]), (&json!(0), &json!(LINES)), "run twice, nothing doubles");
        done["conversation"].as_str().unwrap().to_owned()
    };
    GROUPS.into_iter().map(import).collect()
}

/// Every page, up and down.
fn history(url: &str, token: &str, conversations: &[String]) -> Vec<String> {
    let mut pages = Vec::new();
    for conversation in conversations {
        for way in ["after", "before"] {
            for at in (1..=LINES + 150).step_by(150) {
                let path = format!("/v1/conversations/{conversation}/entries?{way}={at}&limit=150");
                let body = until("a page", || {
                    Some(server::call(url, "GET", &path, token, "")).filter(|(status, _)| *status == 200)
                })
                .1;
                pages.push(body);
            }
        }
    }
    pages
}

/// A round on one node; how many entries it moved.
fn round(server: &Server) -> u64 {
    let state = server.json("op", &["archive", "run", "--admin-token", TOKEN]).remove(0);
    assert_eq!((&state["error"], &state["last"]["failed"]), (&Value::Null, &json!(0)), "{state}");
    state["last"]["entries"].as_u64().unwrap()
}

/// Their author edits one that is old, and redacts another.
fn change_old(url: &str, conversation: &str) {
    let token = log_in(url, "person-3");
    let path = |seq: u64| format!("/v1/conversations/{conversation}/entries/{seq}");
    let edit = json!({"text": "said otherwise", "client_msg_id": "edit"}).to_string();
    let (status, answer) = call(url, "PATCH", &path(3), &token, &edit);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = call(url, "DELETE", &path(10), &token, &json!({"client_msg_id": "redact"}).to_string());
    assert_eq!(status, 200, "{answer}");
}

fn shows_changes(url: &str, token: &str, conversation: &str) {
    let (_, read) = call(url, "GET", &format!("/v1/conversations/{conversation}/entries?after=0&limit=12"), token, "");
    let entry = |seq: usize| &read["entries"][seq - 1];
    assert_eq!((&entry(3)["text"], &entry(3)["edited_seq"]), (&json!("said otherwise"), &json!(LINES + 1)), "{read}");
    let redacted = entry(10)["text"].as_str().unwrap_or_default();
    assert_eq!((redacted, &entry(10)["redacted"]["seq"]), ("", &json!(LINES + 2)), "{read}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Cassandra: make test"]
async fn two_nodes_archive_over_a_kill_and_each_reads_what_the_other_has_written() {
    let bucket = block_in_place(Bucket::start);
    let mut fleet = Fleet::start_with("archive", 2, &bucket.settings()).await;
    let segments = bucket.segments();
    let urls = fleet.urls();
    let (groups, pages) = block_in_place(|| over_a_kill(&mut fleet, &urls, &segments));

    // The other one comes back, and serves all of it: little of that it has written, and nothing has it read.
    fleet.start_again(1, false).await;
    fleet.stop(0).await;
    block_in_place(|| {
        let away = bucket.folder.path().join("away");
        fs::rename(&segments, &away).unwrap();
        let token = log_in(&urls[1], READER);
        for group in &groups {
            let read = |query: &str| {
                server::call(&urls[1], "GET", &format!("/v1/conversations/{group}/entries?{query}"), &token, "").0
            };
            until("the newest part is there", || (read("limit=100") == 200).then_some(()));
            assert_eq!(read("after=20&limit=20"), 503, "the old part has left the tables");
        }
        fs::rename(&away, &segments).unwrap();
        shows_changes(&urls[1], &token, &groups[0]);
        assert_eq!(history(&urls[1], &token, &groups), pages);
    });
}

/// One node archives its part, the other one is killed while it does, and the first one finishes all. The conversations, and
/// their pages when some of what is old was changed.
fn over_a_kill(fleet: &mut Fleet, urls: &[String], archive: &Path) -> (Vec<String>, Vec<String>) {
    let groups = import_all(fleet.node(0));
    for group in &GROUPS[..2] {
        let [one, other] = [0, 1].map(|node| fleet.node(node).json("op", &["export", group, "--admin-token", TOKEN]));
        assert!(one == other && one.len() as u64 == LINES, "{group}: {} and {}", one.len(), other.len());
    }
    let token = log_in(&urls[0], READER);
    let before = history(&urls[0], &token, &groups);
    assert!(before.iter().all(|page| page.contains("\"entries\":[")));

    let mut moved = round(fleet.node(0));
    assert_eq!(history(&urls[1], &token, &groups), before);
    let segments = count_files(archive);
    let words = ["archive", "run", "--admin-token", TOKEN];
    let mut cut = fleet.node(1).command("op", &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // In the middle of it, unless it has nothing to do.
    until("it writes", || (count_files(archive) > segments || cut.try_wait().unwrap().is_some()).then_some(()));
    fleet.node(1).kill();
    cut.wait().unwrap();
    assert_eq!(history(&urls[0], &token, &groups), before, "the one that is left has all");
    until("nothing more is old", || {
        let more = round(fleet.node(0));
        moved += more;
        (more == 0).then_some(())
    });
    assert!(moved > 0 && count_files(archive) > 0, "{moved} entries were moved");
    change_old(&urls[0], &groups[0]);
    shows_changes(&urls[0], &token, &groups[0]);
    let after = history(&urls[0], &token, &groups);
    let pages = after.len() / groups.len();
    assert_eq!(after[pages..], before[pages..], "the others are as they were");
    (groups, after)
}
