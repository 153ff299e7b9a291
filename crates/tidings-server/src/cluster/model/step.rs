//! What can happen next, and what it does.

use super::{
    Event, Fault, Flaw, Fleet, Row, Rows, Stored, World, Write,
    node::{Append, Flush, Shard, Stage, Take},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// A node reads in the shard's row that it is the host.
    Learn {
        node: usize,
        shard: usize,
    },
    /// It reads the shard's state and serves.
    Open {
        node: usize,
        shard: usize,
    },
    Decide {
        node: usize,
        shard: usize,
    },
    /// The append arrives at the store.
    Append {
        node: usize,
    },
    /// Its answer arrives at the node, and a client is told.
    Acknowledge {
        node: usize,
    },
    BeginFlush {
        node: usize,
    },
    /// The writes of a stage were acknowledged; the next stage is sent.
    GoOnFlushing {
        node: usize,
    },
    /// A write arrives at the tables.
    Land {
        write: usize,
    },
    StopDeciding {
        node: usize,
        shard: usize,
    },
    Release {
        node: usize,
        shard: usize,
        to: usize,
    },
    Seal {
        journal: usize,
    },
    BeginTaking {
        node: usize,
        shard: usize,
    },
    GoOnTaking {
        node: usize,
    },
}

pub(super) fn possible(fleet: &Fleet, world: &World, steps: &mut Vec<Step>) {
    for (number, node) in world.nodes.iter().enumerate().filter(|(_, node)| !node.is_stopped) {
        for (shard, held) in node.shards.iter().enumerate() {
            let row = world.rows[shard];
            match *held {
                Shard::Away if row.host == number => steps.push(Step::Learn { node: number, shard }),
                Shard::Away => {
                    let may_take = world.journals[row.host].is_sealed || fleet.has(Flaw::TakesWithoutSeal);
                    if may_take && node.take.is_none() && row.epoch <= fleet.moves {
                        steps.push(Step::BeginTaking { node: number, shard });
                    }
                }
                Shard::Mine { .. } => steps.push(Step::Open { node: number, shard }),
                Shard::Serving { epoch, .. } => {
                    if node.append.is_none() && world.issued < fleet.events {
                        steps.push(Step::Decide { node: number, shard });
                    }
                    if epoch <= fleet.moves {
                        steps.push(Step::StopDeciding { node: number, shard });
                    }
                }
                Shard::Releasing { .. } => {
                    let is_flushed = is_flushed(world, number, shard) || fleet.has(Flaw::ReleasesBeforeFlush);
                    if node.append.is_none() && is_flushed {
                        let others = (0..fleet.nodes).filter(|&to| to != number);
                        steps.extend(others.map(|to| Step::Release { node: number, shard, to }));
                    }
                }
            }
        }
        match node.append {
            Some(Append::Sent(_)) => steps.push(Step::Append { node: number }),
            Some(Append::Stored(_) | Append::Refused) => steps.push(Step::Acknowledge { node: number }),
            None => {}
        }
        let writes_landed = !world.on_the_way.iter().any(|write| write.from == number);
        match node.flush {
            None if world.journals[number].flushed < node.committed => steps.push(Step::BeginFlush { node: number }),
            Some(_) if writes_landed => steps.push(Step::GoOnFlushing { node: number }),
            _ => {}
        }
        if node.take.is_some() && writes_landed {
            steps.push(Step::GoOnTaking { node: number });
        }
    }
    steps.extend((0..world.on_the_way.len()).map(|write| Step::Land { write }));
    // To seal the last journal would only end the search.
    let sealed = world.journals.iter().filter(|journal| journal.is_sealed).count();
    if sealed + 1 < fleet.nodes {
        let open = world.journals.iter().enumerate().filter(|(_, journal)| !journal.is_sealed);
        steps.extend(open.map(|(journal, _)| Step::Seal { journal }));
    }
}

