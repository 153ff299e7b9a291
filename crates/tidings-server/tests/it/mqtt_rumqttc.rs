//! A Rust client of others, as it is: rumqttc in both versions.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::{sync::mpsc, time::timeout};

use crate::support::{PATIENCE, start_mqtt};

/// Connects in version 3.1.1, listens to the inbox, and hands on what comes.
async fn old(address: SocketAddr, user: &str) -> (rumqttc::AsyncClient, mpsc::Receiver<Value>) {
    let mut options = rumqttc::MqttOptions::new(format!("{user}-old"), address.ip().to_string(), address.port());
    options.set_credentials(user, "").set_clean_session(false);
    let (client, mut events) = rumqttc::AsyncClient::new(options, 10);
    client.subscribe("tidings/inbox", rumqttc::QoS::AtLeastOnce).await.expect("it is taken");
    let (tx, rx) = mpsc::channel(100);
    let (subscribed_tx, mut subscribed) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                rumqttc::Event::Incoming(rumqttc::Packet::SubAck(_)) => {
                    subscribed_tx.send(()).await.unwrap_or_default()
                }
                rumqttc::Event::Incoming(rumqttc::Packet::Publish(publish)) => {
                    let payload = serde_json::from_slice(&publish.payload).expect("payloads are JSON");
                    tx.send(payload).await.unwrap_or_default();
                }
                _ => {}
            }
        }
    });
    timeout(PATIENCE, subscribed.recv()).await.expect("it is let in");
    (client, rx)
}

/// The same in version 5.
async fn new(address: SocketAddr, user: &str) -> (rumqttc::v5::AsyncClient, mpsc::Receiver<Value>) {
    use rumqttc::v5::{
        AsyncClient, Event, MqttOptions,
        mqttbytes::{QoS, v5::Packet},
    };
    let mut options = MqttOptions::new(format!("{user}-new"), address.ip().to_string(), address.port());
    options.set_credentials(user, "").set_session_expiry_interval(Some(3_600)).set_topic_alias_max(Some(5));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("tidings/inbox", QoS::AtLeastOnce).await.expect("it is taken");
    let (tx, rx) = mpsc::channel(100);
    let (subscribed_tx, mut subscribed) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => subscribed_tx.send(()).await.unwrap_or_default(),
                Event::Incoming(Packet::Publish(publish)) => {
                    let payload = serde_json::from_slice(&publish.payload).expect("payloads are JSON");
                    tx.send(payload).await.unwrap_or_default();
                }
                _ => {}
            }
        }
    });
    timeout(PATIENCE, subscribed.recv()).await.expect("it is let in");
    (client, rx)
}

#[tokio::test]
async fn rumqttc_talks_in_both_versions() {
    let folder = tempdir().unwrap();
    let server = start_mqtt(folder.path()).await;
    let address = server.mqtt.unwrap();
    let (ada, mut to_ada) = old(address, "ada").await;
    let (eve, mut to_eve) = new(address, "eve").await;
    for n in 1..=20 {
        ada.publish("tidings/to/eve", rumqttc::QoS::AtLeastOnce, false, format!("from Ada {n}")).await.unwrap();
        let payload = json!({"type": "send", "client_msg_id": format!("e-{n}"), "text": format!("from Eve {n}")});
        let qos = rumqttc::v5::mqttbytes::QoS::AtLeastOnce;
        eve.publish("tidings/to/ada", qos, false, payload.to_string()).await.unwrap();
    }
    let mut all = Vec::new();
    for inbox in [&mut to_ada, &mut to_eve] {
        let mut heard = Vec::new();
        for seq in 1..=40 {
            let entry = timeout(PATIENCE, inbox.recv()).await.expect("it comes").expect("the client lives");
            assert_eq!((&entry["type"], &entry["seq"]), (&json!("entry"), &json!(seq)));
            heard.push(entry["text"].as_str().unwrap().to_owned());
        }
        all.push(heard);
    }
    assert_eq!(all[0], all[1], "both see the same order, their own messages included");
    let by = |who: &str| all[0].iter().filter(|text| text.starts_with(who)).cloned().collect::<Vec<_>>();
    assert_eq!(by("from Ada"), (1..=20).map(|n| format!("from Ada {n}")).collect::<Vec<_>>());
    assert_eq!(by("from Eve").len(), 20);
    server.stop().await;
}
