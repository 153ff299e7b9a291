//! Virtual time, what is to happen when, who can reach whom, and the trace of what happened. Everything random is drawn here, from
//! the seed. Nothing here knows what a message means.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::StdRng};

/// How far time moves at once. Whatever goes from one place to another takes at least so long.
pub const TICK: Duration = Duration::from_millis(5);

/// When the simulation begins, in Unix milliseconds.
const BEGIN_MS: u64 = 1_700_000_000_000;

/// Where something runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    Node(usize),
    Store,
    Clients,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(place) => write!(f, "node-{place}"),
            Self::Store => f.write_str("store"),
            Self::Clients => f.write_str("clients"),
        }
    }
}

type Act = Box<dyn FnOnce(&Arc<World>) + Send>;

/// What all parts of a simulation share.
pub struct World {
    inner: Mutex<Inner>,
}

struct Inner {
    now: Duration,
    /// Raised by each look at the clock, so that no two things happen at the same nanosecond.
    looks: u64,
    last_number: u64,
    due: BinaryHeap<Reverse<(Duration, u64)>>,
    acts: BTreeMap<u64, Act>,
    rng: StdRng,
    /// Nothing goes from the first to the second.
    cut: BTreeSet<(Place, Place)>,
    weather: Weather,
    trace: Trace,
}

/// What may befall what is on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weather {
    /// Of frames of the bus: lost, doubled; in thousandths.
    pub lost: u32,
    pub doubled: u32,
    /// Requests to the store, or its answers, that are lost; in thousandths.
    pub store_lost: u32,
    /// Requests of which the caller is told an error, whatever becomes of them; in thousandths.
    pub store_errors: u32,
    /// What the store takes longer for an answer, at most.
    pub store_slow: Duration,
}

#[derive(Default)]
struct Trace {
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
}

impl World {
    pub fn new(seed: u64, keeps_trace: bool) -> Arc<Self> {
        let trace = Trace { lines: keeps_trace.then(Vec::new), ..Trace::default() };
        let inner = Inner {
            now: Duration::ZERO,
            looks: 0,
            last_number: 0,
            due: BinaryHeap::new(),
            acts: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            cut: BTreeSet::new(),
            weather: Weather::default(),
            trace,
        };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    pub fn now(&self) -> Duration {
        self.inner.lock().now
    }

    /// Nanoseconds that never stand still, for those who record.
    pub fn now_ns(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.looks += 1;
        let ns = u64::try_from(inner.now.as_nanos()).unwrap_or(u64::MAX);
        // Within a tick the looks count up, and never into the next.
        ns + inner.looks.min(TICK.as_nanos() as u64 - 1)
    }

    pub fn unix_ms(&self) -> u64 {
        BEGIN_MS + u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    pub fn random<T>(&self, draw: impl FnOnce(&mut StdRng) -> T) -> T {
        draw(&mut self.inner.lock().rng)
    }

    /// Whether a die of a thousand sides falls so.
    pub fn falls(&self, thousandths: u32) -> bool {
        thousandths > 0 && self.random(|rng| rng.random_range(0..1_000) < thousandths)
    }

    /// One after the other.
    pub fn number(&self) -> u64 {
        let mut inner = self.inner.lock();
        inner.last_number += 1;
        inner.last_number
    }

    pub fn weather(&self) -> Weather {
        self.inner.lock().weather
    }

    pub fn set_weather(&self, change: impl FnOnce(&mut Weather)) {
        change(&mut self.inner.lock().weather);
    }

    pub fn cut(&self, from: Place, to: Place) {
        self.inner.lock().cut.insert((from, to));
    }

    pub fn mend(&self, from: Place, to: Place) {
        self.inner.lock().cut.remove(&(from, to));
    }

    pub fn is_cut(&self, from: Place, to: Place) -> bool {
        self.inner.lock().cut.contains(&(from, to))
    }

    /// Has something happen after `delay`, and not within this tick.
    pub fn after(&self, delay: Duration, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let mut inner = self.inner.lock();
        inner.last_number += 1;
        let (at, number) = (inner.now + delay.max(Duration::from_millis(1)), inner.last_number);
        inner.due.push(Reverse((at, number)));
        inner.acts.insert(number, Box::new(act));
    }

    /// How long what leaves now is on its way.
    pub fn latency(&self) -> Duration {
        self.random(|rng| {
            let ms = if rng.random_bool(0.02) { rng.random_range(20..400) } else { rng.random_range(1..12) };
            Duration::from_millis(ms)
        })
    }

    /// Sends something on its way that may be lost.
    pub fn send(&self, from: Place, to: Place, act: impl FnOnce(&Arc<Self>) + Send + 'static) {
        let latency = self.latency();
        self.after(latency, move |world| {
            if !world.is_cut(from, to) {
                act(world);
            }
        });
    }

    /// Moves time on, and does what is due.
    pub fn tick(self: &Arc<Self>) {
        let now = {
            let mut inner = self.inner.lock();
            inner.now += TICK;
            inner.looks = 0;
            inner.now
        };
        while let Some(act) = self.next_due(now) {
            act(self);
        }
    }

    fn next_due(&self, now: Duration) -> Option<Act> {
        let mut inner = self.inner.lock();
        let Reverse((at, number)) = *inner.due.peek()?;
        if at > now {
            return None;
        }
        inner.due.pop();
        inner.acts.remove(&number)
    }

    /// Notes what happened.
    pub fn note(&self, what: fmt::Arguments<'_>) {
        let mut inner = self.inner.lock();
        let at_ms = inner.now.as_millis();
        let line = format!("{at_ms:>8} {what}");
        let trace = &mut inner.trace;
        let mut hasher = DefaultHasher::new();
        (trace.hash, &line).hash(&mut hasher);
        trace.hash = hasher.finish();
        trace.events += 1;
        if let Some(lines) = &mut trace.lines {
            lines.push(line);
        }
    }

    /// Notes something for people who look at a trace; it is no part of what is compared.
    pub fn explain(&self, what: impl FnOnce() -> String) {
        let mut inner = self.inner.lock();
        let at_ms = inner.now.as_millis();
        if let Some(lines) = &mut inner.trace.lines {
            lines.push(format!("{at_ms:>8}   {}", what()));
        }
    }

    /// A number for all that happened, and how much that was.
    pub fn trace(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.trace.hash, inner.trace.events)
    }

    pub fn trace_lines(&self) -> Vec<String> {
        self.inner.lock().trace.lines.clone().unwrap_or_default()
    }
}

/// A short name for bytes.
pub fn digest(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}
