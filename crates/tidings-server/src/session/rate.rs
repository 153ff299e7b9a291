//! Rates by the generic cell rate algorithm: one number a user or address, no timer.

use std::sync::atomic::{AtomicU64, Ordering};

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
        let interval_ns = 1_000_000_000 / u64::from(rate.per_s.max(1));
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
}

#[cfg(test)]
mod tests {
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
}
