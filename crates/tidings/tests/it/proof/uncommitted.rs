//! Decided is not committed: while a commit hangs on the disk, and when it has failed, nobody sees anything of it.

use serde_json::{Value, json};
use tidings_client::{http::Http, raw};
use tidings_proto::frames::client::{Command, Hello, Inbox};

use crate::server::Server;

use super::strace::{Fault, Strace, Whom};

/// The sync of the commit hangs for so long, and then fails.
const HANGS: &str = "EIO:delay_enter=1s";

async fn logged_in(url: &str, user: &str, device: &str) -> Http {
    let http = Http::new(url).unwrap();
    let login = http.login(user, Some(device)).await.unwrap();
    http.with_token(&login.token)
}

async fn ask(http: &Http, frames: Value) -> Vec<Value> {
    let body = json!({"frames": frames});
    let answers: Value = http.call(http::Method::POST, "/v1/frames", Some(&body)).await.unwrap();
    answers["answers"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_sees_what_is_decided_and_not_committed() {
    let mut server = Server::start();
    let ada = logged_in(&server.url, "ada", "laptop").await;
    let ada_phone = logged_in(&server.url, "ada", "phone").await;
    let bob = logged_in(&server.url, "bob", "laptop").await;
    let send = |id: &str| json!([{"type": "send", "id": 1, "to": {"user": "bob"}, "client_msg_id": id, "text": id}]);
    let first = ask(&ada, send("first")).await.remove(0);
    assert_eq!(first["seq"], 1);
    let conversation = first["conversation"].clone();
    let sync = ask(&bob, json!([{"type": "sync", "id": 1}])).await[0]["sync"].clone();
    let hello = Hello { username: Some("bob".to_owned()), device: "laptop".parse().ok(), ..Hello::default() };
    let (mut live, _) = raw::Connection::connect(&server.url, hello).await.unwrap();

    let fault = Fault { call: "fdatasync", error: HANGS, nth: 1, ..Fault::default() };
    let strace = Strace::attach(server.id(), &Whom::Thread("committer"), &fault);
    let sees_nothing = async |when: &str| {
        let looks = json!([
            {"type": "inbox", "id": 1},
            {"type": "fetch", "id": 2, "conversation": conversation},
            {"type": "sync", "id": 3, "sync": sync},
        ]);
        for http in [&bob, &ada_phone] {
            let looks = if std::ptr::eq(http, &ada_phone) { &json!([looks[0], looks[1]]) } else { &looks };
            let answers = ask(http, looks.clone()).await;
            assert_eq!(answers[0]["items"][0]["last_seq"], 1, "{when}: {answers:?}");
            assert_eq!(answers[1]["last_seq"], 1, "{when}: {answers:?}");
            assert_eq!(answers[1]["entries"].as_array().unwrap().len(), 1, "{when}: {answers:?}");
            if let Some(changes) = answers.get(2) {
                assert_eq!(changes["items"], json!([]), "{when}: {changes}");
            }
        }
    };
    let sent = ask(&ada, send("second"));
    let looked = async {
        for _ in 0..10 {
            sees_nothing("it hangs").await;
        }
        // The same from another device: an ack of it would rest on what is not saved.
        ask(&ada_phone, send("second")).await
    };
    let (sent, repeated) = tokio::join!(sent, looked);
    assert_eq!((&sent[0]["code"], &repeated[0]["code"]), (&json!("unavailable"), &json!("unavailable")));
    sees_nothing("it has failed").await;

    live.writer.queue(&raw::to_text(Command::Inbox(Inbox::default())).replacen('{', "{\"id\":1,", 1));
    live.writer.flush().await.unwrap();
    loop {
        let frame = live.reader.next().await.unwrap();
        assert!(!["entry", "changes"].contains(&frame.kind()), "{}", frame.text());
        if frame.kind() == "inbox" {
            break;
        }
    }

    // After a restart it is there or not, once and for all; sent again it has one seq.
    server.kill();
    drop(strace);
    server.restart();
    let ada = logged_in(&server.url, "ada", "laptop").await;
    for _ in 0..2 {
        assert_eq!(ask(&ada, send("second")).await[0]["seq"], 2);
    }
    let page = ask(&ada, json!([{"type": "fetch", "id": 1, "conversation": conversation}])).await;
    assert_eq!(page[0]["entries"].as_array().unwrap().len(), 2);
}
