//! What the version after this one will write, made up: a build with the feature `next-format` has it, so that a fleet can be
//! deployed from one format to the next before there is one.

use std::sync::atomic::{AtomicU16, Ordering};

use super::{Host, peers::wire::Notice};
use crate::{cluster::format::FORMAT, home::event::HomeChange};

#[derive(Default)]
pub struct Next {
    format: AtomicU16,
}

impl Next {
    /// All nodes read `format`.
    pub fn may_write(&self, host: &Host, format: u16) {
        if self.format.fetch_max(format, Ordering::Relaxed) < FORMAT && format >= FORMAT {
            tracing::info!(format, "the whole fleet reads it: it is written from now on");
        }
        if format >= FORMAT {
            host.tell_nodes(Notice::Next(u64::from(format)));
        }
    }

    /// What is written whenever somebody comes, if it may be.
    pub fn on_login(&self, now_ms: u64) -> Option<HomeChange> {
        (self.format.load(Ordering::Relaxed) >= FORMAT).then_some(HomeChange::Next { at_ms: now_ms })
    }
}