/// The mark says that all events of the shard in the node's own journal are in the tables.
fn is_flushed(world: &World, node: usize, shard: usize) -> bool {
    let Some(last) = world.journals[node].events.iter().rposition(|event| event.shard == shard) else { return true };
    world.journals[node].flushed > last && world.nodes[node].flush.is_none()
}

impl Step {
    pub fn take(self, fleet: &Fleet, world: &mut World) {
        match self {
            Self::Learn { node, shard } => {
                world.nodes[node].shards[shard] = Shard::Mine { epoch: world.rows[shard].epoch };
            }
            Self::Open { node, shard } => open(world, node, shard),
            Self::Decide { node, shard } => {
                let Shard::Serving { seq, .. } = world.nodes[node].shards[shard] else { return };
                let event = Event { shard, seq: seq + 1, by: node, id: world.issued };
                world.issued += 1;
                world.nodes[node].append = Some(Append::Sent(event));
            }
            Self::Append { node } => {
                let Some(Append::Sent(event)) = world.nodes[node].append else { return };
                let journal = &mut world.journals[node];
                world.nodes[node].append = Some(if journal.is_sealed {
                    Append::Refused
                } else {
                    journal.events.push(event);
                    Append::Stored(event)
                });
            }
            Self::Acknowledge { node } => acknowledge(world, node),
            Self::BeginFlush { node } => {
                let up_to = world.nodes[node].committed;
                if fleet.has(Flaw::MarksBeforeRows) {
                    world.journals[node].flushed = up_to;
                }
                let first = if fleet.has(Flaw::StateBeforeLog) { Stage::State } else { Stage::Log };
                world.nodes[node].flush = Some(Flush { up_to, stage: first });
                let from = world.journals[node].flushed;
                let events = world.journals[node].events[from.min(up_to)..up_to].to_vec();
                send(world, node, first, &events);
            }
            Self::GoOnFlushing { node } => go_on_flushing(fleet, world, node),
            Self::Land { write } => land(world, write),
            Self::StopDeciding { node, shard } => {
                let Shard::Serving { epoch, .. } = world.nodes[node].shards[shard] else { return };
                world.nodes[node].shards[shard] = Shard::Releasing { epoch };
            }
            Self::Release { node, shard, to } => {
                let Shard::Releasing { epoch } = world.nodes[node].shards[shard] else { return };
                move_row(fleet, world, shard, Row { host: node, epoch }, to);
                world.nodes[node].shards[shard] = Shard::Away;
            }
            Self::Seal { journal } => world.journals[journal].is_sealed = true,
            Self::BeginTaking { node, shard } => begin_taking(fleet, world, node, shard),
            Self::GoOnTaking { node } => go_on_taking(fleet, world, node),
        }
    }
}

/// What is read is the tables as they are. Only a host by the row whose journal takes events can be wrong for clients.
fn open(world: &mut World, node: usize, shard: usize) {
    let Shard::Mine { epoch } = world.nodes[node].shards[shard] else { return };
    let Stored { log, state } = &world.stored[shard];
    world.nodes[node].shards[shard] = Shard::Serving { epoch, seq: *state };
    let is_host = world.rows[shard] == Row { host: node, epoch } && !world.journals[node].is_sealed;
    let has = |(place, acked): (usize, &Option<Event>)| {
        acked.is_none() || (place < usize::from(*state) && log[place] == *acked)
    };
    if is_host && !world.acked[shard].iter().enumerate().all(has) {
        world.fault = Some(Fault::Lost);
    }
}

fn acknowledge(world: &mut World, node: usize) {
    match world.nodes[node].append.take() {
        Some(Append::Stored(event)) => {
            world.nodes[node].committed += 1;
            if let Shard::Serving { seq, .. } = &mut world.nodes[node].shards[event.shard] {
                *seq = event.seq;
            }
            let acked = &mut world.acked[event.shard][usize::from(event.seq) - 1];
            if acked.replace(event).is_some() {
                world.fault = Some(Fault::TwoAtOneSeq);
            }
        }
        Some(Append::Refused) => world.nodes[node].stop(),
        Some(Append::Sent(_)) | None => {}
    }
}

