//! The archive of a fleet: old entries of groups on two nodes are moved, one of the nodes is killed meanwhile, and in the end a node
//! serves it all that has written none of it. Every page of the history is the same, byte for byte, whoever is asked.
//!
//! The segments are in one folder, as on a file system that the nodes share.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::task::block_in_place;

use super::{
    deploy::fleet::{Fleet, TOKEN},
    migrate::call,
};
use crate::server::Server;

const GROUPS: [&str; 6] = ["One", "Two", "Three", "Four", "Five", "Six"];
const LINES: u64 = 600;
const PEOPLE: u64 = 7;
/// They are members of all groups.
const READER: &str = "person-0";
const PATIENCE: Duration = Duration::from_secs(120);

/// A call's status and body, as it came.
fn page(url: &str, path: &str, token: &str) -> (u16, String) {
    let mut line = TcpStream::connect(url.strip_prefix("http://").unwrap()).unwrap();
    write!(line, "GET {path} HTTP/1.0\r\nauthorization: Bearer {token}\r\n\r\n").unwrap();
    let mut answer = String::new();
    line.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
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
                let body = until("a page", || Some(page(url, &path, token)).filter(|(status, _)| *status == 200)).1;
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
    let settings = [("archive.after_months", "1"), ("flush.window_ms", "20")].map(|(name, it)| (name, it.to_owned()));
    let mut fleet = Fleet::start_with("archive", 2, &settings).await;
    let shared = tempfile::tempdir().unwrap();
    let blobs = shared.path().join("blobs");
    fs::create_dir(&blobs).unwrap();
    for node in 0..2 {
        let own = fleet.folder(node).join("data/blobs");
        fs::remove_dir_all(&own).unwrap();
        symlink(&blobs, &own).unwrap();
    }
    fleet.is_settled().await;
    let urls = fleet.urls();
    let (groups, pages) = block_in_place(|| over_a_kill(&mut fleet, &urls, &blobs));

    // The other one comes back, and serves all of it: little of that it has written, and nothing has it read.
    fleet.start_again(1, false).await;
    fleet.stop(0).await;
    block_in_place(|| {
        let away = shared.path().join("away");
        fs::rename(&blobs, &away).unwrap();
        fs::create_dir(&blobs).unwrap();
        let token = log_in(&urls[1], READER);
        for group in &groups {
            let read = |query: &str| page(&urls[1], &format!("/v1/conversations/{group}/entries?{query}"), &token).0;
            until("the newest part is there", || (read("limit=100") == 200).then_some(()));
            assert_eq!(read("after=20&limit=20"), 503, "the old part has left the tables");
        }
        fs::remove_dir_all(&blobs).unwrap();
        fs::rename(&away, &blobs).unwrap();
        shows_changes(&urls[1], &token, &groups[0]);
        assert_eq!(history(&urls[1], &token, &groups), pages);
    });
}

/// One node archives what it hosts, the other one is killed while it does, and the first one finishes all. The conversations, and
/// their pages when some of what is old was changed.
fn over_a_kill(fleet: &mut Fleet, urls: &[String], blobs: &Path) -> (Vec<String>, Vec<String>) {
    let groups = import_all(fleet.node(0));
    for group in GROUPS {
        let [one, other] = [0, 1].map(|node| fleet.node(node).json("op", &["export", group, "--admin-token", TOKEN]));
        assert!(one == other && one.len() as u64 == LINES, "{group}: {} and {}", one.len(), other.len());
    }
    let token = log_in(&urls[0], READER);
    let before = history(&urls[0], &token, &groups);
    assert!(before.iter().all(|page| page.contains("\"entries\":[")));

    let mut moved = round(fleet.node(0));
    assert_eq!(history(&urls[1], &token, &groups), before);
    let segments = count_files(blobs);
    let words = ["archive", "run", "--admin-token", TOKEN];
    let mut cut = fleet.node(1).command("op", &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // In the middle of it, unless it has nothing to do.
    until("it writes", || (count_files(blobs) > segments || cut.try_wait().unwrap().is_some()).then_some(()));
    fleet.node(1).kill();
    cut.wait().unwrap();
    assert_eq!(history(&urls[0], &token, &groups), before, "the one that is left has all");
    until("nothing more is old", || {
        let more = round(fleet.node(0));
        moved += more;
        (more == 0).then_some(())
    });
    assert!(moved > 0 && count_files(blobs) > 0, "{moved} entries were moved");
    change_old(&urls[0], &groups[0]);
    shows_changes(&urls[0], &token, &groups[0]);
    let after = history(&urls[0], &token, &groups);
    let pages = after.len() / groups.len();
    assert_eq!(after[pages..], before[pages..], "the others are as they were");
    (groups, after)
}

fn count_files(folder: &Path) -> usize {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}
