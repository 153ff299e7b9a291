//! What connections wait for: times of the clock that sessions go by, and when a caller's token ends.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::{execute::Caller, state::EXPIRY_WARNING_MS};

use super::Edge;

/// When the caller's token ends.
pub fn of(edge: &Edge, caller: &Caller) -> Option<Instant> {
    of_ms(edge, caller.expires_ms?)
}

/// A time of the clock on the wall as one to wait for.
pub fn of_ms(edge: &Edge, unix_ms: u64) -> Option<Instant> {
    let left_ms = unix_ms.saturating_sub(edge.host.clock.unix_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}

/// The same on the clock that sessions go by, in milliseconds.
pub fn on_clock(edge: &Edge, unix_ms: Option<u64>) -> Option<u64> {
    unix_ms.map(|unix_ms| now_ms(edge) + unix_ms.saturating_sub(edge.host.clock.unix_ms()))
}

/// When to warn of it.
pub fn warn_at(expires_at: Option<Instant>) -> Option<Instant> {
    let warning = Duration::from_millis(EXPIRY_WARNING_MS);
    expires_at.map(|at| at.checked_sub(warning).unwrap_or_else(Instant::now))
}

/// Ready at that time; never, if there is none.
pub async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// The clock that sessions go by, in milliseconds.
pub fn now_ms(edge: &Edge) -> u64 {
    edge.host.clock.monotonic_ns() / 1_000_000
}

/// Ready at a time of that clock.
pub fn sleep_until(edge: &Edge, deadline_ms: u64) -> tokio::time::Sleep {
    tokio::time::sleep(Duration::from_millis(deadline_ms.saturating_sub(now_ms(edge))))
}
