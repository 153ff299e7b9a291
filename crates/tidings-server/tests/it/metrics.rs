//! Every figure that operators are shown moves when that happens which it counts.

use std::collections::HashMap;

use serde_json::json;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::support::{PATIENCE, TestServer};

/// The figures by name and labels, as `/metrics` shows them.
pub async fn figures(server: &TestServer) -> HashMap<String, f64> {
    let mut line = TcpStream::connect(server.address).await.expect("the server takes connections");
    line.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.expect("the line stands");
    let mut answer = String::new();
    line.read_to_string(&mut answer).await.expect("the line stands");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    let figures = body.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
    figures.map(|(name, value)| (name.to_owned(), value.parse().expect("figures are numbers"))).collect()
}

/// The figures as soon as they are as wished.
pub async fn figures_when(server: &TestServer, is_so: impl Fn(&HashMap<String, f64>) -> bool) -> HashMap<String, f64> {
    let wait = async {
        loop {
            let now = figures(server).await;
            if is_so(&now) {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the figures become so")
}

/// What has to happen for each of these to be above zero is done below, and nothing else.
const MOVED: &[(&str, f64)] = &[
    ("tidings_connections{transport=\"websocket\"}", 2.0),
    ("tidings_connections_opened_total{transport=\"websocket\"}", 3.0),
    ("tidings_connections_closed_total{reason=\"bad_frame\"}", 1.0),
    ("tidings_sessions", 2.0),
    ("tidings_frames_in_total{type=\"send\"}", 4.0),
    ("tidings_frames_in_total{type=\"fetch\"}", 1.0),
    ("tidings_frames_out_total{type=\"welcome\"}", 3.0),
    ("tidings_frames_out_total{type=\"entry\"}", 2.0),
    ("tidings_frames_out_total{type=\"sent\"}", 3.0),
    ("tidings_sends_acked_total", 3.0),
    ("tidings_sends_repeated_total", 1.0),
    ("tidings_send_ack_seconds_count", 3.0),
    ("tidings_refused_total{code=\"unknown_user\"}", 1.0),
    ("tidings_refused_total{code=\"unknown_conversation\"}", 1.0),
    ("tidings_refused_total{code=\"bad_sync\"}", 1.0),
    ("tidings_refused_total{code=\"bad_frame\"}", 1.0),
    ("tidings_deliveries_total", 2.0),
    ("tidings_read_seconds_count{request=\"inbox\"}", 1.0),
    ("tidings_read_seconds_count{request=\"sync\"}", 1.0),
    ("tidings_read_seconds_count{request=\"fetch\"}", 1.0),
];

/// Sizes, times and what else depends on the machine: above zero.
const ABOVE_ZERO: &[&str] = &[
    "tidings_received_bytes_total",
    "tidings_sent_bytes_total",
    "tidings_commit_seconds_count",
    "tidings_commit_events_sum",
    "tidings_commit_bytes_total",
    "tidings_journal_segments",
    "tidings_cache_hits_total{cache=\"conversations\"}",
    "tidings_cache_misses_total{cache=\"conversations\"}",
    "tidings_cache_hits_total{cache=\"homes\"}",
    "tidings_cache_misses_total{cache=\"homes\"}",
    "tidings_send_ack_seconds_sum",
];

/// These move when the tables are written.
const FLUSHED: &[&str] = &[
    "tidings_flush_seconds_count",
    "tidings_flush_rows_total",
    "tidings_tables_disk_bytes",
    "tidings_cache_bytes{cache=\"conversations\"}",
    "tidings_cache_bytes{cache=\"homes\"}",
];

#[tokio::test]
async fn each_figure_moves_with_what_it_counts() {
    let folder = tempdir().unwrap();
    // The first flush comes long after the test has looked.
    let server = TestServer::start(folder.path(), &[("flush.window_ms", "60000")]).await;
    let before = figures(&server).await;
    let mut ada = server.connect("ada", "laptop").await;
    let mut bob = server.connect("bob", "phone").await;
    let conversation = ada.send("bob", "c-1", "hi").await["conversation"].clone();
    ada.send("bob", "c-2", "there").await;
    ada.send("bob", "c-1", "hi").await;
    let nobody = json!({"type": "send", "to": {"user": "nobody"}, "client_msg_id": "c-3", "text": "hi"});
    assert_eq!(ada.ask(nobody).await["code"], "unknown_user");
    bob.next_of("entry").await;
    bob.next_of("entry").await;
    assert_eq!(bob.ask(json!({"type": "inbox"})).await["type"], "inbox");
    assert_eq!(bob.ask(json!({"type": "sync", "sync": "nonsense"})).await["code"], "bad_sync");
    assert_eq!(bob.ask(json!({"type": "fetch", "conversation": conversation})).await["type"], "entries");
    let mut eve = server.connect("eve", "phone").await;
    let mark = json!({"type": "mark_read", "conversation": conversation, "seq": 1});
    assert_eq!(eve.ask(mark).await["code"], "unknown_conversation");
    eve.say_text("{").await;
    assert_eq!(eve.next().await["code"], "bad_frame");
    eve.say_text(&"x".repeat(70_000)).await;
    eve.closed().await;
    drop(eve);

    // The end of a connection is nobody's answer: it is waited for.
    let now = figures_when(&server, |now| now["tidings_connections{transport=\"websocket\"}"] == 2.0).await;
    for (name, expected) in MOVED {
        assert_eq!(now.get(*name), Some(expected), "{name}");
        assert_eq!(before[*name], 0.0, "{name} before anything happened");
    }
    for name in ABOVE_ZERO {
        assert!(now[*name] > 0.0, "{name}");
    }
    assert!(now["tidings_backlog_bytes"] > 0.0 && now["tidings_flush_lag_seconds"] > 0.0, "nothing was flushed yet");
    assert_eq!(now["tidings_flush_rows_total"], 0.0);
    for part in ["journal", "tables"] {
        assert_eq!(now[&format!("tidings_errors_total{{part=\"{part}\"}}")], 0.0, "{part}");
    }
    server.stop().await;

    let server = TestServer::start(folder.path(), &[("flush.window_ms", "10")]).await;
    let mut ada = server.connect("ada", "laptop").await;
    ada.send("bob", "c-4", "more").await;
    figures_when(&server, |now| {
        let is_settled = now["tidings_backlog_bytes"] == 0.0 && now["tidings_flush_lag_seconds"] == 0.0;
        // Compaction may owe nothing already.
        is_settled && now["tidings_tables_unmerged_bytes"] >= 0.0 && FLUSHED.iter().all(|name| now[*name] > 0.0)
    })
    .await;
    server.stop().await;
}
