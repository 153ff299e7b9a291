//! Where a lane's frames arrive: a bounded queue that says when it had to drop some.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc};

use crate::node::NodeId;

use super::INLET_FRAMES;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    Frame {
        from: NodeId,
        frame: Bytes,
    },
    /// Frames may have been lost before this: ask again for what is awaited.
    Interrupted,
}

/// The receiving end of a lane.
pub struct Inlet {
    frames: mpsc::Receiver<(NodeId, Bytes)>,
    interruption: Arc<Interruption>,
}

/// The end that a bus fills. Clones are the same one.
#[derive(Clone)]
pub struct Filler {
    frames: mpsc::Sender<(NodeId, Bytes)>,
    interruption: Arc<Interruption>,
}

#[derive(Default)]
struct Interruption {
    is_pending: AtomicBool,
    noticed: Notify,
}

pub fn inlet() -> (Filler, Inlet) {
    let (sender, receiver) = mpsc::channel(INLET_FRAMES);
    let interruption = Arc::new(Interruption::default());
    (Filler { frames: sender, interruption: interruption.clone() }, Inlet { frames: receiver, interruption })
}

impl Inlet {
    /// Waits for the next frame, or for the word that some were lost. `None`: the bus was closed.
    pub async fn recv(&mut self) -> Option<Received> {
        loop {
            if self.interruption.is_pending.swap(false, Ordering::AcqRel) {
                return Some(Received::Interrupted);
            }
            tokio::select! {
                frame = self.frames.recv() => {
                    return frame.map(|(from, frame)| Received::Frame { from, frame });
                }
                () = self.interruption.noticed.notified() => {}
            }
        }
    }
}

impl Filler {
    pub fn put(&self, from: NodeId, frame: Bytes) {
        if self.frames.try_send((from, frame)).is_err() {
            self.interrupt();
        }
    }

    pub fn interrupt(&self) {
        self.interruption.is_pending.store(true, Ordering::Release);
        self.interruption.noticed.notify_one();
    }
}
