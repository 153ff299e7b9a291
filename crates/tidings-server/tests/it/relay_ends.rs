//! How what is relayed ends: told, where there is a way to tell, and never by silence.

use serde_json::json;

use crate::{
    http_live::events,
    mqtt_client::{Hello, Mqtt, Packet, V5},
    nodes::Nodes,
    support::TestClient,
};

/// One client of each kind, all at the near node.
struct Clients {
    by_hello: TestClient,
    by_token: TestClient,
    mqtt: Mqtt,
}

impl Clients {
    async fn come(nodes: &Nodes) -> Self {
        let by_hello = nodes.near.connect("ada", "laptop").await;
        let ada = nodes.near.log_in("ada", "tablet").await;
        let token = format!("Bearer {}", ada.token.as_deref().expect("she has logged in"));
        let mut by_token = nodes.near.open_with("/v1/ws", &[("authorization", &token)]).await;
        by_token.say(&json!({"type": "hello"})).await;
        assert_eq!(by_token.next().await["type"], "welcome");
        let (mqtt, _) = Mqtt::connect(&nodes.near, &Hello::new(V5, "ada", "phone")).await;
        Self { by_hello, by_token, mqtt }
    }

    /// All are closed, and may come back.
    async fn closed(mut self) {
        for client in [&mut self.by_hello, &mut self.by_token] {
            assert_eq!(u16::from(client.closed().await.code), 3000);
        }
        loop {
            match self.mqtt.next_ever().await {
                Packet::Closed => return,
                Packet::Disconnect(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn told_to_move(&mut self) {
        for client in [&mut self.by_hello, &mut self.by_token] {
            client.next_of("move").await;
        }
    }
}

#[tokio::test]
async fn when_the_far_node_is_gone_everybody_is_closed_at_once() {
    let nodes = Nodes::start(&[]).await;
    let clients = Clients::come(&nodes).await;
    let ada = nodes.near.log_in("ada", "web").await;
    let mut stream = events(&ada, "", &[]).await;
    stream.next_of("welcome").await;
    let sync = ada.get("/v1/sync").await.ok()["sync"].as_str().unwrap().to_owned();
    let poll = tokio::spawn(async move { ada.get(&format!("/v1/sync?sync={sync}&wait=60")).await });
    // The far node says nothing of it, as one that hangs.
    nodes.becomes("tidings_relayed{transport=\"long_poll\"}", 1).await;
    nodes.far_is_gone();
    clients.closed().await;
    assert_eq!(stream.next_of("close").await.1["code"], 3000);
    assert!(stream.next().await.is_none());
    poll.await.unwrap().problem(503, "unavailable");
    nodes.far_is_there();
    nodes.near.connect("ada", "laptop").await;
    nodes.stop().await;
}

#[tokio::test]
async fn when_the_far_node_stops_its_clients_are_moved_as_its_own() {
    let nodes = Nodes::start(&[]).await;
    let mut clients = Clients::come(&nodes).await;
    let Nodes { near, far, .. } = nodes;
    let stopping = tokio::spawn(far.stop());
    clients.told_to_move().await;
    clients.closed().await;
    stopping.await.unwrap();
    near.stop().await;
}

#[tokio::test]
async fn when_the_near_node_stops_those_it_relays_are_moved_too() {
    let nodes = Nodes::start(&[]).await;
    let mut clients = Clients::come(&nodes).await;
    let ada = nodes.near.log_in("ada", "web").await;
    let mut stream = events(&ada, "", &[]).await;
    stream.next_of("welcome").await;
    let sync = ada.get("/v1/sync").await.ok()["sync"].as_str().unwrap().to_owned();
    let poll = tokio::spawn(async move { ada.get(&format!("/v1/sync?sync={sync}&wait=60")).await });
    nodes.becomes("tidings_relayed{transport=\"long_poll\"}", 1).await;
    let Nodes { near, far, .. } = nodes;
    let stopping = tokio::spawn(near.stop());
    clients.told_to_move().await;
    clients.closed().await;
    assert_eq!(stream.next_of("close").await.1["code"], 3000);
    let poll = poll.await.unwrap();
    assert_eq!((poll.status, poll.header("tidings-poll-after")), (204, "1"));
    stopping.await.unwrap();
    far.stop().await;
}
