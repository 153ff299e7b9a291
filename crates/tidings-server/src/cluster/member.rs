//! A node's membership in its fleet: it joins the view, says each second that it lives, hosts what it should, and leaves.
//!
//! Two tasks. `watch` beats, reads the view and takes the silent for dead; it waits for no shard, so that a long flush
//! makes nobody look dead. `rows` reads who hosts what and moves shards, one step behind the other: `take` gets some,
//! `give` lets some go. `operate` is what a person asks for. What a shard holds is not known here (`hosting`).

mod give;
pub mod operate;
mod rows;
mod take;
#[cfg(test)]
mod tests;
mod watch;

use std::{collections::HashMap, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, watch as channel},
    task::AbortHandle,
};

use super::{
    hosting::Hosting,
    store::{ClusterError, ClusterStore},
    view::{Node, NodeState, Standing, View},
};
use crate::{clock::Clock, host::shards::Hints, node::NodeId};

/// How this node stands in its fleet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Membership {
    In(NodeState),
    /// It left by itself.
    Left,
    /// Others took it for dead, or a person removed it. The process must stop serving; it may begin again under a new id.
    Removed,
    /// A later run has its name. The process must stop serving, and not come back.
    Replaced,
}

/// What a node knows of its fleet.
#[derive(Clone, Debug)]
pub struct Known {
    pub membership: Membership,
    pub view: Arc<View>,
    /// For how long the beat of each node has stood still, also of those that are gone and whose journals are not given up.
    pub quiet: HashMap<NodeId, Duration>,
    pub round: Round,
}

/// What the rows said when they were read last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Round {
    /// Of the view that was read after them. 0: nothing was read yet.
    pub view_epoch: u64,
    /// How many shards name each host.
    pub hosted: HashMap<NodeId, usize>,
    /// How many shards the view wishes each node to have.
    pub wished: HashMap<NodeId, usize>,
    /// How many shards are not where the view wishes them to be.
    pub moving: usize,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Others host everything.
    Empty,
    /// There is no other node that could. The rows go on naming this one; whoever comes next seals its journal.
    NobodyElse,
    /// It is not a member any more.
    Ended,
}

/// The handle. When it is dropped, both tasks end at once, as if the process had died.
pub struct Member {
    shared: Arc<Shared>,
    tasks: [AbortHandle; 2],
}

struct Shared {
    me: Node,
    store: Arc<dyn ClusterStore>,
    hosting: Arc<dyn Hosting>,
    clock: Clock,
    /// Rows may have changed, or what the view wishes.
    hint: Notify,
    /// What of that was heard.
    hints: Mutex<Hints>,
    known: channel::Sender<Known>,
}

impl Member {
    /// Joins, instead of an earlier run of the same name, and begins to host. `me.id` was never used before; the journal of
    /// that id exists and takes events.
    pub async fn start(
        store: Arc<dyn ClusterStore>,
        me: Node,
        hosting: Arc<dyn Hosting>,
        clock: Clock,
    ) -> Result<Self, ClusterError> {
        // Before it joins: what stands still when it dies must be there first.
        store.beat(me.id, watch::FIRST_BEAT).await?;
        let view = join(&*store, &me).await?;
        tracing::info!(node = %me.id, name = me.name, epoch = view.epoch, nodes = view.nodes().len(), "joined the fleet");
        let membership = Membership::In(me.state);
        let known =
            Known { membership, view: Arc::new(View::default()), quiet: HashMap::new(), round: Round::default() };
        let known = channel::Sender::new(known);
        let shared =
            Arc::new(Shared { me, store, hosting, clock, hint: Notify::new(), hints: Mutex::default(), known });
        shared.note(view);
        let watching = tokio::spawn(watch::watch(shared.clone())).abort_handle();
        let working = tokio::spawn(rows::work(shared.clone())).abort_handle();
        Ok(Self { shared, tasks: [watching, working] })
    }

    pub fn id(&self) -> NodeId {
        self.shared.me.id
    }

    pub fn known(&self) -> Known {
        self.shared.known.borrow().clone()
    }

    /// Whether it lets others have what it hosts.
    pub fn is_draining(&self) -> bool {
        self.shared.known.borrow().membership == Membership::In(NodeState::Draining)
    }

    /// To wait for changes of what is known.
    pub fn subscribe(&self) -> channel::Receiver<Known> {
        self.shared.known.subscribe()
    }

