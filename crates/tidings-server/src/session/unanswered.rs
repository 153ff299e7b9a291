//! Counts the requests of a connection that have no answer yet, so that a read can wait for what was sent before it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub struct Counter {
    count: AtomicUsize,
    none_left: Notify,
}

impl Counter {
    /// One more; until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Unanswered {
        self.count.fetch_add(1, Ordering::AcqRel);
        Unanswered { counter: self.clone() }
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until everything is answered that was begun before. One task waits: the connection's own.
    pub async fn all_answered(&self) {
        while self.count() > 0 {
            self.none_left.notified().await;
        }
    }
}

#[derive(Debug)]
pub struct Unanswered {
    counter: Arc<Counter>,
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        if self.counter.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            // Kept for the waiter if it comes later; an old one only makes it look once more.
            self.counter.none_left.notify_one();
        }
    }
}
