//! What waits to be written to one connection. Bounded in bytes: ephemeral frames go first, then the session is closed
//! with `3001 lagging`; the client resumes from the log.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use parking_lot::Mutex;
use tidings_proto::CloseCode;
use tokio::sync::Notify;

/// What a frame in memory costs beside its bytes.
const FRAME_BYTES: usize = 64;

/// A connection for which so much waits is woken whatever else is to come.
const WAKE_BYTES: usize = 16 * 1024;

/// Names a session within this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub u64);

impl SessionId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// Whether a frame may be left out when the reader is slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Part of a conversation's order: never left out while the session lives.
    Durable,
    /// Presence, typing, live receipts.
    Ephemeral,
    /// Somebody has read: ephemeral too, for the inbox tells it again, but a waiting poll hears of it.
    Receipt,
}

#[derive(Debug)]
pub struct Outbox {
    pub session: SessionId,
    max_bytes: usize,
    inner: Mutex<Inner>,
    changed: Notify,
    closed: Notify,
    /// When a new token of the device ends that a call has shown, in unix milliseconds; 0: none since it was last asked.
    renewed_ms: AtomicU64,
}

#[derive(Debug, Default)]
struct Inner {
    frames: VecDeque<(Bytes, Class)>,
    bytes: usize,
    closed: Option<CloseCode>,
}

/// What to do next for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Frames were handed over.
    Frames,
    /// Nothing waits.
    Empty,
    Close(CloseCode),
}

impl Outbox {
    pub fn new(max_bytes: usize) -> Self {
        Self {
            session: SessionId::next(),
            max_bytes,
            inner: Mutex::default(),
            changed: Notify::new(),
            closed: Notify::new(),
            renewed_ms: AtomicU64::new(0),
        }
    }

    /// The session may last until then, if it was to end earlier.
    pub fn renew(&self, expires_ms: u64) {
        self.renewed_ms.fetch_max(expires_ms, Ordering::AcqRel);
        self.changed.notify_one();
    }

    /// Until when, if that was told since it was last asked. To be asked after [`Outbox::changed`].
    pub fn renewed(&self) -> Option<u64> {
        Some(self.renewed_ms.swap(0, Ordering::AcqRel)).filter(|expires_ms| *expires_ms > 0)
    }

    /// Puts a frame (one JSON object) behind the others. Never waits.
    pub fn push(&self, frame: Bytes, class: Class) {
        if self.put(frame, class) {
            self.changed.notify_one();
        }
    }

    /// Puts a frame behind the others, and tells whether whoever drains is to be woken for it.
    fn put(&self, frame: Bytes, class: Class) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed.is_some() {
            return false;
        }
        let cost = frame.len() + FRAME_BYTES;
        if inner.bytes + cost > self.max_bytes {
            inner.drop_ephemeral();
            if class != Class::Durable {
                return false;
            }
            if inner.bytes + cost > self.max_bytes {
                drop(inner);
                self.close(CloseCode::Lagging);
                return false;
            }
        }
        let was_empty = inner.frames.is_empty();
        let was_little = inner.bytes < WAKE_BYTES;
        inner.bytes += cost;
        let is_much = was_little && inner.bytes >= WAKE_BYTES;
        inner.frames.push_back((frame, class));
        drop(inner);
        if is_much {
            self.changed.notify_one();
        }
        // Who drains takes all there is: one wake-up is enough.
        was_empty && !is_much
    }

    /// Ends the session. What waits is sent before only where the session ends in peace (`Draining`).
    pub fn close(&self, code: CloseCode) {
        self.inner.lock().close(code);
        self.changed.notify_one();
        self.closed.notify_one();
    }

    /// Hands over what waits, in order, up to about `max_bytes`. `into` is to be empty.
    pub fn take(&self, into: &mut Vec<Bytes>, max_bytes: usize) -> Next {
        let mut inner = self.inner.lock();
        let mut taken = 0;
        while taken < max_bytes {
            let Some((frame, _)) = inner.frames.pop_front() else { break };
            taken += frame.len() + FRAME_BYTES;
            into.push(frame);
        }
        inner.bytes -= taken;
        match inner.closed {
            _ if taken > 0 => Next::Frames,
            Some(code) => Next::Close(code),
            None => Next::Empty,
        }
    }

    /// Gives up what waits, and tells whether it is worth waking a poll (`Frames`), which then asks what is new.
    pub fn wake(&self) -> Next {
        let mut inner = self.inner.lock();
        let frames = std::mem::take(&mut inner.frames);
        inner.bytes = 0;
        match inner.closed {
            Some(code) => Next::Close(code),
            None if frames.iter().any(|(_, class)| *class != Class::Ephemeral) => Next::Frames,
            None => Next::Empty,
        }
    }

    /// Waits until there may be something new to take.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits until the session is to end at once: what is being written is not waited for.
    pub async fn cut(&self) -> CloseCode {
        loop {
            match self.inner.lock().closed {
                Some(code) if code != CloseCode::Draining => return code,
                _ => {}
            }
            self.closed.notified().await;
        }
    }
}

