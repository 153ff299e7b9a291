//! Opening: what the journal holds beyond the tables is replayed and flushed; only then the host takes anything new.
//!
//! A replay does what publishing did, without sessions: it may run twice, and over rows that a crash left half written.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64},
    },
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, ShardId};
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use crate::{
    clock::Clock,
    config::Config,
    conversation::decide::Rules,
    data_folder::Lineage,
    home::presence::Presence,
    journal::{
        Journal, Position,
        commit::{Appended, Committer, CommitterOptions, RunsAs},
        framing,
    },
    maps::HashSet,
    metrics::Metrics,
    session::outbox::Wakes,
    shutdown::Shutdown,
    tables::{Freshness, Tables, TablesError},
};

use super::{
    Dormant, Host, Running, Unflushed, event::Event, load::LoadError, publish::Audience, registry::Registry,
    shards::Shards,
};

/// Conversations that are loaded at once before their events are replayed.
const LOADED_AT_ONCE: usize = 256;

#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Tables(#[from] TablesError),
    #[error(transparent)]
    Load(#[from] LoadError),
    #[error("commit {position} of the journal cannot be read: {what}")]
    Commit { position: Position, what: String },
}

/// What a host is made of, beside the tables.
pub struct Parts {
    pub config: Config,
    pub clock: Clock,
    pub metrics: Arc<Metrics>,
    pub lineage: Lineage,
    /// Which shards this node hosts.
    pub shards: Shards,
}

