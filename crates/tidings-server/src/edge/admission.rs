//! Who may come in now. Logins and new connections are counted by address, and of everybody together: when all come back at
//! once, each one that there is no room for yet is told a time of its own.

use std::{net::IpAddr, sync::Arc};

use hashbrown::HashMap;
use parking_lot::Mutex;
use rand::Rng;
use tidings_proto::Code;

use crate::session::{
    rate::{Bucket, Rate, Turnstile},
    reply::Answer,
};

use super::Edge;

/// Addresses that are remembered. Full, all are forgotten.
const ADDRESSES_MAX: usize = 100_000;

#[derive(Default)]
pub struct Admission {
    addresses: Mutex<HashMap<IpAddr, Arc<Bucket>>>,
    crowd: Turnstile,
}

/// Why not now, and when.
#[derive(Clone, Copy, Debug)]
pub enum Later {
    /// This address asks for too much.
    Address { wait_ms: u64 },
    /// Everybody comes at once.
    Crowd { wait_ms: u64 },
}

impl Later {
    pub fn wait_ms(self) -> u64 {
        match self {
            Self::Address { wait_ms } | Self::Crowd { wait_ms } => wait_ms,
        }
    }

    pub fn answer(self) -> Answer {
        match self {
            Self::Address { wait_ms } => Answer::rate_limited(wait_ms),
            Self::Crowd { wait_ms } => Answer::try_later(wait_ms),
        }
    }
}

impl Edge {
    /// Takes one login or connection of an address, and of all there are.
    pub fn admit(&self, address: IpAddr) -> Result<(), Later> {
        self.admit_address(address)?;
        self.admit_crowd()
    }

    /// Takes one of all that may come in now, wherever they are.
    pub fn admit_crowd(&self) -> Result<(), Later> {
        let rates = &self.host.config.rates;
        let rate = Rate { per_s: rates.admissions_per_s, burst: rates.admissions_burst };
        let admitted = self.admission.crowd.admit(rate, self.host.clock.monotonic_ns(), rand::rng().random());
        admitted.map_err(|wait_ns| {
            self.host.metrics.refused.of(Code::Unavailable).inc();
            Later::Crowd { wait_ms: wait_ns.div_ceil(1_000_000) }
        })
    }

    /// Takes one login, connection or wrong token of an address.
    pub fn admit_address(&self, address: IpAddr) -> Result<(), Later> {
        let rates = &self.host.config.rates;
        if rates.loopback_exempt && address.to_canonical().is_loopback() {
            return Ok(());
        }
        let rate = Rate { per_s: rates.logins_per_s, burst: rates.logins_burst };
        let bucket = {
            let mut addresses = self.admission.addresses.lock();
            if addresses.len() >= ADDRESSES_MAX {
                addresses.clear();
            }
            addresses.entry(address).or_default().clone()
        };
        bucket.take(rate, self.host.clock.monotonic_ns(), 0).map(|_| ()).map_err(|wait_ns| {
            self.host.metrics.refused.of(Code::RateLimited).inc();
            Later::Address { wait_ms: wait_ns.div_ceil(1_000_000) }
        })
    }
}
