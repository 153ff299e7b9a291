//! The bus of a fleet, on NATS core: a subject for each lane of each node and one for all, nothing stored.
//!
//! What is published while the connection is down is gone, and so is what others publish until they know again that this
//! node listens. So each reconnect interrupts the inlets twice: at once, and when the others have had time to learn of it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use async_nats::{Client, ConnectOptions, Event, Subscriber};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::mpsc;

use crate::node::NodeId;

use super::{
    Bus, Inlet, LANES, Lane, OUTLET_FRAMES, SendError, check_length,
    inlet::{Filler, inlet},
};

/// How long after a reconnect frames of others may still be lost. Seen: about a second.
const UNTIL_OTHERS_KNOW: Duration = Duration::from_secs(2);

/// The longest wait before another try to reconnect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How long NATS may take to answer when a node joins.
const ANSWER_WAIT: Duration = Duration::from_secs(5);

/// Frames that the driver holds for one lane before they are in its inlet.
const SUBSCRIPTION_FRAMES: usize = 4_096;

/// Before each frame stands who sent it.
const SENDER_BYTES: usize = NodeId::BYTES;

#[derive(Clone, Default)]
pub struct NatsOptions {
    /// `nats://host:port` or `tls://host:port`; one that answers is enough.
    pub servers: Vec<String>,
    /// Fleets that share NATS servers have different names.
    pub fleet: String,
    pub login: NatsLogin,
    /// PEM files. Without them the system's roots are trusted, and no certificate is shown.
    pub root_certificates: Option<PathBuf>,
    pub client_certificate: Option<(PathBuf, PathBuf)>,
}

#[derive(Clone, Default)]
pub enum NatsLogin {
    #[default]
    None,
    Password {
        user: String,
        password: String,
    },
    Token(String),
    /// A `.creds` file: a JWT with its key.
    Credentials(PathBuf),
}

#[derive(Debug, thiserror::Error)]
pub enum NatsError {
    #[error("failed to read the NATS credentials {path}: {error}")]
    Credentials { path: PathBuf, error: std::io::Error },
    #[error("failed to connect to NATS at {servers}: {error}")]
    Connect { servers: String, error: async_nats::ConnectError },
    #[error("failed to subscribe to {subject}: {error}")]
    Subscribe { subject: String, error: async_nats::SubscribeError },
    #[error("NATS does not answer")]
    Silent,
}

/// One node's end. Closed when it is dropped.
pub struct NatsBus {
    subjects: Subjects,
    node: NodeId,
    outlet: mpsc::Sender<(String, Bytes)>,
}

/// What subjects are called.
#[derive(Clone)]
struct Subjects {
    fleet: String,
}

impl Subjects {
    fn lane(&self, node: NodeId, lane: usize) -> String {
        format!("tidings.{}.node.{node}.{lane}", self.fleet)
    }

    fn ready(&self, node: NodeId) -> String {
        format!("tidings.{}.node.{node}.ready", self.fleet)
    }

    fn all(&self) -> String {
        format!("tidings.{}.all", self.fleet)
    }
}

impl NatsBus {
    /// Connects and listens to what is meant for `node`. When this returns, frames of others reach it.
    pub async fn join(options: &NatsOptions, node: NodeId) -> Result<(Self, Vec<Inlet>), NatsError> {
        let (fillers, inlets): (Vec<Filler>, Vec<Inlet>) = (0..LANES).map(|_| inlet()).unzip();
        let client = connect(options, node, fillers.clone()).await?;
        let subjects = Subjects { fleet: options.fleet.clone() };
        let mut lanes = Vec::new();
        for (lane, filler) in fillers.iter().enumerate() {
            lanes.push((subscribe(&client, subjects.lane(node, lane)).await?, filler.clone()));
        }
        lanes.push((subscribe(&client, subjects.all()).await?, fillers[0].clone()));
        await_subscriptions(&client, subjects.ready(node)).await?;
        for (subscriber, filler) in lanes {
            tokio::spawn(fill(subscriber, filler));
        }
        let (outlet, frames) = mpsc::channel(OUTLET_FRAMES);
        tokio::spawn(publish(client, frames));
        Ok((Self { subjects, node, outlet }, inlets))
    }

    fn put(&self, subject: String, frame: &Bytes) -> Result<(), SendError> {
        check_length(frame)?;
        let mut bytes = BytesMut::with_capacity(SENDER_BYTES + frame.len());
        bytes.extend_from_slice(self.node.as_bytes());
        bytes.extend_from_slice(frame);
        self.outlet.try_send((subject, bytes.freeze())).map_err(|_| SendError::Full)
    }
}

