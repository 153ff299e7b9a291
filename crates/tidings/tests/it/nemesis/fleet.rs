//! The processes of a run, and the proxies between them: clients reach each node by one, each node reaches each Cassandra node by
//! another.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::task::block_in_place;

use super::{
    nats::Nats,
    owner::owner,
    proxy::{Proxy, Weather, Whose},
};
use crate::server::{Server, get, tidings};

/// What each node is set to, beside where things are.
const SETTINGS: &[(&str, &str)] = &[
    ("store", "cassandra"),
    ("drain_ms", "2000"),
    ("flush.window_ms", "500"),
    ("limits.heartbeat_s", "4"),
    ("rates.sends_per_s", "1000000"),
    ("rates.sends_burst", "1000000"),
    ("rates.requests_per_s", "1000000"),
];

/// How long nodes that came one after the other may take until each hosts its part.
const PATIENCE: Duration = Duration::from_secs(300);

pub struct Fleet {
    nodes: Vec<Node>,
    /// Before each node of Cassandra; a party is a node of Tidings.
    stores: Vec<Proxy>,
    /// Between the nodes, if there are several.
    nats: Option<Nats>,
}

struct Node {
    server: Server,
    settings: Vec<(&'static str, String)>,
    /// Between clients and this node.
    door: Proxy,
}

impl Fleet {
    /// Nodes of Tidings on a keyspace of their own.
    pub async fn start(count: usize) -> Self {
        let stores: Vec<SocketAddr> = cassandra(&["contacts"]).split(',').map(|node| node.parse().unwrap()).collect();
        // Where the doors will be is what tells the nodes apart, so it is known before they start.
        let mut doors = Vec::new();
        for _ in 0..count {
            doors.push(Proxy::before(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap());
        }
        let marks: Vec<_> = doors.iter().map(|door| format!("http://{}", door.address)).collect();
        let whose: Whose = match count {
            1 => Arc::new(|_| 0),
            _ => Arc::new(move |from| owner(from, &marks).unwrap_or(usize::MAX)),
        };
        let mut proxies = Vec::new();
        for store in stores {
            proxies.push(Proxy::between(told(store), store, count, whose.clone()).await.unwrap());
        }
        let contacts = proxies.iter().map(|proxy| proxy.address.to_string()).collect::<Vec<_>>().join(",");
        let keyspace = format!("nemesis_{}", std::process::id());
        let place = vec![("cassandra.nodes", contacts), ("cassandra.keyspace", keyspace)];
        // Its lines are known as those of the first node.
        let url = format!("http://{}", doors[0].address);
        block_in_place(|| apply_schema(&[&place[..], &[("node.public_url", url)]].concat()));
        let nats = if count > 1 { Some(Nats::start(count).await) } else { None };
        let nodes = doors.into_iter().enumerate().map(|(number, door)| {
            let mut settings = place.clone();
            settings.extend(nats.iter().flat_map(|nats| own_settings(number, nats, &door)));
            block_in_place(|| Node::start(door, settings))
        });
        let fleet = Self { nodes: nodes.collect(), stores: proxies, nats };
        let urls: Vec<_> = fleet.nodes.iter().map(|node| &*node.server.url).collect();
        if count > 1 {
            is_even(&urls).await;
        }
        fleet
    }

    /// Where clients reach the nodes, whatever happens to these.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(|node| format!("http://{}", node.door.address)).collect()
    }

    pub fn kill(&mut self, node: usize) {
        block_in_place(|| self.nodes[node].server.kill());
    }

    /// After a kill or a stop.
    pub fn restart(&mut self, node: usize) {
        block_in_place(|| self.nodes[node].restart());
    }

    pub fn pause(&self, node: usize) {
        self.nodes[node].signal("STOP");
    }

    pub fn resume(&self, node: usize) {
        self.nodes[node].signal("CONT");
    }

    /// Asks it to stop, and waits for its end.
    pub fn stop(&mut self, node: usize) {
        let code = block_in_place(|| self.nodes[node].server.stop());
        // It may have ended before, because the others took it for dead.
        assert!(code == Some(0) || code == Some(1) && self.nodes.len() > 1, "it ended with {code:?}");
    }

