//! A node's place in its fleet: its membership, and what membership asks of the actors. Of the store it knows the traits only.

use std::{
    collections::{HashMap, HashSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tidings_proto::{SHARDS, ShardId};
use tokio::{net::TcpStream, time::Instant};

use crate::{
    cluster::{
        hosting::{Hosting, HostingError},
        member::{Drained, Known, Member, Membership, operate::OperateError},
        store::{ClusterError, ClusterStore, ShardRow},
        suspicion::STILL,
        view::{Node, NodeState},
    },
    host::{
        Host,
        open::{Parts, homes_in},
        peers::wire::{MovedTo, Notice},
        shards::{Hints, Shards, Slot},
    },
    journal::{Position, SharedJournals, unflushed::Unflushed},
    metrics::{Metrics, gauge},
    node::NodeId,
    shutdown::Shutdown,
};

/// How often it is looked whether this node can go on.
const LOOK: Duration = Duration::from_millis(500);

/// How long a silent node's machine has to say that nobody listens there.
const KNOCK: Duration = Duration::from_millis(200);

/// Up to so much of a dead node's journal is looked through for the shards that it concerns.
const LOOKED_THROUGH_BYTES: usize = 2 << 20;

/// Why a node cannot go on.
#[derive(Debug, thiserror::Error)]
#[error("{0}; what was acknowledged is stored, and this process begins anew when it is started again")]
pub struct Ended(String);

/// What a node of a fleet has beside its host.
pub struct Joined {
    pub member: Arc<Member>,
    /// Why the node had to stop.
    ended: Arc<parking_lot::Mutex<Option<String>>>,
    /// Others host everything, and this node takes nothing more.
    is_empty: Arc<AtomicBool>,
}

impl Joined {
    /// Joins, and begins to host.
    pub async fn start(
        cluster: Arc<dyn ClusterStore>,
        me: Node,
        host: &Arc<Host>,
        journals: Arc<dyn SharedJournals>,
        shutdown: &Shutdown,
    ) -> Result<Self, ClusterError> {
        let hosting = Arc::new(HostedShards { host: host.clone(), journals });
        let member = Member::start(cluster, me, hosting, host.clock.clone()).await?;
        let joined = Self { member: Arc::new(member), ended: Arc::default(), is_empty: Arc::default() };
        joined.watch(host, shutdown);
        Ok(joined)
    }

    pub fn known(&self) -> Known {
        self.member.known()
    }

    /// Has the member look when somebody has heard that shards are elsewhere, and stops the process when the node cannot go on.
    fn watch(&self, host: &Arc<Host>, shutdown: &Shutdown) {
        let (host, member) = (Arc::downgrade(host), self.member.clone());
        let (ended, is_empty, shutdown) = (self.ended.clone(), self.is_empty.clone(), shutdown.clone());
        tokio::spawn(async move {
            let mut is_draining = false;
            while let Some(host) = host.upgrade() {
                let failure = host.failure().map(str::to_owned);
                let why = match (failure, member.known().membership) {
                    (Some(failure), _) => Some(failure),
                    // It was about to leave, and somebody else was quicker: nothing depended on it.
                    (None, Membership::Removed) if is_empty.load(Ordering::Relaxed) => return,
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
                show(&host.metrics, &member.known(), member.id());
                if let Some(why) = why {
                    tracing::error!(why, "this node stops");
                    *ended.lock() = Some(why);
                    return shutdown.begin();
                }
                tokio::select! {
                    () = host.shards.hinted.notified() => member.hint(host.shards.take_hints()),
                    () = tokio::time::sleep(LOOK) => {}
                }
            }
        });
    }

    /// Hands everything over, within this time. Sessions of what has left are closed, to come back elsewhere.
    pub async fn drain(&self, within: Duration) {
        match tokio::time::timeout(within, self.member.drain()).await {
            Ok(Ok(Drained::Empty)) => {
                self.is_empty.store(true, Ordering::Relaxed);
                tracing::info!("everything is hosted by others");
            }
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
            self.member.hint(Hints::all());
            let _ = tokio::time::timeout(LOOK, known.changed()).await;
        }
    }

    /// Leaves the fleet. An error if the node had to stop.
    pub async fn leave(&self, within: Duration) -> Result<(), Ended> {
        if let Some(why) = self.ended.lock().take() {
            return Err(Ended(why));
        }
        if !matches!(tokio::time::timeout(within, self.member.leave()).await, Ok(Ok(()))) {
            tracing::warn!("this node could not leave the fleet by itself: the others will find it gone");
        }
        Ok(())
    }
}

fn show(metrics: &Metrics, known: &Known, me: NodeId) {
    let count = |count: usize| gauge(count as u64);
    metrics.fleet_nodes.set(count(known.view.nodes().len()));
    metrics.shards_hosted.set(count(known.round.hosted.get(&me).copied().unwrap_or_default()));
    metrics.shards_moving.set(count(known.round.moving));
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
    journals: Arc<dyn SharedJournals>,
}

fn failed(error: impl std::fmt::Display) -> HostingError {
    HostingError::new(&error)
}

impl HostedShards {
    /// A host that replays for these shards and serves nobody.
    fn scratch(&self, shards: &[(ShardId, u64)]) -> Arc<Host> {
        let parts = Parts {
            config: self.host.config.clone(),
            clock: self.host.clock.clone(),
            metrics: Arc::new(Metrics::default()),
            lineage: self.host.lineage,
            shards: Shards::of_fleet(),
        };
        let scratch = Host::new(parts, self.host.shared_tables());
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
        let mut unflushed = Unflushed::of(&*self.journals, dead).await.map_err(failed)?;
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
        let mut unflushed = Unflushed::of(&*self.journals, dead).await.map_err(failed)?;
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

    fn sessions(&self) -> HashMap<ShardId, usize> {
        self.host.sessions_by_shard()
    }

    fn view_changed(&self) {
        self.host.tell_nodes(Notice::ViewChanged);
    }

    fn moved(&self, rows: &[(ShardId, ShardRow)]) {
        self.host.tell_nodes(Notice::ShardsMoved { to: MovedTo::of(rows) });
    }

    async fn is_shut(&self, node: &Node) -> bool {
        if node.door.is_empty() {
            return false;
        }
        let knocked = tokio::time::timeout(KNOCK, TcpStream::connect(&node.door)).await;
        matches!(knocked, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    async fn retire(&self, dead: NodeId) -> Result<(), HostingError> {
        self.journals.retire(dead).await.map_err(failed)
    }
}
