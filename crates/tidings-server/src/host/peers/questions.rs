//! Questions to other nodes: asked again until somebody answers, for a while.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tidings_proto::ShardId;
use tokio::{sync::oneshot, time::Instant};

use crate::{cluster::view::Node, host::act::ActError, maps::HashMap, session::reply::Answer};

use super::{
    Peers, lanes,
    wire::{Ask, Frame, Said},
};

/// After this time a question is asked again.
const AGAIN: Duration = Duration::from_millis(700);
/// After this time the asker is told that nobody answers.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Default)]
pub struct Questions {
    last: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Said>>>,
}

impl Questions {
    pub fn answered(&self, number: u64, said: Said) {
        let waiting = self.open.lock().remove(&number);
        // Whoever asked may have given up, or has the answer.
        let _ = waiting.map(|waiting| waiting.send(said));
    }
}

/// Forgets the question when the asker goes.
struct Open<'q> {
    questions: &'q Questions,
    number: u64,
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.questions.open.lock().remove(&self.number);
    }
}

impl Peers {
    /// Asks the node that hosts `shard`. `Elsewhere`: it does not.
    pub(in crate::host) async fn ask(&self, node: &Node, shard: ShardId, ask: Ask) -> Result<Said, ActError> {
        let (tx, mut rx) = oneshot::channel();
        let number = self.questions.last.fetch_add(1, Ordering::Relaxed);
        self.questions.open.lock().insert(number, tx);
        let _open = Open { questions: &self.questions, number };
        let frame = Frame::Ask { number, ask: Box::new(ask) };
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            self.send(node.id, lanes::QUESTIONS, &frame);
            let Ok(answered) = tokio::time::timeout(AGAIN, &mut rx).await else { continue };
            return match answered {
                Ok(Said::Elsewhere) => {
                    // It has just left, or is about to arrive.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    Err(ActError::Elsewhere)
                }
                Ok(Said::Refused(answer)) => Err(ActError::Answered(Box::new(answer))),
                Ok(said) => Ok(said),
                Err(_) => Err(ActError::Elsewhere),
            };
        }
        tracing::debug!(node = %node.id, shard = shard.0, "a node does not answer");
        Err(ActError::Answered(Box::new(Answer::moving())))
    }
}
