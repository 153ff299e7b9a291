//! A cluster that asks for a password: one node of its own, for the others let everybody in.

use std::{path::PathBuf, process::Command};

use tempfile::TempDir;

use crate::server::{Server, serving, tidings};

/// A node with accounts, and the superuser that every new cluster has. Gone when dropped.
struct Locked {
    folder: TempDir,
}

impl Locked {
    fn start() -> Self {
        let locked = Self { folder: tempfile::tempdir().unwrap() };
        locked.script(&["start", "1"]);
        locked
    }

    fn script(&self, words: &[&str]) -> String {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/cassandra.sh");
        let mut command = Command::new(script);
        let output = command.args(words).env("CASSANDRA_RUN", self.folder.path()).env("CASSANDRA_LOGIN", "1").output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        self.script(&["wipe"]);
    }
}

#[test]
#[ignore = "needs Cassandra: make test"]
fn a_server_logs_in_with_its_password_and_a_wrong_one_is_named() {
    let locked = Locked::start();
    let nodes = locked.script(&["contacts"]);
    let place = [("store", "cassandra"), ("cassandra.nodes", &*nodes), ("cassandra.replicas", "1")];
    let with = |login: &[(&'static str, &'static str)]| [&place[..], login].concat();
    let right = with(&[("cassandra.user", "cassandra"), ("cassandra.password", "cassandra")]);
    let flags = right.iter().map(|(name, value)| format!("--set={name}={value}"));
    let applied = tidings().args(["schema", "apply"]).args(flags).output().unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

    let mut server = Server::start_with(&right);
    for person in ["ada", "bob"] {
        assert!(server.run(person, &["login", person]).status.success());
    }
    assert_eq!(server.json("ada", &["send", "bob", "hi"])[0]["seq"], 1);
    assert_eq!(server.stop(), Some(0));

    let wrong = with(&[("cassandra.user", "cassandra"), ("cassandra.password", "guessed")]);
    for (settings, what) in
        [(wrong, "correct cassandra.user and cassandra.password"), (with(&[]), "set cassandra.user")]
    {
        let refused = serving(server.folder.path(), "127.0.0.1:0", &settings).output().unwrap();
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(!refused.status.success() && said.contains(what), "{said}");
        assert!(said.lines().count() < 8, "{said}");
    }
}
