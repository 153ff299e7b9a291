//! What figures are made of: handles that are looked up once, and a histogram that takes no lock.
//! Knows how figures are stored and registered, not which there are.

use std::{
    fmt::{Debug, Error},
    marker::PhantomData,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, TypedMetric, family::Family, gauge::Gauge},
    registry::{Metric, Registry, Unit},
};
use tidings_proto::{CloseCode, Code};

/// A gauge of seconds with fractions.
pub type Seconds = Gauge<f64, AtomicU64>;

/// The values of a label: few, and known when the server is built.
pub trait Label: Copy + Debug + Send + Sync + 'static {
    const NAME: &'static str;
    const ALL: &'static [Self];
    fn index(self) -> usize;
    fn word(self) -> &'static str;
}

/// Enums whose variants are a label's values.
macro_rules! labels {
    ($( $(#[$meta:meta])* $name:ident $label:literal { $($variant:ident $word:literal),* $(,)? } )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($variant,)* }

        impl $crate::metrics::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    )*};
}

pub(super) use labels;

impl Label for Code {
    const NAME: &'static str = "code";
    const ALL: &'static [Self] = Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        self.as_str()
    }
}

impl Label for CloseCode {
    const NAME: &'static str = "reason";
    const ALL: &'static [Self] = Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn word(self) -> &'static str {
        self.reason()
    }
}

/// One handle for each value of a label.
pub struct Per<L, M> {
    handles: Vec<M>,
    label: PhantomData<L>,
}

impl<L: Label, M> Per<L, M> {
    pub fn of(&self, label: L) -> &M {
        &self.handles[label.index()]
    }
}

/// One handle for each of some names, and one for all others (`other`).
pub struct PerName<M> {
    /// Sorted by name.
    handles: Vec<(&'static str, M)>,
    other: M,
}

impl<M> PerName<M> {
    pub fn of(&self, name: &str) -> &M {
        match self.handles.binary_search_by_key(&name, |(known, _)| known) {
            Ok(index) => &self.handles[index].1,
            Err(_) => &self.other,
        }
    }
}

/// Counts something as there until it is dropped.
#[derive(Debug)]
pub struct InUse(Gauge);

impl InUse {
    pub fn of(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// 10 us to 10 s, in microseconds.
const DURATIONS_US: [u64; 19] = [
    10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000,
    2_000_000, 5_000_000, 10_000_000,
];
const COUNTS: [u64; 15] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384];

/// How often values fell below each of some bounds. The crate's own takes a lock at each value.
#[derive(Clone, Debug)]
pub struct Histogram(Arc<Buckets>);

#[derive(Debug)]
struct Buckets {
    /// Upper bounds, inclusive.
    bounds: &'static [u64],
    /// One more than bounds: the last is above them all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
    /// What a value is divided by to be in the metric's unit.
    divisor: f64,
}

impl Histogram {
    pub fn of_durations() -> Self {
        Self::new(&DURATIONS_US, 1e6)
    }

    pub fn of_counts() -> Self {
        Self::new(&COUNTS, 1.0)
    }

    fn new(bounds: &'static [u64], divisor: f64) -> Self {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::default()).collect();
        Self(Arc::new(Buckets { bounds, counts, sum: AtomicU64::default(), divisor }))
    }

    /// Adds a duration to a histogram of durations.
    pub fn observe(&self, duration: Duration) {
        self.count(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds a number to a histogram of counts.
    pub fn count(&self, value: u64) {
        let bucket = self.0.bounds.partition_point(|bound| *bound < value);
        self.0.counts[bucket].fetch_add(1, Relaxed);
        self.0.sum.fetch_add(value, Relaxed);
    }
}

impl TypedMetric for Histogram {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Histogram {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), Error> {
        let buckets = &self.0;
        let bounds = buckets.bounds.iter().map(|bound| *bound as f64 / buckets.divisor).chain([f64::INFINITY]);
        let counts: Vec<(f64, u64)> = bounds.zip(buckets.counts.iter().map(|count| count.load(Relaxed))).collect();
        let total = counts.iter().map(|(_, count)| count).sum();
        let sum = buckets.sum.load(Relaxed) as f64 / buckets.divisor;
        encoder.encode_histogram::<NoLabelSet>(sum, total, &counts, None)
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// Makes figures and registers them; a name ends with its unit, a counter's with `_total` behind it.
pub(super) struct Maker<'a>(pub &'a mut Registry);

impl Maker<'_> {
    pub fn one<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        let metric = M::default();
        self.0.register(name, help, metric.clone());
        metric
    }

    pub fn with_unit<M: Metric + Clone + Default>(&mut self, name: &str, help: &str, unit: Unit) -> M {
        let metric = M::default();
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
    }

    pub fn duration(&mut self, name: &str, help: &str) -> Histogram {
        let metric = Histogram::of_durations();
        self.0.register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }

    pub fn histogram(&mut self, name: &str, help: &str, metric: Histogram) -> Histogram {
        self.0.register(name, help, metric.clone());
        metric
    }

    pub fn per<L: Label, M: Metric + TypedMetric + Clone + Default>(&mut self, name: &str, help: &str) -> Per<L, M> {
        let (family, handles) = resolve(M::default, L::NAME, L::ALL.iter().map(|label| label.word()));
        self.0.register(name, help, family);
        Per { handles, label: PhantomData }
    }

    pub fn per_with_unit<L: Label, M: Metric + TypedMetric + Clone + Default>(
        &mut self,
        name: &str,
        help: &str,
        unit: Unit,
    ) -> Per<L, M> {
        let (family, handles) = resolve(M::default, L::NAME, L::ALL.iter().map(|label| label.word()));
        self.0.register_with_unit(name, help, unit, family);
        Per { handles, label: PhantomData }
    }

    pub fn durations<L: Label>(&mut self, name: &str, help: &str) -> Per<L, Histogram> {
        let (family, handles) = resolve(Histogram::of_durations, L::NAME, L::ALL.iter().map(|label| label.word()));
        self.0.register_with_unit(name, help, Unit::Seconds, family);
        Per { handles, label: PhantomData }
    }

    pub fn per_name<M: Metric + TypedMetric + Clone + Default>(
        &mut self,
        name: &str,
        help: &str,
        label: &'static str,
        names: &[&'static str],
    ) -> PerName<M> {
        let mut names = names.to_vec();
        names.sort_unstable();
        let (family, mut handles) = resolve(M::default, label, names.iter().copied().chain(["other"]));
        self.0.register(name, help, family);
        let other = handles.pop().expect("`other` was chained to the names");
        PerName { handles: names.into_iter().zip(handles).collect(), other }
    }
}

type Labelled<M> = Family<[(&'static str, &'static str); 1], M, fn() -> M>;

/// A family with all its handles.
fn resolve<M: Clone>(
    new: fn() -> M,
    label: &'static str,
    words: impl Iterator<Item = &'static str>,
) -> (Labelled<M>, Vec<M>) {
    let family = Labelled::new_with_constructor(new);
    let handles = words.map(|word| family.get_or_create(&[(label, word)]).clone()).collect();
    (family, handles)
}
