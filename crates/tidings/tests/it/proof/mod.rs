//! Nothing that was acknowledged is ever lost: the real server process, real sockets and real files, under load, while it is
//! killed or its disk fails. What the clients saw is recorded and judged by `tidings-checker`.
//!
//! `world` is who talks where, `plan` what they do next, `device` and `caller` are clients that record all they say and
//! hear, `run` lets them loose on a server, `roam` on a fleet, `strace` makes its disk fail, `audit` looks whether answers agree with the logs and reads everything at the end.

pub mod audit;
mod caller;
mod device;
mod held;
mod plan;
pub mod run;
mod roam;
mod strace;
mod trace;
mod lost_power;
pub mod world;

mod crash;
mod disk_faults;
mod power_cut;
mod uncommitted;