impl Inner {
    fn drop_ephemeral(&mut self) {
        self.frames.retain(|(_, class)| *class == Class::Durable);
        self.bytes = self.frames.iter().map(|(frame, _)| frame.len() + FRAME_BYTES).sum();
    }

    fn close(&mut self, code: CloseCode) {
        if self.closed.is_none() {
            self.closed = Some(code);
            if code != CloseCode::Draining {
                self.frames.clear();
                self.bytes = 0;
            }
        }
    }
}

/// The outboxes that got something while one commit was published. They are woken when this is dropped, so that each
/// connection writes all of it with one flush.
#[derive(Debug, Default)]
pub struct Wakes {
    outboxes: Vec<Arc<Outbox>>,
}

impl Wakes {
    /// As [`Outbox::push`], but whoever drains is woken later.
    pub fn push(&mut self, outbox: &Arc<Outbox>, frame: Bytes, class: Class) {
        if outbox.put(frame, class) {
            self.outboxes.push(outbox.clone());
        }
    }

    /// Wakes those that got something so far.
    pub fn wake(&mut self) {
        self.outboxes.drain(..).for_each(|outbox| outbox.changed.notify_one());
    }
}

impl Drop for Wakes {
    fn drop(&mut self) {
        self.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox) -> (usize, Next) {
        let mut frames = Vec::new();
        let next = outbox.take(&mut frames, usize::MAX);
        (frames.len(), next)
    }

    fn push(outbox: &Outbox, bytes: usize, class: Class) {
        outbox.push(Bytes::from(vec![b'x'; bytes]), class);
    }

    #[test]
    fn a_slow_reader_loses_ephemeral_frames_first_and_then_the_session() {
        let outbox = Outbox::new(1_000);
        push(&outbox, 10, Class::Ephemeral);
        for _ in 0..5 {
            push(&outbox, 120, Class::Durable);
        }
        assert_eq!(take(&outbox), (6, Next::Frames));
        push(&outbox, 10, Class::Ephemeral);
        for _ in 0..5 {
            push(&outbox, 120, Class::Durable);
        }
        push(&outbox, 10, Class::Durable);
        push(&outbox, 10, Class::Ephemeral);
        assert_eq!(take(&outbox), (6, Next::Frames), "both ephemeral ones made room");
        for _ in 0..6 {
            push(&outbox, 120, Class::Durable);
        }
        assert_eq!(take(&outbox), (0, Next::Close(CloseCode::Lagging)));
        push(&outbox, 10, Class::Durable);
        assert_eq!(take(&outbox), (0, Next::Close(CloseCode::Lagging)));
    }

    #[tokio::test]
    async fn what_is_published_together_wakes_once_at_the_end_or_when_it_is_much() {
        let outbox = Arc::new(Outbox::new(100_000));
        let is_woken = || futures_util::FutureExt::now_or_never(outbox.changed()).is_some();
        let mut wakes = Wakes::default();
        wakes.push(&outbox, Bytes::from_static(b"{}"), Class::Durable);
        wakes.push(&outbox, Bytes::from_static(b"{}"), Class::Durable);
        assert!(!is_woken());
        drop(wakes);
        assert!(is_woken() && !is_woken());
        let mut wakes = Wakes::default();
        wakes.push(&outbox, Bytes::from(vec![b'x'; WAKE_BYTES]), Class::Durable);
        assert!(is_woken());
    }

    #[test]
    fn a_poll_is_woken_by_more_than_ephemeral_frames() {
        let outbox = Outbox::new(1_000);
        push(&outbox, 10, Class::Ephemeral);
        assert_eq!(outbox.wake(), Next::Empty);
        push(&outbox, 10, Class::Receipt);
        push(&outbox, 10, Class::Ephemeral);
        assert_eq!(outbox.wake(), Next::Frames);
        assert_eq!(outbox.wake(), Next::Empty);
        outbox.close(CloseCode::Draining);
        assert_eq!(outbox.wake(), Next::Close(CloseCode::Draining));
    }

    #[test]
    fn a_draining_session_gets_what_waits() {
        let outbox = Outbox::new(1_000);
        push(&outbox, 10, Class::Durable);
        outbox.close(CloseCode::Draining);
        assert_eq!(take(&outbox), (1, Next::Frames));
        assert_eq!(take(&outbox), (0, Next::Close(CloseCode::Draining)));
    }
}
