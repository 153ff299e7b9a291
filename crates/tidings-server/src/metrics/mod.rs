//! What the server counts, for operators: one place that names every figure, its unit and its labels.
//!
//! Counting costs one atomic operation; the handles of all labels are made at the start (`instruments`). No part of
//! the server decides anything by a metric, and no figure has a label that users can make up.

mod instruments;
mod process;

use std::fmt;

use prometheus_client::{
    encoding::text,
    metrics::{counter::Counter, gauge::Gauge, info::Info},
    registry::{Registry, Unit},
};
use tidings_proto::{
    CloseCode, Code,
    frames::{client::Command, server::ServerFrame},
};

pub use instruments::{Histogram, InUse, Label, Per, PerName, Seconds};
use instruments::{Maker, labels};

labels! {
    /// How a client is connected.
    Transport "transport" { WebSocket "websocket", Sse "sse", LongPoll "long_poll", Mqtt "mqtt", Http "http" }

    /// What a client reads.
    Read "request" { Inbox "inbox", Sync "sync", Fetch "fetch" }

    /// Which memory of recently used states.
    Cache "cache" { Conversations "conversations", Homes "homes", Archive "archive" }

    /// Where an error happened that nobody asked for.
    Part "part" { Journal "journal", Tables "tables", Archive "archive" }
}

/// Every figure, in the order in which a message travels. Cheap to count, dear to render.
pub struct Metrics {
    registry: Registry,

    /// Open connections; hold one with [`Metrics::connected`].
    pub connections: Per<Transport, Gauge>,
    pub connections_opened: Per<Transport, Counter>,
    /// Connections that the server closed. `lagging` is an outbox that was full.
    pub connections_closed: Per<CloseCode, Counter>,
    pub received_bytes: Counter,
    pub sent_bytes: Counter,

    /// Clients of other nodes: what is under way for them here, and how many connections to other nodes there are for it.
    relayed: Per<Transport, Gauge>,
    relayed_begun: Per<Transport, Counter>,
    pub relay_legs: Gauge,
    pub fleet_nodes: Gauge,
    pub shards_hosted: Gauge,
    /// Of the whole fleet, those that are not where its view wishes them to be.
    pub shards_moving: Gauge,

    pub sessions: Gauge,
    pub frames_in: PerName<Counter>,
    pub frames_out: PerName<Counter>,

    /// Whatever makes an entry is a send here: messages, edits, reactions, changes of members.
    pub sends_acked: Counter,
    /// Of the acked ones, those that were a repeat of an earlier send.
    pub sends_repeated: Counter,
    pub refused: Per<Code, Counter>,
    /// From reading a send to handing its ack to the connection, or to the call that waits.
    pub send_ack: Histogram,

    /// From handing a commit to the journal to knowing it durable.
    pub commit_duration: Histogram,
    /// Events a commit: how well they gather.
    pub commit_events: Histogram,
    pub commit_bytes: Counter,
    pub journal_segments: Gauge,
    /// What the journal holds that is not in the tables yet.
    pub backlog_bytes: Gauge,

    /// Entries handed to sessions.
    pub deliveries: Counter,
    /// Carrying a request out that reads, to the frame that answers.
    pub reads: Per<Read, Histogram>,
    pub cache_bytes: Per<Cache, Gauge>,
    pub cache_hits: Per<Cache, Counter>,
    pub cache_misses: Per<Cache, Counter>,

    pub flush_duration: Histogram,
    pub flush_rows: Counter,
    /// The age of the oldest event that is not in the tables yet.
    pub flush_lag: Seconds,
    pub tables_disk_bytes: Gauge,
    /// What compaction owes: bytes that came with flushes and are not merged with the older ones yet.
    pub tables_unmerged_bytes: Gauge,

    /// Blobs that the archive made, and what went into them.
    pub archive_segments: Counter,
    pub archive_entries: Counter,
    pub archive_unpacked_bytes: Counter,
    pub archive_packed_bytes: Counter,

