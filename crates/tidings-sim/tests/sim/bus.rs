//! The bus between simulated nodes: it loses, doubles, delays and reorders frames as the weather has it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_server::{
    bus::{Bus, FRAME_BYTES, Filler, Inlet, LANES, Lane, SendError, inlet},
    host::peers::wire::Frame,
    node::NodeId,
};

use super::world::{Place, World, digest};

type Joined = BTreeMap<NodeId, (Place, Vec<Filler>)>;

/// What all nodes have in common. Clones are the same one.
#[derive(Clone)]
pub struct Network {
    world: Arc<World>,
    joined: Arc<Mutex<Joined>>,
}

impl Network {
    pub fn new(world: &Arc<World>) -> Self {
        Self { world: world.clone(), joined: Arc::default() }
    }

    pub fn join(&self, id: NodeId, place: Place, is_alive: Arc<AtomicBool>) -> (NodeBus, Vec<Inlet>) {
        let (fillers, inlets) = (0..LANES).map(|_| inlet()).unzip();
        self.joined.lock().insert(id, (place, fillers));
        (NodeBus { network: self.clone(), id, place, is_alive }, inlets)
    }

    pub fn leave(&self, id: NodeId) {
        self.joined.lock().remove(&id);
    }

    /// Tells a node that frames may have been lost, as a bus does that was connected anew.
    pub fn interrupt(&self, place: Place) {
        let joined = self.joined.lock();
        let fillers = joined.values().filter(|(other, _)| *other == place).flat_map(|(_, fillers)| fillers);
        fillers.for_each(Filler::interrupt);
    }
}

pub struct NodeBus {
    network: Network,
    id: NodeId,
    place: Place,
    is_alive: Arc<AtomicBool>,
}

impl NodeBus {
    fn carry(&self, to: NodeId, lane: usize, frame: &Bytes) {
        let world = &self.network.world;
        if !self.is_alive.load(Ordering::Relaxed) {
            return;
        }
        let Some(place) = self.network.joined.lock().get(&to).map(|(place, _)| *place) else { return };
        let weather = world.weather();
        let copies = if world.falls(weather.doubled) { 2 } else { 1 };
        for _ in 0..copies {
            if world.falls(weather.lost) {
                continue;
            }
            let (joined, from, frame) = (self.network.joined.clone(), self.id, frame.clone());
            world.send(self.place, place, move |world| {
                let joined = joined.lock();
                let Some((_, fillers)) = joined.get(&to) else { return };
                world.note(format_args!("frame {from} to {to}, lane {lane}: {:016x}", digest(&frame)));
                world.explain(|| format!("{:?}", minicbor::decode::<Frame>(&frame)));
                fillers[lane].put(from, frame);
            });
        }
    }
}

impl Bus for NodeBus {
    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError> {
        if frame.len() > FRAME_BYTES {
            return Err(SendError::TooLong { bytes: frame.len() });
        }
        self.carry(to, lane.number(), &frame);
        Ok(())
    }

    fn broadcast(&self, frame: Bytes) -> Result<(), SendError> {
        let all: Vec<NodeId> = self.network.joined.lock().keys().copied().collect();
        all.into_iter().for_each(|to| self.carry(to, 0, &frame));
        Ok(())
    }
}
