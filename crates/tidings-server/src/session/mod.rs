//! The session: one device's connection. Authenticated, rate-limited, with a bounded outbox.

pub mod outbox;
pub mod rate;
pub mod reply;
pub mod unanswered;
