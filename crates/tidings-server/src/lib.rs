//! The Tidings server. The modules stand in the order in which a message travels; see ARCHITECTURE.md.

pub mod serve;

pub mod edge;
pub mod session;
pub mod host;
pub mod conversation;
pub mod home;
pub mod journal;
pub mod tables;
pub mod archive;
pub mod blobs;
pub mod fsck;
pub mod migrate;
pub mod bus;
pub mod cluster;

pub mod cassandra;
pub mod cbor;
pub mod clock;
pub mod config;
pub mod data_folder;
pub mod listeners;
pub mod maps;
pub mod metrics;
pub mod node;
pub mod shutdown;
pub mod trust;
