//! A fleet under faults: real nodes of Tidings on a real Cassandra, and clients over all transports whose history is judged by
//! `tidings-checker`. What the faults do between processes is done by a proxy of our own, so that lines can fail as they do
//! between machines.
//!
//! `proxy` is the lines' weather, `owner` tells whose line one is, `fleet` holds the processes (`nats` that between nodes), `fault` is what can happen to them,
//! `figures` what is told of a run. `runs` needs the nodes that `scripts/fleet/nemesis.sh` starts.

mod figures;
pub mod fleet;
mod fault;
pub mod nats;
mod owner;
mod proxy;
mod runs;
