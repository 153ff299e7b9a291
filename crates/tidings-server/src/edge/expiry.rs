//! What connections wait for: times of the clock that sessions go by, such as when a caller's token ends.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::{execute::Caller, expiry::Expiry, outbox::Outbox};

use super::Edge;

/// When the caller's token ends.
pub fn of(edge: &Edge, caller: &Caller) -> Expiry {
    Expiry::new(on_clock(edge, caller.expires_ms))
}

/// When the new token ends that a call has shown for this session's device, if one was shown since this was last asked.
pub fn renewed(edge: &Edge, outbox: &Outbox) -> Option<u64> {
    on_clock(edge, outbox.renewed())
}

/// A time of the clock on the wall on the one that sessions go by, in milliseconds.
pub fn on_clock(edge: &Edge, unix_ms: Option<u64>) -> Option<u64> {
    unix_ms.map(|unix_ms| now_ms(edge).saturating_add(unix_ms.saturating_sub(edge.host.clock.unix_ms())))
}

/// The clock that sessions go by, in milliseconds.
pub fn now_ms(edge: &Edge) -> u64 {
    edge.host.clock.monotonic_ns() / 1_000_000
}

/// A time of that clock as one to wait for; `None`: further away than can be waited.
pub fn instant(edge: &Edge, at_ms: u64) -> Option<Instant> {
    Instant::now().checked_add(Duration::from_millis(at_ms.saturating_sub(now_ms(edge))))
}

/// Ready at a time of that clock.
pub fn sleep_until(edge: &Edge, deadline_ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(deadline_ms.saturating_sub(now_ms(edge))))
}

/// Ready at that time; never, if there is none.
pub async fn at(edge: &Edge, time_ms: Option<u64>) {
    match time_ms {
        Some(time_ms) => sleep_until(edge, time_ms).await,
        None => std::future::pending().await,
    }
}
