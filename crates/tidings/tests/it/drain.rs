//! SIGTERM over WebSocket: sessions are told to move, then closed with 3000; the process ends with 0, and what it acked is there.
//! A second one: at once.

use std::{collections::BTreeMap, time::Duration};

use tidings_client::{Lost, raw};
use tidings_proto::frames::{
    RequestId,
    client::{Command, Fetch, Hello, Page, Request, Send},
    server::ServerFrame,
};

use crate::server::Server;

const DRAIN_MS: u64 = 1_000;
/// The close code of a node that stops: come back, elsewhere or later.
const DRAINING: u16 = 3000;
const SETTINGS: &[(&str, &str)] =
    &[("drain_ms", "1000"), ("rates.sends_per_s", "1000000"), ("rates.sends_burst", "1000000")];
/// Acks before the stop begins.
const BEFORE: usize = 100;
/// Far less than the drain of the second test may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// Sends under way at once.
const WINDOW: i64 = 16;

async fn connect(url: &str, user: &str) -> raw::Connection {
    let hello = Hello { username: Some(user.to_owned()), device: "laptop".parse().ok(), ..Hello::default() };
    raw::Connection::connect(url, hello).await.expect("the server is up").0
}

fn send(n: i64) -> String {
    let send = Send {
        to: tidings_client::To::User("bob".parse().unwrap()),
        client_msg_id: format!("c-{n}"),
        text: format!("number {n}"),
        mentions: vec![],
        reply_to: None,
        attachments: vec![],
        data: None,
    };
    serde_json::to_string(&Request { id: Some(RequestId::Number(n)), command: Command::Send(send) }).unwrap()
}

/// What a session heard until its end.
#[derive(Default)]
struct Heard {
    acked: BTreeMap<i64, u64>,
    entries: Vec<u64>,
    moved_within_ms: Option<u64>,
    closed: Option<(u16, String)>,
}

impl Heard {
    /// Takes the next frame; false: there are no more.
    fn take(&mut self, frame: Result<ServerFrame<'static>, Lost>) -> bool {
        match frame {
            Ok(ServerFrame::Sent(sent)) => {
                let Some(RequestId::Number(n)) = sent.re else { panic!("{sent:?}") };
                self.acked.insert(n, sent.seq.0);
            }
            Ok(ServerFrame::Entry(live)) => self.entries.push(live.entry.seq.0),
            Ok(ServerFrame::Move(to)) => self.moved_within_ms = Some(to.after_ms),
            Ok(_) => {}
            Err(Lost::Closed { code, reason }) => self.closed = Some((code, reason)),
            Err(lost) => panic!("cut without a word: {lost}"),
        }
        self.closed.is_none()
    }

    #[track_caller]
    fn was_drained(&self) {
        assert!(self.moved_within_ms.is_some_and(|after_ms| after_ms <= DRAIN_MS), "{:?}", self.moved_within_ms);
        assert_eq!(self.closed, Some((DRAINING, "draining".to_owned())));
    }
}

async fn next(reader: &mut raw::Reader) -> Result<ServerFrame<'static>, Lost> {
    Ok(reader.next().await?.parse().expect("the server speaks the protocol"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_moves_the_sessions_and_loses_nothing_that_was_acked() {
    let mut server = Server::start_with(SETTINGS);
    let url = server.url.clone();
    let mut bob = connect(&url, "bob").await;
    let mut ada = connect(&url, "ada").await;
    let listening = tokio::spawn(async move {
        let mut heard = Heard::default();
        while heard.take(next(&mut bob.reader).await) {}
        heard
    });
    let (mut heard, mut sent, mut is_stopping) = (Heard::default(), 0, false);
    loop {
        // She does not move, and goes on as if she had heard nothing.
        while sent < heard.acked.len() as i64 + WINDOW {
            sent += 1;
            ada.writer.queue(&send(sent));
        }
        // It may be closed by now: the reader says so.
        let _ = ada.writer.flush().await;
        if heard.acked.len() >= BEFORE && !is_stopping {
            server.ask_to_stop();
            is_stopping = true;
        }
        if !heard.take(next(&mut ada.reader).await) {
            break;
        }
    }
    assert_eq!(tokio::task::block_in_place(|| server.ended()), Some(0));
    heard.was_drained();
    let at_bob = listening.await.unwrap();
    at_bob.was_drained();
    assert_eq!(at_bob.entries, (1..=at_bob.entries.len() as u64).collect::<Vec<_>>(), "in order, without a gap");

    server.restart_with(SETTINGS);
    let mut ada = connect(&url, "ada").await;
    for n in 1..=sent {
        ada.writer.queue(&send(n));
    }
    ada.writer.flush().await.unwrap();
    let mut again = Heard::default();
    while again.acked.len() < sent as usize {
        assert!(again.take(next(&mut ada.reader).await));
    }
    assert!(heard.acked.iter().all(|(n, seq)| again.acked[n] == *seq), "what was acked is what it was");
    assert_eq!(again.acked.values().max(), Some(&(sent as u64)), "and nothing is there twice");

    let conversation = tidings_proto::ConversationId::direct(&"ada".parse().unwrap(), &"bob".parse().unwrap());
    let page = Page { limit: Some(200), ..Page::default() };
    let fetch = Command::Fetch(Fetch { conversation: Some(conversation), page, ranges: None });
    ada.writer.queue(&serde_json::to_string(&Request { id: Some(RequestId::Number(0)), command: fetch }).unwrap());
    ada.writer.flush().await.unwrap();
    let page = loop {
        if let ServerFrame::Entries(entries) = next(&mut ada.reader).await.unwrap() {
            break entries.page.expect("one was asked for");
        }
    };
    assert_eq!(page.last_seq.0, sent as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_signal_waits_for_nobody() {
    let mut server = Server::start_with(&[("drain_ms", "600000")]);
    let mut bob = connect(&server.url, "bob").await;
    server.ask_to_stop();
    let mut heard = Heard::default();
    // He stays.
    while heard.moved_within_ms.is_none() {
        assert!(heard.take(next(&mut bob.reader).await));
    }
    server.ask_to_stop();
    while heard.take(next(&mut bob.reader).await) {}
    assert_eq!(heard.closed, Some((DRAINING, "draining".to_owned())));
    let ended = tokio::task::spawn_blocking(move || server.ended());
    assert_eq!(tokio::time::timeout(PATIENCE, ended).await.expect("not in ten minutes").unwrap(), Some(0));
}
