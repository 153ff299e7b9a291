//! The wire of Tidings, version 1: ids, frames, codes and limits.
//!
//! One set of JSON objects serves every transport. This crate turns bytes into typed frames and back; it knows no
//! runtime, no socket and no storage. `docs/protocol.md` is its description for client authors.

pub mod codes;
pub mod frames;
pub mod ids;
pub mod limits;
pub mod percent;
pub mod schema;

pub use codes::{CloseCode, Code};
pub use ids::{ConversationId, DeviceId, SHARDS, Seq, ShardId, UserId};
