//! A server alone that moves into a cluster while people talk: killed in the middle of the copy, and handed over under sends.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use super::{call, contacts, until};
use crate::server::{Server, lines, serving, tidings};

const GROUPS: [&str; 3] = ["One", "Two", "Three"];
const LINES: u64 = 1_200;

fn import_all(server: &Server) {
    for group in GROUPS {
        let file = server.folder.path().join(group);
        let line = |n: u64| {
            let text = format!("{group} says: number {n}, {}", "word ".repeat(usize::try_from(n % 17).unwrap()));
            json!({ "from": format!("person-{}", n % 90), "text": text, "at": 1_100_000_000_000 + n * 60_000 })
                .to_string()
        };
        fs::write(&file, (1..=LINES).map(line).collect::<Vec<_>>().join("\n")).unwrap();
        let imported = server.run("op", &["import", file.to_str().unwrap(), "--conversation", group]);
        assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    }
}

fn exported(server: &Server) -> Vec<Vec<Value>> {
    let export = |group| {
        let output = server.run("op", &["export", group]);
        assert!(output.status.success(), "{group}: {}", String::from_utf8_lossy(&output.stderr));
        lines(&output.stdout)
    };
    GROUPS.map(export).into()
}

/// The command that moves what a server has.
fn migrate(server: &Server, settings: &[(&str, &str)], more: &[&str]) -> Command {
    let mut command = server.command("op", &["migrate", "embedded-to-cassandra", "--json"]);
    command.args(settings.iter().map(|(name, value)| format!("--set={name}={value}"))).args(more);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn admin_token(server: &Server) -> String {
    fs::read_to_string(server.folder.path().join("data/admin.token")).unwrap().trim().to_owned()
}

/// Sends one after the other, each again until it is acknowledged, until it is told to stop. What was acknowledged, by seq.
fn talk(url: String, config: &Path, stop: Arc<AtomicBool>) -> thread::JoinHandle<BTreeMap<u64, String>> {
    let config = config.to_owned();
    thread::spawn(move || {
        let mut acked = BTreeMap::new();
        for n in 1.. {
            if stop.load(Ordering::Relaxed) {
                return acked;
            }
            let (text, id) = (format!("over the switch {n}"), format!("s-{n}"));
            let words = ["--url", &*url, "--json", "send", "bob", &*text, "--client-msg-id", &*id];
            let sent = until("a send is taken", || {
                let output = tidings().args(words).env("XDG_CONFIG_HOME", &config).output().unwrap();
                output.status.success().then(|| lines(&output.stdout).remove(0))
            });
            assert_eq!(acked.insert(sent["seq"].as_u64().unwrap(), text), None);
        }
        unreachable!("numbers do not end")
    })
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[test]
#[ignore = "needs Cassandra: make test"]
fn a_server_moves_while_people_talk_and_nothing_is_lost_over_a_kill() {
    let (nodes, keyspace) = (contacts(), format!("tidings_move_{}", std::process::id()));
    let target = [("store", "cassandra"), ("cassandra.nodes", &*nodes), ("cassandra.keyspace", &*keyspace)];
    let flags: Vec<_> = target.iter().map(|(name, value)| format!("--set={name}={value}")).collect();
    assert!(tidings().args(["schema", "apply"]).args(&flags).status().unwrap().success());

    let quick = ("drain_ms", "500");
    let mut server = Server::start_with(&[quick]);
    let url = server.url.clone();
    for person in ["ada", "bob"] {
        assert!(server.run(person, &["login", person]).status.success());
    }
    let (_, login) = call(&url, "POST", "/v1/login", "", r#"{"username":"bob","device":"d-1"}"#);
    let bob = login["token"].as_str().unwrap().to_owned();
    let (_, first) = call(&url, "GET", "/v1/sync", &bob, "");
    import_all(&server);
    let groups = exported(&server);

    // Killed in the middle of the copy.
    let mut slow = migrate(&server, &target, &["--rate", "100"]).spawn().unwrap();
    let token = admin_token(&server);
    let status = || call(&url, "GET", "/v1/admin/migration", &token, "").1;
    until("some rows are copied", || (status()["rows"].as_u64()? > 30).then_some(()));
    assert_eq!(status()["phase"], "copying");
    // Nobody opens what is half there.
    let folder = tempfile::tempdir().unwrap();
    let refused = serving(folder.path(), "127.0.0.1:0", &target).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("not finished"), "{}", said(&refused));
    server.kill();
    slow.wait().unwrap();
    server.restart_with(&[quick]);

    // Said before the second try, and by nobody noted in the first.
    let stop = Arc::new(AtomicBool::new(false));
    let talking = talk(url.clone(), &server.folder.path().join("ada"), stop.clone());
    let output = migrate(&server, &target, &[]).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    let done = lines(&output.stdout).pop().unwrap();
    assert_eq!((&done["phase"], &done["error"]), (&json!("done"), &Value::Null), "{done}");
    let read_only_ms = done["read_only_ms"].as_u64().unwrap();
    eprintln!("nothing was taken for {read_only_ms} ms; {} rows", done["rows"]);
    assert_eq!(server.ended(), Some(0), "it stops by itself");

    // Its folder is closed; the cluster has everything, at the same address.
    let again = serving(server.folder.path(), "127.0.0.1:0", &[]).output().unwrap();
    assert!(!again.status.success() && said(&again).contains("handed over"), "{}", said(&again));
    server.restart_with(&[&target[..], &[quick]].concat());
    until("sends go on", || (status()["phase"] == "idle").then_some(()));
    thread::sleep(Duration::from_millis(500));
    stop.store(true, Ordering::Relaxed);
    let acked = talking.join().unwrap();
    assert!(acked.len() > 3, "{acked:?}");
    assert_eq!(exported(&server), groups);
    let history = server.json("bob", &["history", "ada", "--all"]);
    let told: BTreeMap<u64, String> = history
        .iter()
        .map(|entry| (entry["seq"].as_u64().unwrap(), entry["text"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(told, acked, "each once, in its place");
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), (1..=acked.len() as u64).collect::<Vec<_>>());
    // What is used is given to nobody else.
    let other = Server::start_with(&[quick]);
    let refused = migrate(&other, &target, &[]).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("data of others"), "{}", said(&refused));
    // The login and the sync token of before are good.
    let sync = first["sync"].as_str().unwrap();
    let (status, changes) = call(&url, "GET", &format!("/v1/sync?wait=0&sync={sync}"), &bob, "");
    assert_eq!((status, &changes["full"]), (200, &json!(false)), "{changes}");
    assert_eq!(changes["items"].as_array().unwrap().len(), 1, "{changes}");
    assert_eq!(server.stop(), Some(0));
}
