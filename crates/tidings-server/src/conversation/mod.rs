//! The conversation: the unit of order. It decides what happens, and in which order.
//!
//! `decide` and `apply` are pure; `actor` keeps the decided and the committed state apart. Nothing here does I/O but
//! `history`, which reads.

pub mod entry;
pub mod event;
pub mod fold;
pub mod members;
pub mod state;
pub mod decide;
