//! Nodes on one keyspace of the Cassandra nodes that the suite has, with NATS between them.

use std::{path::Path, process::Command};

use tokio::task::block_in_place;

use super::super::contacts;
use crate::{
    nemesis::{
        fleet::{apply_schema, free_address, is_even},
        nats::Nats,
    },
    server::{Server, of_program, serving, tidings},
};

pub const TOKEN: &str = "operators";

pub struct Fleet {
    nodes: Vec<(Server, Vec<(&'static str, String)>)>,
    _nats: Nats,
}

impl Fleet {
    /// Returns when each node has what it shall have. `name` tells its keyspace from those of other tests.
    pub async fn start(name: &str, count: usize) -> Self {
        Self::start_with(name, count, &[]).await
    }

    /// With more settings, which are the same for all nodes.
    pub async fn start_with(name: &str, count: usize, more: &[(&'static str, String)]) -> Self {
        let nats = Nats::start(0).await;
        let keyspace = format!("tidings_{name}_{}", std::process::id());
        let place = [("cassandra.nodes", contacts()), ("cassandra.keyspace", keyspace)];
        let all =
            [("store", "cassandra"), ("bus", "nats"), ("admin_token", TOKEN), ("rates.requests_per_s", "1000000")];
        let all = all.map(|(name, value)| (name, value.to_owned()));
        let settings = |number: usize| {
            let own = [
                ("nats.servers", nats.address.to_string()),
                ("node.name", format!("node-{number}")),
                ("node.listen", free_address().to_string()),
            ];
            [&place[..], &all, &own, more].concat()
        };
        block_in_place(|| apply_schema(&place));
        let nodes = (0..count).map(settings).map(|settings| {
            let server = block_in_place(|| Server::start_with(&borrowed(&settings)));
            (server, settings)
        });
        let fleet = Self { nodes: nodes.collect(), _nats: nats };
        fleet.is_settled().await;
        fleet
    }

    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|(server, _)| server.url.clone()).collect()
    }

    /// A folder of a node's own.
    pub fn folder(&self, node: usize) -> &Path {
        self.nodes[node].0.folder.path()
    }

    /// SIGTERM; returns at its end. On a machine that is too busy to let it say that it lives it may be taken for dead meanwhile, and
    /// ends with 1: that is safe, too.
    pub async fn stop(&mut self, node: usize) {
        let code = block_in_place(|| self.nodes[node].0.stop());
        assert!(matches!(code, Some(0 | 1)), "{code:?}");
    }

    /// The process of a node, with the commands of people who talk to it.
    pub fn node(&mut self, node: usize) -> &mut Server {
        &mut self.nodes[node].0
    }

    /// After its end; as a server of the next version, or of this one.
    pub async fn start_again(&mut self, node: usize, is_next: bool) {
        let (server, settings) = &mut self.nodes[node];
        let program = if is_next { next_server() } else { tidings() };
        block_in_place(|| server.restart_as(program, &borrowed(settings)));
    }

    /// What a server of this version says that does not start in this node's place.
    pub fn refused(&self, node: usize) -> String {
        let (server, settings) = &self.nodes[node];
        let output = block_in_place(|| serving(server.folder.path(), "127.0.0.1:0", &borrowed(settings)).output());
        let output = output.unwrap();
        assert!(!output.status.success(), "it was let in");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    /// Waits until all nodes are in, and each has what it shall have.
    pub async fn is_settled(&self) {
        let urls: Vec<_> = self.nodes.iter().map(|(server, _)| &*server.url).collect();
        is_even(&urls).await;
    }
}

/// The build of the next version.
pub fn next_server() -> Command {
    let program = std::env::var_os("NEXT_SERVER").expect("scripts/fleet/next.sh builds it and says where it is");
    of_program(Path::new(&program))
}

fn borrowed<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    settings.iter().map(|(name, value)| (*name, &**value)).collect()
}