impl Host {
    /// A host that reads `tables` and takes nothing yet.
    pub fn new(parts: Parts, tables: Arc<dyn Tables>) -> Arc<Self> {
        let rules = Rules { limits: parts.config.limits.wire(), notify_blocked: parts.config.blocking.notify_sender };
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            peers: OnceLock::new(),
            pending: super::pending::Pending::default(),
            taking: OnceLock::new(),
            #[cfg(feature = "next-format")]
            next: super::next::Next::default(),
            block_versions: AtomicU64::new(0),
            flushing: tokio::sync::Mutex::default(),
            rules,
            config: parts.config,
            clock: parts.clock,
            metrics: parts.metrics,
            lineage: parts.lineage,
            shards: parts.shards,
            tables,
            running: OnceLock::new(),
            conversations: Registry::default(),
            homes: Registry::default(),
            dormant: Dormant::default(),
            unflushed: Mutex::new(Unflushed::default()),
            publishing: Mutex::default(),
            receipts: crate::home::receipts::Pending::default(),
            shown_receipts: crate::home::receipts::Shown::default(),
            presence: Presence::default(),
            live: TaskTracker::new(),
            sweep: AtomicU64::new(1),
            is_read_only: AtomicBool::new(false),
            failed: OnceLock::new(),
        })
    }

    /// Applies what commits have of the shards that are here and the tables may not have. To be followed by `end_replay`.
    pub async fn replay(&self, commits: Vec<(Position, Bytes)>) -> Result<(), ReplayError> {
        for (position, commit) in commits {
            let bytes = commit.len();
            let events = events_of((position, commit))?;
            self.load_for(&events).await?;
            for event in events.into_iter().filter(|event| self.shards.is_here(event.shard())) {
                match event {
                    Event::Conversation(event) => {
                        self.note_taken(&event);
                        let conversation = self.conversation(event.conversation).await?;
                        let found = self.commit_event(&conversation, &event);
                        self.publish(&conversation, &event, found, Audience::Replay, &mut Wakes::default());
                    }
                    Event::Home(event) if self.writes(event.user.shard()) => self.change(&event, Audience::Replay),
                    Event::Home(_) => {}
                }
            }
            let mut unflushed = self.unflushed.lock();
            unflushed.position = position;
            unflushed.bytes += bytes;
        }
        Ok(())
    }

    /// Reads the conversations of a commit side by side.
    async fn load_for(&self, events: &[Event]) -> Result<(), LoadError> {
        let ids: HashSet<ConversationId> = events
            .iter()
            .filter_map(|event| match event {
                Event::Conversation(event) => Some(event.conversation),
                Event::Home(_) => None,
            })
            .filter(|id| self.shards.is_here(id.shard()) && self.conversations.get(id).is_none())
            .collect();
        let ids: Vec<_> = ids.into_iter().collect();
        for ids in ids.chunks(LOADED_AT_ONCE) {
            futures_util::future::try_join_all(ids.iter().map(|id| self.conversation(*id))).await?;
        }
        Ok(())
    }

    /// Writes what was replayed into the tables. Tells up to which position they have everything now.
    pub async fn end_replay(&self) -> Result<Position, ReplayError> {
        // Also if there was nothing to replay: a first flush without a commit must not set the mark back.
        let flushed = self.tables.flushed().await?;
        {
            let mut unflushed = self.unflushed.lock();
            unflushed.position = unflushed.position.max(flushed);
        }
        self.tell_taken().await?;
        self.flush(Freshness::Unknown).await?;
        Ok(self.tables.flushed().await?)
    }

    /// Begins to take events. The tasks that this starts end when the committer is stopped, but the flusher with `shutdown`.
    pub fn run(self: &Arc<Self>, journal: Arc<dyn Journal>, shutdown: &Shutdown) -> Tasks {
        self.run_as(RunsAs::Thread, journal, shutdown)
    }

    /// The same, where committer and flusher may be tasks.
    pub fn run_as(self: &Arc<Self>, runs_as: RunsAs, journal: Arc<dyn Journal>, shutdown: &Shutdown) -> Tasks {
        let metrics = self.metrics.clone();
        let on_append = move |appended: &Appended| {
            metrics.commit_duration.observe(appended.took);
            metrics.commit_events.count(appended.items as u64);
            metrics.commit_bytes.inc_by(appended.bytes as u64);
        };
        let options = CommitterOptions {
            pace: journal.pace(),
            backlog_bytes: usize::try_from(self.config.journal.backlog_bytes).unwrap_or(usize::MAX),
            on_append: Some(Box::new(on_append)),
            runs_as,
            ..CommitterOptions::default()
        };
        let (committer, outcomes) = Committer::start(journal.clone(), options, Handle::current());
        assert!(self.running.set(Running { journal, committer }).is_ok(), "a host runs once");
        let publisher = tokio::spawn(self.clone().publish_all(outcomes));
        let flusher = self.flush_all(runs_as, &Handle::current(), shutdown.clone());
        let (host, ticking) = (self.clone(), shutdown.clone());
        shutdown.spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                tokio::select! {
                    _ = ticks.tick() => host.publish_receipts().await,
                    () = ticking.begun() => return,
                }
            }
        });
        Tasks { publisher, flusher }
    }

    /// Commits, publishes and flushes what is under way, and confirms the journal's end.
    pub async fn stop(&self, tasks: Tasks) {
        if let Some(running) = self.running.get() {
            running.committer.stop().await;
        }
        // A task that has panicked has said so; what is durable is replayed at the next start.
        let _ = tasks.publisher.await;
        match tasks.flusher {
            Flusher::Thread(thread) => drop(tokio::task::spawn_blocking(|| thread.join()).await),
            Flusher::Task(task) => drop(task.await),
        }
        if self.failure().is_none() {
            let _ = self.flush_or_fail().await;
        }
    }
}

fn events_of((position, commit): (Position, Bytes)) -> Result<Vec<Event>, ReplayError> {
    framing::events(commit)
        .map(|event| event.map_err(|error| error.to_string()))
        .map(|event| event.and_then(|event| Event::decode(&event).map_err(|error| error.to_string())))
        .collect::<Result<_, _>>()
        .map_err(|what| ReplayError::Commit { position, what })
}

/// Of the homes in which shards a commit has events of their own.
pub fn homes_in(commit: (Position, Bytes)) -> Result<HashSet<ShardId>, ReplayError> {
    let events = events_of(commit)?;
    Ok(events.iter().filter(|event| matches!(event, Event::Home(_))).map(Event::shard).collect())
}

/// What runs beside the sessions.
pub struct Tasks {
    publisher: tokio::task::JoinHandle<()>,
    flusher: Flusher,
}

pub(super) enum Flusher {
    Thread(std::thread::JoinHandle<()>),
    Task(tokio::task::JoinHandle<()>),
}
