//! Two nodes: clients come to the near one, and the far one hosts everybody. The test says who hosts what.

use std::sync::Arc;

use tempfile::TempDir;
use tidings_proto::{SHARDS, ShardId};
use tidings_server::{cluster::view::Node, host::shards::Slot, node::NodeId};
use tokio::time::timeout;

use crate::{
    http_client::ADMIN,
    support::{PATIENCE, TestServer},
};

pub const FAR_URL: &str = "http://far.example:8080";
const NEAR: NodeId = NodeId::from_u128(1);
const FAR: NodeId = NodeId::from_u128(2);

pub struct Nodes {
    pub near: TestServer,
    pub far: TestServer,
    _folders: [TempDir; 2],
}

impl Nodes {
    pub async fn start(settings: &[(&str, &str)]) -> Self {
        let folders = [tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder")];
        let near = start(&folders[0], settings, "http://near.example:8080").await;
        let far = start(&folders[1], settings, FAR_URL).await;
        let nodes = Self { near, far, _folders: folders };
        nodes.far.host.shards.set_nodes(vec![node(NEAR, &nodes.near), node(FAR, &nodes.far)]);
        nodes.far.host.shards.set(&all(Slot::Here { epoch: 1 }));
        nodes.far_is_there();
        nodes.place(there(1));
        nodes
    }

    /// What the near node knows of all shards.
    pub fn place(&self, slot: Slot) {
        self.near.host.shards.set(&all(slot));
    }

    pub fn far_is_there(&self) {
        self.near.host.shards.set_nodes(vec![node(NEAR, &self.near), node(FAR, &self.far)]);
    }

    /// The near node learns that the far one is gone.
    pub fn far_is_gone(&self) {
        self.near.host.shards.set_nodes(vec![node(NEAR, &self.near)]);
    }

    /// The far node takes the near one for the host of all: both are wrong.
    pub fn far_disagrees(&self) {
        self.far.host.shards.set(&all(Slot::There { node: NEAR, epoch: 2 }));
    }

    /// A figure of the near node.
    pub async fn figure(&self, name: &str) -> u64 {
        let text = self.near.nobody().text("/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is counted")).parse().expect("a number")
    }

    /// Waits until a figure of the near node is this.
    pub async fn becomes(&self, name: &str, value: u64) {
        let wait = async {
            while self.figure(name).await != value {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{name} becomes {value}"));
    }

    pub async fn stop(self) {
        let Self { near, far, .. } = self;
        near.stop().await;
        far.stop().await;
    }
}

/// On the far node, since that epoch.
pub fn there(epoch: u64) -> Slot {
    Slot::There { node: FAR, epoch }
}

async fn start(folder: &TempDir, settings: &[(&str, &str)], url: &str) -> TestServer {
    let own = [
        ("store", "memory"),
        ADMIN,
        ("node.listen", "127.0.0.1:0"),
        ("node.public_url", url),
        ("mqtt.listen", "127.0.0.1:0"),
    ];
    let settings: Vec<_> = own.into_iter().chain(settings.iter().copied()).collect();
    TestServer::start_node(folder.path(), &settings).await
}

fn node(id: NodeId, server: &TestServer) -> Arc<Node> {
    let door = server.node.expect("it has a door for nodes").to_string();
    Arc::new(Node::new(id, id.to_string(), door))
}

fn all(slot: Slot) -> Vec<(ShardId, Slot)> {
    (0..SHARDS).map(|shard| (ShardId(shard), slot)).collect()
}
