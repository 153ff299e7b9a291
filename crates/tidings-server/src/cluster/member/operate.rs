//! What a person asks of the fleet by one of its nodes: that another drains, or is a member no more.
//!
//! Both change the view only. Who is to drain reads there that it is, hands over and leaves by itself; who was removed is
//! dead, and its shards are taken from it.

use std::time::Duration;

use super::Member;
use crate::{
    cluster::{
        store::ClusterError,
        suspicion::STILL,
        view::{Node, NodeState, View},
    },
    node::NodeId,
};

/// How long the store may take until the person is told that it does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, thiserror::Error)]
pub enum OperateError {
    #[error("the fleet has no node {0:?}; its nodes are {1}")]
    Unknown(String, String),
    #[error("{0} is the only node that takes shards: start another one first, or stop this one with SIGTERM")]
    NobodyElse(String),
    #[error("{0} is the node that was asked: drain it, or ask another one to remove it")]
    Itself(String),
    #[error(
        "{name} has been silent for {quiet_ms} ms only: drain it; or, if you know that it must go at once, remove it with force"
    )]
    Alive { name: String, quiet_ms: u128 },
    #[error(transparent)]
    Store(#[from] ClusterError),
    #[error("the store does not answer; ask again what came of it")]
    Late,
}

impl Member {
    /// `which`, by name or id, is to hand over what it hosts and to leave. Asking again changes nothing.
    pub async fn drain_other(&self, which: &str) -> Result<NodeId, OperateError> {
        self.change(which, |view, node| {
            if node.state == NodeState::Draining {
                return Ok(None);
            }
            let takes = |other: &Node| other.state == NodeState::Live && other.id != node.id;
            if !view.nodes().iter().any(takes) {
                return Err(OperateError::NobodyElse(node.name.clone()));
            }
            Ok(view.draining(node.id).ok())
        })
        .await
    }

    /// `which` is dead, as a person says: however many were removed lately. One that lives is only removed with `force`;
    /// it finds out, and stops.
    pub async fn remove_other(&self, which: &str, force: bool) -> Result<NodeId, OperateError> {
        self.change(which, |view, node| {
            if node.id == self.id() {
                return Err(OperateError::Itself(node.name.clone()));
            }
            let quiet = self.known().quiet.get(&node.id).copied().unwrap_or_default();
            if quiet < STILL && !force {
                return Err(OperateError::Alive { name: node.name.clone(), quiet_ms: quiet.as_millis() });
            }
            Ok(view.left(node.id).ok())
        })
        .await
    }

    /// Changes the view as `change` says of it and the node; `None`: it is so already.
    async fn change(
        &self,
        which: &str,
        change: impl Fn(&View, &Node) -> Result<Option<View>, OperateError>,
    ) -> Result<NodeId, OperateError> {
        let changed = async {
            loop {
                let view = self.shared.store.view().await?;
                let node = find(&view, which)?;
                let Some(next) = change(&view, node)? else { return Ok(node.id) };
                if self.shared.store.swap_view(view.epoch, &next).await? {
                    tracing::warn!(node = %node.id, name = node.name, epoch = next.epoch, "a person changed the view");
                    let id = node.id;
                    self.shared.note(next);
                    return Ok(id);
                }
            }
        };
        tokio::time::timeout(PATIENCE, changed).await.unwrap_or(Err(OperateError::Late))
    }
}

/// By id first: a node could be named like another's id.
fn find<'a>(view: &'a View, which: &str) -> Result<&'a Node, OperateError> {
    let of_id = view.nodes().iter().find(|node| node.id.to_string() == which);
    let named = || view.nodes().iter().find(|node| node.name == which);
    of_id.or_else(named).ok_or_else(|| {
        let names: Vec<_> = view.nodes().iter().map(|node| node.name.as_str()).collect();
        OperateError::Unknown(which.to_owned(), names.join(", "))
    })
}
