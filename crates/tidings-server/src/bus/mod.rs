//! The bus: frames between the nodes of a fleet. `local` joins nodes of one process, `nats` those of many; `conformance`
//! is the suite that both pass. A frame is bytes; what it means is not known here.

#[cfg(test)]
mod conformance;
mod inlet;
pub mod local;
pub mod nats;

use bytes::Bytes;

#[cfg(feature = "testing")]
pub use inlet::{Filler, inlet};
pub use inlet::{Inlet, Received};

use crate::node::NodeId;

/// The longest frame. What is longer is asked for from the tables.
pub const FRAME_BYTES: usize = 512 << 10;

/// How many lanes a node has: frames of one lane come in the order sent as long as the bus is well, and are handled one
/// behind the other.
pub const LANES: usize = 4;

/// Frames of one lane that wait for their node. Beyond that they are dropped, and the inlet says `Interrupted`.
pub const INLET_FRAMES: usize = 8_192;

/// Frames that wait to leave their node. Beyond that they are refused with `Full`.
pub const OUTLET_FRAMES: usize = 16_384;

/// Which of a node's lanes a frame takes; all that concerns one conversation or home takes the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane(usize);

impl Lane {
    pub fn of(shard: tidings_proto::ShardId) -> Self {
        Self(usize::from(shard.0) % LANES)
    }

    pub fn number(self) -> usize {
        self.0
    }
}

/// Sends frames to other nodes.
///
/// It may lose, double, delay and reorder them; whoever needs an answer asks again. So what a bus loses costs time and
/// never a message. A receiver is told by [`Received::Interrupted`] when frames for it may have been lost in a way that it
/// can notice; a sender is told nothing. No call waits.
pub trait Bus: Send + Sync + 'static {
    /// Hands over a frame for one node, which may be this one.
    fn send(&self, to: NodeId, lane: Lane, frame: Bytes) -> Result<(), SendError>;

    /// Hands over a frame for every node there is, this one as well. It comes on the first lane.
    fn broadcast(&self, frame: Bytes) -> Result<(), SendError>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    #[error("a frame of {bytes} bytes is longer than {FRAME_BYTES}")]
    TooLong { bytes: usize },
    /// It was dropped.
    #[error("too many frames wait for the bus")]
    Full,
}

fn check_length(frame: &Bytes) -> Result<(), SendError> {
    if frame.len() > FRAME_BYTES { Err(SendError::TooLong { bytes: frame.len() }) } else { Ok(()) }
}
