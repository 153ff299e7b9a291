//! An MQTT session over a server that is killed: everything comes, in order and without a gap, and nothing is doubled in the
//! log. (What was delivered in the last second before a kill may come once more.)

use std::{
    collections::BTreeSet,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rumqttc::{AsyncClient, Event, EventLoop, MqttOptions, Packet, QoS};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};

use crate::server::Server;

const MESSAGES: u64 = 400;
const KILLS: u64 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

fn connect(address: SocketAddr, user: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(format!("{user}-phone"), address.ip().to_string(), address.port());
    options.set_credentials(user, "").set_clean_session(false).set_inflight(20);
    options.set_keep_alive(Duration::from_secs(60));
    AsyncClient::new(options, 1_000)
}

/// Polls a client over all its deaths. Tells of each connection, and hands deliveries on.
async fn poll(mut events: EventLoop, connected: watch::Sender<u64>, deliveries: mpsc::Sender<Value>) {
    loop {
        match events.poll().await {
            Ok(Event::Incoming(Packet::ConnAck(_))) => connected.send_modify(|count| *count += 1),
            Ok(Event::Incoming(Packet::Publish(publish))) => {
                let entry = serde_json::from_slice(&publish.payload).expect("payloads are JSON");
                if deliveries.send(entry).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            // It comes back by itself; not in a tight circle.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_no_gap_and_double_nothing() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let mut server = Server::start_with(&[("mqtt.listen", &address.to_string())]);
    let (bob, bob_events) = connect(address, "bob");
    let (ada, ada_events) = connect(address, "ada");
    bob.subscribe("tidings/inbox", QoS::AtLeastOnce).await.unwrap();
    let (bob_connected, mut is_bob_there) = watch::channel(0);
    let (ada_connected, mut is_ada_there) = watch::channel(0);
    let (to_bob, mut at_bob) = mpsc::channel(1_000);
    let (to_ada, _at_ada) = mpsc::channel(1_000);
    tokio::spawn(poll(bob_events, bob_connected, to_bob));
    tokio::spawn(poll(ada_events, ada_connected, to_ada));
    for there in [&mut is_bob_there, &mut is_ada_there] {
        timeout(PATIENCE, there.wait_for(|count| *count > 0)).await.unwrap().unwrap();
    }

    let mut heard: Vec<String> = Vec::new();
    let mut sent = 0;
    for part in 1..=KILLS + 1 {
        let to = MESSAGES * part / (KILLS + 1);
        while sent < to {
            sent += 1;
            // This client does not mark what it sends again: so each has its id.
            let send = json!({"type": "send", "client_msg_id": format!("c-{sent}"), "text": format!("number {sent}")});
            ada.publish("tidings/to/bob", QoS::AtLeastOnce, false, send.to_string()).await.unwrap();
        }
        // Killed with some on their way, and at the end not.
        let until = if part > KILLS { to } else { to - 20 };
        while (heard.len() as u64) < until {
            let entry = timeout(PATIENCE, at_bob.recv()).await.expect("it comes").unwrap();
            let (seq, text) = (entry["seq"].as_u64().unwrap() as usize, entry["text"].as_str().unwrap().to_owned());
            assert!(seq <= heard.len() + 1, "{seq} after {}: a gap", heard.len());
            match heard.get(seq - 1) {
                Some(before) => assert_eq!(*before, text, "what comes once more is the same"),
                None => heard.push(text),
            }
        }
        if part <= KILLS {
            server.kill();
            server.restart_with(&[("mqtt.listen", &address.to_string())]);
        }
    }
    assert!(server.run("bob", &["login", "bob"]).status.success());
    let history = server.json("bob", &["history", "ada", "--all"]);
    let texts: Vec<_> = history.iter().map(|entry| entry["text"].as_str().unwrap_or_default().to_owned()).collect();
    assert_eq!(texts, heard, "the log has what came, in the order in which it came");
    // Not in the order of their numbers: what this client holds back because its packet id is still in use overtakes, after a cut,
    // what it sends again.
    let sent: BTreeSet<_> = (1..=MESSAGES).map(|n| format!("number {n}")).collect();
    assert_eq!(texts.iter().cloned().collect::<BTreeSet<_>>(), sent, "each is there");
    assert_eq!(texts.len(), sent.len(), "each once");
}
