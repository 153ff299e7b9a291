//! The home: what one user sees. Inbox, devices, blocks, profile, presence.
//!
//! It is the only writer of its rows. What conversations tell it and what its user sets are events; `state` applies them.
//! It knows no socket: sessions are outboxes that take frames.

pub mod actor;
pub mod event;
pub mod inbox;
pub mod item;
pub mod kept;
pub mod presence;
pub mod receipts;
pub mod state;
pub mod sync;
