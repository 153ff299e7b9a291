//! The command line: what it prints, its exit codes, import and export.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
};

use serde_json::{Value, json};

use crate::server::{Server, code, lines, tidings};

#[test]
fn two_people_talk_and_a_restart_forgets_nothing() {
    let mut server = Server::start();
    for person in ["ada", "bob"] {
        assert_eq!(code(&server.run(person, &["login", person])), Some(0));
    }
    let sent = &server.json("ada", &["send", "bob", "hi bob"])[0];
    assert_eq!(sent["seq"], 1);
    let again = ["send", "bob", "-- twice?", "--client-msg-id", "c-1"];
    assert_eq!(server.json("ada", &again)[0]["seq"], 2);
    let repeat = &server.json("ada", &again)[0];
    assert_eq!((&repeat["seq"], &repeat["repeat"]), (&json!(2), &json!(true)));

    assert_eq!(server.stop(), Some(0), "SIGTERM is a clean stop");
    server.restart();
    let inbox = &server.json("bob", &["inbox"])[0];
    assert_eq!(
        (&inbox["with"], &inbox["unread"], &inbox["last"]["text"]),
        (&json!("ada"), &json!(2), &json!("-- twice?"))
    );
    let texts: Vec<Value> = server.json("bob", &["history", "ada"]).iter().map(|entry| entry["text"].clone()).collect();
    assert_eq!(texts, ["hi bob", "-- twice?"]);
    let shown = server.run("bob", &["history", "ada", "--after", "1"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("ada: -- twice?"));
}

#[test]
fn devices_are_listed_named_and_logged_out() {
    let server = Server::start();
    server.run("ada", &["login", "ada", "--device", "laptop"]);
    server.run("ada at work", &["login", "ada", "--device", "work"]);
    let names = || {
        let devices = server.json("ada", &["devices"]);
        devices.iter().map(|device| device["device"].as_str().unwrap().to_owned()).collect::<BTreeSet<_>>()
    };
    assert_eq!(names(), BTreeSet::from(["laptop".to_owned(), "work".to_owned()]));
    let named = &server.json("ada", &["devices", "name", "work", "In the office"])[0];
    assert_eq!(named["name"], "In the office");
    let shown = server.run("ada", &["devices", "list"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = |name: &str| shown.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("work").contains("In the office") && !line("work").contains("(this one)"), "{shown}");
    assert!(line("laptop").contains("(this one)"), "{shown}");
    server.json("ada", &["devices", "revoke", "work"]);
    assert_eq!(names(), BTreeSet::from(["laptop".to_owned()]));
    assert_eq!(code(&server.run("ada", &["devices", "revoke", "nothing-of-mine"])), Some(1));
}

#[test]
fn tail_follows_what_is_said() {
    let server = Server::start();
    for person in ["ada", "bob"] {
        server.run(person, &["login", person]);
    }
    server.json("ada", &["send", "bob", "before"]);
    let mut tail = server.command("bob", &["tail", "ada", "--json"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&said.next().unwrap().unwrap()).unwrap()["text"].clone();
    assert_eq!(next(), "before");
    let mut from_stdin =
        server.command("ada", &["send", "bob", "-"]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    from_stdin.stdin.take().unwrap().write_all(b"two\nlines\n").unwrap();
    assert!(from_stdin.wait().unwrap().success());
    assert_eq!(next(), "two\nlines");
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn what_is_imported_is_exported_byte_for_byte_and_twice_is_once() {
    let server = Server::start();
    let texts = ["plain", " edges \t", "con\u{1}trol \u{7f}", "Grüße 👋🏽", "\"quoted\\\"", "", "last"];
    let authors = ["ada", "Ada", "|trey|", "ada", "ADA", "Ada", "名前"];
    let mut file = String::new();
    for (place, (text, from)) in texts.iter().zip(authors).enumerate() {
        let line = json!({"day":"2004-11-15","at":format!("12:{place:02}"),"from":from,"text":text});
        file.push_str(&line.to_string());
        file.push_str(if place == 2 { "\n\n" } else { "\n" });
    }
    let path = server.folder.path().join("talk.jsonl");
    fs::write(&path, file).unwrap();
    let import = ["import", path.to_str().unwrap(), "--conversation", "old talk"];

    let report = &server.json("operator", &import)[0];
    assert_eq!((&report["imported"], &report["repeats"], &report["authors"]), (&json!(7), &json!(0), &json!(5)));
    let first = server.run("operator", &["export", "old talk"]);
    let report = &server.json("operator", &import)[0];
    assert_eq!((&report["imported"], &report["repeats"]), (&json!(0), &json!(7)));
    let second = server.run("operator", &["export", "old talk"]);
    assert_eq!(first.stdout, second.stdout, "run twice, nothing is different");

    let messages: Vec<Value> = lines(&first.stdout).into_iter().filter(|entry| entry["kind"] == "message").collect();
    let of = |field: &str| messages.iter().map(|message| message[field].clone()).collect::<Vec<_>>();
    assert_eq!(of("text"), texts);
    assert_eq!(of("from"), authors);
    assert_eq!(of("at"), (0..7).map(|minute| json!(1_100_520_000_000u64 + minute * 60_000)).collect::<Vec<_>>());
    assert_eq!(of("client_msg_id")[3], "import:5", "lines are counted as they stand in the file");
    let users = of("user");
    assert_eq!(users[0], users[3]);
    assert!(users[0] != users[1] && users[1] != users[4] && users[0] != users[4], "each name is a user: {users:?}");
    assert!(users[1].as_str().unwrap().contains('~'), "{users:?}");
}

#[test]
fn exit_codes_tell_refused_usage_and_unreachable_apart() {
    let server = Server::start();
    let run = |words: &[&str]| server.run("nobody", words);
    assert_eq!(code(&run(&["send", "bob", "hi"])), Some(2), "nobody logged in");
    assert_eq!(code(&run(&["sned"])), Some(2));
    let refused = run(&["--user", "ada", "--json", "send", "nobody-of-that-name", "hi"]);
    assert_eq!(code(&refused), Some(1));
    let told = &lines(&refused.stderr)[0]["error"];
    assert_eq!(told["code"], "unknown_user");
    assert!(told["message"].as_str().unwrap().contains("nobody-of-that-name"));
    let nowhere = run(&["--url", "http://127.0.0.1:1", "--user", "ada", "inbox"]);
    let why = String::from_utf8_lossy(&nowhere.stderr);
    assert_eq!(code(&nowhere), Some(3), "{why}");
    assert!(why.contains("`tidings serve`"), "it says what to do: {why}");
    assert_eq!(code(&run(&["--user", "ada", "chat"])), Some(2), "no terminal");
    let wrong = run(&["export", "x", "--admin-token", "wrong"]);
    assert_eq!(code(&wrong), Some(1));
    assert_eq!(code(&run(&["serve", "--listen", "nowhere"])), Some(2));
}

#[test]
fn a_wrong_line_and_a_wrong_folder_are_told_in_plain_words() {
    let server = Server::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("old.jsonl");
    fs::write(&file, "{\"from\":\"ada\",\"text\":\"hi\",\"at\":1}\nhello\n").unwrap();
    let import = server.run("op", &["import", file.to_str().unwrap(), "--conversation", "Old"]);
    let why = String::from_utf8_lossy(&import.stderr);
    assert_eq!(code(&import), Some(2), "{why}");
    assert!(why.contains("line 2: ") && !why.contains("line 1") && why.contains(r#"{"from":"#), "{why}");

    let data = folder.path().join("no-such");
    let checked = server.run("op", &["fsck", "--data", data.to_str().unwrap()]);
    let why = String::from_utf8_lossy(&checked.stderr);
    assert_eq!(code(&checked), Some(2), "{why}");
    assert!(why.contains("no data folder") && !data.exists(), "{why}");
}

#[test]
fn a_server_alone_says_so_when_it_is_asked_for_its_fleet() {
    let server = Server::start();
    let fleet = &server.json("op", &["cluster", "status"])[0];
    assert_eq!((&fleet["is_alone"], &fleet["nodes"][0]["hosted"]), (&json!(true), &json!(16_384)));
    let shown = server.run("op", &["cluster", "status"]);
    assert!(String::from_utf8_lossy(&shown.stdout).contains("this server works alone"), "{shown:?}");
    for words in [["cluster", "drain", "node-1"], ["cluster", "remove", "node-1"]] {
        let refused = server.run("op", &words);
        assert_eq!(code(&refused), Some(1));
        assert!(String::from_utf8_lossy(&refused.stderr).contains("works alone"), "{refused:?}");
    }
    let nowhere = ["--url", "http://127.0.0.1:1", "cluster", "status", "--admin-token", "t"];
    assert_eq!(code(&server.run("op", &nowhere)), Some(3));
}

#[test]
fn the_sample_file_is_a_right_one() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tidings.toml");
    let sample = tidings().args(["config", "sample"]).output().unwrap();
    fs::write(&file, &sample.stdout).unwrap();
    assert_eq!(code(&tidings().args(["config", "check"]).arg(&file).output().unwrap()), Some(0));
    fs::write(&file, "# one\nlistne = \"127.0.0.1:1\"\n").unwrap();
    let wrong = tidings().args(["config", "check"]).arg(&file).output().unwrap();
    assert_eq!(code(&wrong), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stdout).contains(":2"), "it names the line");
}
