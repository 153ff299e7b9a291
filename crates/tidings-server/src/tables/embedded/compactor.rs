//! The thread that merges segments. fjall's own workers are switched off: they hide their errors, do one step a
//! flush, and tell nobody how far they are.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
};

use fjall::{AbstractTree, Database, Keyspace, compaction::Leveled};
use parking_lot::{Condvar, Mutex};

use super::verify::explain;
use crate::tables::TablesError;

/// Segments that a read may have to look through because they are not merged yet. Above it a write waits.
const UNMERGED_MAX: usize = 12;

pub(super) struct Compactor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// There may be something to merge.
    is_asked: bool,
    is_working: bool,
    is_stopping: bool,
    failure: Option<TablesError>,
}

impl Compactor {
    pub(super) fn start(database: Database, keyspaces: Vec<(Keyspace, Leveled)>) -> std::io::Result<Self> {
        let shared = Arc::<Shared>::default();
        shared.state.lock().is_asked = true;
        let thread = thread::Builder::new().name("tables compactor".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.run(&database, &keyspaces)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// There are new segments.
    pub(super) fn ask(&self) {
        self.shared.state.lock().is_asked = true;
        self.shared.changed.notify_all();
    }

    /// Waits while `keyspace` has too many unmerged segments.
    pub(super) fn make_room(&self, keyspace: &Keyspace) -> Result<(), TablesError> {
        let mut state = self.shared.state.lock();
        while keyspace.tree.l0_run_count() > UNMERGED_MAX && state.failure.is_none() {
            self.shared.changed.wait(&mut state);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    pub(super) fn settle(&self) -> Result<(), TablesError> {
        let mut state = self.shared.state.lock();
        while (state.is_asked || state.is_working) && state.failure.is_none() {
            self.shared.changed.wait(&mut state);
        }
        state.failure.clone().map_or(Ok(()), Err)
    }

    pub(super) fn is_working(&self) -> bool {
        self.shared.state.lock().is_working
    }
}

impl Drop for Compactor {
    /// Waits for the step under way.
    fn drop(&mut self) {
        self.shared.state.lock().is_stopping = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic was reported when it happened; there is nothing left to save.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self, database: &Database, keyspaces: &[(Keyspace, Leveled)]) {
        while self.next_round() {
            for (keyspace, strategy) in keyspaces {
                if let Err(error) = self.compact(database, keyspace, strategy) {
                    let mut state = self.state.lock();
                    state.failure = Some(error);
                    state.is_working = false;
                    self.changed.notify_all();
                    return;
                }
            }
        }
    }

    /// Waits for work; `false` to stop.
    fn next_round(&self) -> bool {
        let mut state = self.state.lock();
        state.is_working = false;
        self.changed.notify_all();
        while !state.is_asked && !state.is_stopping {
            self.changed.wait(&mut state);
        }
        state.is_asked = false;
        state.is_working = true;
        !state.is_stopping
    }

    /// One step; asks for another round if there was something to do.
    fn compact(&self, database: &Database, keyspace: &Keyspace, strategy: &Leveled) -> Result<(), TablesError> {
        let before = keyspace.tree.current_version().id();
        let horizon = database.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
        let compacted = keyspace.tree.compact(Arc::new(strategy.clone()), horizon);
        compacted.map_err(|error| explain(error.into(), keyspace.path(), Some(keyspace), &[]))?;
        if keyspace.tree.current_version().id() != before {
            self.state.lock().is_asked = true;
            self.changed.notify_all();
        }
        Ok(())
    }
}
