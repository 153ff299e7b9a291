//! NATS for the nodes of a run. A node reaches it by a proxy of its own, so that one alone can be cut off.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    process::{Child, Command, Stdio},
};

use super::proxy::Proxy;

/// `scripts/fleet/nemesis.sh` puts it on the path.
const PROGRAM: &str = "nats-server";

/// Killed when dropped.
pub struct Nats {
    pub address: SocketAddr,
    process: Option<Child>,
    /// One before each node.
    pub lines: Vec<Proxy>,
}

impl Nats {
    pub async fn start(nodes: usize) -> Self {
        // Free now; nobody else takes it in the moment until the server has it.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut lines = Vec::new();
        for _ in 0..nodes {
            lines.push(Proxy::before(address).await.unwrap());
        }
        let mut nats = Self { address, process: None, lines };
        nats.restart();
        nats
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Again at the same address.
    pub fn restart(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.args(["--addr", "127.0.0.1", "--port", &self.address.port().to_string()]);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("scripts/fleet/nemesis.sh has installed it"));
    }

    pub fn signal(&self, signal: &str) {
        let id = self.process.as_ref().expect("it runs").id().to_string();
        assert!(Command::new("kill").args([&format!("-{signal}"), &id]).status().unwrap().success());
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.kill();
    }
}
