//! The view: which nodes there are and in which state, agreed on by compare-and-set of one row.
//!
//! The view is a wish. It says who should host a shard (`placement`); who does is said by the shard's own row. So a view
//! that is late or wrong costs time and no message.

use std::collections::HashSet;

use minicbor::{Decode, Encode};

use super::{
    format::FORMAT,
    placement::{Candidate, Placement},
};
use crate::node::NodeId;

/// Over this time, at most `max(1, a third)` of the nodes may be removed without a person who says so.
pub const REMOVAL_WINDOW_MS: u64 = 10 * 60 * 1_000;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Node {
    #[n(0)]
    pub id: NodeId,
    /// Stays the same over restarts. No two nodes have the same.
    #[n(1)]
    pub name: String,
    /// Where clients reach it, for `prefer`.
    #[n(2)]
    pub url: String,
    /// What it can carry beside the others; 1 or more.
    #[n(3)]
    pub weight: u32,
    #[n(4)]
    pub state: NodeState,
    /// Where other nodes connect to it, as `host:port`.
    #[n(5)]
    pub door: String,
    /// Up to which format it reads (`format`).
    #[n(6)]
    #[cbor(default)]
    pub format: u16,
    #[cfg(feature = "next-format")]
    #[n(7)]
    #[cbor(default)]
    pub next: u64,
}

impl Node {
    /// One of this build, live, that carries as much as any other and tells clients no address.
    pub fn new(id: NodeId, name: impl Into<String>, door: impl Into<String>) -> Self {
        Self {
            id,
            name: name.into(),
            url: String::new(),
            weight: 1,
            state: NodeState::Live,
            door: door.into(),
            format: FORMAT,
            #[cfg(feature = "next-format")]
            next: 1,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum NodeState {
    #[n(0)]
    Live,
    /// It gives up its shards and takes no new ones.
    #[n(1)]
    Draining,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct View {
    /// Rises by one with each change. 0: nobody has joined yet.
    #[n(0)]
    pub epoch: u64,
    /// By name.
    #[n(1)]
    nodes: Vec<Node>,
    /// When nodes were removed that had not left by themselves, in Unix milliseconds; as long as the bound counts them.
    #[n(2)]
    removed_at_ms: Vec<u64>,
    /// What all nodes read, or did at some time: it may have been written. Never falls.
    #[n(3)]
    #[cbor(default)]
    format: u16,
}

/// How a node stands in the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    In(NodeState),
    /// It was removed, or never joined. It may join under a new id.
    Out,
    /// Another run has its name. It must not join again: two would take the name from each other for ever.
    Replaced,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    #[error("there is no such node in the view")]
    Unknown,
    #[error(
        "{removed} of {live} nodes were removed in the last ten minutes; a person has to remove more (tidings cluster remove)"
    )]
    TooManyRemoved { removed: usize, live: usize },
}

/// Why a node is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this fleet writes format {fleet}, and this version of Tidings reads up to format {own} only: start a newer version"
)]
pub struct TooOld {
    pub fleet: u16,
    pub own: u16,
}

