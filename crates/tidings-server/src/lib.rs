//! The Tidings server. The modules stand in the order in which a message travels; see ARCHITECTURE.md.

pub mod config;
pub mod conversation;
pub mod journal;
pub mod tables;
