//! From a recorder through a file to the verdict of the command.

use std::{path::Path, process::Command};

use tidings_checker::{Entry, Event, HistoryError, Outgoing, Recorder, Server, TextHash, Transport, check_jsonl};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{client::Page, server::Kind},
};

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a short name")
}

/// Two recorders of one file, as of two processes. The final read is what `last_seq` says.
fn record(path: &Path, last_seq: Seq) {
    let (ada, bob) = (user("ada"), user("bob"));
    let device = DeviceId::new("laptop").expect("a short name");
    let conversation = ConversationId::direct(&ada, &bob);
    let sender = Recorder::to_file(path).expect("a new file");
    let connection = sender.session(&ada, &device).connect(Transport::WebSocket);
    for seq in 1..=2 {
        let outgoing = Outgoing::message(conversation, format!("c-{seq}"), "hi").to(&bob);
        connection.sending(outgoing).sent(Seq(seq), false);
    }
    drop(connection.sending(Outgoing::message(conversation, "c-3", "hi").to(&bob)));
    connection.sending(Outgoing::message(conversation, "c-4", "hi").to(&bob)).refused(Code::Unavailable);
    connection.sending(Outgoing::message(conversation, "c-5", "hi").to(&bob)).refused(Code::Blocked);
    sender.finish().expect("all was written");

    let reader = Recorder::to_file(path).expect("a new file");
    let range = Page { after: Some(Seq::NONE), ..Page::default() };
    let connection = reader.session(&bob, &device).connect(Transport::Http);
    let entries = (1..=last_seq.0).map(|seq| Entry {
        seq: Seq(seq),
        kind: Kind::Message,
        from: Some(ada.clone()),
        client_msg_id: Some(format!("c-{seq}").into()),
        text: Some(TextHash::of("hi")),
        target: None,
        edited_seq: None,
        redacted: false,
    });
    connection.fetching_final(conversation, range).returned_entries(entries.collect(), Seq::FIRST, last_seq, false);
    reader.finish().expect("all was written");
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it speaks UTF-8");
    let output =
        Command::new(env!("CARGO_BIN_EXE_tidings-checker")).args(arguments).output().expect("the command runs");
    (output.status.code(), text(output.stdout) + &text(output.stderr))
}

#[test]
fn the_command_says_green_red_or_unreadable() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name);
    // A third and fourth entry may be there or not: their senders never learned.
    for (name, last_seq, code, says) in [
        ("two", Seq(2), 0, "durable              ok"),
        ("four", Seq(4), 0, "only_what_was_sent   ok"),
        ("one", Seq(1), 1, "seq 2 of"),
        ("five", Seq(5), 1, "it was refused"),
    ] {
        record(&file(name), last_seq);
        let (exit, text) = run(&[file(name).to_str().unwrap()]);
        assert_eq!(exit, Some(code), "{text}");
        assert!(text.contains(says), "{text}");
    }
    let (exit, text) = run(&[file("absent").to_str().unwrap()]);
    assert_eq!(exit, Some(2), "{text}");
    assert_eq!(run(&[]).0, Some(2));
}

#[test]
fn an_outcome_that_nobody_learned_is_recorded_as_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.jsonl");
    record(&path, Seq(2));
    let text = std::fs::read_to_string(&path).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<tidings_checker::Record>(line).unwrap().event);
    let unknown = events.filter(|event| matches!(event, Event::Unknown { .. })).count();
    assert_eq!(unknown, 2, "{text}");
}

#[test]
fn what_is_no_history_is_refused_with_its_line() {
    let line = |text: &str| match check_jsonl(Server::Alone, text.as_bytes()) {
        Err(HistoryError::Json { line, .. } | HistoryError::Inconsistent { line, .. }) => line,
        other => panic!("{other:?}"),
    };
    let opened =
        r#"{"at":1,"event":{"connected":{"connection":1,"session":1,"user":"ada","device":"d","transport":"http"}}}"#;
    assert_eq!(line(&format!("{opened}\n{{\"at\":2,\"event\":")), 2);
    assert_eq!(line(&format!("{opened}\n\n{opened}")), 3, "a connection is opened twice");
    assert_eq!(line(r#"{"at":1,"event":{"sent":{"operation":5,"seq":1}}}"#), 1, "an answer to no question");
    assert_eq!(line(r#"{"at":1,"event":{"closed":{"connection":5}}}"#), 1, "of no connection");
}
