//! The argument of ARCHITECTURE.md ("Why no two nodes host one shard") as a model that is searched whole, within bounds:
//! journals, tables, shard rows; append, flush, release, seal, replay, take; every step may be late for ever, so each node
//! may be paused anywhere and wake up anywhere.
//!
//! What the store does at once is one step here (a conditional write, a read); all else is cut into as many steps as it has
//! writes. A write that was sent lands at any later time, also when its sender is long dead.

mod node;
mod step;

use stateright::{Checker, Model, Property};

use node::{Node, Shard};
use step::Step;

/// An event of a shard: its place, and who decided it. Two events differ if their `id` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Event {
    shard: usize,
    seq: u8,
    by: usize,
    id: u8,
}

/// What the store holds of one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Journal {
    events: Vec<Event>,
    is_sealed: bool,
    /// The low-water mark `flushed`: so many events are in the tables.
    flushed: usize,
}

/// What the tables hold of a shard: log rows, and the state row with its version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Stored {
    log: Vec<Option<Event>>,
    state: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Row {
    host: usize,
    epoch: u8,
}

/// A write to the tables that was sent and has not landed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Write {
    from: usize,
    shard: usize,
    rows: Rows,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Rows {
    Log(Vec<Event>),
    State(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Fault {
    /// Two entries were acknowledged at one seq, or rows of one version differ.
    TwoAtOneSeq,
    /// A host serves without something that was acknowledged.
    Lost,
    /// A replay found events that do not follow what is stored.
    Hole,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    rows: Vec<Row>,
    journals: Vec<Journal>,
    stored: Vec<Stored>,
    nodes: Vec<Node>,
    on_the_way: Vec<Write>,
    /// Of each shard, what clients know to be saved.
    acked: Vec<Vec<Option<Event>>>,
    issued: u8,
    fault: Option<Fault>,
}

/// What is left out of the protocol, to see that the search finds what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    TakesWithoutSeal,
    ReleasesBeforeFlush,
    MovesRowsBlindly,
    OpensBeforeReplay,
    MarksBeforeRows,
    StateBeforeLog,
}

#[derive(Clone, Debug)]
struct Fleet {
    nodes: usize,
    shards: usize,
    events: u8,
    moves: u8,
    flaw: Option<Flaw>,
}

impl Fleet {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }
}

impl Model for Fleet {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        let seqs = usize::from(self.events);
        vec![World {
            rows: vec![Row { host: 0, epoch: 1 }; self.shards],
            journals: vec![Journal::default(); self.nodes],
            stored: vec![Stored { log: vec![None; seqs], state: 0 }; self.shards],
            nodes: vec![Node::new(self.shards); self.nodes],
            on_the_way: Vec::new(),
            acked: vec![vec![None; seqs]; self.shards],
            issued: 0,
            fault: None,
        }]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.fault.is_none() {
            step::possible(self, world, steps);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        step.take(self, &mut world);
        world.on_the_way.sort_unstable();
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties =
            vec![Property::always("nothing acknowledged is lost or doubled", |_, world: &World| world.fault.is_none())];
        if self.flaw.is_none() {
            properties.extend([
                Property::sometimes("a shard is served on by another", |_, world: &World| {
                    world.acked.iter().any(|acked| hosts(acked) == [0, 1])
                }),
                Property::sometimes("a paused host is refused by the seal", |_, world: &World| {
                    world.nodes.iter().any(|node| node.is_stopped)
                }),
            ]);
        }
        if self.flaw.is_none() && self.nodes > 2 {
            properties.push(Property::sometimes(
                "a write of who lost lands when another serves",
                |_, world: &World| {
                    let serves = |write: &Write| {
                        let host = world.rows[write.shard].host;
                        host != write.from && matches!(world.nodes[host].shards[write.shard], Shard::Serving { .. })
                    };
                    world.on_the_way.iter().any(serves)
                },
            ));
        }
        if self.flaw.is_none() && self.moves > 1 {
            properties.push(Property::sometimes("a shard comes back to its first host", |_, world: &World| {
                world.acked.iter().any(|acked| hosts(acked) == [0, 1, 0])
            }));
        }
        properties
    }
}

/// Who acknowledged the entries of a shard, in their order.
fn hosts(acked: &[Option<Event>]) -> Vec<usize> {
    let mut hosts: Vec<_> = acked.iter().flatten().map(|event| event.by).collect();
    hosts.dedup();
    hosts
}

fn search(fleet: Fleet) -> impl Checker<Fleet> {
    fleet.checker().threads(2).spawn_bfs().join()
}

/// Two may take it at once, and the one who loses may write for ever.
#[test]
fn one_shard_and_two_rivals() {
    search(Fleet { nodes: 3, shards: 1, events: 2, moves: 1, flaw: None }).assert_properties();
}

#[test]
fn there_and_back_again() {
    search(Fleet { nodes: 2, shards: 1, events: 3, moves: 2, flaw: None }).assert_properties();
}

/// One of them may be released and the other taken.
#[test]
fn two_shards_in_one_journal() {
    search(Fleet { nodes: 2, shards: 2, events: 2, moves: 1, flaw: None }).assert_properties();
}

#[test]
fn each_part_of_the_protocol_is_needed() {
    for flaw in [
        Flaw::TakesWithoutSeal,
        Flaw::ReleasesBeforeFlush,
        Flaw::MovesRowsBlindly,
        Flaw::OpensBeforeReplay,
        Flaw::MarksBeforeRows,
        Flaw::StateBeforeLog,
    ] {
        let checked = search(Fleet { nodes: 3, shards: 1, events: 3, moves: 3, flaw: Some(flaw) });
        assert!(checked.discovery("nothing acknowledged is lost or doubled").is_some(), "{flaw:?} harms nothing");
    }
}
