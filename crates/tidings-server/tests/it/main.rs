//! The server as its clients see it: each test starts one on a free port, with a data folder of its own.

mod http_client;
mod support;

mod http_admin;
mod metrics;
mod people;
mod restart;
mod talk;
