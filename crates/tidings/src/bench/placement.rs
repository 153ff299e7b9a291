//! `placement`: how a large fleet would be balanced, and how often a message has to cross it. Nothing is served: the real code
//! that places shards and makes ids is asked about users and messages that a seed makes up.
//!
//! What is assumed. Users are spread over shards by a hash, so whom they know does not matter for where they are. Each is
//! connected to the node of their home (`prefer`), or, where that says so, to any. How much a user writes is uneven: lognormal,
//! a tenth of them write about half. A frame is what goes from one node to another; what one node tells several homes of
//! another is one.

use std::collections::HashSet;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_proto::{ConversationId, SHARDS, ShardId, UserId};
use tidings_server::cluster::placement::{Candidate, Placement};

use super::report::{Figure, Report, median};

const SEED: u64 = 1;
/// The fleet that is planned for, and its load.
const NODES: usize = 500;
const SESSIONS: f64 = 150e6;
/// Messages whose way is followed for each figure.
const SAMPLE: usize = 200_000;
/// How often a node joins or leaves for the figures of that.
const CHANGES: usize = 10;
/// Spread of how much people write, as the sigma of a lognormal distribution: a tenth write 47 % of all.
const ACTIVITY_SIGMA: f64 = 1.2;

pub fn run(report: &mut Report) -> anyhow::Result<()> {
    let mut rng = StdRng::seed_from_u64(SEED);
    report.progress(&format!("placement: balance of {NODES} nodes"))?;
    balance(&mut rng, report)?;
    report.progress("placement: nodes that join and leave")?;
    changes(report)?;
    report.progress("placement: the ways of messages")?;
    for nodes in [2, 3, 10, 100, NODES] {
        direct(nodes, &mut rng, report)?;
    }
    for members in [8, 64] {
        group(members, &mut rng, report)?;
    }
    Ok(())
}

/// Who hosts what, by name.
struct Fleet {
    hosts: Vec<usize>,
}

impl Fleet {
    fn of(names: &[String]) -> Self {
        let candidates: Vec<_> = names.iter().map(|name| Candidate { name, weight: 1 }).collect();
        let placement = Placement::new(&candidates);
        let hosts = (0..SHARDS).map(|shard| placement.host(ShardId(shard)).expect("every node has a weight"));
        Self { hosts: hosts.collect() }
    }

    fn host(&self, shard: ShardId) -> usize {
        self.hosts[usize::from(shard.0)]
    }
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("node-{number}")).collect()
}

/// Shards, sessions and messages of the fullest node and the emptiest, beside the mean.
fn balance(rng: &mut StdRng, report: &mut Report) -> anyhow::Result<()> {
    let fleet = Fleet::of(&names(NODES));
    let (mut shards, mut sessions, mut messages) = (vec![0.0; NODES], vec![0.0; NODES], vec![0.0; NODES]);
    let mean = SESSIONS / f64::from(SHARDS);
    // Of many independent users: the sum has the mean and the spread that they have together.
    let activity_spread = ((ACTIVITY_SIGMA * ACTIVITY_SIGMA).exp() - 1.0).sqrt();
    for &host in &fleet.hosts {
        let users = mean + mean.sqrt() * normal(rng);
        shards[host] += 1.0;
        sessions[host] += users;
        messages[host] += users + users.sqrt() * activity_spread * normal(rng);
    }
    for (what, loads) in [("shards", &shards), ("sessions", &sessions), ("messages", &messages)] {
        let mean = loads.iter().sum::<f64>() / NODES as f64;
        let (low, high) = loads.iter().fold((f64::MAX, 0.0f64), |(low, high), &load| (low.min(load), high.max(load)));
        let figure = |name: &str, value: f64| {
            Figure::new("placement", format!("{what} of the {name} of {NODES} nodes"), value / mean, "x the mean")
        };
        report.add(figure("fullest", high))?;
        report.add(figure("emptiest", low))?;
    }
    let mean = SESSIONS / NODES as f64;
    report.add(Figure::new("placement", "sessions of a node, mean", mean, ""))?;
    Ok(())
}

/// Shards that move when one node joins or leaves, beside those that must: at several sizes, because a node's bound is a whole number, and
/// where it steps to the next one, some move for that alone.
fn changes(report: &mut Report) -> anyhow::Result<()> {
    let names = names(NODES + CHANGES);
    let (mut joins, mut leaves) = (Moves::default(), Moves::default());
    for change in 0..CHANGES {
        let (few, many) = (NODES - CHANGES + 2 * change, NODES - CHANGES + 2 * change + 1);
        let (few, many) = (Fleet::of(&names[..few]), Fleet::of(&names[..many]));
        let last = many.hosts.iter().copied().max().unwrap_or(0);
        joins.add(&few, &many, last);
        leaves.add(&many, &few, last);
    }
    for (what, moves) in [("joins", joins), ("leaves", leaves)] {
        let figure = |name: &str, value| {
            let what = format!("shards that move when one of {NODES} {what}, {name}");
            Figure::new("placement", what, value, "").against("its own", median(moves.own.clone()))
        };
        report.add(figure("median", median(moves.all.clone())))?;
        report.add(figure("most", moves.all.iter().copied().fold(0.0, f64::max)))?;
    }
    Ok(())
}

