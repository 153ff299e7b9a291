//! The committer as a task, for simulations: it waits by the clock of its runtime, and gathers only while a commit is under way.

use std::{sync::Arc, time::Duration};

use super::{
    Shared,
    writer::{Next, Writer},
};

pub(super) async fn run<T: Send + 'static>(mut writer: Writer<T>) {
    loop {
        let (shared, confirm_after) = (writer.shared().clone(), writer.confirm_after());
        let next = next(&shared, confirm_after).await;
        if !writer.step(next).await {
            break;
        }
    }
    writer.end();
}

async fn next<T>(shared: &Arc<Shared<T>>, confirm_after: Option<Duration>) -> Next<T> {
    loop {
        {
            let mut gathering = shared.gathering.lock();
            if let Some(batch) = gathering.take() {
                return Next::Batch(batch);
            }
            if gathering.stopping {
                gathering.ended = true;
                return Next::Stop;
            }
            gathering.wake_at = Some(1);
        }
        let woken = shared.submitted.task.notified();
        let is_idle = match confirm_after {
            Some(confirm_after) => tokio::time::timeout(confirm_after, woken).await.is_err(),
            None => {
                woken.await;
                false
            }
        };
        let mut gathering = shared.gathering.lock();
        gathering.wake_at = None;
        if is_idle && gathering.waiting_items() == 0 && !gathering.stopping {
            return Next::Idle;
        }
    }
}
