//! A server whose old messages move into the archive, over kills, on the disk and in a bucket.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::server::{Server, lines, tidings};

const GROUPS: [&str; 3] = ["One", "Two", "Three"];
const LINES: u64 = 1_300;
const PATIENCE: Duration = Duration::from_secs(120);

/// So that what was said is soon in the tables, and all of it is old.
pub const SETTINGS: [(&str, &str); 2] = [("archive.after_months", "1"), ("flush.window_ms", "20")];

/// Groups of messages that are years old.
fn import_all(server: &Server) {
    for group in GROUPS {
        let file = server.folder.path().join(group);
        let line = |n: u64| {
            let (at, text) =
                (1_100_000_000_000 + n * 60_000, format!("{group} says: number {n}, {}", "word ".repeat(9)));
            json!({ "from": format!("person-{}", n % 7), "text": text, "at": at }).to_string()
        };
        fs::write(&file, (1..=LINES).map(line).collect::<Vec<_>>().join("\n")).unwrap();
        let imported = server.run("op", &["import", file.to_str().unwrap(), "--conversation", group]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}

fn exported(server: &Server) -> Vec<Vec<Value>> {
    let exports = GROUPS.map(|group| {
        let output = server.run("op", &["export", group]);
        assert!(output.status.success(), "{group}: {}", String::from_utf8_lossy(&output.stderr));
        lines(&output.stdout)
    });
    exports.into()
}

/// Rounds until nothing more is old: a flush may not have come before the first one.
fn archive_all(server: &Server) -> u64 {
    let (began, mut entries) = (Instant::now(), 0);
    loop {
        let state = server.json("op", &["archive", "run"]).remove(0);
        assert_eq!((&state["error"], &state["last"]["failed"]), (&Value::Null, &json!(0)), "{state}");
        let moved = state["last"]["entries"].as_u64().unwrap();
        entries += moved;
        if (moved == 0 && entries > 0) || began.elapsed() > PATIENCE {
            return entries;
        }
    }
}

pub fn count_files(folder: &Path) -> usize {
    let Ok(inside) = fs::read_dir(folder) else { return 0 };
    let paths = inside.map(|entry| entry.unwrap().path());
    paths.map(|path| if path.is_dir() { count_files(&path) } else { 1 }).sum()
}

#[test]
fn what_is_old_is_archived_over_kills_and_reads_as_before() {
    let mut server = Server::start_with(&SETTINGS);
    import_all(&server);
    let before = exported(&server);
    assert!(before.iter().all(|group| group.len() as u64 == LINES));
    // Killed at whatever it does then.
    for after_ms in [0, 15, 40, 90] {
        let words = ["archive", "run"];
        let mut round = server.command("op", &words).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(after_ms));
        server.kill();
        round.wait().unwrap();
        server.restart_with(&SETTINGS);
        assert_eq!(exported(&server), before, "killed after {after_ms} ms");
    }
    archive_all(&server);
    assert!(count_files(&server.folder.path().join("data/blobs/archive")) > 0);
    assert_eq!(exported(&server), before);

    let data = server.folder.path().join("data");
    let fsck = || tidings().args(["fsck", "--json", "--data"]).arg(&data).output().unwrap();
    let refused = fsck();
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("is in use by"));
    assert_eq!(server.stop(), Some(0));
    let checked = fsck();
    let report = lines(&checked.stdout).remove(0);
    assert!(checked.status.success(), "{report}");
    assert_eq!((&report["entries"], &report["faults"]), (&json!(GROUPS.len() as u64 * LINES), &json!([])));
    server.restart_with(&SETTINGS);
    assert_eq!(exported(&server), before);
    let status = server.run("op", &["archive", "status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("older than 1 months go to the folder"));

    // Without its blobs the old part is refused, and the newest is there.
    fs::rename(server.folder.path().join("data/blobs"), server.folder.path().join("elsewhere")).unwrap();
    assert_eq!(server.stop(), Some(0));
    server.restart_with(&SETTINGS);
    assert!(!server.run("op", &["export", "One"]).status.success());
    fs::remove_dir_all(server.folder.path().join("data/blobs")).unwrap();
    fs::rename(server.folder.path().join("elsewhere"), server.folder.path().join("data/blobs")).unwrap();
    assert_eq!(exported(&server), before);
}

#[test]
fn nothing_is_archived_unless_it_is_asked_for() {
    let server = Server::start();
    let refused = server.run("op", &["archive", "run"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("archive.after_months"));
    let status = server.run("op", &["archive", "status"]);
    assert!(String::from_utf8_lossy(&status.stdout).contains("nothing is archived"));
}

/// In a bucket of a store that speaks S3.
pub mod s3 {
    use super::*;

    /// What `scripts/fleet/s3.sh` prints when told this word: about the store that `make test` keeps, or one of its own in a folder.
    pub fn store(word: &str, folder: Option<&Path>) -> String {
        let mut script = Command::new(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/s3.sh"));
        if let Some(folder) = folder {
            script.env("S3_RUN", folder);
        }
        let output = script.arg(word).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// Settings of a server whose blobs are in that store's bucket.
    pub fn in_bucket(endpoint: &str) -> [(&'static str, &str); 6] {
        [
            ("blobs", "s3"),
            ("s3.endpoint", endpoint),
            ("s3.allow_http", "true"),
            ("s3.bucket", "tidings"),
            ("s3.access_key_id", "tidings"),
            ("s3.secret_access_key", "tidings-secret"),
        ]
    }

    #[test]
    #[ignore = "needs a store: make test"]
    fn what_is_old_goes_into_a_bucket_and_a_wrong_bucket_is_refused_at_the_start() {
        let endpoint = store("endpoint", None);
        let settings = [&SETTINGS[..], &in_bucket(&endpoint)[..]].concat();
        let mut server = Server::start_with(&settings);
        import_all(&server);
        let before = exported(&server);
        assert!(archive_all(&server) > 2 * LINES);
        assert_eq!(count_files(&server.folder.path().join("data/blobs")), 0);
        assert_eq!(exported(&server), before);
        server.kill();
        server.restart_with(&settings);
        assert_eq!(exported(&server), before);

        let mut wrong = settings.clone();
        wrong.push(("s3.bucket", "nowhere"));
        let folder = tempfile::tempdir().unwrap();
        let started = crate::server::serving(folder.path(), "127.0.0.1:0", &wrong).output().unwrap();
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(!started.status.success() && said.contains("correct s3.bucket"), "{said}");
    }
}
