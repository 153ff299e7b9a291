//! Rates by the generic cell rate algorithm: one number a user or address, no timer.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tidings_proto::DeviceId;

/// So many a second, and so many at once.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    pub per_s: u32,
    pub burst: u32,
}

/// How much of a rate is spent: the time at which all of it will be there again, in nanoseconds of the caller's clock.
#[derive(Debug, Default)]
pub struct Bucket {
    full_at_ns: AtomicU64,
}

impl Bucket {
    /// Takes one, if it is there at the latest in `max_wait_ns`, and tells how long to wait for it. `Err`: nothing is taken; try again after so long.
    pub fn take(&self, rate: Rate, now_ns: u64, max_wait_ns: u64) -> Result<u64, u64> {
        let interval_ns = rate.interval_ns();
        let burst_ns = interval_ns * u64::from(rate.burst.max(1) - 1);
        let mut outcome = Ok(0);
        let _ = self.full_at_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, |full_at_ns| {
            let from_ns = full_at_ns.max(now_ns);
            let wait_ns = from_ns.saturating_sub(now_ns + burst_ns);
            if wait_ns > max_wait_ns {
                outcome = Err(wait_ns);
                return None;
            }
            outcome = Ok(wait_ns);
            Some(from_ns + interval_ns)
        });
        outcome
    }

    /// Whether nothing of it is spent.
    pub fn is_full(&self, now_ns: u64) -> bool {
        self.full_at_ns.load(Ordering::Acquire) <= now_ns
    }
}

impl Rate {
    fn interval_ns(self) -> u64 {
        1_000_000_000 / u64::from(self.per_s.max(1))
    }
}

/// What each of a user's devices has spent. Only those take room that asked for something lately.
#[derive(Debug, Default)]
pub struct DeviceBuckets {
    spent: Mutex<Vec<(DeviceId, Bucket)>>,
}

/// Devices that one user may use at a time; beyond them the one that began first is forgotten.
const DEVICES_MAX: usize = 100;

impl DeviceBuckets {
    /// As [`Bucket::take`], of one device.
    pub fn take(&self, device: &DeviceId, rate: Rate, now_ns: u64, max_wait_ns: u64) -> Result<u64, u64> {
        let mut spent = self.spent.lock();
        if let Some((_, bucket)) = spent.iter().find(|(known, _)| known == device) {
            return bucket.take(rate, now_ns, max_wait_ns);
        }
        spent.retain(|(_, bucket)| !bucket.is_full(now_ns));
        if spent.len() >= DEVICES_MAX {
            spent.remove(0);
        }
        let bucket = Bucket::default();
        let taken = bucket.take(rate, now_ns, max_wait_ns);
        spent.push((device.clone(), bucket));
        taken
    }
}

/// Lets a crowd in at a rate. Whoever has to wait gets a time to come back; these times lie as far apart as the rate has it, so
/// that not all come again together.
#[derive(Debug, Default)]
pub struct Turnstile {
    bucket: Bucket,
    /// The last time that was given away, in nanoseconds of the caller's clock.
    told_ns: AtomicU64,
}

/// Nobody is told to wait longer than this, and a part of it.
const TOLD_MAX_NS: u64 = 60_000_000_000;
/// How much later than told a place may be taken, as a part of the wait.
const JITTER: f64 = 0.25;

impl Turnstile {
    /// Lets one in, or tells after how long to come again. `random` is in `0.0..1.0`.
    pub fn admit(&self, rate: Rate, now_ns: u64, random: f64) -> Result<(), u64> {
        let Err(wait_ns) = self.bucket.take(rate, now_ns, 0) else { return Ok(()) };
        let (soonest_ns, latest_ns) = (now_ns + wait_ns, now_ns + TOLD_MAX_NS);
        let mut told_ns = soonest_ns;
        let is_told = self.told_ns.fetch_update(Ordering::AcqRel, Ordering::Acquire, |last_ns| {
            told_ns = soonest_ns.max(last_ns + rate.interval_ns());
            (told_ns < latest_ns).then_some(told_ns)
        });
        let wait_ns = match is_told {
            Ok(_) => told_ns - now_ns,
            // More than can be let in until then: they come some time in the second half, and ask again.
            Err(_) => TOLD_MAX_NS / 2 + part(TOLD_MAX_NS / 2, random),
        };
        Err(wait_ns + part(wait_ns, random * JITTER))
    }
}

