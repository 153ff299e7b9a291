//! The time, as a value that a test or a simulation can set. Order never comes from here.

use std::{
    fmt,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use tokio::time::Instant;

#[derive(Clone)]
pub struct Clock {
    unix_ms: Arc<dyn Fn() -> u64 + Send + Sync>,
    started: Instant,
}

impl Clock {
    pub fn system() -> Self {
        Self::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
    }

    pub fn new(unix_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self { unix_ms: Arc::new(unix_ms), started: Instant::now() }
    }

    /// Unix milliseconds, for people.
    pub fn unix_ms(&self) -> u64 {
        (self.unix_ms)()
    }

    /// Nanoseconds since the start of the process, never backwards; for rates.
    pub fn monotonic_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("unix_ms", &self.unix_ms()).finish()
    }
}
