//! When a session's token ends, and when its client is to be warned of that: pure, in milliseconds of the clock that sessions
//! go by. The same for every transport.

/// So long before its end a client is warned.
const WARNING_MS: u64 = 60_000;

/// `None` in `end_ms`: the token never ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expiry {
    end_ms: Option<u64>,
    /// When to warn; `None`, once that is done.
    warn_ms: Option<u64>,
}

impl Expiry {
    pub fn new(end_ms: Option<u64>) -> Self {
        Self { end_ms, warn_ms: end_ms.map(|end_ms| end_ms.saturating_sub(WARNING_MS)) }
    }

    /// A call has shown a new token for this device: it counts if it lasts longer. A session without an end gets none by it.
    pub fn extend(&mut self, end_ms: u64) {
        if self.end_ms.is_some_and(|before_ms| end_ms > before_ms) {
            *self = Self::new(Some(end_ms));
        }
    }

    pub fn end_ms(&self) -> Option<u64> {
        self.end_ms
    }

    /// When there is something to be done next: to warn, or to end.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.warn_ms.or(self.end_ms)
    }

    pub fn is_over(&self, now_ms: u64) -> bool {
        self.end_ms.is_some_and(|end_ms| now_ms >= end_ms)
    }

    /// In how many seconds the token ends, if it is time to say so.
    pub fn warning(&self, now_ms: u64) -> Option<u64> {
        let end_ms = self.end_ms.filter(|_| self.warn_ms.is_some_and(|warn_ms| now_ms >= warn_ms))?;
        Some(end_ms.saturating_sub(now_ms).div_ceil(1_000))
    }

    /// The client was warned.
    pub fn warned(&mut self) {
        self.warn_ms = None;
    }

    /// Nobody heard the warning: it is to be given again at this time.
    pub fn warn_again(&mut self, at_ms: u64) {
        self.warn_ms = self.end_ms.map(|end_ms| at_ms.min(end_ms));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_is_warned_a_minute_before_the_end() {
        let mut expiry = Expiry::new(Some(200_000));
        assert_eq!(expiry.deadline_ms(), Some(140_000));
        assert_eq!(
            [expiry.warning(139_999), expiry.warning(140_000), expiry.warning(199_001)],
            [None, Some(60), Some(1)]
        );
        expiry.warned();
        assert_eq!((expiry.deadline_ms(), expiry.warning(150_000)), (Some(200_000), None));
        expiry.warn_again(151_000);
        assert_eq!((expiry.deadline_ms(), expiry.warning(151_000)), (Some(151_000), Some(49)));
        assert_eq!([expiry.is_over(199_999), expiry.is_over(200_000)], [false, true]);
        assert_eq!(Expiry::new(Some(10)).warning(0), Some(1), "a short one at once");
    }

    #[test]
    fn a_renewal_lengthens_and_never_gives_an_end() {
        let mut expiry = Expiry::new(Some(200_000));
        expiry.warned();
        expiry.extend(100_000);
        assert_eq!(expiry.deadline_ms(), Some(200_000), "it would end earlier");
        expiry.extend(300_000);
        assert_eq!(expiry.deadline_ms(), Some(240_000), "and warns anew");
        let mut endless = Expiry::new(None);
        endless.extend(300_000);
        endless.warn_again(5);
        assert_eq!((endless, endless.is_over(u64::MAX)), (Expiry::default(), false));
    }
}
