//! Starts the server, serves until it shall stop, and stops it: take nothing new, move the sessions, commit, flush.

mod blobs;
pub mod cassandra;
pub mod fleet;
pub mod fsck;
pub mod joined;
pub mod migrate;

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use tidings_proto::{
    CloseCode,
    frames::server::{Move, ServerFrame},
};
use tokio::net::TcpListener;

use crate::{
    archive::{Archive, ArchivedTables, Job},
    blobs::Blobs,
    clock::Clock,
    config::{BusKind, Config, Store},
    data_folder::{DataFolder, DataFolderError, Lineage, moved},
    edge::{
        Edge, EdgeParts,
        admission::Admission,
        door::{Door, DoorError},
        http, mqtt, relay,
    },
    host::{
        Host,
        open::{Parts, ReplayError, Tasks},
        shards::Shards,
    },
    journal::{
        Journal, Position,
        file::{FileJournal, FileJournalOptions, OpenError, Recovered},
        memory::MemoryJournal,
    },
    listeners::{InheritError, Inherited},
    metrics::Metrics,
    migrate::{Migration, tracked::TrackedTables},
    session::{
        auth::{Auth, KeyStoreError},
        outbox::Class,
    },
    shutdown::Shutdown,
    tables::{
        Tables, TablesError,
        embedded::{EmbeddedOptions, EmbeddedTables},
        memory::MemoryTables,
    },
};

/// How much of a journal is read at once for a replay.
const REPLAY_BYTES: usize = 8 << 20;

/// How long connections may take to end after their sessions were closed.
const CLOSE_WAIT: Duration = Duration::from_secs(2);

