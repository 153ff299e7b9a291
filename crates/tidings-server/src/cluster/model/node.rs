//! What a node has in memory: what it believes to host, what it has sent and not heard of.

use super::Event;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub shards: Vec<Shard>,
    pub append: Option<Append>,
    pub flush: Option<Flush>,
    pub take: Option<Take>,
    /// How many events of its journal it knows to be stored.
    pub committed: usize,
    /// It found its journal sealed. A new run is another node.
    pub is_stopped: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Shard {
    Away,
    /// The row says that this node hosts it; nothing was read yet.
    Mine {
        epoch: u8,
    },
    Serving {
        epoch: u8,
        /// The last one committed.
        seq: u8,
    },
    /// It decides nothing any more.
    Releasing {
        epoch: u8,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Append {
    Sent(Event),
    /// The journal has it; the answer is on its way.
    Stored(Event),
    Refused,
}

/// The stages of a flush, each begun when the writes of the one before are acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Stage {
    Log,
    State,
    Done,
}

/// Writing the events of the own journal up to `up_to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Flush {
    pub up_to: usize,
    pub stage: Stage,
}

/// Taking a shard from a sealed journal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Take {
    pub from: usize,
    pub shard: usize,
    pub epoch: u8,
    /// Those of the shard that `from` had not flushed.
    pub events: Vec<Event>,
    pub stage: Stage,
}

impl Node {
    pub fn new(shards: usize) -> Self {
        Self {
            shards: vec![Shard::Away; shards],
            append: None,
            flush: None,
            take: None,
            committed: 0,
            is_stopped: false,
        }
    }

    /// Nothing that it believed holds any more.
    pub fn stop(&mut self) {
        *self = Self { is_stopped: true, ..Self::new(self.shards.len()) };
    }
}
