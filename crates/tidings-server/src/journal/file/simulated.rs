//! A disk for tests: in memory, and it loses power, fails at a chosen operation, or leaves out one kind of sync.
//!
//! What is synced survives. Of what is not, each sector and each change of the folder survives by chance, from a seed.
//! After a failed sync the data counts as clean, as on Linux: it can be read, and no later sync makes it durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, IoSlice},
    sync::Arc,
};

use parking_lot::Mutex;
use rand::{Rng, SeedableRng, rngs::SmallRng};

use super::disk::{Disk, DiskFile, SyncOf};

const SECTOR_BYTES: usize = 512;

#[derive(Clone, Debug)]
pub struct SimulatedDisk {
    state: Arc<Mutex<State>>,
}

/// What happens at the nth operation that changes something (from 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails, in part done if it is a write; those after it work.
    Error(io::ErrorKind),
    /// It is done in part or not at all, and nothing works after it.
    PowerOff,
}

/// How much of what was not synced survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    Lost,
    Kept,
    /// Each sector and each change of the folder by chance.
    Mixed,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Inode>,
    folder: BTreeMap<String, usize>,
    durable_folder: BTreeMap<String, usize>,
    folder_changes: Vec<Change>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    off: bool,
    left_out: Option<SyncOf>,
    random: Option<SmallRng>,
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What is read.
    bytes: Vec<u8>,
    durable: Vec<u8>,
    dirty_sectors: BTreeSet<usize>,
}

#[derive(Clone, Debug)]
enum Change {
    Create(String, usize),
    Rename(String, String),
    Remove(String),
}

impl Change {
    fn apply(&self, folder: &mut BTreeMap<String, usize>) {
        match self {
            Self::Create(name, file) => _ = folder.insert(name.clone(), *file),
            Self::Rename(from, to) => {
                if let Some(file) = folder.remove(from) {
                    folder.insert(to.clone(), file);
                }
            }
            Self::Remove(name) => _ = folder.remove(name),
        }
    }
}

impl SimulatedDisk {
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State { random: Some(SmallRng::seed_from_u64(seed)), ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Operations that changed something, so far.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().operations
    }

    pub fn set_fault(&self, operation: u64, fault: Fault) {
        self.state.lock().fault = Some((operation, fault));
    }

    /// Whether the fault has come.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        let state = self.state.lock();
        state.fault.is_some_and(|(operation, _)| state.operations >= operation)
    }

    /// From now on this kind of sync does nothing and says it did: the negative control.
    pub fn leave_out(&self, sync: SyncOf) {
        self.state.lock().left_out = Some(sync);
    }

    /// What is found when the power is back.
    #[must_use]
    pub fn after_power_cut(&self, unsynced: Unsynced, seed: u64) -> Self {
        let state = self.state.lock();
        let mut random = SmallRng::seed_from_u64(seed);
        let mut survives = || match unsynced {
            Unsynced::Lost => false,
            Unsynced::Kept => true,
            Unsynced::Mixed => random.random(),
        };
        let mut folder = state.durable_folder.clone();
        for change in state.folder_changes.iter().filter(|_| survives()) {
            change.apply(&mut folder);
        }
        let mut files = state.files.clone();
        for file in &mut files {
            let mut bytes = std::mem::take(&mut file.durable);
            for &sector in file.dirty_sectors.iter().filter(|_| survives()) {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(file.bytes.len());
                bytes.resize(bytes.len().max(end), 0);
                bytes[start..end].copy_from_slice(&file.bytes[start..end]);
            }
            *file = Inode { bytes: bytes.clone(), durable: bytes, dirty_sectors: BTreeSet::new() };
        }
        let random = Some(random);
        let state = State { files, durable_folder: folder.clone(), folder, random, ..State::default() };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// For damage by hand: the file's bytes as they are found from now on.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state.lock();
        let file = state.folder[name];
        change(&mut state.files[file].bytes);
    }
}

impl State {
    /// Counts an operation; `Err`: it fails and this is what to say.
    fn operation(&mut self) -> io::Result<()> {
        if self.off {
            return Err(io::Error::other("the power is off"));
        }
        self.operations += 1;
        match self.fault {
            Some((operation, Fault::Error(kind))) if operation == self.operations => Err(kind.into()),
            Some((operation, Fault::PowerOff)) if operation == self.operations => {
                self.off = true;
                Err(io::Error::other("the power goes off"))
            }
            _ => Ok(()),
        }
    }

    fn change_folder(&mut self, change: Change) {
        change.apply(&mut self.folder);
        self.folder_changes.push(change);
    }

    fn by_chance(&mut self) -> bool {
        self.random.as_mut().is_some_and(Rng::random)
    }
}

impl Disk for SimulatedDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().folder.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.operation()?;
        if state.folder.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let number = state.files.len();
        state.files.push(Inode::default());
        state.change_folder(Change::Create(name.to_owned(), number));
        Ok(Arc::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let number = self.state.lock().folder.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimulatedFile { disk: self.clone(), number }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        if !state.folder.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        state.change_folder(Change::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        state.change_folder(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_folder(&self, what: SyncOf) -> io::Result<()> {
        let mut state = self.state.lock();
        state.operation()?;
        if state.left_out != Some(what) {
            state.durable_folder = state.folder.clone();
            state.folder_changes.clear();
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    disk: SimulatedDisk,
    number: usize,
}

impl DiskFile for SimulatedFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.disk.state.lock().files[self.number].bytes.len() as u64)
    }

    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        let written = parts.iter().map(|part| &**part).collect::<Vec<_>>().concat();
        let mut state = self.disk.state.lock();
        if state.off {
            return state.operation();
        }
        let outcome = state.operation();
        let sectors = written.chunks(SECTOR_BYTES).enumerate();
        for (index, sector) in sectors {
            if outcome.is_err() && state.by_chance() {
                continue;
            }
            let start = offset as usize + index * SECTOR_BYTES;
            let file = &mut state.files[self.number];
            let end = start + sector.len();
            file.bytes.resize(file.bytes.len().max(end), 0);
            file.bytes[start..end].copy_from_slice(sector);
            file.dirty_sectors.extend(start / SECTOR_BYTES..=(end - 1) / SECTOR_BYTES);
        }
        outcome
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.state.lock();
        let rest = state.files[self.number].bytes.get(offset as usize..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }

    fn sync_data(&self, what: SyncOf) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        if state.off {
            return state.operation();
        }
        let outcome = state.operation();
        let left_out = state.left_out == Some(what);
        // A power cut in mid-sync leaves what was on its way still to chance.
        if left_out || state.off {
            return outcome;
        }
        let file = &mut state.files[self.number];
        if outcome.is_ok() {
            let Inode { bytes, durable, dirty_sectors } = file;
            durable.resize(durable.len().max(bytes.len()), 0);
            for &sector in dirty_sectors.iter() {
                let start = sector * SECTOR_BYTES;
                let end = (start + SECTOR_BYTES).min(bytes.len());
                durable[start..end].copy_from_slice(&bytes[start..end]);
            }
        }
        file.dirty_sectors.clear();
        outcome
    }
}
