//! Many nodes: which there are, which of them should host what, who is taken for dead, and how shards move.
//!
//! `view`, `placement` and `suspicion` are pure; `format` is what lets two versions work side by side. `store` is what the nodes share, `member` the part of a node that acts on
//! it, `hosting` what it asks of the actors' side. The argument why no two nodes ever host the same shard, and why nothing
//! acknowledged is lost when a shard moves, is in ARCHITECTURE.md; `model` checks it.

pub mod format;
pub mod view;
pub mod placement;
pub mod suspicion;
pub mod store;
pub mod hosting;
pub mod member;
#[cfg(test)]
mod model;
