//! What befalls a fleet, drawn from the seed: each fault strikes at a time of its own and is mended later. Several may last at once.

use std::{fmt, time::Duration};

use rand::{Rng, rngs::StdRng};

use super::{fleet::Fleet, world::Place};

#[derive(Clone, Copy, Debug)]
pub enum Fault {
    Kill(usize),
    /// Two at the same moment.
    KillBoth(usize, usize),
    Pause(usize),
    /// One that hands everything over, ends, and starts again.
    Deploy(usize),
    /// A person asks the first that the second do so.
    AskToDeploy(usize, usize),
    /// One that was not there before begins.
    Join(usize),
    /// Nothing goes between two places, or nothing one way.
    Cut(Place, Place, Ways),
    /// Frames of the bus are lost and doubled.
    BadBus,
    StoreSlow,
    StoreLossy,
    /// The store tells errors, for a moment: a node that cannot go on ends.
    StoreErrors,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ways {
    There,
    Back,
    Both,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A fault, when it strikes and when it is mended.
#[derive(Clone, Copy, Debug)]
pub struct Planned {
    pub fault: Fault,
    pub from: Duration,
    pub to: Duration,
}

fn ms(rng: &mut StdRng, range: std::ops::Range<u64>) -> Duration {
    Duration::from_millis(rng.random_range(range))
}

/// For what strikes once.
const AT_ONCE: Duration = Duration::from_millis(1);

/// What happens within `length` to so many nodes; those in `later` are not there at the beginning.
pub fn plan(
    rng: &mut StdRng,
    nodes: usize,
    later: std::ops::Range<usize>,
    begin: Duration,
    length: Duration,
) -> Vec<Planned> {
    let count = rng.random_range(2..7);
    let end_ms = u64::try_from(length.as_millis()).unwrap_or(u64::MAX);
    let mut planned: Vec<_> = (0..count)
        .map(|_| {
            let (fault, lasting) = any(rng, nodes);
            let from = begin + ms(rng, 0..end_ms);
            Planned { fault, from, to: from + lasting }
        })
        .collect();
    let once = |fault, from| Planned { fault, from, to: from + AT_ONCE };
    for node in later {
        planned.push(once(Fault::Join(node), begin + ms(rng, 0..end_ms)));
    }
    if rng.random_ratio(1, 8) {
        // All of them, one after the other.
        let (from, apart) = (begin + ms(rng, 0..end_ms / 2), ms(rng, 800..3_500));
        planned.extend((0..nodes).zip(0..).map(|(node, number)| once(Fault::Deploy(node), from + apart * number)));
    }
    planned.sort_by_key(|planned| planned.from);
    planned
}

fn any(rng: &mut StdRng, nodes: usize) -> (Fault, Duration) {
    let node = rng.random_range(0..nodes);
    let other = (node + rng.random_range(1..nodes)) % nodes;
    let ways = [Ways::There, Ways::Back, Ways::Both][rng.random_range(0..3)];
    match rng.random_range(0..12) {
        0 if rng.random() => (Fault::KillBoth(node, other), ms(rng, 200..9_000)),
        0..3 => (Fault::Kill(node), ms(rng, 200..9_000)),
        3 | 4 => (Fault::Pause(node), ms(rng, 200..12_000)),
        5 if rng.random() => (Fault::AskToDeploy(other, node), AT_ONCE),
        5 => (Fault::Deploy(node), AT_ONCE),
        6 => (Fault::Cut(Place::Node(node), Place::Store, ways), ms(rng, 200..8_000)),
        7 => (Fault::Cut(Place::Node(node), Place::Node(other), ways), ms(rng, 200..10_000)),
        8 => (Fault::Cut(Place::Node(node), Place::Clients, ways), ms(rng, 200..8_000)),
        9 => (Fault::BadBus, ms(rng, 1_000..15_000)),
        10 if rng.random() => (Fault::StoreSlow, ms(rng, 500..5_000)),
        10 => (Fault::StoreLossy, ms(rng, 500..8_000)),
        _ => (Fault::StoreErrors, ms(rng, 50..1_500)),
    }
}

impl Fault {
    pub fn strike(self, fleet: &mut Fleet, lasting: Duration) {
        let world = fleet.world.clone();
        world.note(format_args!("{self} for {lasting:?}"));
        match self {
            Self::Kill(node) => fleet.kill(node, lasting),
            Self::KillBoth(one, other) => {
                fleet.kill(one, lasting);
                fleet.kill(other, lasting);
            }
            Self::Pause(node) => fleet.pause(node, true),
            Self::Deploy(node) => fleet.drain(node),
            Self::AskToDeploy(asked, node) => fleet.ask_to_drain(asked, node),
            Self::Join(node) => fleet.join(node),
            Self::Cut(from, to, ways) => each_way(from, to, ways, |from, to| world.cut(from, to)),
            Self::BadBus => world.set_weather(|weather| (weather.lost, weather.doubled) = (150, 100)),
            Self::StoreSlow => world.set_weather(|weather| weather.store_slow = Duration::from_millis(2_500)),
            Self::StoreLossy => world.set_weather(|weather| weather.store_lost = 250),
            Self::StoreErrors => world.set_weather(|weather| weather.store_errors = 30),
        }
    }

    pub fn mend(self, fleet: &mut Fleet) {
        let world = fleet.world.clone();
        world.note(format_args!("{self} is mended"));
        match self {
            Self::Kill(_) | Self::KillBoth(..) | Self::Deploy(_) | Self::AskToDeploy(..) | Self::Join(_) => {}
            Self::Pause(node) => fleet.pause(node, false),
            Self::Cut(from, to, ways) => {
                each_way(from, to, ways, |from, to| world.mend(from, to));
                for place in [from, to] {
                    if let Place::Node(node) = place {
                        fleet.interrupt(node);
                    }
                }
            }
            Self::BadBus => world.set_weather(|weather| (weather.lost, weather.doubled) = (0, 0)),
            Self::StoreSlow => world.set_weather(|weather| weather.store_slow = Duration::ZERO),
            Self::StoreLossy => world.set_weather(|weather| weather.store_lost = 0),
            Self::StoreErrors => world.set_weather(|weather| weather.store_errors = 0),
        }
    }
}

fn each_way(from: Place, to: Place, ways: Ways, act: impl Fn(Place, Place)) {
    if ways != Ways::Back {
        act(from, to);
    }
    if ways != Ways::There {
        act(to, from);
    }
}
