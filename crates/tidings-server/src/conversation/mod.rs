//! The conversation: the unit of order. It decides what happens, and in which order.
//!
//! `decide` and `apply` (in `state`) are pure; `actor` keeps the decided and the committed state apart. Nothing here does I/O.

pub mod actor;
pub mod decide;
pub mod entry;
pub mod event;
pub mod fold;
pub mod members;
pub mod newest;
pub mod repeats;
pub mod state;
pub mod tell;
pub mod view;
