//! In a fleet a user's sessions and calls are served by the node that hosts the user's home. Whoever comes to another node is
//! served all the same: that node *relays*, which is to connect to the door of the right one and to carry bytes both ways.
//!
//! `door` takes what others relay, `head` is what stands in front of it; `http` relays calls, `upgrade` WebSockets whose user
//! is known from the start, `websocket` those that say `hello` first, `pump` the bytes of whatever is neither call nor
//! message. A leg, as the connection to the other node is called, holds no buffer while nothing comes.
//!
//! What came by a relay is never relayed on: two nodes that disagree would else send it to and fro.

pub mod door;
pub mod http;
pub mod pump;
pub mod websocket;

mod boundary;
mod head;
mod upgrade;

use std::{future::Future, io, pin::pin, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tidings_proto::ShardId;
use tokio::{
    io::AsyncWriteExt,
    net::TcpStream,
    time::{Instant, timeout},
};
use tokio_util::{
    sync::CancellationToken,
    task::{TaskTracker, task_tracker::TaskTrackerToken},
};

use crate::{
    cluster::view::Node,
    host::{
        route::MOVING_WAIT,
        shards::{Hints, Place, Shards},
    },
    metrics::InUse,
    node::NodeId,
};

use super::{Edge, addresses::Peer};

/// A node that could not be reached is tried again after so long, unless it is known earlier that it is another one now.
const RETRY_WAIT: Duration = Duration::from_millis(200);
/// How long connecting to another node may take. Both are in the same network.
const CONNECT_WAIT: Duration = Duration::from_secs(1);
/// How long one who is told that this is the end may take to read it.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// What this node holds of others. One for all edges.
pub struct Relay {
    /// What nodes of one fleet, and nobody else, know.
    key: blake3::Hash,
    /// Cancelled for a node that is gone: what is left of its legs says nothing any more.
    nodes: Mutex<HashMap<NodeId, CancellationToken>>,
    /// Connections that are relayed; a stop waits for them as for sessions.
    connections: TaskTracker,
}

/// Where somebody is served.
pub enum Found<T> {
    Here,
    There(T),
    /// On the way from one node to another for longer than can be waited.
    Nowhere,
}

/// A connection to another node that begins with who the client is.
pub struct Leg {
    pub stream: TcpStream,
    pub life: Life,
}

/// How long a leg is good, and that it counts.
pub struct Life {
    /// The node is gone.
    pub gone: CancellationToken,
    _counted: InUse,
}

impl Relay {
    pub fn new(key: blake3::Hash) -> Self {
        Self { key, nodes: Mutex::default(), connections: TaskTracker::new() }
    }

    /// Cancelled as soon as the node is no longer in the view.
    fn gone(&self, id: NodeId, shards: &Shards) -> CancellationToken {
        let token = self.nodes.lock().entry(id).or_default().clone();
        // It may have gone before this was noted.
        if shards.node(id).is_none() {
            token.cancel();
        }
        token
    }

    /// Held as long as a connection is relayed.
    pub fn connection(&self) -> TaskTrackerToken {
        self.connections.token()
    }

    /// Ready when no connection is relayed.
    pub async fn connections_ended(&self) {
        self.connections.close();
        self.connections.wait().await;
    }

    fn forget_gone(&self, shards: &Shards) {
        self.nodes.lock().retain(|id, token| {
            let is_there = shards.node(*id).is_some();
            if !is_there {
                token.cancel();
            }
            is_there
        });
    }
}

/// Ends the legs to nodes that are gone, until the stop has begun.
pub async fn watch(edge: Edge) {
    let shards = &edge.host.shards;
    loop {
        let changed = shards.changed.notified();
        edge.relay.forget_gone(shards);
        tokio::select! {
            () = changed => {}
            () = edge.shutdown.begun() => return,
        }
    }
}

impl Edge {
    /// Where the homes of a shard are served, with a leg to there (which `open` makes) if that is not here.
    pub async fn find<T, F>(&self, shard: ShardId, peer: &Peer, open: impl Fn(Arc<Node>) -> F) -> Found<T>
    where
        F: Future<Output = io::Result<T>>,
    {
        let shards = &self.host.shards;
        if shards.is_here(shard) {
            return Found::Here;
        }
        let deadline = Instant::now() + MOVING_WAIT;
        let mut changed = pin!(shards.changed.notified());
        loop {
            match shards.place(shard) {
                Place::Here => return Found::Here,
                Place::There(node) if !peer.is_relayed => match open(node.clone()).await {
                    Ok(leg) => return Found::There(leg),
                    // Dead, perhaps, or it has just begun to stop: soon its shards are elsewhere.
                    Err(error) => tracing::debug!(%error, node = %node.name, "a node could not be reached"),
                },
                Place::There(_) => {}
                // Perhaps where it is by now was said, and not heard.
                Place::Moving => shards.hint(Hints::all()),
            }
            tokio::select! {
                () = &mut changed => changed.set(shards.changed.notified()),
                () = tokio::time::sleep_until(deadline.min(Instant::now() + RETRY_WAIT)) => {}
            }
            if Instant::now() >= deadline {
                return Found::Nowhere;
            }
        }
    }

    /// Connects to a node on behalf of the client at `peer`.
    pub async fn leg(&self, node: &Node, peer: &Peer) -> io::Result<Leg> {
        let gone = self.relay.gone(node.id, &self.host.shards);
        let connect = async {
            let mut stream = TcpStream::connect(&node.door).await?;
            // Frames are small and wanted at once.
            stream.set_nodelay(true)?;
            stream.write_all(&head::write(peer, &self.relay.key)).await?;
            Ok::<_, io::Error>(stream)
        };
        let stream = timeout(CONNECT_WAIT, connect).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
        Ok(Leg { stream, life: Life { gone, _counted: InUse::of(&self.host.metrics.relay_legs) } })
    }

    /// Sessions on other nodes that are relayed here are moved like this node's own: told, and closed after this.
    fn drain_wait(&self) -> Duration {
        Duration::from_millis(self.host.config.drain_ms / 2)
    }
}

/// The node at the other end of a WebSocket says something at least once in this time, or is dead.
fn silence(edge: &Edge) -> Duration {
    Duration::from_millis(edge.session_rules.heartbeat_ms * 5 / 2)
}
