//! Opening on Cassandra: refuse an unsafe cluster, take the data over from whoever has it, bring the tables up to the end
//! of their journal, and begin a new one. Whoever had it is fenced: it acknowledges nothing more.

use std::{path::PathBuf, sync::Arc, time::Instant};

use crate::{
    cassandra::{
        Store, StoreError,
        check::Unsafe,
        connect::{Options, TlsOptions},
        fleet::CassandraCluster,
        schema,
    },
    clock::Clock,
    cluster::store::ClusterStore,
    config::{self, BusKind, Config},
    data_folder::{DataFolder, Lineage},
    host::{Host, open::Parts, shards::Shards},
    journal::{
        Position,
        cassandra::{Claim, Journals, MOVING},
        unflushed::{Unflushed, UnflushedError},
    },
    metrics::Metrics,
    node::NodeId,
    session::auth::Auth,
    shutdown::Shutdown,
    tables::cassandra::CassandraTables,
};

use super::{Laid, Opened, ServeError, fleet::FleetError, lay_archive, start_archive};

#[derive(Debug, thiserror::Error)]
pub enum CassandraError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("refused to start on this Cassandra cluster: {}", wrong.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Unsafe { wrong: Vec<Unsafe> },
    #[error("the data in this keyspace is that of a fleet (bus = \"nats\"); a server alone must not touch it")]
    OfAFleet,
    #[error("a migration into this keyspace is not finished: let it end (tidings migrate), or use another keyspace")]
    HalfMoved,
    #[error("another server took this data over while this one was starting")]
    Overtaken,
    #[error("failed to read the journal {journal}: {what}")]
    Journal { journal: NodeId, what: String },
}

/// Makes keyspace and tables where they are missing.
pub async fn apply_schema(config: &config::Cassandra) -> Result<(), StoreError> {
    Store::connect(&options(config)).await?.apply_schema(config.replicas).await
}

/// What `apply_schema` would do.
pub fn schema(config: &config::Cassandra) -> Vec<String> {
    schema::statements(&config.keyspace, config.replicas)
}

/// Connects, and refuses a cluster that would lose what it acknowledges.
pub(super) async fn connect(config: &config::Cassandra) -> Result<Arc<Store>, CassandraError> {
    let store = Arc::new(Store::connect(&options(config)).await?);
    let wrong = store.check(config.replicas).await?;
    if wrong.is_empty() { Ok(store) } else { Err(CassandraError::Unsafe { wrong }) }
}

/// What a server stands on here, alone or as one of a fleet: the claim is made, and nothing is taken yet.
pub(super) struct Ground {
    pub folder: DataFolder,
    pub store: Arc<Store>,
    pub cluster: CassandraCluster,
    pub journals: Journals,
    pub claim: Claim,
    pub auth: Arc<Auth>,
    pub admin_token: Arc<str>,
    pub laid: Laid,
}

impl Ground {
    /// `id` is that of the journal to come.
    pub async fn open(
        config: &Config,
        id: NodeId,
        metrics: &Arc<Metrics>,
        stop: &Shutdown,
    ) -> Result<Self, ServeError> {
        let folder = DataFolder::open(&config.data)?;
        let store = connect(&config.cassandra).await?;
        let cluster = CassandraCluster::open(store.clone()).await.map_err(CassandraError::from)?;
        let is_alone = config.bus == BusKind::Local;
        if is_alone && cluster.view().await.is_ok_and(|view| view.epoch > 0) {
            return Err(CassandraError::OfAFleet.into());
        }
        let journals = Journals::open(store.clone()).await.map_err(CassandraError::from)?;
        let claim = journals.claim(id).await.map_err(CassandraError::from)?;
        match claim.previous {
            Some(MOVING) => return Err(CassandraError::HalfMoved.into()),
            Some(_) if !is_alone => return Err(FleetError::OfOneAlone.into()),
            _ => {}
        }
        let auth = Arc::new(Auth::new(&config.auth, &claim.secret, Clock::system().unix_ms()).await?);
        let given_token = config.admin_token.as_ref().map(|secret| secret.expose().to_owned());
        let admin_token = given_token.map_or_else(|| folder.admin_token(), Ok)?.into();
        let tables = CassandraTables::open(store.clone(), id).await.map_err(CassandraError::from)?;
        let laid = lay_archive(Arc::new(tables), config, &claim.secret, metrics, stop).await?;
        Ok(Self { folder, store, cluster, journals, claim, auth, admin_token, laid })
    }
}

pub(super) async fn open(config: Config, metrics: Arc<Metrics>, shutdown: &Shutdown) -> Result<Opened, ServeError> {
    let id = NodeId::random();
    let Ground { folder, store, journals, claim, auth, admin_token, laid, .. } =
        Ground::open(&config, id, &metrics, shutdown).await?;
    let lineage = Lineage(claim.lineage);
    let parts = Parts { config, clock: Clock::system(), metrics, lineage, shards: Shards::all(claim.epoch) };
    let host = Host::new(parts, laid.tables);
    if let Some(previous) = claim.previous {
        replay(&host, &journals, previous).await?;
    }
    let journal = journals.begin_as(id).await.map_err(CassandraError::from)?;
    if !journals.take(&claim).await.map_err(CassandraError::from)? {
        return Err(CassandraError::Overtaken.into());
    }
    tracing::info!(journal = %id, epoch = claim.epoch, "this server has the data in Cassandra now");
    if let Some(previous) = claim.previous {
        shutdown.spawn(async move {
            if let Err(error) = journals.retire(previous).await {
                tracing::warn!(%error, journal = %previous, "a journal that is no longer needed could not be given up");
            }
        });
    }
    let tasks = host.run(Arc::new(journal), shutdown);
    start_archive(&laid.job, &host);
    Ok(Opened {
        host,
        auth,
        admin_token,
        tasks,
        archive: laid.job,
        migration: None,
        store: Some(store),
        joined: None,
        _folder: Some(folder),
    })
}

/// Ends the journal of the one before and applies what the tables lack of it.
async fn replay(host: &Arc<Host>, journals: &Journals, previous: NodeId) -> Result<(), ServeError> {
    let began = Instant::now();
    journals.seal(previous).await.map_err(CassandraError::from)?;
    let wrong = |error: UnflushedError| CassandraError::Journal { journal: previous, what: error.to_string() };
    let mut unflushed = Unflushed::of(journals, previous).await.map_err(wrong)?;
    let mut count = 0;
    while let Some(commits) = unflushed.next().await.map_err(wrong)? {
        count += commits.len();
        // The mark that the host sets is that of its own journal, in which nothing is yet.
        host.replay(commits.into_iter().map(|(_, commit)| (Position::NONE, commit)).collect()).await?;
    }
    host.end_replay().await?;
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::info!(journal = %previous, commits = count, took_ms, "sealed and replayed the journal of before");
    Ok(())
}

fn options(config: &config::Cassandra) -> Options {
    let client: Option<(PathBuf, PathBuf)> = config.cert_file.clone().zip(config.key_file.clone());
    Options {
        nodes: config.nodes.clone(),
        keyspace: config.keyspace.clone(),
        user: config.user.clone(),
        password: config.password.as_ref().map(|secret| secret.expose().to_owned()),
        tls: config.tls.then(|| TlsOptions { ca_file: config.ca_file.clone(), client }),
        requests: usize::try_from(config.requests).unwrap_or(usize::MAX),
    }
}
