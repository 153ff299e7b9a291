//! MQTT 3.1.1 and 5 on the wire: bytes into packets and back, the same for both versions. Only here the protocol crate is
//! named, and of it only the packets: what a server does with them is ours, so that nothing is stored or counted twice.

mod read;
#[cfg(test)]
mod tests;
mod write;

use mqtt_protocol_core::mqtt::connection::PacketBuilder;

pub use write::{Connack, Delivery};

/// Topics for which a client may set a short name.
pub const TOPIC_ALIASES: u16 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    V3,
    V5,
}

/// What the client did wrong, or why the server ends it: a reason code of MQTT 5 section 2.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reason(pub u8);

impl Reason {
    pub const SUCCESS: Self = Self(0x00);
    pub const REAUTHENTICATE: Self = Self(0x19);
    pub const NO_SUBSCRIPTION: Self = Self(0x11);
    pub const UNSPECIFIED: Self = Self(0x80);
    pub const MALFORMED: Self = Self(0x81);
    pub const PROTOCOL_ERROR: Self = Self(0x82);
    pub const IMPLEMENTATION: Self = Self(0x83);
    pub const UNSUPPORTED_VERSION: Self = Self(0x84);
    pub const CLIENT_ID: Self = Self(0x85);
    pub const BAD_LOGIN: Self = Self(0x86);
    pub const NOT_AUTHORIZED: Self = Self(0x87);
    pub const UNAVAILABLE: Self = Self(0x88);
    pub const BUSY: Self = Self(0x89);
    pub const SHUTTING_DOWN: Self = Self(0x8b);
    pub const BAD_METHOD: Self = Self(0x8c);
    pub const KEEP_ALIVE: Self = Self(0x8d);
    pub const TAKEN_OVER: Self = Self(0x8e);
    pub const TOPIC_FILTER: Self = Self(0x8f);
    pub const TOPIC_NAME: Self = Self(0x90);
    pub const TOPIC_ALIAS: Self = Self(0x94);
    pub const QUOTA: Self = Self(0x97);
    pub const ADMINISTRATIVE: Self = Self(0x98);
    pub const PAYLOAD: Self = Self(0x99);
    pub const NO_RETAIN: Self = Self(0x9a);
    pub const QOS: Self = Self(0x9b);
    pub const NO_SHARED: Self = Self(0x9e);
    pub const RATE: Self = Self(0x9f);
    pub const NO_IDENTIFIERS: Self = Self(0xa1);
}

/// Why somebody is not let in, and when it may be tried again.
#[derive(Debug)]
pub struct Refusal {
    pub reason: Reason,
    pub why: String,
    pub retry_after_ms: Option<u64>,
}

impl Refusal {
    pub fn new(reason: Reason, why: impl Into<String>) -> Self {
        Self { reason, why: why.into(), retry_after_ms: None }
    }
}

/// A packet from a client.
#[derive(Debug)]
pub enum Incoming {
    Connect(Box<Connect>),
    Publish(Publish),
    /// Acknowledges a delivery.
    Puback {
        packet_id: u16,
    },
    Subscribe(Subscribe),
    Unsubscribe {
        packet_id: u16,
        filters: Vec<String>,
    },
    Ping,
    /// A login while the connection stands.
    Auth(Auth),
    Disconnect {
        /// A new expiry of the session, in seconds.
        expiry_s: Option<u32>,
    },
}

#[derive(Debug, Default)]
pub struct Connect {
    pub client_id: String,
    pub username: Option<String>,
    pub password: Option<String>,
    pub clean_start: bool,
    /// How long the session stays when the connection is gone, in seconds.
    pub expiry_s: u32,
    pub keep_alive_s: u16,
    pub will: Option<Will>,
    /// Deliveries that the client takes before it acknowledges one.
    pub receive_maximum: u16,
    pub wants_response_information: bool,
    /// The way to log in, where it is none by username and password; and what is shown then.
    pub method: Option<String>,
    pub shown: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Auth {
    pub reason: Reason,
    pub method: Option<String>,
    pub shown: Option<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Will {
    pub qos: u8,
    pub retain: bool,
}

#[derive(Debug)]
pub struct Publish {
    pub topic: String,
    pub payload: Vec<u8>,
    /// With quality of service 1; else it is 0.
    pub packet_id: Option<u16>,
    pub dup: bool,
    pub response_topic: Option<String>,
    pub correlation: Option<Vec<u8>>,
}

#[derive(Debug)]
pub struct Subscribe {
    pub packet_id: u16,
    pub filters: Vec<Filter>,
    pub has_identifier: bool,
}

#[derive(Debug)]
pub struct Filter {
    pub filter: String,
    pub qos: u8,
    pub no_local: bool,
}

/// The state of one connection's wire.
pub struct Wire {
    /// None until CONNECT says which.
    pub version: Option<Version>,
    builder: PacketBuilder,
    /// A packet was begun and is not whole.
    is_within: bool,
    /// Topics that the client has given a number; the place is the number less one.
    aliases_in: Vec<Option<String>>,
    /// Which of our topics have their number by now.
    aliases_out: [bool; 3],
    /// How many numbers the client takes.
    aliases_out_max: u16,
    /// The largest packet that the client takes.
    max_out_bytes: usize,
    /// Whether the client wants properties on packets that are not publishes.
    wants_properties: bool,
}

impl Wire {
    /// Refuses packets above `max_bytes` before it makes room for them.
    pub fn new(max_bytes: usize) -> Self {
        Self {
            version: None,
            is_within: false,
            builder: PacketBuilder::with_maximum_packet_size(u32::try_from(max_bytes).unwrap_or(u32::MAX)),
            aliases_in: Vec::new(),
            aliases_out: [false; 3],
            aliases_out_max: 0,
            max_out_bytes: usize::MAX,
            wants_properties: true,
        }
    }

    pub fn is_v5(&self) -> bool {
        self.version == Some(Version::V5)
    }
}
