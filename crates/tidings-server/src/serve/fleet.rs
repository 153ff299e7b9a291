//! Opening as one node of a fleet: no data of its own but a journal; shards come by membership, commands and tells by the bus.

use std::sync::Arc;

use crate::{
    bus::nats::{NatsBus, NatsError, NatsLogin, NatsOptions},
    clock::Clock,
    cluster::{store::ClusterError, view::Node},
    config::{self, Config},
    data_folder::Lineage,
    host::{Host, open::Parts, peers::Peers, shards::Shards},
    metrics::Metrics,
    node::NodeId,
    shutdown::Shutdown,
};

use super::{
    Opened, ServeError,
    cassandra::{CassandraError, Ground},
    joined::{Ended, Joined},
    start_archive,
};

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
    #[error(transparent)]
    Ended(#[from] Ended),
}

pub(super) async fn open(config: Config, metrics: Arc<Metrics>, shutdown: &Shutdown) -> Result<Opened, ServeError> {
    let id = NodeId::random();
    let Ground { folder, store, cluster, journals, claim, auth, admin_token, laid } =
        Ground::open(&config, id, &metrics, shutdown).await?;
    let me = node(&config.node, id);
    let (bus, inlets) = NatsBus::join(&options(&config.nats), id).await.map_err(FleetError::from)?;
    let shards = Shards::of_fleet();
    let parts = Parts { config, clock: Clock::system(), metrics, lineage: Lineage(claim.lineage), shards };
    let host = Host::new(parts, laid.tables);
    host.join(Peers::new(id, Arc::new(bus)), inlets);
    let journal = journals.begin_as(id).await.map_err(CassandraError::from)?;
    let tasks = host.run(Arc::new(journal), shutdown);
    let joined =
        Joined::start(Arc::new(cluster), me, &host, Arc::new(journals), shutdown).await.map_err(FleetError::from)?;
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