impl View {
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == id)
    }

    pub fn standing(&self, id: NodeId, name: &str) -> Standing {
        match self.nodes.iter().find(|node| node.name == name) {
            Some(node) if node.id == id => Standing::In(node.state),
            Some(_) => Standing::Replaced,
            None => Standing::Out,
        }
    }

    /// The format that nodes may write.
    pub fn format(&self) -> u16 {
        self.format
    }

    /// The view with `node` in it, instead of an earlier run of the same name. Refused where it could not read what others
    /// write.
    pub fn joined(&self, node: Node) -> Result<Self, TooOld> {
        if node.format < self.format {
            return Err(TooOld { fleet: self.format, own: node.format });
        }
        let mut next = self.next();
        match next.nodes.binary_search_by(|other| other.name.cmp(&node.name)) {
            Ok(place) => next.nodes[place] = node,
            Err(place) => next.nodes.insert(place, node),
        }
        Ok(next.raised())
    }

    /// `id` gives up what it hosts.
    pub fn draining(&self, id: NodeId) -> Result<Self, ViewError> {
        let mut next = self.next();
        let node = next.nodes.iter_mut().find(|node| node.id == id).ok_or(ViewError::Unknown)?;
        node.state = NodeState::Draining;
        Ok(next)
    }

    /// `id` has gone by itself, or a person removes it.
    pub fn left(&self, id: NodeId) -> Result<Self, ViewError> {
        self.node(id).ok_or(ViewError::Unknown)?;
        let mut next = self.next();
        next.nodes.retain(|node| node.id != id);
        Ok(next.raised())
    }

    /// Others took `id` for dead. Refused when too many were, lately: then rather those who look are cut off.
    pub fn removed(&self, id: NodeId, now_ms: u64) -> Result<Self, ViewError> {
        let since = now_ms.saturating_sub(REMOVAL_WINDOW_MS);
        let mut next = self.left(id)?;
        next.removed_at_ms.retain(|&at_ms| at_ms > since);
        let removed = next.removed_at_ms.len();
        // Whoever joined meanwhile counts, too: after a rolling deploy that is everybody.
        let live = self.nodes.len() + removed;
        if removed >= (live / 3).max(1) {
            return Err(ViewError::TooManyRemoved { removed, live });
        }
        next.removed_at_ms.push(now_ms);
        Ok(next)
    }

    /// Who should host what.
    pub fn placement(&self) -> Placement {
        let weight = |node: &Node| if node.state == NodeState::Live { node.weight } else { 0 };
        let candidates: Vec<_> =
            self.nodes.iter().map(|node| Candidate { name: &node.name, weight: weight(node) }).collect();
        Placement::new(&candidates)
    }

    /// Of `hosts`, as shard rows name them, those who are gone: what they host is to be taken.
    pub fn gone(&self, hosts: impl IntoIterator<Item = NodeId>) -> HashSet<NodeId> {
        hosts.into_iter().filter(|&id| self.node(id).is_none()).collect()
    }

    /// Up to what all nodes read.
    fn raised(self) -> Self {
        let lowest = self.nodes.iter().map(|node| node.format).min().unwrap_or(self.format);
        Self { format: self.format.max(lowest), ..self }
    }

    fn next(&self) -> Self {
        Self { epoch: self.epoch + 1, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto::ShardId;

    use super::*;

    const MINUTE_MS: u64 = 60_000;

    fn node(number: u8) -> Node {
        let url = format!("https://{number}.chat.example");
        Node { url, format: 1, ..Node::new(id(number), format!("node-{number}"), format!("10.0.0.{number}:8090")) }
    }

    fn of(count: u8) -> View {
        (0..count).fold(View::default(), |view, number| view.joined(node(number)).unwrap())
    }

    fn id(number: u8) -> NodeId {
        NodeId::from_bytes([number; 16])
    }

    #[test]
    fn each_change_raises_the_epoch_and_whoever_drains_hosts_nothing() {
        let view = of(3);
        assert_eq!(view.epoch, 3);
        let view = view.draining(id(1)).unwrap();
        assert_eq!((view.epoch, view.standing(id(1), "node-1")), (4, Standing::In(NodeState::Draining)));
        let placement = view.placement();
        assert!(
            (0..tidings_proto::SHARDS).all(|shard| view.nodes()[placement.host(ShardId(shard)).unwrap()].id != id(1))
        );
        let view = view.left(id(1)).unwrap();
        assert_eq!((view.epoch, view.standing(id(1), "node-1")), (5, Standing::Out));
        assert_eq!(view.left(id(1)), Err(ViewError::Unknown));
    }

    #[test]
    fn a_new_run_replaces_the_old_one_and_gets_its_shards() {
        let before = of(3);
        let after = before.joined(Node { id: id(9), ..node(1) }).unwrap();
        assert_eq!(after.nodes().len(), 3);
        assert_eq!(after.standing(id(1), "node-1"), Standing::Replaced);
        assert_eq!(after.placement(), before.placement());
        assert_eq!(after.gone([id(0), id(1), id(9)]), HashSet::from([id(1)]));
    }

    #[test]
    fn no_more_than_a_third_is_taken_for_dead_in_ten_minutes() {
        let now_ms = 60 * MINUTE_MS;
        let view = of(9);
        let view = (0..3).fold(view, |view, number| view.removed(id(number), now_ms).unwrap());
        assert_eq!(view.removed(id(3), now_ms), Err(ViewError::TooManyRemoved { removed: 3, live: 9 }));
        assert!(view.left(id(3)).is_ok(), "a person may");
        let later = view.removed(id(3), now_ms + REMOVAL_WINDOW_MS + 1).unwrap();
        assert_eq!(later.nodes().len(), 5);
    }

    #[test]
    fn of_two_nodes_one_may_be_removed() {
        let view = of(2).removed(id(0), 60 * MINUTE_MS).unwrap();
        assert_eq!(view.removed(id(1), 61 * MINUTE_MS), Err(ViewError::TooManyRemoved { removed: 1, live: 2 }));
    }

    #[test]
    fn a_format_may_be_written_when_all_read_it_and_then_nobody_may_join_who_does_not() {
        let of_format = |number: u8, format: u16| Node { format, ..node(number) };
        let mut view = of(3);
        for number in 0..2 {
            view = view.joined(of_format(number, 2)).unwrap();
            assert_eq!(view.format(), 1, "one does not read it yet");
        }
        // Until then the deploy may be taken back.
        assert_eq!(view.joined(of_format(1, 1)).unwrap().format(), 1);
        let last_left = view.left(id(2)).unwrap();
        let last_deployed = view.joined(of_format(2, 2)).unwrap();
        for view in [last_left, last_deployed] {
            assert_eq!(view.format(), 2);
            assert_eq!(view.joined(of_format(3, 1)), Err(TooOld { fleet: 2, own: 1 }));
            assert_eq!(view.left(id(0)).unwrap().left(id(1)).unwrap().format(), 2, "it never falls");
        }
    }

    #[test]
    fn a_view_survives_its_bytes() {
        let view = of(3).removed(id(2), 60 * MINUTE_MS).unwrap();
        let bytes = minicbor::to_vec(&view).unwrap();
        assert_eq!(minicbor::decode::<View>(&bytes).unwrap(), view);
    }
}
