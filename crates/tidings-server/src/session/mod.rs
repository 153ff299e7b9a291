//! The session: one device's connection. Authenticated, rate-limited, with a bounded outbox.
//!
//! `state` is its protocol, pure; `execute` carries requests out for every transport. Nothing here knows bytes on a wire.

pub mod state;
pub mod auth;
pub mod rate;
pub mod expiry;
pub mod execute;
pub mod reply;
pub mod unanswered;
pub mod outbox;
pub mod attachment;
pub mod inspect;
