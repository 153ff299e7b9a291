//! Every 400 ms: says that this node lives, reads the view and the beats of the others, and removes who is taken for dead.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::{MissedTickBehavior, timeout};

use super::Shared;
use crate::{
    cluster::{
        store::ClusterError,
        suspicion::{STILL, STILL_AND_SHUT, Suspicion},
        view::{View, ViewError},
    },
    node::NodeId,
};

pub(super) const FIRST_BEAT: u64 = 1;

const BEAT_EVERY: Duration = Duration::from_millis(400);

/// How long one look may take. Then it has failed, and the next begins.
const PATIENCE: Duration = Duration::from_secs(2);

/// A node whose last look is longer ago was itself away: the silence of others may be its own.
const WAS_AWAY: Duration = Duration::from_millis(2_500);

/// How often the log repeats that nobody more may be removed.
const SAY_EVERY: Duration = Duration::from_secs(60);

struct Watch {
    shared: Arc<Shared>,
    suspicion: Suspicion,
    counter: u64,
    /// When the last look ended that succeeded.
    last: Option<Instant>,
    said: Option<Instant>,
}

pub(super) async fn watch(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut watch = Watch { shared, suspicion: Suspicion::default(), counter: FIRST_BEAT, last: None, said: None };
    while watch.shared.is_in() {
        ticks.tick().await;
        watch.counter += 1;
        match timeout(PATIENCE, watch.look()).await {
            Ok(Ok((view, beats))) => watch.judge(view, &beats).await,
            Ok(Err(error)) => tracing::warn!(%error, "this node could not say that it lives"),
            Err(_) => tracing::warn!("this node could not say in time that it lives"),
        }
    }
}

/// As tests set it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Watch {
    /// The own beat first: who cannot write must not accuse.
    async fn look(&self) -> Result<(View, HashMap<NodeId, u64>), ClusterError> {
        let store = &self.shared.store;
        store.beat(self.shared.me.id, self.counter).await?;
        tokio::try_join!(store.view(), store.beats())
    }

    async fn judge(&mut self, view: View, beats: &HashMap<NodeId, u64>) {
        let now = now();
        let was_here = self.last.is_some_and(|last| now.duration_since(last) <= WAS_AWAY);
        self.last = Some(now);
        let mut counters = beats.clone();
        // One whose beat is not there stands still.
        view.nodes().iter().for_each(|node| _ = counters.entry(node.id).or_insert(0));
        self.suspicion.look(now, &counters, was_here);
        let quiet = self.suspicion.quiet(now).collect();
        self.shared.known.send_modify(|known| known.quiet = quiet);
        let me = self.shared.me.id;
        let mut dead = Vec::new();
        for (node, quiet) in self.suspicion.quiet(now).filter(|(node, quiet)| *node != me && *quiet >= STILL_AND_SHUT) {
            let Some(named) = view.node(node) else { continue };
            if quiet >= STILL || self.shared.hosting.is_shut(named).await {
                dead.push(node);
            }
        }
        self.shared.note(view);
        if !dead.is_empty() && self.shared.is_in() {
            // Given up when it takes long: this node has to go on beating.
            let _ = timeout(PATIENCE, self.remove(dead)).await;
        }
    }

    async fn remove(&mut self, dead: Vec<NodeId>) {
        for dead in dead {
            let view = self.shared.known.borrow().view.clone();
            let now_ms = self.shared.clock.unix_ms();
            match view.removed(dead, now_ms) {
                Ok(next) => match self.shared.store.swap_view(view.epoch, &next).await {
                    Ok(true) => {
                        tracing::warn!(node = %dead, "it has ended, or said nothing for seconds: removed from the view");
                        self.shared.note(next);
                        self.shared.hosting.view_changed();
                    }
                    // Somebody else has changed it: the next look tells how.
                    Ok(false) => return,
                    Err(error) => return tracing::warn!(%error, node = %dead, "a dead node could not be removed"),
                },
                Err(ViewError::Unknown) => {}
                Err(error @ ViewError::TooManyRemoved { .. }) => {
                    if self.said.is_none_or(|said| now().duration_since(said) >= SAY_EVERY) {
                        self.said = Some(now());
                        tracing::error!(%error, node = %dead, "a node that seems dead stays in the view");
                    }
                    return;
                }
            }
        }
    }
}
