//! The server as its clients see it: each test starts one on a free port, with a data folder of its own.

mod support;

mod metrics;
mod restart;
mod talk;
