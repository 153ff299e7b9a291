//! Holds what clients saw against what Tidings promises.
//!
//! Test clients record a history: each send, read, delivery and answer with the times of one machine's monotonic clock
//! ([`Recorder`]). Afterwards every promise is one rule over the whole history ([`check`]), whatever was done to the
//! server meanwhile: kill, power cut, partition, a slow disk. The checker believes only what clients were told; it knows
//! no server, no socket and no storage, so that it cannot share their mistakes. README.md has the rules and the format.

mod event;
mod history;
mod index;
mod recorder;
mod report;
mod rules;
mod told;

use std::io::BufRead;

pub use event::{
    BlockAsked, ClientMsgId, Connected, ConnectionId, Delivered, Entry, Event, Fetched, Item, MarkedRead, Nanos,
    OperationId, ReceiptSeen, Record, SendAsked, SessionId, Synced, TextHash, Transport,
};
pub use history::{History, HistoryError};
pub use recorder::{Blocking, Connection, Fetching, MarkingRead, Outgoing, Recorder, Sending, Session, Syncing};
pub use report::{Evidence, Outcome, Report, Rule, Violation};

/// Who keeps the promises: some hold only where one node has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    Alone,
    /// What a conversation tells a home on another node comes there after its sender's ack, and a node repeats by itself what a
    /// host did not answer before it died: README.md says for which rules that counts.
    Fleet,
}

/// Holds `history`, that of a server alone, against every rule. `Err`: it is no history (an answer to a question never asked, say), which is the
/// recording's fault and tells nothing about the server.
pub fn check(history: &History) -> Result<Report, HistoryError> {
    check_of(Server::Alone, history)
}

/// [`check`], by the promises of this server.
pub fn check_of(server: Server, history: &History) -> Result<Report, HistoryError> {
    let index = index::Index::new(history, server)?;
    Ok(rules::run(&index))
}

/// Reads a history of JSON lines and checks it.
pub fn check_jsonl(server: Server, reader: impl BufRead) -> Result<Report, HistoryError> {
    check_of(server, &History::from_jsonl(reader)?)
}