/// How long the last commits and flush may wait for a store that does not answer.
const STORE_WAIT: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    #[error("failed to open the journal: {0}")]
    Journal(#[from] OpenError),
    #[error("failed to open the tables: {0}")]
    Tables(#[from] TablesError),
    #[error("failed to replay the journal: {0}")]
    Replay(#[from] ReplayError),
    #[error("failed to open the blobs: {0}")]
    Blobs(#[from] crate::blobs::BlobError),
    #[error(transparent)]
    Cassandra(#[from] cassandra::CassandraError),
    #[error(transparent)]
    Fleet(#[from] fleet::FleetError),
    #[error(transparent)]
    Door(#[from] DoorError),
    #[error(transparent)]
    Keys(#[from] KeyStoreError),
    #[error(transparent)]
    Inherit(#[from] InheritError),
    #[error("failed to listen on {address}: {error}; is another server running there? choose another with --listen")]
    Listen { address: SocketAddr, error: std::io::Error },
    #[error("failed to serve: {0}")]
    Serve(std::io::Error),
}

/// Serves until `shutdown` begins. `on_ready` is told where, once everything is open and connections are taken.
pub async fn run(config: Config, shutdown: Shutdown, on_ready: impl FnOnce(Listening)) -> Result<(), ServeError> {
    run_with(config, shutdown, None, |listening, _| on_ready(listening)).await
}

/// As [`run`], as one node of several: whoever gives the `shards` says, by the host, which of them are where.
///
/// `asked` is the wish to stop. What stops the parts comes behind it, when others have the shards.
pub async fn run_with(
    config: Config,
    asked: Shutdown,
    shards: Option<Shards>,
    on_ready: impl FnOnce(Listening, &Arc<Host>),
) -> Result<(), ServeError> {
    let shutdown = asked.behind();
    let refused = |address| move |error| ServeError::Listen { address, error };
    let mut inherited = Inherited::take()?;
    let listener = match inherited.at(config.listen).map_err(ServeError::Serve)? {
        Some(inherited) => inherited,
        None => TcpListener::bind(config.listen).await.map_err(refused(config.listen))?,
    };
    // A silent other side is found out by the system.
    let mut bind = |address| match inherited.at(address).map_err(ServeError::Serve)? {
        Some(inherited) => Ok(inherited),
        None => mqtt::bind(address).map_err(refused(address)),
    };
    let mqtt_tls = config.mqtt.tls_listen.map(&mut bind).transpose()?;
    let mqtt = config.mqtt.listen.map(&mut bind).transpose()?;
    let is_node = shards.is_some() || config.bus == BusKind::Nats;
    let node = is_node.then_some(config.node.listen).map(&mut bind).transpose()?;
    inherited.all_taken()?;
    let listening = Listening {
        http: listener.local_addr().map_err(ServeError::Serve)?,
        mqtt: mqtt.as_ref().map(TcpListener::local_addr).transpose().map_err(ServeError::Serve)?,
        mqtt_tls: mqtt_tls.as_ref().map(TcpListener::local_addr).transpose().map_err(ServeError::Serve)?,
        node: node.as_ref().map(TcpListener::local_addr).transpose().map_err(ServeError::Serve)?,
    };
    let opened = open_with(config, &shutdown, shards).await?;
    let settings = &opened.host.config;
    let mqtt_tls = mqtt_tls.map(|listener| Door::open_tls(listener, settings)).transpose()?;
    let doors = Doors { http: Door::open(listener, settings)?, mqtt, mqtt_tls, node };
    for (address, how) in [(listening.mqtt, "plain"), (listening.mqtt_tls, "under TLS")] {
        if let Some(address) = address {
            tracing::info!(%address, how, "MQTT listens");
        }
    }
    on_ready(listening, &opened.host);
    let (served, ()) = tokio::join!(serve(doors, &opened, &shutdown), hand_over(&opened, &asked, &shutdown));
    served.map_err(ServeError::Serve)?;
    if let Some(store) = opened.store {
        // What it holds is in the journal, or was not acknowledged: a cluster that is away must not hold up the stop.
        tokio::spawn(async move {
            tokio::time::sleep(STORE_WAIT).await;
            store.give_up();
        });
    }
    let left = match opened.joined {
        Some(joined) => joined.leave(STORE_WAIT).await,
        None => Ok(()),
    };
    opened.host.stop(opened.tasks).await;
    left.map_err(fleet::FleetError::from)?;
    tracing::info!("stopped: everything that was acknowledged is stored");
    Ok(())
}

/// Where the server takes connections.
#[derive(Clone, Copy, Debug)]
pub struct Listening {
    pub http: SocketAddr,
    /// Of MQTT, if it has a port of its own.
    pub mqtt: Option<SocketAddr>,
    pub mqtt_tls: Option<SocketAddr>,
    /// For other nodes, in a fleet.
    pub node: Option<SocketAddr>,
}

/// Where connections are taken.
struct Doors {
    http: Door,
    mqtt: Option<TcpListener>,
    mqtt_tls: Option<Door>,
    node: Option<TcpListener>,
}

/// A host that takes messages, and what it holds open.
pub struct Opened {
    pub host: Arc<Host>,
    pub auth: Arc<Auth>,
    pub admin_token: Arc<str>,
    tasks: Tasks,
    pub archive: Arc<Job>,
    /// How it moves into a cluster, if it can.
    migration: Option<Arc<Migration>>,
    /// Cassandra, if that is where messages are.
    store: Option<Arc<crate::cassandra::Store>>,
    /// Its membership, if it is one of a fleet.
    joined: Option<joined::Joined>,
    _folder: Option<DataFolder>,
}

/// Opens the data folder, replays what the tables lack, and begins to take events.
pub async fn open(config: Config, shutdown: &Shutdown) -> Result<Opened, ServeError> {
    open_with(config, shutdown, None).await
}

async fn open_with(config: Config, shutdown: &Shutdown, shards: Option<Shards>) -> Result<Opened, ServeError> {
    let given_token = config.admin_token.as_ref().map(|secret| secret.expose().to_owned());
    let metrics = Arc::new(Metrics::default());
    let counting = metrics.clone();
    let parts = move |config, lineage, epoch| Parts {
        config,
        clock: Clock::system(),
        metrics: counting,
        lineage,
        shards: shards.unwrap_or_else(|| Shards::all(epoch)),
    };
    match config.store {
        Store::Memory => {
            tracing::warn!("store = \"memory\": every message is lost when this process ends");
            let admin_token = given_token.unwrap_or_else(|| format!("{:032x}", rand::random::<u128>()));
            let auth = Arc::new(Auth::new(&config.auth, &admin_token, Clock::system().unix_ms()).await?);
            let laid = lay_archive(Arc::new(MemoryTables::new()), &config, &admin_token, &metrics, shutdown).await?;
            let host = Host::new(parts(config, Lineage(rand::random()), 1), laid.tables);
            let tasks = host.run(Arc::new(MemoryJournal::new()), shutdown);
            start_archive(&laid.job, &host);
            let (admin_token, archive) = (admin_token.into(), laid.job);
            Ok(Opened {
                host,
                auth,
                admin_token,
                tasks,
                archive,
                migration: None,
                store: None,
                joined: None,
                _folder: None,
            })
        }
        Store::Cassandra if config.bus == BusKind::Nats => fleet::open(config, metrics, shutdown).await,
        Store::Cassandra => cassandra::open(config, metrics, shutdown).await,
        Store::Embedded => {
            let folder = DataFolder::open(&config.data)?;
            moved::check(folder.path())?;
            let stored_token = folder.admin_token()?;
            let auth = Arc::new(Auth::new(&config.auth, &stored_token, Clock::system().unix_ms()).await?);
            let tables = Arc::new(TrackedTables::new(open_tables(&config, folder.path()).await?));
            let journal = open_journal(&config, folder.path())?;
            let laid = lay_archive(tables.clone(), &config, &stored_token, &metrics, shutdown).await?;
            let host = Host::new(parts(config, folder.lineage(), folder.starts()), laid.tables);
            let journal = replay(&host, journal).await?;
            let tasks = host.run(journal, shutdown);
            start_archive(&laid.job, &host);
            let migration = migrate::of_alone(&host, tables, &laid.job, &laid.blobs, &folder, &stored_token, shutdown);
            let admin_token = given_token.unwrap_or(stored_token).into();
            Ok(Opened {
                host,
                auth,
                admin_token,
                tasks,
                archive: laid.job,
                migration: Some(migration),
                store: None,
                joined: None,
                _folder: Some(folder),
            })
        }
    }
}

/// Tables with the archive under them, and what moves entries into it.
struct Laid {
    tables: Arc<dyn Tables>,
    job: Arc<Job>,
    blobs: Blobs,
}

/// `secret` is what only this installation knows.
async fn lay_archive(
    hot: Arc<dyn Tables>,
    config: &Config,
    secret: &str,
    metrics: &Arc<Metrics>,
    shutdown: &Shutdown,
) -> Result<Laid, ServeError> {
    let blobs = blobs::open(config, secret).await?;
    let cache_bytes = usize::try_from(config.cache.archive_bytes).unwrap_or(usize::MAX);
    let archive = Arc::new(Archive::new(blobs.clone(), cache_bytes, metrics.clone()));
    let job = Job::new(hot.clone(), archive.clone(), config.archive.after_months, shutdown.clone());
    Ok(Laid { tables: Arc::new(ArchivedTables::new(hot, archive)), job, blobs })
}

/// On a fleet the nodes share out what is to be archived by the shards that they host.
fn start_archive(job: &Arc<Job>, host: &Arc<Host>) {
    let host = host.clone();
    job.start(move |shard| host.shards.epoch(shard));
}

async fn open_tables(config: &Config, folder: &Path) -> Result<Arc<dyn Tables>, TablesError> {
    let options = EmbeddedOptions { path: folder.join("tables"), cache_bytes: config.tables.cache_bytes };
    Ok(Arc::new(EmbeddedTables::open(options).await?))
}

fn open_journal(config: &Config, folder: &Path) -> Result<Recovered, OpenError> {
    let options = FileJournalOptions { segment_bytes: config.journal.segment_bytes, ..FileJournalOptions::default() };
    let options = FileJournalOptions {
        max_commit_bytes: options
            .max_commit_bytes
            .min(usize::try_from(options.segment_bytes / 4).unwrap_or(usize::MAX)),
        ..options
    };
    FileJournal::open(&folder.join("journal"), options)
}

/// Brings the tables up to the journal's end, then lets it take commits.
async fn replay(host: &Arc<Host>, journal: Recovered) -> Result<Arc<dyn Journal>, ServeError> {
    let began = std::time::Instant::now();
    let mut after = host.flushed().await?;
    let first = after;
    while after < journal.last() {
        let commits = journal.read(after, REPLAY_BYTES).map_err(OpenError::from)?;
        after = commits.last().map_or(journal.last(), |(position, _)| *position);
        host.replay(commits).await?;
    }
    let flushed = host.end_replay().await?;
    if after > first {
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(commits = after.0 - first.0, took_ms, "replayed the journal");
    }
    Ok(Arc::new(journal.start(flushed.max(Position::NONE))?))
}

/// When the stop is asked for: lets others have what this node hosts, if there are others, and begins the stop then. Calls and
/// sessions are served meanwhile: those of what has left, by a relay.
async fn hand_over(opened: &Opened, asked: &Shutdown, shutdown: &Shutdown) {
    let handed_over = async {
        asked.begun().await;
        if let Some(joined) = &opened.joined {
            joined.drain(Duration::from_millis(opened.host.config.drain_ms * 2)).await;
        }
    };
    tokio::select! {
        () = handed_over => {}
        () = asked.hurried() => {}
        // It had to stop by itself.
        () = shutdown.begun() => {}
    }
    shutdown.begin();
}

/// Takes calls and sessions until the stop has begun, and drains the sessions then.
async fn serve(doors: Doors, opened: &Opened, shutdown: &Shutdown) -> std::io::Result<()> {
    let relay = Arc::new(relay::Relay::new(opened.auth.relay_key()));
    let edge = Edge::new(EdgeParts {
        host: opened.host.clone(),
        auth: opened.auth.clone(),
        admin_token: opened.admin_token.clone(),
        archive: opened.archive.clone(),
        migration: opened.migration.clone(),
        fleet: opened.joined.as_ref().map(|joined| joined.member.clone()),
        admission: Arc::new(Admission::default()),
        mqtt: Arc::default(),
        relay: relay.clone(),
        session_rules: Arc::new(Edge::session_rules(&opened.host)),
        shutdown: shutdown.clone(),
    });
    if let Some(listener) = doors.mqtt {
        shutdown.spawn(mqtt::serve(listener, edge.clone()));
    }
    if let Some(door) = doors.mqtt_tls {
        shutdown.spawn(mqtt::serve_tls(door, edge.clone()));
    }
    if let Some(listener) = doors.node {
        shutdown.spawn(relay::door::serve(listener, edge.clone()));
        shutdown.spawn(relay::watch(edge.clone()));
    }
    let too_late = async {
        shutdown.begun().await;
        at_most(Duration::from_millis(opened.host.config.drain_ms), shutdown).await;
        tokio::time::sleep(CLOSE_WAIT).await;
    };
    let drained = async {
        shutdown.begun().await;
        drain(&opened.host, &relay, shutdown).await;
    };
    // The server ends when no call is under way; sessions are not calls, and are drained apart. A call that hangs is left.
    let calls = async {
        tokio::select! {
            served = http::server::serve(doors.http, edge) => served,
            () = too_late => Ok(()),
        }
    };
    let (served, ()) = tokio::join!(calls, drained);
    served
}

/// Tells every session to move, within the time that a stop may take, and closes those that are still there then.
async fn drain(host: &Arc<Host>, relay: &relay::Relay, shutdown: &Shutdown) {
    let after_ms = host.config.drain_ms / 2;
    let frame = bytes::Bytes::from(ServerFrame::Move(Move { after_ms }).to_json());
    host.for_each_session(|outbox| outbox.push(frame.clone(), Class::Durable));
    tokio::select! {
        ((), ()) = async { tokio::join!(host.sessions_ended(), relay.connections_ended()) } => {}
        () = at_most(Duration::from_millis(after_ms), shutdown) => {}
    }
    host.for_each_session(|outbox| outbox.close(CloseCode::Draining));
    // Their tasks end with a word to the client, or without where nobody reads.
    let _ = tokio::time::timeout(CLOSE_WAIT, shutdown.finished()).await;
}

/// Waits so long, unless somebody is in a hurry.
async fn at_most(wait: Duration, shutdown: &Shutdown) {
    let _ = tokio::time::timeout(wait, shutdown.hurried()).await;
}
