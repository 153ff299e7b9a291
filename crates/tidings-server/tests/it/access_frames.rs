//! Who may say what over a WebSocket: every type of frame, by everybody. As `access_http.rs` does for calls.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tidings_proto::frames::client::Command;

use crate::{
    access::{BLOCKED, Cells, MEMBER, WHO, World, likeness},
    support::TestClient,
};

const A: &str = "unauthenticated";
const F: &str = "forbidden";
const U: &str = "unknown_conversation";
/// Refused at `hello`: nothing else is heard.
const R: &str = "refused 3501";

const fn members(outcome: &'static str) -> Cells {
    [outcome, U, U, outcome, R, A]
}

const fn users(outcome: &'static str) -> Cells {
    [outcome, outcome, outcome, outcome, R, A]
}

/// Frames without `id`, and the type of the answer or the code of the refusal.
#[rustfmt::skip]
const ROWS: &[(&str, Cells)] = &[
    (r#"{"type":"ping"}"#, users("pong")),
    (r#"{"type":"pong"}"#, users("nothing")),
    (r#"{"type":"auth","token":"TOKEN"}"#, users("ok")),
    (r#"{"type":"send","to":{"conversation":"GROUP"},"client_msg_id":"g-ME","text":"hi"}"#, members("sent")),
    (r#"{"type":"send","to":{"user":"owner"},"client_msg_id":"d-ME","text":"hi"}"#, users("sent")),
    (r#"{"type":"fetch","conversation":"GROUP"}"#, members("entries")),
    (r#"{"type":"fetch","ranges":[]}"#, users("entries")),
    (r#"{"type":"inbox"}"#, users("inbox")),
    (r#"{"type":"sync"}"#, users("changes")),
    (r#"{"type":"mark_read","conversation":"GROUP","seq":1}"#, members("ok")),
    (r#"{"type":"ack","conversation":"GROUP","seq":1}"#, members("ok")),
    (r#"{"type":"typing","conversation":"GROUP"}"#, members("ok")),
    (r#"{"type":"watch","users":["owner"]}"#, users("ok")),
    (r#"{"type":"create","client_msg_id":"c-ME","name":"Mine"}"#, users("created")),
    (r#"{"type":"members","client_msg_id":"a-ME","conversation":"GROUP","add":["new"]}"#, members(F)),
    (r#"{"type":"members","client_msg_id":"r-ME","conversation":"GROUP","remove":["owner"]}"#, members(F)),
    (r#"{"type":"members","client_msg_id":"o-ME","conversation":"GROUP","roles":{"ME":"owner"}}"#, members(F)),
    (r#"{"type":"rename","client_msg_id":"n-ME","conversation":"GROUP","name":"Of ME"}"#, members("sent")),
    (r#"{"type":"edit","client_msg_id":"e-ME","conversation":"GROUP","seq":2,"text":"x"}"#, members(F)),
    (r#"{"type":"redact","client_msg_id":"x-ME","conversation":"GROUP","seq":2}"#, members(F)),
    (r#"{"type":"react","client_msg_id":"y-ME","conversation":"GROUP","seq":2,"emoji":"x","on":true}"#, members("sent")),
    (r#"{"type":"block","user":"new"}"#, users("ok")),
    (r#"{"type":"unblock","user":"new"}"#, users("ok")),
    (r#"{"type":"set","conversation":"GROUP","muted":true}"#, members("ok")),
    (r#"{"type":"profile","picture":"p"}"#, users("ok")),
    (r#"{"type":"device","name":"Mine"}"#, users("ok")),
    (r#"{"type":"device","device":"of-somebody-else","name":"Mine"}"#, users("not_found")),
    (r#"{"type":"leave","client_msg_id":"l-ME","conversation":"GROUP"}"#, members("sent")),
    (r#"{"type":"fetch","conversation":"GROUP"}"#, [U, U, U, U, R, A]),
    // The first word of a connection, and never another one.
    (r#"{"type":"hello","username":"ME","device":"d"}"#, ["closed 3500", "closed 3500", "closed 3500", "closed 3500", R, "welcome"]),
];

/// What is answered: frames that have no answer are followed by a ping.
async fn ask(client: &mut TestClient, frame: &Value) -> Value {
    match frame["type"].as_str() {
        Some("pong") => {
            client.say(frame).await;
            let ping = json!({"type": "ping"});
            let answer = client.ask(ping).await;
            if answer["type"] == "pong" { json!({"type": "nothing"}) } else { answer }
        }
        Some("hello") => {
            client.say(frame).await;
            json!({"type": format!("closed {}", u16::from(client.closed().await.code))})
        }
        _ => client.ask(frame.clone()).await,
    }
}

/// Says hello as a device that was signed out, and then the frame.
async fn ask_revoked(world: &World, frame: &Value) -> Value {
    let mut client = world.server.open().await;
    let token = world.callers[4].token.clone();
    client.say(&json!({"type": "hello", "token": token, "device": "lost"})).await;
    // The line may be closed by now.
    client.throw(&frame.to_string()).await;
    let refused = client.next().await;
    assert_eq!(refused["code"], "unauthenticated", "{refused}");
    json!({"type": format!("refused {}", u16::from(client.closed().await.code))})
}

/// Says the frame as the first one of a connection.
async fn ask_as_nobody(world: &World, frame: &Value) -> Value {
    let mut client = world.server.open().await;
    client.say(frame).await;
    client.next().await
}

#[test]
fn every_frame_has_a_row() {
    let said: BTreeSet<String> = ROWS
        .iter()
        .map(|(frame, _)| {
            let frame: Value = serde_json::from_str(frame).expect("a frame");
            frame["type"].as_str().expect("a type").to_owned()
        })
        .collect();
    assert_eq!(Command::TYPES.iter().map(|kind| (*kind).to_owned()).collect::<BTreeSet<_>>(), said);
}

#[tokio::test]
async fn everybody_may_say_what_the_matrix_says() {
    let world = World::new().await;
    let mut clients = Vec::new();
    for who in 0..4 {
        clients.push(world.connect(who).await);
    }
    let mut wrong = Vec::new();
    for (row, cells) in ROWS {
        let mut answers = Vec::new();
        for who in 0..WHO.len() {
            let token = world.callers[who].token.clone().unwrap_or_default();
            let frame = serde_json::from_str(&world.fill(row, who).replace("TOKEN", &token)).expect("a frame");
            let answer = match WHO[who] {
                "revoked" => ask_revoked(&world, &frame).await,
                "nobody" => ask_as_nobody(&world, &frame).await,
                _ => ask(&mut clients[who], &frame).await,
            };
            let outcome = answer["code"].as_str().or(answer["type"].as_str()).unwrap_or_default();
            if outcome != cells[who] {
                wrong.push(format!("{row}: {} gets {outcome}, not {}: {answer}", WHO[who], cells[who]));
            }
            answers.push(answer);
        }
        let [member, blocked] = [MEMBER, BLOCKED].map(|who| {
            let mut like = likeness(&answers[who]);
            like.as_object_mut().expect("a frame").remove("re");
            like
        });
        if member != blocked {
            wrong.push(format!("{row}: who is blocked gets\n{blocked}\nand who is not\n{member}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // All of them have left the group by now, or were never there: what happens in it is not theirs.
    let mut owner = world.server.connect("owner", "d").await;
    let send = json!({"type": "send", "to": {"conversation": world.group}, "client_msg_id": "last", "text": "last"});
    assert_eq!(owner.ask(send).await["type"], "sent");
    for (who, name) in WHO.iter().enumerate().take(4) {
        let mut client = world.connect(who).await;
        client.say(&json!({"type": "sync"})).await;
        let inbox = client.next_of("changes").await;
        assert!(!inbox.to_string().contains(&world.group), "{name}: {inbox}");
    }
    world.server.stop().await;
}