    pub errors: Per<Part, Counter>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("tidings");
        registry.register("build", "The running version", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        registry.register_collector(Box::new(process::Process));
        let mut make = Maker(&mut registry);
        Self {
            connections: make.per("connections", "Open connections"),
            connections_opened: make.per("connections_opened", "Connections since the start"),
            connections_closed: make.per("connections_closed", "Connections that the server closed"),
            received_bytes: make.with_unit("received", "Frames from clients", Unit::Bytes),
            sent_bytes: make.with_unit("sent", "Frames to clients", Unit::Bytes),
            relayed: make.per("relayed", "Connections and calls under way that another node serves"),
            relayed_begun: make.per("relayed_begun", "Connections and calls that another node served, since the start"),
            relay_legs: make.one("relay_legs", "Connections to other nodes on behalf of clients"),
            fleet_nodes: make.one("fleet_nodes", "Nodes of the fleet that this one knows"),
            shards_hosted: make.one("shards_hosted", "Shards that this node hosts, of a fleet"),
            shards_moving: make.one("shards_moving", "Shards of the fleet that are not where they should be"),
            sessions: make.one("sessions", "Logged-in sessions"),
            frames_in: make.per_name("frames_in", "Frames from clients", "type", Command::TYPES),
            frames_out: make.per_name("frames_out", "Frames to clients", "type", ServerFrame::TYPES),
            sends_acked: make.one("sends_acked", "Sends that are durable and were acknowledged"),
            sends_repeated: make.one("sends_repeated", "Acknowledged sends that repeated an earlier one"),
            refused: make.per("refused", "Requests refused, and connections before they are logged in"),
            send_ack: make.duration("send_ack", "From reading a send to its ack"),
            commit_duration: make.duration("commit", "From handing a commit to the journal to knowing it durable"),
            commit_events: make.histogram("commit_events", "Events a commit", Histogram::of_counts()),
            commit_bytes: make.with_unit("commit", "Commits as written to the journal", Unit::Bytes),
            journal_segments: make.one("journal_segments", "Files of the journal"),
            backlog_bytes: make.with_unit("backlog", "In the journal and not in the tables yet", Unit::Bytes),
            deliveries: make.one("deliveries", "Entries handed to sessions"),
            reads: make.durations("read", "Carrying out a request that reads"),
            cache_bytes: make.per_with_unit("cache", "Memory of recently used states", Unit::Bytes),
            cache_hits: make.per("cache_hits", "States found in memory"),
            cache_misses: make.per("cache_misses", "States read from the tables"),
            flush_duration: make.duration("flush", "Writing a window of events into the tables"),
            flush_rows: make.one("flush_rows", "Rows written into the tables"),
            flush_lag: make.with_unit("flush_lag", "Age of the oldest event not in the tables", Unit::Seconds),
            tables_disk_bytes: make.with_unit("tables_disk", "The tables on disk", Unit::Bytes),
            tables_unmerged_bytes: make.with_unit("tables_unmerged", "What compaction owes", Unit::Bytes),
            archive_segments: make.one("archive_segments", "Segments that the archive made"),
            archive_entries: make.one("archive_entries", "Entries moved into the archive"),
            archive_unpacked_bytes: make.with_unit("archive_unpacked", "Archived entries before packing", Unit::Bytes),
            archive_packed_bytes: make.with_unit("archive_packed", "Archived entries as stored", Unit::Bytes),
            errors: make.per("errors", "Errors that no request explains"),
            registry,
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

impl Metrics {
    /// The media type of [`Metrics::render`].
    pub const CONTENT_TYPE: &'static str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

    /// All figures as OpenMetrics text.
    pub fn render(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("writing to a String does not fail");
        text
    }

    /// Counts a frame that goes to a client.
    pub fn sent(&self, frame: &[u8]) {
        self.sent_all(&[frame]);
    }

    /// Counts frames that go to a client. Those of one type that follow each other are counted at once: all connections
    /// share these counters.
    pub fn sent_all(&self, frames: &[impl AsRef<[u8]>]) {
        self.sent_bytes.inc_by(frames.iter().map(|frame| frame.as_ref().len() as u64).sum());
        for alike in frames.chunk_by(|one, other| kind_of(one.as_ref()) == kind_of(other.as_ref())) {
            self.frames_out.of(kind_of(alike[0].as_ref())).inc_by(alike.len() as u64);
        }
    }

    /// Counts a connection as open until the answer is dropped.
    pub fn connected(&self, transport: Transport) -> InUse {
        self.connections_opened.of(transport).inc();
        InUse::of(self.connections.of(transport))
    }

    /// Counts a connection or call as relayed until the answer is dropped.
    pub fn relayed(&self, transport: Transport) -> InUse {
        self.relayed_begun.of(transport).inc();
        InUse::of(self.relayed.of(transport))
    }
}

/// A number as a gauge takes it.
pub fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A frame's type, without parsing it: what this server makes begins with it.
fn kind_of(frame: &[u8]) -> &str {
    let kind = frame.strip_prefix(b"{\"type\":\"").and_then(|rest| rest.split(|byte| *byte == b'"').next());
    kind.and_then(|kind| std::str::from_utf8(kind).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use tidings_proto::frames::server::Beat;

    use std::time::Duration;

    use super::*;

    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.render().lines().any(|rendered| rendered == line)
    }

    #[test]
    fn what_is_counted_is_rendered_with_name_unit_and_label() {
        let metrics = Metrics::default();
        let connection = metrics.connected(Transport::WebSocket);
        metrics.refused.of(Code::RateLimited).inc();
        metrics.connections_closed.of(CloseCode::Lagging).inc();
        metrics.frames_in.of("send").inc_by(3);
        let pong = ServerFrame::Pong(Beat { re: None }).to_json();
        metrics.sent_all(&["{\"type\":\"no such type\"}", &pong]);
        metrics.backlog_bytes.set(17);
        metrics.flush_lag.set(0.25);
        for line in [
            "tidings_connections{transport=\"websocket\"} 1",
            "tidings_connections_opened_total{transport=\"websocket\"} 1",
            "tidings_connections_closed_total{reason=\"lagging\"} 1",
            "tidings_refused_total{code=\"rate_limited\"} 1",
            "tidings_frames_in_total{type=\"send\"} 3",
            "tidings_frames_out_total{type=\"other\"} 1",
            "tidings_frames_out_total{type=\"pong\"} 1",
            "tidings_backlog_bytes 17",
            "tidings_flush_lag_seconds 0.25",
            "# EOF",
        ] {
            assert!(has(&metrics, line), "{line} is missing in\n{}", metrics.render());
        }
        drop(connection);
        assert!(has(&metrics, "tidings_connections{transport=\"websocket\"} 0"));
    }

    #[test]
    fn a_histogram_counts_each_value_in_its_bucket() {
        let metrics = Metrics::default();
        for us in [0, 10, 11, 150, 30_000_000] {
            metrics.send_ack.observe(Duration::from_micros(us));
        }
        metrics.reads.of(Read::Fetch).observe(Duration::from_millis(2));
        metrics.commit_events.count(3);
        for line in [
            "tidings_send_ack_seconds_bucket{le=\"0.00001\"} 2",
            "tidings_send_ack_seconds_bucket{le=\"0.00002\"} 3",
            "tidings_send_ack_seconds_bucket{le=\"0.0002\"} 4",
            "tidings_send_ack_seconds_bucket{le=\"10.0\"} 4",
            "tidings_send_ack_seconds_bucket{le=\"+Inf\"} 5",
            "tidings_send_ack_seconds_count 5",
            "tidings_send_ack_seconds_sum 30.000171",
            "tidings_read_seconds_count{request=\"fetch\"} 1",
            "tidings_commit_events_sum 3.0",
        ] {
            assert!(has(&metrics, line), "{line} is missing in\n{}", metrics.render());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_process_is_measured() {
        let text = Metrics::default().render();
        for name in ["resident_bytes", "cpu_seconds_total", "open_files"] {
            let figure = text.lines().find_map(|line| line.strip_prefix(&format!("tidings_process_{name} ")));
            let figure: f64 = figure.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().unwrap();
            assert!(figure >= 0.0 && (name != "resident_bytes" || figure > 500_000.0), "{name} {figure}");
        }
    }

    #[test]
    fn labels_know_their_own_place() {
        fn check<L: Label>() {
            for (index, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), index, "{}", label.word());
            }
        }
        check::<Transport>();
        check::<Read>();
        check::<Cache>();
        check::<Part>();
        check::<Code>();
        check::<CloseCode>();
    }
}
