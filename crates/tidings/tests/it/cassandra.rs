//! A server on Cassandra: what was sent is there after a kill, and who takes the data over fences the one before. Needs the
//! nodes that `make test` starts; see `crates/tidings-server/src/cassandra/tests`.

mod archive;
mod deploy;
mod login;
mod migrate;

use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::server::{self, Server, get, tidings};

const PATIENCE: Duration = Duration::from_secs(120);

/// Where the nodes are, as the script that keeps them knows.
fn contacts() -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/cassandra.sh");
    let output = Command::new(script).arg("contacts").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Status of a call with a token, and its body as JSON.
fn call(url: &str, method: &str, path: &str, token: &str, body: &str) -> (u16, Value) {
    let (status, body) = server::call(url, method, path, token, body);
    (status, serde_json::from_str(&body).unwrap_or(Value::Null))
}

fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn texts(server: &Server, range: std::ops::RangeInclusive<u64>) {
    let history = server.json("bob", &["history", "ada", "--all"]);
    let told: Vec<_> = history.iter().map(|entry| (entry["seq"].clone(), entry["text"].clone())).collect();
    let sent: Vec<_> = range.map(|n| (json!(n), json!(format!("number {n}")))).collect();
    assert_eq!(told, sent);
}

fn send(server: &Server, n: u64) -> Value {
    let (text, id) = (format!("number {n}"), format!("c-{n}"));
    server.json("ada", &["send", "bob", &text, "--client-msg-id", &id]).remove(0)
}

#[test]
#[ignore = "needs Cassandra: make test"]
fn what_was_sent_survives_kills_and_a_takeover_fences_the_one_before() {
    let (nodes, keyspace) = (contacts(), format!("tidings_e2e_{}", std::process::id()));
    let settings = [("store", "cassandra"), ("cassandra.nodes", &*nodes), ("cassandra.keyspace", &*keyspace)];
    let flags: Vec<_> = settings.iter().map(|(name, value)| format!("--set={name}={value}")).collect();
    let schema = |more: &[&str]| tidings().args(["schema", "apply"]).args(&flags).args(more).output().unwrap();

    // Before there is a schema nothing starts, and says what to do; a dry run makes none.
    let folder = tempfile::tempdir().unwrap();
    let planned = schema(&["--dry-run"]);
    assert!(
        String::from_utf8_lossy(&planned.stdout).contains(&format!("CREATE TABLE IF NOT EXISTS {keyspace}.journal"))
    );
    let refused =
        tidings().args(["serve", "--listen=127.0.0.1:0"]).args(&flags).arg("--data").arg(folder.path()).output();
    let said = String::from_utf8(refused.unwrap().stderr).unwrap();
    assert!(said.contains("tidings schema apply"), "{said}");
    assert!(schema(&[]).status.success());

    let mut server = Server::start_with(&settings);
    for person in ["ada", "bob"] {
        assert!(server.run(person, &["login", person]).status.success());
    }
    for n in 1..=5 {
        assert_eq!(send(&server, n)["seq"], n);
    }
    // Nothing or something of it is flushed: the kill comes when it comes.
    server.kill();
    server.restart_with(&settings);
    texts(&server, 1..=5);
    assert_eq!((&send(&server, 5)["seq"], &send(&server, 5)["repeat"]), (&json!(5), &json!(true)));
    assert_eq!(send(&server, 6)["seq"], 6);

    // A second one, elsewhere: it has everything, and the first acknowledges nothing more.
    let mut second = Server::start_with(&settings);
    for person in ["ada", "bob"] {
        assert!(second.run(person, &["login", person]).status.success());
    }
    texts(&second, 1..=6);
    let began = Instant::now();
    while get(&server.url, "/readyz").0 != 503 {
        assert!(began.elapsed() < Duration::from_secs(60), "the one before learns of its end by itself");
        std::thread::sleep(Duration::from_millis(100));
    }
    let refused = server.run("ada", &["send", "bob", "too late", "--client-msg-id", "late"]);
    assert!(!refused.status.success());
    assert_eq!(send(&second, 7)["seq"], 7);
    texts(&second, 1..=7);
    assert_eq!(second.stop(), Some(0));
    second.restart_with(&settings);
    texts(&second, 1..=7);
}
