//! Write-behind as the server does it, without homes: the overlay of what is committed, and its flush in windows.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use tidings_proto::Seq;
use tidings_server::{
    conversation::entry::Entry,
    journal::{
        Journal, Position,
        commit::{Committed, Committer},
    },
    tables::{
        Freshness, Key, Row, Tables, Version,
        embedded::EmbeddedTables,
        fingerprints::{self, Fingerprint},
        flush::{LogFlush, OpenTail, log_rows},
    },
};
use tokio::{sync::mpsc, task::JoinHandle};

use super::load::{Sent, conversation_id, user};

/// A flush begins when this much waits for it.
const WINDOW_BYTES: usize = 64 << 20;

/// Where committed messages go.
pub enum Sink {
    Flusher(Flusher),
    /// They are in the tables already.
    None,
}

/// What was committed and not yet flushed: the entries, by conversation.
#[derive(Default)]
struct Window {
    position: Position,
    bytes: usize,
    entries: HashMap<u32, Vec<Arc<Entry>>>,
    runs: Vec<(u32, Seq, Vec<Fingerprint>)>,
}

pub struct Flusher {
    window: Window,
    /// Of one window: while it is flushed the next one fills, no third one waits.
    windows: mpsc::Sender<Window>,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Sink {
    pub async fn take(&mut self, committed: Committed<Sent>, committer: &Committer<Sent>) -> anyhow::Result<()> {
        let Self::Flusher(flusher) = self else {
            committer.flushed(committed.position);
            return Ok(());
        };
        let window = &mut flusher.window;
        window.position = committed.position;
        window.bytes += committed.commit.len();
        for item in committed.items {
            let conversation = item.payload.conversation;
            window.entries.entry(conversation).or_default().push(item.payload.entry);
            window.runs.extend(item.payload.run.map(|run| (conversation, run.0, run.1)));
        }
        if window.bytes >= WINDOW_BYTES {
            // While the flusher is busy the window grows; the backlog's bound slows the senders.
            match flusher.windows.try_send(std::mem::take(window)) {
                Err(mpsc::error::TrySendError::Full(full)) => *window = full,
                sent => sent.map_err(|_| anyhow::anyhow!("the flusher failed"))?,
            }
        }
        Ok(())
    }

    /// Flushes the rest.
    pub async fn finish(self) -> anyhow::Result<()> {
        let Self::Flusher(Flusher { window, windows, task }) = self else { return Ok(()) };
        // If this fails the task says why.
        let _ = windows.send(window).await;
        drop(windows);
        task.await?
    }
}

impl Flusher {
    pub fn start(tables: EmbeddedTables, journal: Arc<dyn Journal>, committer: Committer<Sent>) -> Self {
        let (windows, mut waiting) = mpsc::channel::<Window>(1);
        // A thread of its own, as the server's.
        let runtime = tokio::runtime::Handle::current();
        let work = async move {
            let mut states = HashMap::new();
            while let Some(window) = waiting.recv().await {
                let position = window.position;
                let flushed = async {
                    flush(&tables, &mut states, window).await?;
                    tables.set_flushed(position).await?;
                    anyhow::Ok(journal.trim(position).await?)
                };
                if let Err(error) = flushed.await {
                    // Nothing gives the senders room any more: end them.
                    committer.stop().await;
                    return Err(error);
                }
                committer.flushed(position);
            }
            Ok(())
        };
        let task = tokio::task::spawn_blocking(move || runtime.block_on(work));
        Self { window: Window::default(), windows, task }
    }
}

/// What the server keeps of a conversation in its state row.
#[derive(Default)]
struct State {
    last_seq: u64,
    tail: OpenTail,
}

struct Changed {
    number: u32,
    state: State,
    entries: Vec<Arc<Entry>>,
}

async fn flush(tables: &EmbeddedTables, states: &mut HashMap<u32, State>, window: Window) -> anyhow::Result<()> {
    let mut changed = Vec::with_capacity(window.entries.len());
    for (number, entries) in window.entries {
        let mut state = states.remove(&number).unwrap_or_default();
        state.last_seq += entries.len() as u64;
        changed.push(Changed { number, state, entries });
    }
    let mut flushes: Vec<_> = changed
        .iter_mut()
        .map(|changed| LogFlush {
            conversation: conversation_id(changed.number),
            tail: &mut changed.state.tail,
            version: Version(changed.state.last_seq),
            new: &changed.entries,
            changed: &[],
        })
        .collect();
    let mut rows = log_rows(tables, &mut flushes).await?;
    for (number, first_seq, run) in window.runs {
        let key = Key::Fingerprints(conversation_id(number), first_seq);
        rows.push(Row { key, version: Version(first_seq.0), value: Some(fingerprints::encode(&run).into()) });
    }
    for changed in &changed {
        rows.extend(other_rows(changed)?);
    }
    states.extend(changed.into_iter().map(|changed| (changed.number, changed.state)));
    Ok(tables.put_max(rows, Freshness::Newest).await?)
}

/// The state of a conversation and its item in two inboxes, about as large as the server's.
fn other_rows(changed: &Changed) -> anyhow::Result<[Row; 3]> {
    let conversation = conversation_id(changed.number);
    let version = Version(changed.state.last_seq);
    let mut state = minicbor::to_vec(&changed.state.tail)?;
    state.extend_from_slice(&[0; 48]);
    let last = changed.entries.last().map_or(Bytes::new(), |entry| inbox_item(entry));
    let inbox =
        |which| Row { key: Key::Inbox(user(changed.number, which), conversation), version, value: Some(last.clone()) };
    Ok([Row { key: Key::Conversation(conversation), version, value: Some(state.into()) }, inbox(0), inbox(1)])
}

/// Counters, and the beginning of the text.
pub fn inbox_item(entry: &Entry) -> Bytes {
    let mut item = entry.seq.0.to_be_bytes().repeat(2);
    if let tidings_server::conversation::entry::Body::Message(message) = &entry.body {
        item.extend_from_slice(&message.text.as_bytes()[..48.min(message.text.len())]);
    }
    item.into()
}
