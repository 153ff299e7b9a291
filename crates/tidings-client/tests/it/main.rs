//! The client against a server that follows a script: cuts, gaps, refusals, moves.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod raw;
mod resume;
mod script;
mod sends;
mod several;
