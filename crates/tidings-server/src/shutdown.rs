//! How the server stops: one wish to stop that every task can await, and one count of the tasks that are left.
//!
//! Owns neither the order of a stop nor its reason: who holds the listener says when (`serve(listener, shutdown)`), and
//! each part finishes what it has begun. Nothing here waits by the clock.

use std::{future::Future, io};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinHandle,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The wish to stop, and the tasks that obey it. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    /// Nothing that could be left to others is to be waited for.
    hurry: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// One that begins when `stop` is ready, which may be never (`std::future::pending()`).
    pub fn when(stop: impl Future<Output = ()> + Send + 'static) -> Self {
        let shutdown = Self::default();
        let token = shutdown.token.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop => token.cancel(),
                () = token.cancelled() => {}
            }
        });
        shutdown
    }

    /// Wishes to stop. Repeating it changes nothing.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Wishes to stop at once: what is stored is stored, but nobody is waited for any more.
    pub fn hurry(&self) {
        self.token.cancel();
        self.hurry.cancel();
    }

    /// Ready as soon as somebody is in a hurry.
    pub async fn hurried(&self) {
        self.hurry.cancelled().await;
    }

    pub fn has_begun(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Ready as soon as the stop has begun, at once if it has.
    pub async fn begun(&self) {
        self.token.cancelled().await;
    }

    /// A part that may be stopped alone: it stops with this one, but not this one with it, and its tasks are its own.
    #[must_use]
    pub fn part(&self) -> Self {
        Self { token: self.token.child_token(), hurry: self.hurry.child_token(), tasks: TaskTracker::new() }
    }

    /// What comes behind this one: it begins when it is told to, which is for whoever has something to do before; a hurry is
    /// shared.
    #[must_use]
    pub fn behind(&self) -> Self {
        Self { token: CancellationToken::new(), hurry: self.hurry.clone(), tasks: TaskTracker::new() }
    }

    /// Runs a task that [`Shutdown::finished`] waits for. The task itself must await [`Shutdown::begun`].
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// As [`Shutdown::spawn`], for a future that somebody else runs.
    pub fn track<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        self.tasks.track_future(future)
    }

    /// How many spawned tasks are left.
    pub fn tasks_left(&self) -> usize {
        self.tasks.len()
    }

    /// Ready when the stop has begun and the last spawned task has ended. Give it a limit with `tokio::time::timeout`.
    pub async fn finished(&self) {
        self.begun().await;
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// SIGTERM and SIGINT (Ctrl-C), which are caught from [`StopSignals::catch`] on.
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub fn catch() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Ready at the next one, and tells which.
    pub async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::{sync::oneshot, time::timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_finished_when_the_last_task_has_ended() {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = Shutdown::when(async move {
            stopped.await.ok();
        });
        let (finish, may_finish) = oneshot::channel::<()>();
        let task = shutdown.clone();
        shutdown.spawn(async move {
            task.begun().await;
            may_finish.await.ok();
        });
        let soon = Duration::from_secs(1);
        assert!(timeout(soon, shutdown.begun()).await.is_err(), "nobody wished it");
        stop.send(()).unwrap();
        shutdown.begun().await;
        assert!(timeout(soon, shutdown.finished()).await.is_err(), "a task is left");
        assert_eq!(shutdown.tasks_left(), 1);
        finish.send(()).unwrap();
        shutdown.finished().await;
        assert_eq!(shutdown.tasks_left(), 0);
    }

    #[tokio::test]
    async fn a_part_stops_with_the_whole_and_not_the_whole_with_it() {
        let whole = Shutdown::default();
        let (one, other) = (whole.part(), whole.part());
        one.begin();
        assert!(one.has_begun() && !other.has_begun() && !whole.has_begun());
        whole.begin();
        other.finished().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_begins_by_itself_and_shares_a_hurry() {
        let asked = Shutdown::default();
        let stop = asked.behind();
        asked.begin();
        assert!(asked.has_begun() && !stop.has_begun(), "there is something to do first");
        assert!(timeout(Duration::from_secs(1), stop.hurried()).await.is_err(), "nobody is in a hurry");
        asked.hurry();
        stop.hurried().await;
    }

    #[tokio::test]
    async fn signals_are_told() {
        let mut signals = StopSignals::catch().unwrap();
        for _ in 0..2 {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM).unwrap();
            assert_eq!(signals.next().await, "SIGTERM");
        }
    }
}
