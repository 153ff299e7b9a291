//! The binary as people, scripts and products use it: a server process on a port of its own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;
mod cassandra;
mod commands;
mod drain;
mod inherited;
mod mqtt;
mod nemesis;
mod proof;
mod resume;
mod script;
mod server;
