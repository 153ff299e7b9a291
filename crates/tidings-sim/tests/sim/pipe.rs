//! One direction of a connection between a client and a node: in order and whole, as TCP has it. While the line is cut all of it
//! waits; when the connection has ended nothing more arrives.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::world::{Place, World};

/// How long until a line that is cut is tried again.
const AGAIN: Duration = Duration::from_millis(150);

/// The end that is written. Clones are the same one.
pub struct Pipe<M> {
    shared: Arc<Shared<M>>,
}

struct Shared<M> {
    world: Arc<World>,
    from: Place,
    to: Place,
    waiting: Mutex<VecDeque<(Duration, M)>>,
    arrived: mpsc::UnboundedSender<M>,
    is_broken: Arc<AtomicBool>,
}

impl<M> Clone for Pipe<M> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone() }
    }
}

/// `is_broken` ends it.
pub fn pipe<M: Send + 'static>(
    world: &Arc<World>,
    from: Place,
    to: Place,
    is_broken: &Arc<AtomicBool>,
) -> (Pipe<M>, mpsc::UnboundedReceiver<M>) {
    let (arrived, arrives) = mpsc::unbounded_channel();
    let (world, is_broken) = (world.clone(), is_broken.clone());
    (Pipe { shared: Arc::new(Shared { world, from, to, waiting: Mutex::default(), arrived, is_broken }) }, arrives)
}

impl<M: Send + 'static> Pipe<M> {
    pub fn send(&self, message: M) {
        let shared = &self.shared;
        if shared.is_broken.load(Ordering::Relaxed) {
            return;
        }
        let at = shared.world.now() + shared.world.latency();
        let is_first = {
            let mut waiting = shared.waiting.lock();
            waiting.push_back((at, message));
            waiting.len() == 1
        };
        if is_first {
            self.clone().wait_until(at);
        }
    }

    fn wait_until(self, at: Duration) {
        let world = self.shared.world.clone();
        world.after(at.saturating_sub(world.now()), move |_| self.deliver());
    }

    fn deliver(self) {
        let shared = &self.shared;
        let now = shared.world.now();
        if shared.is_broken.load(Ordering::Relaxed) {
            shared.waiting.lock().clear();
            return;
        }
        if shared.world.is_cut(shared.from, shared.to) {
            return self.wait_until(now + AGAIN);
        }
        let next = {
            let mut waiting = shared.waiting.lock();
            while let Some((_, message)) = waiting.pop_front_if(|(at, _)| *at <= now) {
                // Whoever reads may have gone.
                let _ = shared.arrived.send(message);
            }
            waiting.front().map(|(at, _)| *at)
        };
        if let Some(at) = next {
            self.wait_until(at);
        }
    }
}

impl<M> Pipe<M> {
    /// The last thing that arrives, past all that is on its way.
    pub fn break_off(&self, last: M) {
        let _ = self.shared.arrived.send(last);
    }
}
