//! The committer's thread: waits for what gathers, for a moment longer if that pays, and has it written.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::MutexGuard;
use tokio::runtime::Handle;

use super::{
    Gathering,
    writer::{Next, Writer},
};

/// `runtime` drives what the journal awaits.
pub(super) fn start<T: Send + 'static>(writer: Writer<T>, runtime: Handle) {
    std::thread::Builder::new()
        .name("committer".into())
        .spawn(move || run(writer, &runtime))
        .expect("a thread can be started while the server starts");
}

/// With fewer in the usual commit it is hardly more than a lone sender.
const FEW_ITEMS: usize = 4;
/// A commit of so many costs each of them next to nothing already.
const ENOUGH_ITEMS: usize = 128;
/// Below what the timer can do.
const SHORTEST_GATHER: Duration = Duration::from_micros(20);

fn run<T>(mut writer: Writer<T>, runtime: &Handle) {
    loop {
        let next = next(&writer);
        if !runtime.block_on(writer.step(next)) {
            break;
        }
    }
    writer.end();
}

fn next<T>(writer: &Writer<T>) -> Next<T> {
    let shared = Arc::clone(writer.shared());
    let mut gathering = shared.gathering.lock();
    loop {
        if gathering.waiting_items() > 0 {
            gather(writer, &mut gathering);
            return Next::Batch(gathering.take().expect("there were items and only this thread takes them"));
        }
        if gathering.stopping {
            gathering.ended = true;
            return Next::Stop;
        }
        gathering.wake_at = Some(1);
        if let Some(confirm_after) = writer.confirm_after() {
            let waited = shared.submitted.thread.wait_for(&mut gathering, confirm_after);
            if waited.timed_out() && gathering.waiting_items() == 0 && !gathering.stopping {
                gathering.wake_at = None;
                return Next::Idle;
            }
        } else {
            shared.submitted.thread.wait(&mut gathering);
        }
        gathering.wake_at = None;
    }
}

/// Waits a moment for as many items as usual, if several senders are active and fewer have come so far.
fn gather<T>(writer: &Writer<T>, gathering: &mut MutexGuard<'_, Gathering<T>>) {
    let usual_items = writer.usual_items().min(ENOUGH_ITEMS);
    // A wait that is long beside the append itself would cost more latency than it saves work.
    let longest = writer.longest_gather();
    if usual_items < FEW_ITEMS || gathering.waiting_items() >= usual_items || longest < SHORTEST_GATHER {
        return;
    }
    let until = Instant::now() + longest;
    gathering.wake_at = Some(usual_items);
    while gathering.wake_at.is_some() && !gathering.stopping {
        // A stop notifies too; what it finds is committed at once.
        if writer.shared().submitted.thread.wait_until(gathering, until).timed_out() {
            break;
        }
    }
    gathering.wake_at = None;
}
