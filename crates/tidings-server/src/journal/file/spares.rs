//! The spare files: zero-filled ahead of time, or segments that are not needed any more. An append takes one when its
//! segment is full, and so need not wait until a file is filled. It knows no record and no position.

use std::{
    io::{self, IoSlice},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use parking_lot::{Condvar, Mutex};

use super::{
    disk::{Disk, DiskFile, SyncOf},
    segment::{SEGMENT_ENDING, SPARE_ENDING},
};

/// How many spare files are kept at most; what is trimmed beyond that is removed.
const MOST_SPARES: usize = 3;
/// A block at a time: larger writes make larger pages in the cache, and Linux then counts a whole one as written for each
/// small commit in it.
const FILL_BYTES: usize = 4 << 10;
/// Zeros are synced in such steps, so that they do not stand before a commit's sync in one great heap.
const FILL_SYNC_BYTES: u64 = 4 << 20;

#[derive(Debug)]
pub(super) struct Spares {
    shared: Arc<Shared>,
    /// Fills files ahead; `None`: they are filled when they are asked for.
    filler: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    disk: Arc<dyn Disk>,
    segment_bytes: u64,
    state: Mutex<State>,
    changed: Condvar,
    stopping: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    ready: Vec<String>,
    /// One is asked of the filler, or being filled by it.
    filling: bool,
    made: u64,
}

impl Spares {
    /// `found`: the spare files of the folder. Those that are no whole segment are removed.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
        found: Vec<String>,
        fill_ahead: bool,
    ) -> io::Result<Self> {
        let mut ready = Vec::new();
        for name in found {
            if ready.len() < MOST_SPARES && disk.open(&name)?.bytes()? == segment_bytes {
                ready.push(name);
            } else {
                disk.remove(&name)?;
            }
        }
        let shared = Arc::new(Shared {
            disk,
            segment_bytes,
            state: Mutex::new(State { ready, ..State::default() }),
            changed: Condvar::new(),
            stopping: AtomicBool::new(false),
        });
        let filler = if fill_ahead {
            let shared = Arc::clone(&shared);
            Some(std::thread::Builder::new().name("journal-spares".into()).spawn(move || shared.fill_when_asked())?)
        } else {
            None
        };
        Ok(Self { shared, filler })
    }

    /// A whole file whose content does not matter. Waits if none is ready.
    pub(super) fn take(&self) -> io::Result<(String, Arc<dyn DiskFile>)> {
        let mut state = self.shared.state.lock();
        while state.ready.is_empty() && state.filling {
            self.shared.changed.wait(&mut state);
        }
        let name = match state.ready.pop() {
            Some(name) => name,
            // The filler failed, or there is none: the error of this try is the one that counts.
            None => {
                drop(state);
                self.shared.fill_one()?
            }
        };
        let file = self.shared.disk.open(&name)?;
        Ok((name, file))
    }

    /// Has a file filled, if none is ready.
    pub(super) fn ask_for_one(&self) {
        let mut state = self.shared.state.lock();
        if self.filler.is_some() && state.ready.is_empty() && !state.filling {
            state.filling = true;
            self.shared.changed.notify_all();
        }
    }

    /// Takes a segment that is not needed any more. When this returns it is durably none.
    pub(super) fn recycle(&self, segment: &str) -> io::Result<()> {
        let disk = &self.shared.disk;
        let name = segment.replace(SEGMENT_ENDING, SPARE_ENDING);
        disk.rename(segment, &name)?;
        // Before the next one: or a power cut could keep an older segment and lose a newer one's, which looks like damage.
        disk.sync_folder(SyncOf::Recycled)?;
        let mut state = self.shared.state.lock();
        if state.ready.len() < MOST_SPARES && disk.open(&name)?.bytes()? == self.shared.segment_bytes {
            state.ready.push(name);
            return Ok(());
        }
        drop(state);
        disk.remove(&name)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if let Some(filler) = self.filler.take() {
            self.shared.stopping.store(true, Ordering::Relaxed);
            // Under the lock, so that the filler cannot miss it between its look and its wait.
            drop(self.shared.state.lock());
            self.shared.changed.notify_all();
            // A panic in it was reported by its thread; the files are judged anew when they are opened.
            let _ = filler.join();
        }
    }
}

impl Shared {
    fn fill_when_asked(&self) {
        loop {
            {
                let mut state = self.state.lock();
                while !state.filling {
                    if self.stopping.load(Ordering::Relaxed) {
                        return;
                    }
                    self.changed.wait(&mut state);
                }
            }
            let filled = self.fill_one();
            let mut state = self.state.lock();
            state.filling = false;
            match filled {
                Ok(name) => state.ready.push(name),
                Err(error) if self.stopping.load(Ordering::Relaxed) => tracing::debug!(%error, "left a spare file"),
                // No commit is concerned yet: the append that needs the file will try itself, and fail if it must.
                Err(error) => tracing::warn!(%error, "no spare file could be prepared for the journal"),
            }
            self.changed.notify_all();
        }
    }

    fn fill_one(&self) -> io::Result<String> {
        let (name, file) = loop {
            let number = {
                let mut state = self.state.lock();
                state.made += 1;
                state.made
            };
            let name = format!("zeros-{number:08}{SPARE_ENDING}");
            match self.disk.create(&name) {
                Ok(file) => break (name, file),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        };
        if let Err(error) = self.fill(&*file) {
            // What is left of it must not take up the room that the next try needs.
            let _ = self.disk.remove(&name);
            return Err(error);
        }
        Ok(name)
    }

    fn fill(&self, file: &dyn DiskFile) -> io::Result<()> {
        let zeros = vec![0; FILL_BYTES.min(self.segment_bytes as usize)];
        let mut offset = 0;
        while offset < self.segment_bytes {
            if self.stopping.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let more = (self.segment_bytes - offset).min(zeros.len() as u64);
            file.write_at(offset, &mut [IoSlice::new(&zeros[..more as usize])])?;
            offset += more;
            if offset.is_multiple_of(FILL_SYNC_BYTES) || offset == self.segment_bytes {
                file.sync_data(SyncOf::Zeros)?;
            }
        }
        Ok(())
    }
}
