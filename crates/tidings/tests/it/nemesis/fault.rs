//! What can happen to a fleet, and how it is mended.

use std::{fmt, time::Duration};

use rand::{Rng, rngs::StdRng, seq::IndexedRandom};

use super::{
    fleet::{Fleet, cassandra},
    proxy::Weather,
};

/// One thing that happens. Nodes are counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`.
    KillNode(usize),
    /// SIGSTOP, and later SIGCONT: it wakes and knows nothing of it.
    PauseNode(usize),
    /// SIGTERM and a new start, as in a deploy.
    DeployNode(usize),
    KillStores(Vec<usize>),
    PauseStores(Vec<usize>),
    /// Between clients and a node.
    AtDoor(usize, Weather),
    /// Between a node and some nodes of Cassandra.
    AtStores(usize, Vec<usize>, Weather),
    /// What nodes tell each other is lost.
    KillNats,
    PauseNats,
    /// Between a node and the others.
    AtNats(usize, Weather),
}

impl Fault {
    pub fn strike(&self, fleet: &mut Fleet) {
        match self {
            Self::KillNode(node) => fleet.kill(*node),
            Self::PauseNode(node) => fleet.pause(*node),
            Self::DeployNode(node) => fleet.stop(*node),
            Self::KillStores(stores) => signal("kill", stores),
            Self::PauseStores(stores) => signal("pause", stores),
            Self::AtDoor(node, weather) => fleet.at_door(*node, *weather),
            Self::AtStores(node, stores, weather) => {
                stores.iter().for_each(|store| fleet.at_store(*node, *store, *weather));
            }
            Self::KillNats => fleet.nats().kill(),
            Self::PauseNats => fleet.nats().signal("STOP"),
            Self::AtNats(node, weather) => fleet.nats().lines[*node].set(0, *weather),
        }
    }

    pub fn mend(&self, fleet: &mut Fleet) {
        match self {
            Self::KillNode(node) | Self::DeployNode(node) => fleet.restart(*node),
            Self::PauseNode(node) => fleet.resume(*node),
            Self::KillStores(_) => drop(cassandra(&["start", &fleet.stores().to_string()])),
            Self::PauseStores(stores) => signal("resume", stores),
            Self::AtDoor(node, _) => fleet.at_door(*node, Weather::Clear),
            Self::AtStores(node, stores, _) => {
                stores.iter().for_each(|store| fleet.at_store(*node, *store, Weather::Clear));
            }
            Self::KillNats => fleet.nats().restart(),
            Self::PauseNats => fleet.nats().signal("CONT"),
            Self::AtNats(node, _) => fleet.nats().lines[*node].set(0, Weather::Clear),
        }
    }

    /// Whether nothing can be saved while it lasts: sends are refused then.
    pub fn stops_all(&self, fleet: &Fleet) -> bool {
        match self {
            // The others cannot agree.
            Self::PauseStores(stores) | Self::KillStores(stores) => stores.len() * 2 > fleet.stores(),
            // One that is reached asks the others.
            Self::AtStores(_, stores, Weather::Silent | Weather::Mute | Weather::Deaf | Weather::Refuse) => {
                fleet.nodes() == 1 && stores.len() == fleet.stores()
            }
            _ => false,
        }
    }

    /// Any one of them.
    pub fn any(rng: &mut StdRng, fleet: &Fleet) -> Self {
        let node = rng.random_range(0..fleet.nodes());
        let stores = some(rng, fleet.stores());
        let kinds = if fleet.nodes() > 1 { 13 } else { 10 };
        match rng.random_range(0..kinds) {
            0..2 => Self::KillNode(node),
            2 => Self::PauseNode(node),
            3 => Self::DeployNode(node),
            4 => Self::KillStores(stores),
            5..7 => Self::PauseStores(stores),
            7 => Self::AtDoor(node, weather(rng)),
            10 => Self::KillNats,
            11 => Self::PauseNats,
            12 => Self::AtNats(node, weather(rng)),
            _ => Self::AtStores(node, stores, weather(rng)),
        }
    }
}

fn weather(rng: &mut StdRng) -> Weather {
    let slow = Weather::Slow(Duration::from_millis(rng.random_range(20..300)));
    let all =
        [Weather::Silent, Weather::Mute, Weather::Deaf, Weather::HalfOpen, slow, Weather::NoAnswer, Weather::Refuse];
    *all.choose(rng).expect("there are some")
}

/// One of them most often, then two, then all.
fn some(rng: &mut StdRng, of: usize) -> Vec<usize> {
    let count = [1, 1, 1, 2, 2, of].choose(rng).copied().expect("there are some").min(of);
    rand::seq::index::sample(rng, of, count).into_vec()
}

/// The script counts from 1.
fn signal(how: &str, stores: &[usize]) {
    let numbers: Vec<_> = stores.iter().map(|store| (store + 1).to_string()).collect();
    let words: Vec<&str> = std::iter::once(how).chain(numbers.iter().map(String::as_str)).collect();
    cassandra(&words);
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = |stores: &[usize]| stores.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        match self {
            Self::KillNode(node) => write!(f, "node {node} killed"),
            Self::PauseNode(node) => write!(f, "node {node} paused"),
            Self::DeployNode(node) => write!(f, "node {node} stopped"),
            Self::KillStores(stores) => write!(f, "Cassandra {} killed", numbers(stores)),
            Self::PauseStores(stores) => write!(f, "Cassandra {} paused", numbers(stores)),
            Self::AtDoor(node, weather) => write!(f, "clients, node {node}: {weather:?}"),
            Self::AtStores(node, stores, weather) => {
                write!(f, "node {node}, Cassandra {}: {weather:?}", numbers(stores))
            }
            Self::KillNats => write!(f, "NATS killed"),
            Self::PauseNats => write!(f, "NATS paused"),
            Self::AtNats(node, weather) => write!(f, "node {node}, NATS: {weather:?}"),
        }
    }
}
