//! A bus inside one process: for one node, and for tests and simulations, which can cut nodes off.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;

use crate::{
    maps::{HashMap, HashSet},
    node::NodeId,
};

use super::{
    Bus, Inlet, LANES, Lane, SendError, check_length,
    inlet::{Filler, inlet},
};

/// What the nodes of a process have in common. Clones are the same one.
#[derive(Clone, Default)]
pub struct LocalNetwork {
    ends: Arc<RwLock<Ends>>,
}

#[derive(Default)]
struct Ends {
    nodes: HashMap<NodeId, Vec<Filler>>,
    cut_off: HashSet<NodeId>,
}

impl LocalNetwork {
    /// A node's end, and its lanes. Its place is given up when the bus is dropped.
    pub fn join(&self, node: NodeId) -> (LocalBus, Vec<Inlet>) {
        let (fillers, inlets) = (0..LANES).map(|_| inlet()).unzip();
        self.ends.write().nodes.insert(node, fillers);
        (LocalBus { node, network: self.clone() }, inlets)
    }

    /// From now on nothing reaches `node` and nothing comes from it.
    pub fn cut_off(&self, node: NodeId) {
        self.ends.write().cut_off.insert(node);
    }

    /// `node` is reached again; it is told that it may have missed something, and so are the others.
    pub fn mend(&self, node: NodeId) {
        let mut ends = self.ends.write();
        ends.cut_off.remove(&node);
        ends.nodes.values().flatten().for_each(Filler::interrupt);
    }
}

pub struct LocalBus {
    node: NodeId,
    network: LocalNetwork,
}

impl Bus for LocalBus {
    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        check_length(&frame)?;
        let ends = self.network.ends.read();
        let is_cut = [self.node, to].iter().any(|node| ends.cut_off.contains(node));
        if let Some(fillers) = ends.nodes.get(&to).filter(|_| !is_cut) {
            fillers[lane.number()].put(self.node, frame);
        }
        Ok(())
    }

    fn broadcast(&self, frame: Bytes) -> Result<(), SendError> {
        check_length(&frame)?;
        let ends = self.network.ends.read();
        if !ends.cut_off.contains(&self.node) {
            let others = ends.nodes.iter().filter(|(node, _)| !ends.cut_off.contains(*node));
            others.for_each(|(_, fillers)| fillers[0].put(self.node, frame.clone()));
        }
        Ok(())
    }
}

impl Drop for LocalBus {
    fn drop(&mut self) {
        self.network.ends.write().nodes.remove(&self.node);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::bus::conformance::{self, Joined, Network};

    struct Local(LocalNetwork);

    impl Network for Local {
        async fn join(&mut self, node: NodeId) -> Joined {
            let (bus, lanes) = self.0.join(node);
            Joined { node, bus: Arc::new(bus), lanes }
        }

        async fn cut_all(&mut self, nodes: &[NodeId]) {
            nodes.iter().for_each(|&node| self.0.cut_off(node));
        }

        async fn mend_all(&mut self, nodes: &[NodeId]) {
            nodes.iter().for_each(|&node| self.0.mend(node));
        }
    }

    #[tokio::test]
    async fn the_local_bus_conforms() {
        conformance::run(Local(LocalNetwork::default())).await;
    }

    #[tokio::test]
    async fn whoever_is_cut_off_alone_neither_hears_nor_is_heard() {
        let network = LocalNetwork::default();
        let (one, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let (first, mut lanes_of_first) = network.join(one);
        let (second, mut lanes_of_second) = network.join(other);
        network.cut_off(other);
        let lane = Lane::of(tidings_proto::ShardId(0));
        first.send(other, lane, Bytes::from_static(b"lost")).unwrap();
        second.broadcast(Bytes::from_static(b"lost")).unwrap();
        for lanes in [&mut lanes_of_first, &mut lanes_of_second] {
            assert!(tokio::time::timeout(Duration::from_millis(20), lanes[0].recv()).await.is_err());
        }
    }
}
