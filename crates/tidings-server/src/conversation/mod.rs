//! The conversation: the unit of order.

pub mod entry;