impl Bus for NatsBus {
    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        self.put(self.subjects.lane(to, lane.number()), &frame)
    }

    fn broadcast(&self, frame: Bytes) -> Result<(), SendError> {
        self.put(self.subjects.all(), &frame)
    }
}

async fn connect(options: &NatsOptions, node: NodeId, fillers: Vec<Filler>) -> Result<Client, NatsError> {
    let mut connect = ConnectOptions::new()
        .name(format!("tidings {node}"))
        .subscription_capacity(SUBSCRIPTION_FRAMES)
        .client_capacity(SUBSCRIPTION_FRAMES)
        .ping_interval(Duration::from_secs(5))
        .reconnect_delay_callback(|tries| {
            let wait = Duration::from_millis(50).saturating_mul(1 << tries.min(10));
            wait.min(RECONNECT_MAX).mul_f64(rand::random_range(0.5..1.0))
        })
        .event_callback(move |event| {
            heard(&event, &fillers);
            std::future::ready(())
        });
    connect = match &options.login {
        NatsLogin::None => connect,
        NatsLogin::Password { user, password } => connect.user_and_password(user.clone(), password.clone()),
        NatsLogin::Token(token) => connect.token(token.clone()),
        NatsLogin::Credentials(path) => connect
            .credentials_file(path)
            .await
            .map_err(|error| NatsError::Credentials { path: path.clone(), error })?,
    };
    if let Some(roots) = &options.root_certificates {
        connect = connect.add_root_certificates(roots.clone()).require_tls(true);
    }
    if let Some((certificate, key)) = &options.client_certificate {
        connect = connect.add_client_certificate(certificate.clone(), key.clone()).require_tls(true);
    }
    let servers = options.servers.join(", ");
    connect.connect(options.servers.as_slice()).await.map_err(|error| NatsError::Connect { servers, error })
}

/// What the driver says of the connection.
fn heard(event: &Event, fillers: &[Filler]) {
    match event {
        Event::Connected => {
            let fillers: Arc<[Filler]> = fillers.into();
            fillers.iter().for_each(Filler::interrupt);
            tokio::spawn(async move {
                tokio::time::sleep(UNTIL_OTHERS_KNOW).await;
                fillers.iter().for_each(Filler::interrupt);
            });
        }
        Event::SlowConsumer(_) => fillers.iter().for_each(Filler::interrupt),
        Event::Disconnected => tracing::warn!("the bus is down: messages between nodes come late until it is back"),
        other => tracing::warn!(event = %other, "NATS says"),
    }
}

async fn subscribe(client: &Client, subject: String) -> Result<Subscriber, NatsError> {
    client.subscribe(subject.clone()).await.map_err(|error| NatsError::Subscribe { subject, error })
}

/// The server handles what a connection sends in order: when it sends back what is published now, it knows of all
/// subscriptions before.
async fn await_subscriptions(client: &Client, subject: String) -> Result<(), NatsError> {
    let mut probe = subscribe(client, subject.clone()).await?;
    client.publish(subject, Bytes::new()).await.map_err(|_| NatsError::Silent)?;
    match tokio::time::timeout(ANSWER_WAIT, probe.next()).await {
        Ok(Some(_)) => Ok(()),
        Ok(None) | Err(_) => Err(NatsError::Silent),
    }
}

/// Until the client is closed.
async fn fill(mut subscriber: Subscriber, filler: Filler) {
    while let Some(message) = subscriber.next().await {
        let mut frame = message.payload;
        if frame.len() < SENDER_BYTES {
            tracing::warn!(subject = %message.subject, "somebody else publishes on our subjects");
            continue;
        }
        let sender = frame.split_to(SENDER_BYTES);
        filler.put(NodeId::from_bytes(sender[..].try_into().expect("it was split off with this length")), frame);
    }
}

/// Until the bus is dropped. While the connection is down frames wait here and in the driver, as many as have room.
async fn publish(client: Client, mut frames: mpsc::Receiver<(String, Bytes)>) {
    while let Some((subject, bytes)) = frames.recv().await {
        if let Err(error) = client.publish(subject, bytes).await {
            tracing::warn!(%error, "a frame was not published");
        }
    }
    // Ends the subscriptions, and so the tasks that fill the lanes.
    let _ = client.drain().await;
}

#[cfg(test)]
mod tests;
