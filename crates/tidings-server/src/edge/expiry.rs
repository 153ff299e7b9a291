//! When a caller's token ends, for transports that wait with a clock of their own.

use std::time::Duration;

use tokio::time::Instant;

use crate::session::execute::Caller;

use super::Edge;

/// When the caller's token ends.
pub fn of(edge: &Edge, caller: &Caller) -> Option<Instant> {
    let left_ms = caller.expires_ms?.saturating_sub(edge.host.clock.unix_ms());
    Instant::now().checked_add(Duration::from_millis(left_ms))
}

/// Ready at that time; never, if there is none.
pub async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
