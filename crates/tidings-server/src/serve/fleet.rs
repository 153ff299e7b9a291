//! Opening as one node of a fleet: no data of its own but a journal; shards come by membership, commands and tells by the bus.

use std::{collections::HashSet, io, sync::Arc, time::Duration};

use async_trait::async_trait;
use tidings_proto::{SHARDS, ShardId};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    bus::{
        local::LocalNetwork,
        nats::{NatsBus, NatsError, NatsLogin, NatsOptions},
    },
    cassandra::fleet::CassandraCluster,
    clock::Clock,
    cluster::{
        hosting::{Hosting, HostingError},
        member::{Drained, Member, Membership, operate::OperateError},
        store::{ClusterError, ClusterStore},
        suspicion::STILL,
        view::{Node, NodeState},
    },
    config::{self, Config},
    data_folder::{DataFolder, Lineage},
    host::{
        Host,
        open::{Parts, homes_in},
        peers::{Peers, wire::Notice},
        shards::{Shards, Slot},
    },
    journal::{Position, cassandra::Journals},
    metrics::Metrics,
    node::NodeId,
    session::auth::Auth,
    shutdown::Shutdown,
    tables::cassandra::CassandraTables,
};

use super::{
    Opened, ServeError,
    cassandra::{self, CassandraError},
    lay_archive, start_archive,
};

/// How often it is looked whether this node can go on.
const LOOK: Duration = Duration::from_millis(500);

/// How long a silent node's machine has to say that nobody listens there.
const KNOCK: Duration = Duration::from_millis(200);

/// Up to so much of a dead node's journal is looked through for the shards that it concerns.
const LOOKED_THROUGH_BYTES: usize = 2 << 20;

#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    #[error(transparent)]
    Nats(#[from] NatsError),
    #[error("failed to join the fleet: {0}")]
    Cluster(#[from] ClusterError),
    #[error(
        "the data in this keyspace is that of a server alone (bus = \"local\"); a fleet begins with a keyspace of its own"
    )]
    OfOneAlone,
    #[error("{0}; what was acknowledged is stored, and this process begins anew when it is started again")]
    Ended(String),
}

/// What a node of a fleet has beside its host.
pub struct Joined {
    pub member: Arc<Member>,
    /// Why the node had to stop.
    ended: Arc<parking_lot::Mutex<Option<String>>>,
}

pub(super) async fn open(config: Config, metrics: Arc<Metrics>, shutdown: &Shutdown) -> Result<Opened, ServeError> {
    let folder = DataFolder::open(&config.data)?;
    let store = cassandra::connect(&config.cassandra).await?;
    let journals = Journals::open(store.clone()).await.map_err(CassandraError::from)?;
    let id = NodeId::random();
    let claim = journals.claim(id).await.map_err(CassandraError::from)?;
    cassandra::refuse_half_moved(&claim)?;
    if claim.previous.is_some() {
        return Err(FleetError::OfOneAlone.into());
    }
    let auth = Arc::new(Auth::new(&config.auth, &claim.secret, Clock::system().unix_ms()).await?);
    let given_token = config.admin_token.as_ref().map(|secret| secret.expose().to_owned());
    let admin_token = given_token.map_or_else(|| folder.admin_token(), Ok)?.into();
    let tables = CassandraTables::open(store.clone(), id).await.map_err(CassandraError::from)?;
    let laid = lay_archive(Arc::new(tables), &config, &claim.secret, &metrics, shutdown).await?;
    let me = node(&config.node, id);
    let (bus, inlets) = NatsBus::join(&options(&config.nats), id).await.map_err(FleetError::from)?;
    let shards = Shards::of_fleet();
    let parts = Parts { config, clock: Clock::system(), metrics, lineage: Lineage(claim.lineage), shards };
    let host = Host::new(parts, laid.tables);
    host.join(Peers::new(id, Arc::new(bus)), inlets);
    let journal = journals.begin_as(id).await.map_err(CassandraError::from)?;
    let tasks = host.run(Arc::new(journal), shutdown);
    let cluster: Arc<dyn ClusterStore> =
        Arc::new(CassandraCluster::open(store.clone()).await.map_err(CassandraError::from)?);
    let hosting = Arc::new(HostedShards { host: host.clone(), journals, me: id });
    let member = Member::start(cluster, me, hosting, Clock::system()).await.map_err(FleetError::from)?;
    let joined = Joined { member: Arc::new(member), ended: Arc::default() };
    joined.watch(&host, shutdown);
    start_archive(&laid.job, &host);
    let (store, archive) = (Some(store), laid.job);
    Ok(Opened {
        host,
        auth,
        admin_token,
        tasks,
        archive,
        migration: None,
        store,
        joined: Some(joined),
        _folder: Some(folder),
    })
}

