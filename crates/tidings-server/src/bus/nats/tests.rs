//! Against a real NATS server, which the tests start, kill and start again.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use super::*;
use crate::bus::{
    Received,
    conformance::{self, Joined, Network},
};

/// `make test` puts it on the path.
const PROGRAM: &str = "nats-server";

struct Server {
    port: u16,
    arguments: Vec<String>,
    process: Option<Child>,
}

impl Server {
    /// `None`, and one line that says so: there is no such program here.
    fn start(arguments: &[&str]) -> Option<Self> {
        if Command::new(PROGRAM).arg("--version").stdout(Stdio::null()).status().is_err() {
            eprintln!("skipped: there is no {PROGRAM} here (`make test` installs one)");
            return None;
        }
        // Free now; nobody else takes it in the moment until the server has it.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = arguments.iter().map(ToString::to_string).collect();
        let mut server = Self { port, arguments, process: None };
        server.run();
        Some(server)
    }

    fn run(&mut self) {
        let mut command = Command::new(PROGRAM);
        command.args(["--addr", "127.0.0.1", "--port", &self.port.to_string()]).args(&self.arguments);
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("it could say its version"));
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    fn options(&self) -> NatsOptions {
        let servers = vec![format!("nats://127.0.0.1:{}", self.port)];
        NatsOptions { servers, fleet: "test".to_owned(), ..NatsOptions::default() }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The server takes a moment to listen.
async fn join(options: &NatsOptions, node: NodeId) -> (NatsBus, Vec<Inlet>) {
    let mut last = None;
    for _ in 0..200 {
        match NatsBus::join(options, node).await {
            Ok(joined) => return joined,
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{last:?}");
}

impl Network for Server {
    async fn join(&mut self, node: NodeId) -> Joined {
        let (bus, lanes) = join(&self.options(), node).await;
        Joined { node, bus: Arc::new(bus), lanes }
    }

    async fn cut_all(&mut self, _: &[NodeId]) {
        self.kill();
    }

    async fn mend_all(&mut self, _: &[NodeId]) {
        self.run();
    }
}

#[tokio::test]
async fn the_bus_on_nats_conforms() {
    let Some(server) = Server::start(&[]) else { return };
    conformance::run(server).await;
}

#[tokio::test]
async fn under_tls_only_a_server_that_is_known_is_spoken_with() {
    let keys = |name: &str| format!("{}/../../fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"));
    let (certificate, key) = (keys("tls.pem"), keys("tls.key.pem"));
    let Some(server) = Server::start(&["--tls", "--tlscert", &certificate, "--tlskey", &key]) else { return };
    let trusting = |certificate: String| NatsOptions {
        servers: vec![format!("tls://localhost:{}", server.port)],
        root_certificates: Some(certificate.into()),
        ..server.options()
    };
    let [one, other] = [1, 2].map(|byte| NodeId::from_bytes([byte; 16]));
    let (bus, _) = join(&trusting(certificate.clone()), one).await;
    let (_others, mut inlets) = join(&trusting(certificate.clone()), other).await;
    bus.send(other, Lane::of(tidings_proto::ShardId(0)), Bytes::from_static(b"under TLS")).unwrap();
    let heard = async {
        loop {
            match inlets[0].recv().await.expect("it is not closed") {
                // Joining interrupts, too.
                Received::Interrupted => {}
                Received::Frame { from, frame } => return (from, frame),
            }
        }
    };
    let heard = tokio::time::timeout(Duration::from_secs(30), heard).await.expect("it comes");
    assert_eq!(heard, (one, Bytes::from_static(b"under TLS")));
    let refused = NatsBus::join(&trusting(keys("tls2.pem")), one).await;
    assert!(matches!(refused, Err(NatsError::Connect { .. })), "it speaks with anybody");
}

#[tokio::test]
async fn a_wrong_password_is_refused_and_a_right_one_is_not() {
    let Some(server) = Server::start(&["--user", "tidings", "--pass", "right"]) else { return };
    let with = |password: &str| NatsOptions {
        login: NatsLogin::Password { user: "tidings".to_owned(), password: password.to_owned() },
        ..server.options()
    };
    let node = NodeId::from_bytes([1; 16]);
    let _right = join(&with("right"), node).await;
    let Err(error) = NatsBus::join(&with("wrong"), node).await else { panic!("it let anybody in") };
    assert!(matches!(error, NatsError::Connect { .. }), "{error}");
    assert!(!error.to_string().contains("wrong"), "{error}");
}