    /// Starts nodes again that ended by themselves, as whoever runs them would.
    pub fn revive(&mut self) {
        for node in &mut self.nodes {
            if node.server.has_ended() {
                block_in_place(|| node.restart());
            }
        }
    }

    /// Between clients and a node.
    pub fn at_door(&self, node: usize, weather: Weather) {
        self.nodes[node].door.set(0, weather);
    }

    /// Between a node of Tidings and a node of Cassandra.
    pub fn at_store(&self, node: usize, store: usize, weather: Weather) {
        self.stores[store].set(node, weather);
    }

    /// Between the nodes; there must be several.
    pub fn nats(&mut self) -> &mut Nats {
        self.nats.as_mut().expect("a node alone has no bus")
    }

    pub fn stores(&self) -> usize {
        self.stores.len()
    }

    pub fn nodes(&self) -> usize {
        self.nodes.len()
    }
}

impl Drop for Fleet {
    /// A run that failed in the middle of a fault leaves nothing behind that hangs.
    fn drop(&mut self) {
        for node in &self.nodes {
            let _ = Command::new("kill").args(["-CONT", &node.server.id().to_string()]).status();
        }
    }
}

/// Waits until each of these nodes hosts its part, and knows that all others do.
pub async fn is_even(urls: &[&str]) {
    let shows_it = |url: &&str| {
        let (_, figures) = block_in_place(|| get(url, "/metrics"));
        let figure =
            |name: &str| figures.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<usize>().ok());
        figure("tidings_fleet_nodes ") == Some(urls.len())
            && figure("tidings_shards_moving ") == Some(0)
            && figure("tidings_shards_hosted ").is_some_and(|hosted| hosted > 0)
    };
    let began = Instant::now();
    while !urls.iter().all(shows_it) {
        assert!(began.elapsed() < PATIENCE, "the shards come to rest");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Node {
    fn start(door: Proxy, settings: Vec<(&'static str, String)>) -> Self {
        let server = Server::start_with(&all(&settings));
        door.lead_to(address(&server));
        Self { server, settings, door }
    }

    fn restart(&mut self) {
        self.server.restart_with(&all(&self.settings));
        self.door.lead_to(address(&self.server));
    }

    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([&format!("-{signal}"), &self.server.id().to_string()]).status();
        assert!(status.unwrap().success());
    }
}

fn address(server: &Server) -> SocketAddr {
    server.url.strip_prefix("http://").unwrap().parse().unwrap()
}

fn all<'a>(settings: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    SETTINGS.iter().copied().chain(settings.iter().map(|(name, value)| (*name, &**value))).collect()
}

/// What only this node is set to, in a fleet of more than one.
fn own_settings(number: usize, nats: &Nats, door: &Proxy) -> Vec<(&'static str, String)> {
    vec![
        ("bus", "nats".to_owned()),
        ("nats.servers", nats.lines[number].address.to_string()),
        ("node.name", format!("node-{number}")),
        ("node.public_url", format!("http://{}", door.address)),
        ("node.listen", free_address().to_string()),
    ]
}

/// Where other nodes are to reach one: free now, and nobody else's in the moment until it listens there.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

pub fn apply_schema(settings: &[(&'static str, String)]) {
    let flags = settings.iter().map(|(name, value)| format!("--set={name}={value}"));
    let output = tidings().args(["schema", "apply"]).args(flags).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The address of a Cassandra node as it tells others, where the proxy listens (`CASSANDRA_FRONT` of the script).
fn told(node: SocketAddr) -> SocketAddr {
    let IpAddr::V4(ip) = node.ip() else { panic!("the script takes IPv4 addresses") };
    let [first, _, third, fourth] = ip.octets();
    SocketAddr::from(([first, 1, third, fourth], node.port()))
}

/// The script that keeps the cluster, and what it says. Blocks.
pub fn cassandra(words: &[&str]) -> String {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../scripts/fleet/cassandra.sh");
    let output = block_in_place(|| Command::new(script).args(words).output().unwrap());
    assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