/// What moved at each of some changes, and how much of it belonged to the node that came or went.
#[derive(Default)]
struct Moves {
    all: Vec<f64>,
    own: Vec<f64>,
}

impl Moves {
    fn add(&mut self, before: &Fleet, after: &Fleet, concerned: usize) {
        let pairs = || before.hosts.iter().zip(&after.hosts);
        self.all.push(pairs().filter(|(before, after)| before != after).count() as f64);
        self.own.push(pairs().filter(|(before, after)| [*before, *after].contains(&&concerned)).count() as f64);
    }
}

/// A direct message: from the sender's node to the conversation's, and on to the other's home and session.
fn direct(nodes: usize, rng: &mut StdRng, report: &mut Report) -> anyhow::Result<()> {
    let fleet = Fleet::of(&names(nodes));
    let (mut own_node, mut inside, mut frames, mut frames_anywhere) = (0usize, 0usize, 0usize, 0usize);
    for _ in 0..SAMPLE {
        let (sender, other) = (user(rng), user(rng));
        let conversation = fleet.host(ConversationId::direct(&sender, &other).shard());
        let homes = [fleet.host(sender.shard()), fleet.host(other.shard())];
        own_node += usize::from(conversation == homes[0]);
        inside += usize::from(homes[0] == homes[1]);
        frames += crossings(conversation, homes[0], &homes, &homes);
        let anywhere = [rng.random_range(0..nodes), rng.random_range(0..nodes)];
        frames_anywhere += crossings(conversation, anywhere[0], &homes, &anywhere);
    }
    let share = |count: usize| count as f64 / SAMPLE as f64;
    let mut tell = |what: &str, value: f64, unit| {
        report.add(Figure::new("placement", format!("direct, {nodes} nodes: {what}"), value, unit))
    };
    tell("acknowledged by the sender's own node", share(own_node) * 100.0, "%")?;
    tell("never leaves its node", share(inside) * 100.0, "%")?;
    tell("frames between nodes", share(frames), "a message")?;
    tell("the same, connected anywhere", share(frames_anywhere), "a message")?;
    Ok(())
}

/// A message in a group, all of whose members are online.
fn group(members: usize, rng: &mut StdRng, report: &mut Report) -> anyhow::Result<()> {
    let fleet = Fleet::of(&names(NODES));
    let mut frames = 0;
    for number in 0..SAMPLE / members {
        let people: Vec<_> = (0..members).map(|_| user(rng)).collect();
        let conversation = fleet.host(ConversationId::group(&people[0], &number.to_string()).shard());
        let homes: Vec<_> = people.iter().map(|person| fleet.host(person.shard())).collect();
        frames += crossings(conversation, homes[0], &homes, &homes);
    }
    let mean = frames as f64 / (SAMPLE / members) as f64;
    report.add(Figure::new("placement", format!("group of {members}, {NODES} nodes: frames"), mean, "a message"))?;
    Ok(())
}

/// Frames from node to node: the send and its answer, what each home is told, and what homes hand to sessions elsewhere. The answer
/// takes what that node's homes are told with it. The first home is the sender's.
fn crossings(conversation: usize, sender: usize, homes: &[usize], sessions: &[usize]) -> usize {
    let asks = usize::from(sender != conversation);
    let mut from_conversation: HashSet<usize> = homes.iter().copied().filter(|home| *home != conversation).collect();
    if asks == 1 {
        from_conversation.insert(sender);
    }
    // The sender's own session has the answer.
    let others = homes.iter().zip(sessions).skip(1);
    let handed: HashSet<_> = others.filter(|(home, session)| home != session).collect();
    asks + from_conversation.len() + handed.len()
}

fn user(rng: &mut StdRng) -> UserId {
    format!("user-{}", rng.random_range(0..500_000_000u64)).parse().expect("a short name")
}

/// A standard normal number (Box and Muller).
fn normal(rng: &mut StdRng) -> f64 {
    let (one, other): (f64, f64) = (rng.random_range(f64::MIN_POSITIVE..1.0), rng.random());
    (-2.0 * one.ln()).sqrt() * (std::f64::consts::TAU * other).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_once_for_each_node_that_must_hear() {
        // All on one node; then the other elsewhere; then the conversation elsewhere: send, answer, and the other.
        assert_eq!(crossings(1, 1, &[1, 1], &[1, 1]), 0);
        assert_eq!(crossings(1, 1, &[1, 2], &[1, 2]), 1);
        assert_eq!(crossings(2, 1, &[1, 2], &[1, 2]), 2);
        // Both are connected somewhere else than at home.
        assert_eq!(crossings(1, 3, &[1, 2], &[3, 4]), 4);
        assert_eq!(crossings(9, 1, &[1, 1, 2, 3, 9], &[1, 1, 2, 3, 9]), 4);
    }
}
