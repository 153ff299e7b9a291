//! What a client is told without having asked: the events, in order, and the state of the connection.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::Stream;
use tidings_proto::frames::server::{Changes, LiveEntry, Presence, Receipt, Typing, Welcome};
use tokio::sync::{Notify, mpsc};

use crate::error::ClientError;

/// One thing that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The next entry of its conversation, from whichever device: in order of seq, none twice, none left out, also over
    /// cuts. What this client itself sent is among them.
    Entry(LiveEntry<'static>),
    /// Inbox items that are another now. The first event of a client is one with `full`: all there is. After a cut: what
    /// differs; the entries that it tells of follow as `Entry`.
    Changes(Changes<'static>),
    Receipt(Receipt),
    Typing(Typing),
    Presence(Presence),
    /// The token ends in so many seconds: `Client::renew`.
    Expiring {
        in_s: u64,
    },
}

/// The live events of one client. Bounded: if nobody takes them, what is ephemeral (receipts, typing, presence) is
/// dropped, and the rest is fetched again from the server's log once there is room. Dropping it stops the deliveries.
#[derive(Debug)]
pub struct Events {
    pub(crate) rx: mpsc::Receiver<Event>,
    taken: Arc<Notify>,
}

impl Events {
    /// The next event; `None` once the client is shut down or closed for good.
    pub async fn next(&mut self) -> Option<Event> {
        let event = self.rx.recv().await;
        self.taken.notify_one();
        event
    }

    /// What is there already.
    pub fn try_next(&mut self) -> Option<Event> {
        let event = self.rx.try_recv().ok();
        self.taken.notify_one();
        event
    }
}

impl Stream for Events {
    type Item = Event;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event>> {
        let event = self.rx.poll_recv(context);
        self.taken.notify_one();
        event
    }
}

/// Whether there is a connection now.
#[derive(Clone, Debug)]
pub enum Status {
    Connected(Box<Welcome>),
    /// The line was cut; the next try is in about `retry_in_ms`.
    Waiting {
        reason: String,
        retry_in_ms: u64,
    },
    /// Closed for good: the server advised not to come back, or the client was shut down.
    Ended {
        error: ClientError,
    },
}

/// The sending half of `Events`, with its policy.
#[derive(Clone, Debug)]
pub(crate) struct Outlet {
    tx: mpsc::Sender<Event>,
    offered: Arc<AtomicU64>,
    taken: Arc<Notify>,
}

impl Outlet {
    pub fn channel(capacity: usize) -> (Self, Events) {
        let (tx, rx) = mpsc::channel(capacity);
        let taken = Arc::<Notify>::default();
        (Self { tx, offered: Arc::default(), taken: taken.clone() }, Events { rx, taken })
    }

    /// Whether somebody listens.
    pub fn is_open(&self) -> bool {
        !self.tx.is_closed()
    }

    /// `false`: it was dropped, because the queue is full or nobody listens.
    pub fn offer(&self, event: Event) -> bool {
        let is_sent = self.tx.try_send(event).is_ok();
        self.offered.fetch_add(u64::from(is_sent), Relaxed);
        is_sent
    }

    /// How many events were offered and had room.
    pub fn offered(&self) -> u64 {
        self.offered.load(Relaxed)
    }

    /// How many of those were taken: at least so many.
    pub fn taken(&self) -> u64 {
        let waiting = self.tx.max_capacity() - self.tx.capacity();
        self.offered().saturating_sub(waiting as u64)
    }

    /// Returns when something was taken since the last time.
    pub async fn is_taken(&self) {
        self.taken.notified().await;
    }

    /// Returns when a good part of the queue is free (or when nobody listens any more).
    pub async fn room(&self) {
        drop(self.tx.reserve_many(self.tx.max_capacity().div_ceil(4)).await);
    }
}
