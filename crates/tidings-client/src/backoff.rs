//! How long to wait before connecting again: full jitter, 0.5 s doubling to 30 s.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const MAX: Duration = Duration::from_secs(30);
/// A connection that stood so long was a good one: the next cut begins from the shortest wait again.
pub(crate) const RESET_AFTER: Duration = Duration::from_secs(30);

/// A node that stops closes what it serves to have it come back elsewhere, and in a deploy they all do, one after the other: after so
/// long that is no failure.
pub(crate) const PLANNED_AFTER: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next wait. `random` is in `0.0..1.0`.
    pub fn next(&mut self, random: f64) -> Duration {
        let ceiling = FIRST.saturating_mul(1 << self.failures.min(16)).min(MAX);
        self.failures += 1;
        ceiling.mul_f64(random)
    }

    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_ceiling_and_start_anew() {
        let mut backoff = Backoff::default();
        let waits: Vec<f64> = (0..9).map(|_| backoff.next(1.0).as_secs_f64()).collect();
        assert_eq!(waits, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]);
        assert_eq!(backoff.next(0.0), Duration::ZERO, "full jitter begins at nothing");
        backoff.reset();
        assert_eq!(backoff.next(0.5), Duration::from_millis(250));
    }
}
