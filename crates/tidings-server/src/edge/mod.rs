//! The edges: bytes into frames and back, one file a transport. They know no journal and no tables.

pub mod addresses;
pub mod door;
pub mod expiry;
pub mod http;
pub mod login_page;
pub mod long_poll;
pub mod mqtt;
pub mod origins;
pub mod pages;
pub mod sse;
pub mod tls;
pub mod websocket;

use std::{net::IpAddr, sync::Arc, time::Duration};

use hashbrown::HashMap;
use parking_lot::Mutex;
use tidings_proto::Code;

use crate::{
    host::Host,
    session::{
        auth::Auth,
        rate::{Bucket, Rate},
        state::Rules,
    },
    shutdown::Shutdown,
};

/// What every edge needs. Cheap to clone, which the framework does several times for a call.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

pub struct EdgeParts {
    pub host: Arc<Host>,
    pub auth: Arc<Auth>,
    pub admin_token: Arc<str>,
    pub addresses: Arc<Addresses>,
    pub mqtt: Arc<mqtt::Seats>,
    /// The same for all sessions.
    pub session_rules: Arc<Rules>,
    pub shutdown: Shutdown,
}

/// Logins and new connections by address. Bounded: full, it forgets whom it need not remember.
#[derive(Default)]
pub struct Addresses {
    buckets: Mutex<HashMap<IpAddr, Arc<Bucket>>>,
}

const ADDRESSES_MAX: usize = 100_000;

impl std::ops::Deref for Edge {
    type Target = EdgeParts;

    fn deref(&self) -> &EdgeParts {
        &self.0
    }
}

impl Edge {
    pub fn new(parts: EdgeParts) -> Self {
        Self(Arc::new(parts))
    }

    /// How this host wants its sessions to be held.
    pub fn session_rules(host: &Host) -> Rules {
        let limits = &host.config.limits;
        Rules {
            limits: host.rules.limits.clone(),
            unauthenticated_bytes: limits.unauthenticated_bytes,
            unauthenticated_ms: limits.unauthenticated_ms,
            heartbeat_ms: limits.heartbeat_s * 1_000,
        }
    }

    /// Takes one login or connection of an address. `Err`: try again after so long.
    pub fn admit(&self, address: IpAddr) -> Result<(), Duration> {
        let rates = &self.host.config.rates;
        if rates.loopback_exempt && address.to_canonical().is_loopback() {
            return Ok(());
        }
        let rate = Rate { per_s: rates.logins_per_s, burst: rates.logins_burst };
        let bucket = {
            let mut buckets = self.addresses.buckets.lock();
            if buckets.len() >= ADDRESSES_MAX {
                buckets.clear();
            }
            buckets.entry(address).or_default().clone()
        };
        match bucket.take(rate, self.host.clock.monotonic_ns(), 0) {
            Ok(_) => Ok(()),
            Err(wait_ns) => {
                self.host.metrics.refused.of(Code::RateLimited).inc();
                Err(Duration::from_nanos(wait_ns))
            }
        }
    }
}