    /// Ready when this node is not a member any more, and says why. Then the process must stop serving.
    pub async fn ended(&self) -> Membership {
        let mut known = self.subscribe();
        let ended = known.wait_for(|known| !matches!(known.membership, Membership::In(_))).await;
        ended.expect("the sender is held here").membership
    }

    /// Rows were moved, or may have been: looks at them now instead of in a while.
    pub fn hint(&self, hints: Hints) {
        self.shared.hints.lock().add(hints);
        self.shared.hint.notify_one();
    }

    /// Gives all shards to others. Returns when they have them, which may take as long as the store takes.
    pub async fn drain(&self) -> Result<Drained, ClusterError> {
        let is_draining = |view: &View| matches!(self.shared.standing(view), Standing::In(NodeState::Draining));
        let view = self.shared.change_view(is_draining, |view| view.draining(self.id()).ok()).await?;
        let epoch = view.epoch;
        self.shared.hint.notify_one();
        let mut known = self.subscribe();
        let drained = |known: &Known| {
            if !matches!(known.membership, Membership::In(_)) {
                return Some(Drained::Ended);
            }
            if known.round.view_epoch < epoch {
                return None;
            }
            if !known.round.hosted.contains_key(&self.id()) {
                return Some(Drained::Empty);
            }
            let is_alone = !known.view.nodes().iter().any(|node| node.state == NodeState::Live);
            is_alone.then_some(Drained::NobodyElse)
        };
        let ended = known.wait_for(|known| drained(known).is_some()).await.expect("the sender is held here");
        Ok(drained(&ended).expect("it was waited for"))
    }

    /// Leaves the view. What rows still name this node is sealed and taken by others.
    pub async fn leave(&self) -> Result<(), ClusterError> {
        let is_out = |view: &View| !matches!(self.shared.standing(view), Standing::In(_));
        self.shared.end(Membership::Left);
        self.shared.change_view(is_out, |view| view.left(self.id()).ok()).await?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// Puts `me` into the view.
async fn join(store: &dyn ClusterStore, me: &Node) -> Result<View, ClusterError> {
    loop {
        let view = store.view().await?;
        if let Standing::In(_) = view.standing(me.id, &me.name) {
            return Ok(view);
        }
        let next = view.joined(me.clone())?;
        if store.swap_view(view.epoch, &next).await? {
            return Ok(next);
        }
    }
}

impl Shared {
    fn standing(&self, view: &View) -> Standing {
        view.standing(self.me.id, &self.me.name)
    }

    fn is_in(&self) -> bool {
        matches!(self.known.borrow().membership, Membership::In(_))
    }

    /// Ends membership, if it has not ended yet.
    fn end(&self, how: Membership) {
        self.known.send_if_modified(|known| {
            let is_in = matches!(known.membership, Membership::In(_));
            if is_in {
                known.membership = how;
            }
            is_in
        });
    }

    /// A view was read. An older one than is known changes nothing.
    fn note(&self, view: View) {
        let is_new = self.known.send_if_modified(|known| {
            let is_new = view.epoch > known.view.epoch;
            if is_new {
                let now = match self.standing(&view) {
                    Standing::In(state) => Membership::In(state),
                    Standing::Out => Membership::Removed,
                    Standing::Replaced => Membership::Replaced,
                };
                if matches!(known.membership, Membership::In(_)) {
                    if !matches!(now, Membership::In(_)) {
                        tracing::error!(node = %self.me.id, name = self.me.name, standing = ?now, "not in the view any more");
                    }
                    known.membership = now;
                }
                // Inside, so that two who note views tell of them in their order.
                self.hosting.nodes(view.nodes().iter().cloned().map(Arc::new).collect());
                self.hosting.may_write(view.format());
                known.view = Arc::new(view);
            }
            is_new
        });
        if is_new {
            self.hint.notify_one();
        }
    }

    /// Changes the view until `is_so`, or until there is nothing to change.
    async fn change_view(
        &self,
        is_so: impl Fn(&View) -> bool,
        change: impl Fn(&View) -> Option<View>,
    ) -> Result<View, ClusterError> {
        loop {
            let view = self.store.view().await?;
            let next = if is_so(&view) { None } else { change(&view) };
            let Some(next) = next else {
                self.note(view.clone());
                return Ok(view);
            };
            if self.store.swap_view(view.epoch, &next).await? {
                self.note(next.clone());
                self.hosting.view_changed();
                return Ok(next);
            }
        }
    }
}
