//! The server's own code under a seeded simulator. Without arguments it is a test; `seeds` and `seed` run what they say.
//!
//! ```text
//! sim                                the tests: some seeds, one twice, and fleets with a flaw, which must be found
//! sim seeds COUNT [FIRST]            many seeds, each in a process of its own
//! sim seed NUMBER [--flaw NAME] [--trace FOLDER]   one, in this process
//! ```
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod audit;
mod bus;
mod cluster;
mod device;
mod door;
mod faults;
mod flaw;
mod fleet;
mod journals;
mod judge;
mod lines;
mod logs;
mod node;
mod pipe;
mod pool;
mod proof;
mod run;
mod seed;
mod store;
mod tables;
mod world;

use std::process::ExitCode;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["seed", number, ref rest @ ..] => pool::one(number.parse().expect("a seed is a number"), rest),
        ["seeds", count, ref rest @ ..] => {
            let first = rest.first().map_or(1, |first| first.parse().expect("a seed is a number"));
            pool::many(first, count.parse().expect("so many seeds"))
        }
        ref of_a_test => pool::tests(of_a_test),
    }
}
