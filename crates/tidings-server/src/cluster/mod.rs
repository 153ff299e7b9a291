//! Many nodes: which there are, which of them should host what, and who is taken for dead.
//!
//! What is here is pure: it decides, and does no I/O. The argument why no two nodes ever host the same shard, and why
//! nothing acknowledged is lost when a shard moves, is in ARCHITECTURE.md; `model` checks it.

pub mod view;
pub mod placement;
pub mod suspicion;
#[cfg(test)]
mod model;
