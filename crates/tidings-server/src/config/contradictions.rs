//! What is wrong with settings that are each right, and what a start should warn of.

use std::net::SocketAddr;

use super::{
    origin::is_origin,
    settings::{AuthMode, BlobStore, BusKind, Cassandra, Config, Nats, Store},
};

const KIB: u64 = 1024;

impl Cassandra {
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins_right = self.keyspace.starts_with(|c: char| c.is_ascii_lowercase());
        if self.keyspace.len() > 48 || !begins_right || !self.keyspace.chars().all(plain) {
            found.push((
                "cassandra.keyspace",
                "must be up to 48 small letters, digits and _, with a letter first".to_owned(),
            ));
        }
        if self.nodes.is_empty() {
            found.push(("cassandra.nodes", "must name at least one node, like 127.0.0.1:9042".to_owned()));
        }
        if self.user.is_some() != self.password.is_some() {
            found.push(("cassandra.user", "cassandra.user and cassandra.password go together".to_owned()));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            found.push(("cassandra.cert_file", "cassandra.cert_file and cassandra.key_file go together".to_owned()));
        }
        if !self.tls && (self.ca_file.is_some() || self.cert_file.is_some()) {
            found.push(("cassandra.tls", "certificates are given, so set cassandra.tls = true".to_owned()));
        }
        found
    }
}

impl Nats {
    fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if self.servers.is_empty() {
            found.push(("nats.servers", "must name at least one server, like 127.0.0.1:4222".to_owned()));
        }
        let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if self.fleet.is_empty() || !self.fleet.chars().all(is_plain) {
            found.push(("nats.fleet", "must be letters, digits, - and _".to_owned()));
        }
        if self.user.is_some() != self.password.is_some() {
            found.push(("nats.user", "nats.user and nats.password go together".to_owned()));
        }
        let logins = [self.user.is_some(), self.token.is_some(), self.credentials_file.is_some()];
        if logins.into_iter().filter(|is_given| *is_given).count() > 1 {
            found.push(("nats.token", "give one of nats.user, nats.token and nats.credentials_file".to_owned()));
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            found.push(("nats.cert_file", "nats.cert_file and nats.key_file go together".to_owned()));
        }
        found
    }
}

impl Config {
    /// What a start with these settings should say loudly; empty for most.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.store == Store::Memory {
            warnings.push("store = \"memory\": nothing lasts, all messages are lost when this process ends".to_owned());
        }
        for (_, address) in self.open_to_others() {
            warnings.push(format!("auth.mode = \"open\" on {address}: whoever reaches it can be anybody"));
        }
        if self.bus == BusKind::Nats && self.archive.after_months > 0 && self.blobs == BlobStore::Local {
            warnings.push(
                "archive.after_months with blobs = \"local\": what a node archives the others must read, so their folders <data>/blobs \
                 must be one; blobs = \"s3\" is meant for a fleet"
                    .to_owned(),
            );
        }
        warnings
    }

    /// Where a username alone lets in who is on another machine.
    fn open_to_others(&self) -> Vec<(&'static str, SocketAddr)> {
        if self.auth.mode != AuthMode::Open {
            return Vec::new();
        }
        let mqtt = [("mqtt.listen", self.mqtt.listen), ("mqtt.tls_listen", self.mqtt.tls_listen)];
        let all = [("listen", Some(self.listen))].into_iter().chain(mqtt);
        let others = all.filter_map(|(name, address)| Some((name, address?)));
        others.filter(|(_, address)| !address.ip().to_canonical().is_loopback()).collect()
    }

    /// What is wrong with settings that are each right: the one to change, and why.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = self.auth.contradictions();
        for (name, address) in self.open_to_others().into_iter().filter(|_| !self.auth.allow_open_anywhere) {
            found.push((
                name,
                format!(
                    "with auth.mode = \"open\" a username is enough to be anybody, so {address} is refused: listen on \
                     127.0.0.1, or set auth.allow_open_anywhere = true if you trust everyone who can reach it"
                ),
            ));
        }
        found.extend(self.cassandra.contradictions());
        found.extend(self.s3.contradictions(self.blobs == BlobStore::S3));
        found.extend(self.nats.contradictions());
        if self.bus == BusKind::Nats && self.store != Store::Cassandra {
            found.push((
                "bus",
                "nodes share what is in Cassandra: bus = \"nats\" needs store = \"cassandra\"".to_owned(),
            ));
        }
        if self.node.name.is_empty() {
            found.push(("node.name", "must not be empty: others know this node by it".to_owned()));
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            found.push(("tls.cert_file", "tls.cert_file and tls.key_file go together".to_owned()));
        }
        if self.mqtt.tls_listen.is_some() && self.tls.cert_file.is_none() {
            found.push(("mqtt.tls_listen", "needs a certificate: set tls.cert_file and tls.key_file".to_owned()));
        }
        if let Some(origin) = self.http.allowed_origins.iter().find(|origin| !is_origin(origin)) {
            found.push(("http.allowed_origins", format!("{origin:?} is no origin; write it like https://app.example")));
        }
        if self.http.proxy_protocol && self.http.trusted_proxies.is_empty() {
            found.push((
                "http.proxy_protocol",
                "name the proxies in http.trusted_proxies: nobody else can connect".to_owned(),
            ));
        }
        if self.limits.text_bytes >= self.limits.frame_bytes {
            found.push(("limits.text_bytes", "must be below limits.frame_bytes, or no frame can carry it".to_owned()));
        }
        if self.limits.outbox_bytes < self.limits.frame_bytes {
            found.push(("limits.outbox_bytes", "must be at least limits.frame_bytes, to hold one frame".to_owned()));
        }
        if !self.journal.segment_bytes.is_multiple_of(4 * KIB) {
            found.push(("journal.segment_bytes", "must be a multiple of 4 KiB, the block of a disk".to_owned()));
        }
        if self.flush.window_bytes > self.journal.backlog_bytes {
            found.push((
                "flush.window_bytes",
                "must not exceed journal.backlog_bytes: sends would wait for a flush that does not start".to_owned(),
            ));
        }
        found
    }
}