fn node(config: &config::Node, id: NodeId) -> Node {
    let door = config.advertise.clone().unwrap_or_else(|| config.listen.to_string());
    let url = config.public_url.clone().unwrap_or_default();
    Node { url, weight: config.weight, ..Node::new(id, config.name.clone(), door) }
}

fn options(config: &config::Nats) -> NatsOptions {
    let secret = |secret: &config::Secret| secret.expose().to_owned();
    let login = match (&config.user, &config.password, &config.token, &config.credentials_file) {
        (Some(user), Some(password), ..) => NatsLogin::Password { user: user.clone(), password: secret(password) },
        (_, _, Some(token), _) => NatsLogin::Token(secret(token)),
        (_, _, _, Some(path)) => NatsLogin::Credentials(path.clone()),
        _ => NatsLogin::None,
    };
    NatsOptions {
        servers: config.servers.clone(),
        fleet: config.fleet.clone(),
        login,
        root_certificates: config.ca_file.clone(),
        client_certificate: config.cert_file.clone().zip(config.key_file.clone()),
    }
}

impl Joined {
    /// Has the member look when somebody doubts where shards are, and stops the process when the node cannot go on.
    fn watch(&self, host: &Arc<Host>, shutdown: &Shutdown) {
        let (host, member) = (Arc::downgrade(host), self.member.clone());
        let (ended, shutdown) = (self.ended.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut is_draining = false;
            while let Some(host) = host.upgrade() {
                let failure = host.failure().map(str::to_owned);
                let why = match (failure, member.known().membership) {
                    (Some(failure), _) => Some(failure),
                    (None, Membership::Removed) => Some("the others took this node for dead".to_owned()),
                    (None, Membership::Replaced) => Some("another node has this one's name".to_owned()),
                    (None, Membership::In(NodeState::Draining)) => {
                        if !std::mem::replace(&mut is_draining, true) && !shutdown.has_begun() {
                            tokio::spawn(stop_when_drained(member.clone(), shutdown.clone()));
                        }
                        None
                    }
                    (None, Membership::In(_) | Membership::Left) => None,
                };
                if let Some(why) = why {
                    tracing::error!(why, "this node stops");
                    *ended.lock() = Some(why);
                    return shutdown.begin();
                }
                tokio::select! {
                    () = host.shards.doubted.notified() => member.hint(),
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        });
    }

    /// Hands everything over, within this time. Sessions of what has left are closed, to come back elsewhere.
    pub async fn drain(&self, within: Duration) {
        match tokio::time::timeout(within, self.member.drain()).await {
            Ok(Ok(Drained::Empty)) => tracing::info!("everything is hosted by others"),
            Ok(Ok(Drained::NobodyElse)) => tracing::info!("there is no other node: the next one takes everything over"),
            Ok(Ok(Drained::Ended)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not everything was handed over: others take it"),
            Err(_) => tracing::warn!("handing over took too long: others take what is left"),
        }
    }

    /// Takes all shards, from nodes that have ended. An error if another one lives.
    pub(super) async fn host_everything(&self, host: &Host) -> Result<(), OperateError> {
        let mut known = self.member.subscribe();
        loop {
            let view = known.borrow_and_update().view.clone();
            for other in view.nodes().iter().filter(|node| node.id != self.member.id()) {
                let began = Instant::now();
                // It may have ended a moment ago.
                while let Err(error) = self.member.remove_other(&other.id.to_string(), false).await {
                    match error {
                        OperateError::Unknown(..) => break,
                        OperateError::Alive { .. } if began.elapsed() < STILL * 2 => tokio::time::sleep(LOOK).await,
                        error => return Err(error),
                    }
                }
            }
            if host.shards.those(|slot| !matches!(slot, Slot::Here { .. })).is_empty() {
                return Ok(());
            }
            self.member.hint();
            let _ = tokio::time::timeout(LOOK, known.changed()).await;
        }
    }

    /// Leaves the fleet. An error if the node had to stop.
    pub async fn leave(self, within: Duration) -> Result<(), FleetError> {
        if let Some(why) = self.ended.lock().take() {
            return Err(FleetError::Ended(why));
        }
        if !matches!(tokio::time::timeout(within, self.member.leave()).await, Ok(Ok(()))) {
            tracing::warn!("this node could not leave the fleet by itself: the others will find it gone");
        }
        Ok(())
    }
}

/// A person asked another node that this one drain. Nobody waits for its end: it serves what it still has until that is
/// handed over, and only then stops.
async fn stop_when_drained(member: Arc<Member>, shutdown: Shutdown) {
    tracing::info!("this node is to drain: it hands its shards over, then it stops");
    if let Err(error) = member.drain().await {
        tracing::warn!(%error, "not everything was handed over: others take it");
    }
    shutdown.begin();
}

/// The actors' side of membership.
struct HostedShards {
    host: Arc<Host>,
    journals: Journals,
    me: NodeId,
}

fn failed(error: impl std::fmt::Display) -> HostingError {
    HostingError::new(&error)
}

impl HostedShards {
    /// A host that replays for these shards and serves nobody.
    fn scratch(&self, shards: &[(ShardId, u64)]) -> Arc<Host> {
        let parts = Parts {
            config: self.host.config.clone(),
            clock: Clock::system(),
            metrics: Arc::new(Metrics::default()),
            lineage: self.host.lineage,
            shards: Shards::of_fleet(),
        };
        let scratch = Host::new(parts, self.host.shared_tables());
        // It speaks with nobody: what it would tell others stands in the tables, and is told when the shards are open.
        let (bus, inlets) = LocalNetwork::default().join(self.me);
        scratch.join(Peers::new(self.me, Arc::new(bus)), inlets);
        scratch.take_only(shards);
        scratch
    }
}

#[async_trait]
impl Hosting for HostedShards {
    async fn seal(&self, dead: NodeId) -> Result<(), HostingError> {
        self.journals.seal(dead).await.map(drop).map_err(failed)
    }

    async fn owes(&self, dead: NodeId) -> Result<HashSet<ShardId>, HostingError> {
        let scratch = self.scratch(&[]);
        let mut owed = HashSet::new();
        let mut unflushed = self.journals.unflushed(dead).await.map_err(failed)?;
        let mut bytes = 0;
        while let Some(commits) = unflushed.next().await.map_err(failed)? {
            bytes += commits.iter().map(|(_, commit)| commit.len()).sum::<usize>();
            if bytes > LOOKED_THROUGH_BYTES {
                // To find out would take as long as to do it.
                return Ok((0..SHARDS).map(ShardId).collect());
            }
            for commit in &commits {
                owed.extend(homes_in(commit.clone()).map_err(failed)?);
            }
            scratch.replay(commits).await.map_err(failed)?;
        }
        owed.extend(scratch.concerned().await.map_err(failed)?);
        Ok(owed)
    }

    async fn replay(&self, dead: NodeId, shards: &[(ShardId, u64)]) -> Result<(), HostingError> {
        let scratch = self.scratch(shards);
        let mut unflushed = self.journals.unflushed(dead).await.map_err(failed)?;
        while let Some(commits) = unflushed.next().await.map_err(failed)? {
            // The mark that the host sets is that of this node's journal, which has nothing of it.
            let commits = commits.into_iter().map(|(_, commit)| (Position::NONE, commit)).collect();
            scratch.replay(commits).await.map_err(failed)?;
        }
        scratch.end_replay().await.map(drop).map_err(failed)
    }

    async fn release(&self, shards: &[ShardId]) -> Result<(), HostingError> {
        self.host.release_shards(shards).await.map_err(failed)
    }

    async fn open(&self, shards: &[(ShardId, u64)]) -> Result<(), HostingError> {
        self.host.open_shards(shards).await;
        Ok(())
    }

    fn learn(&self, slots: &[(ShardId, Slot)]) {
        self.host.learn_shards(slots);
    }

    fn nodes(&self, nodes: Vec<Arc<Node>>) {
        self.host.learn_nodes(nodes);
    }

    #[cfg(feature = "next-format")]
    fn may_write(&self, format: u16) {
        self.host.next.may_write(&self.host, format);
    }

    fn moved(&self, _: &[NodeId]) {
        self.host.tell_nodes(Notice::ShardsMoved);
    }

    async fn is_shut(&self, node: &Node) -> bool {
        let knocked = tokio::time::timeout(KNOCK, TcpStream::connect(&node.door)).await;
        matches!(knocked, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    async fn retire(&self, dead: NodeId) -> Result<(), HostingError> {
        self.journals.retire(dead).await.map_err(failed)
    }
}