fn go_on_flushing(fleet: &Fleet, world: &mut World, node: usize) {
    let Some(Flush { up_to, stage }) = world.nodes[node].flush.clone() else { return };
    let journal = &mut world.journals[node];
    let next = match (stage, fleet.has(Flaw::StateBeforeLog)) {
        (Stage::Log, false) => Stage::State,
        (Stage::State, true) => Stage::Log,
        _ => Stage::Done,
    };
    if next == Stage::Done {
        journal.flushed = journal.flushed.max(up_to);
        world.nodes[node].flush = None;
        return;
    }
    let from = if fleet.has(Flaw::MarksBeforeRows) { 0 } else { journal.flushed };
    let events = journal.events[from..up_to].to_vec();
    world.nodes[node].flush = Some(Flush { up_to, stage: next });
    send(world, node, next, &events);
}

/// Sends the rows of a stage for all shards that `events` are of.
fn send(world: &mut World, from: usize, stage: Stage, events: &[Event]) {
    for shard in 0..world.rows.len() {
        let of_shard: Vec<_> = events.iter().filter(|event| event.shard == shard).copied().collect();
        let Some(last) = of_shard.last() else { continue };
        let rows = if stage == Stage::Log { Rows::Log(of_shard.clone()) } else { Rows::State(last.seq) };
        world.on_the_way.push(Write { from, shard, rows });
    }
}

/// The higher version wins; equal versions must mean the same.
fn land(world: &mut World, write: usize) {
    let Write { shard, rows, .. } = world.on_the_way.remove(write);
    let stored = &mut world.stored[shard];
    match rows {
        Rows::Log(events) => {
            for event in events {
                let row = &mut stored.log[usize::from(event.seq) - 1];
                if row.is_some_and(|other| other != event) {
                    world.fault = Some(Fault::TwoAtOneSeq);
                }
                *row = Some(event);
            }
        }
        Rows::State(version) => stored.state = stored.state.max(version),
    }
}

/// A conditional write: it changes nothing if the row is not as `from` expects.
fn move_row(fleet: &Fleet, world: &mut World, shard: usize, from: Row, to: usize) -> bool {
    let is_expected = world.rows[shard] == from || fleet.has(Flaw::MovesRowsBlindly);
    if is_expected {
        world.rows[shard] = Row { host: to, epoch: world.rows[shard].epoch + 1 };
    }
    is_expected
}

/// The row was read first, then the seal and the journal behind the mark, then the stored state.
fn begin_taking(fleet: &Fleet, world: &mut World, node: usize, shard: usize) {
    let Row { host: from, epoch } = world.rows[shard];
    let journal = &world.journals[from];
    let state = world.stored[shard].state;
    let unflushed = journal.events[journal.flushed..].iter().filter(|event| event.shard == shard && event.seq > state);
    let events: Vec<_> = unflushed.copied().collect();
    if events.iter().zip(state + 1..).any(|(event, seq)| event.seq != seq) {
        world.fault = Some(Fault::Hole);
    }
    send(world, node, Stage::Log, &events);
    world.nodes[node].take = Some(Take { from, shard, epoch, events, stage: Stage::Log });
    if fleet.has(Flaw::OpensBeforeReplay) && move_row(fleet, world, shard, Row { host: from, epoch }, node) {
        world.nodes[node].shards[shard] = Shard::Mine { epoch: epoch + 1 };
    }
}

fn go_on_taking(fleet: &Fleet, world: &mut World, node: usize) {
    let Some(mut take) = world.nodes[node].take.take() else { return };
    if take.stage == Stage::Log {
        take.stage = Stage::State;
        send(world, node, Stage::State, &take.events);
        world.nodes[node].take = Some(take);
    } else if !fleet.has(Flaw::OpensBeforeReplay) {
        let from = Row { host: take.from, epoch: take.epoch };
        if move_row(fleet, world, take.shard, from, node) {
            world.nodes[node].shards[take.shard] = Shard::Mine { epoch: world.rows[take.shard].epoch };
        }
    }
}