/// A part of a time.
fn part(time_ns: u64, share: f64) -> u64 {
    std::time::Duration::from_nanos(time_ns).mul_f64(share).as_nanos().try_into().unwrap_or(time_ns)
}

#[cfg(test)]
mod tests {
    use std::{cmp::Reverse, collections::BinaryHeap};

    use super::*;

    #[test]
    fn a_burst_goes_through_then_one_waits_then_one_is_refused() {
        let rate = Rate { per_s: 10, burst: 3 };
        let bucket = Bucket::default();
        let at = |ms: u64| 5_000_000_000 + ms * 1_000_000;
        let waits: Vec<_> = (0..5).map(|_| bucket.take(rate, at(0), 150_000_000)).collect();
        assert_eq!(waits, [Ok(0), Ok(0), Ok(0), Ok(100_000_000), Err(200_000_000)]);
        assert_eq!(bucket.take(rate, at(100), 0), Err(100_000_000));
        assert_eq!(bucket.take(rate, at(200), 0), Ok(0));
        assert_eq!(bucket.take(rate, at(10_000), 0), Ok(0));
    }

    #[test]
    fn each_device_has_its_own_and_leaves_nothing_behind() {
        let (rate, buckets) = (Rate { per_s: 10, burst: 2 }, DeviceBuckets::default());
        let device = |n: usize| DeviceId::new(&format!("d-{n}")).unwrap();
        let take = |n, ms: u64| buckets.take(&device(n), rate, ms * 1_000_000, 0);
        assert_eq!([take(1, 0), take(1, 0), take(1, 0)], [Ok(0), Ok(0), Err(100_000_000)]);
        assert_eq!(take(2, 0), Ok(0), "another one is not slowed");
        for n in 0..1_000 {
            let _ = take(n, 10);
        }
        assert_eq!(buckets.spent.lock().len(), DEVICES_MAX);
        assert_eq!(take(1, 10_000), Ok(0));
        assert_eq!(buckets.spent.lock().len(), 1, "whoever has all of it again takes no room");
    }

    /// So many come back at once and do as they are told; how long until all are in, the most that came in within a second,
    /// and the most tries of one.
    fn storm(clients: u64, rate: Rate) -> (u64, u64, u32) {
        let turnstile = Turnstile::default();
        let mut seed = 1_u64;
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(seed >> 32).unwrap()) / f64::from(u32::MAX)
        };
        let mut coming: BinaryHeap<_> = (0..clients).map(|client| Reverse((0, client, 1))).collect();
        let (mut admitted_ns, mut most_tries) = (Vec::new(), 0);
        while let Some(Reverse((now_ns, client, tries))) = coming.pop() {
            most_tries = most_tries.max(tries);
            match turnstile.admit(rate, now_ns, random()) {
                Ok(()) => admitted_ns.push(now_ns),
                Err(wait_ns) => coming.push(Reverse((now_ns + wait_ns, client, tries + 1))),
            }
        }
        let within = |from: u64| admitted_ns.iter().filter(|at| (from..from + 1_000_000_000).contains(at)).count();
        let busiest = (0..=admitted_ns.last().unwrap() / 1_000_000_000).map(|s| within(s * 1_000_000_000)).max();
        assert_eq!(admitted_ns.len() as u64, clients);
        (admitted_ns.last().unwrap() / 1_000_000, busiest.unwrap() as u64, most_tries)
    }

    #[test]
    fn a_storm_comes_in_at_the_rate_and_asks_seldom() {
        let rate = Rate { per_s: 500, burst: 500 };
        let (took_ms, busiest, most_tries) = storm(5_000, rate);
        assert!((9_000..13_000).contains(&took_ms), "{took_ms}");
        assert!(busiest <= 1_001, "{busiest}");
        assert!(most_tries <= 3, "{most_tries}");
        // More than can be told a place.
        let (took_ms, busiest, most_tries) = storm(100_000, rate);
        assert!((190_000..300_000).contains(&took_ms), "{took_ms}");
        assert!(busiest <= 1_001, "{busiest}");
        assert!(most_tries <= 12, "{most_tries}");
        assert_eq!(storm(400, rate), (0, 400, 1), "a few are no storm");
    }
}
