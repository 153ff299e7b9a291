//! The edges: bytes into frames and back, one file a transport. They know no journal and no tables.

pub mod addresses;
pub mod admission;
pub mod door;
pub mod expiry;
pub mod http;
pub mod login_page;
pub mod long_poll;
pub mod mqtt;
pub mod origins;
pub mod pages;
pub mod relay;
pub mod sse;
pub mod takeover;
pub mod tls;
pub mod websocket;

use std::sync::Arc;

use crate::{
    archive::Job,
    cluster::member::Member,
    host::Host,
    migrate::Migration,
    session::{auth::Auth, state::Rules},
    shutdown::Shutdown,
};

use admission::Admission;

/// What every edge needs. Cheap to clone, which the framework does several times for a call.
#[derive(Clone)]
pub struct Edge(Arc<EdgeParts>);

pub struct EdgeParts {
    pub host: Arc<Host>,
    pub auth: Arc<Auth>,
    pub admin_token: Arc<str>,
    pub archive: Arc<Job>,
    /// The membership of this node, if it is one of a fleet.
    pub fleet: Option<Arc<Member>>,
    /// How this server moves into a cluster, if it can.
    pub migration: Option<Arc<Migration>>,
    pub admission: Arc<Admission>,
    pub mqtt: Arc<mqtt::Seats>,
    pub relay: Arc<relay::Relay>,
    /// The same for all sessions.
    pub session_rules: Arc<Rules>,
    pub shutdown: Shutdown,
}

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
}
