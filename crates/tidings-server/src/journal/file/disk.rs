//! The few things the journal asks of a disk, so that tests can put one under it that loses power or fails. It knows no
//! record. Names are of files directly in the journal's folder.

use std::{
    fmt,
    fs::{self, File},
    io::{self, IoSlice},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// What a sync makes durable: told in errors, and lets a test leave out one kind of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncOf {
    /// The zeros of a new spare file. Only saves time later: the sync of its header covers them too.
    Zeros,
    /// A segment's header, before the file is named a segment.
    Header,
    Commit,
    /// A confirming record or a seal.
    Mark,
    /// The folder, after a file was named a segment and before anything is appended to it.
    NewSegment,
    /// The folder, after a segment was named a spare and before a later one is.
    Recycled,
}

pub trait Disk: fmt::Debug + Send + Sync {
    fn list(&self) -> io::Result<Vec<String>>;

    /// Fails with `AlreadyExists` if the name is taken. Survives a power cut only after `sync_folder`.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Atomic; durable after `sync_folder`.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    fn remove(&self, name: &str) -> io::Result<()>;

    fn sync_folder(&self, what: SyncOf) -> io::Result<()>;
}

pub trait DiskFile: fmt::Debug + Send + Sync {
    fn bytes(&self) -> io::Result<u64>;

    /// Writes all parts one behind the other. May change them.
    fn write_at(&self, offset: u64, parts: &mut [IoSlice<'_>]) -> io::Result<()>;

    /// Answers how many bytes were read: fewer than asked only at the end of the file.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Makes all that was written durable. After an error nothing is known of it, and a second call would not tell either.
    fn sync_data(&self, what: SyncOf) -> io::Result<()>;
}

/// A folder of this machine's file system.
#[derive(Debug)]
pub struct LocalDisk {
    folder: PathBuf,
    handle: File,
}

impl LocalDisk {
    /// Makes the folder, durably, if it is missing.
    pub fn open(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir_all(folder).map_err(|error| named(&error, "make", folder))?;
            // `create_dir_all` may have made several: each one's name stands in its parent.
            for parent in folder.ancestors().skip(1) {
                let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
                // Folders above may belong to others and be unreadable; those existed before.
                if let Ok(parent) = File::open(parent) {
                    parent.sync_all()?;
                }
            }
        }
        let handle = File::open(folder).map_err(|error| named(&error, "open", folder))?;
        Ok(Self { folder: folder.to_owned(), handle })
    }

    fn file(&self, path: PathBuf, file: File) -> Arc<dyn DiskFile> {
        Arc::new(LocalFile { path, file })
    }
}

impl Disk for LocalDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let entries = fs::read_dir(&self.folder).map_err(|error| named(&error, "list", &self.folder))?;
        entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = File::options().read(true).write(true).create_new(true).open(&path);
        let file = file.map_err(|error| named(&error, "create", &path))?;
        Ok(self.file(path, file))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.folder.join(name);
        let file = File::options().read(true).write(true).open(&path).map_err(|error| named(&error, "open", &path))?;
        Ok(self.file(path, file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let (from, to) = (self.folder.join(from), self.folder.join(to));
        fs::rename(&from, to).map_err(|error| named(&error, "rename", &from))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        fs::remove_file(&path).map_err(|error| named(&error, "remove", &path))
    }

    fn sync_folder(&self, what: SyncOf) -> io::Result<()> {
        self.handle.sync_all().map_err(|error| named(&error, &format!("sync ({what:?}) the folder"), &self.folder))
    }
}

#[derive(Debug)]
struct LocalFile {
    path: PathBuf,
    file: File,
}

impl DiskFile for LocalFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(|error| named(&error, "look at", &self.path))?.len())
    }

    fn write_at(&self, mut offset: u64, mut parts: &mut [IoSlice<'_>]) -> io::Result<()> {
        while parts.iter().any(|part| !part.is_empty()) {
            let written = match rustix::io::pwritev(&self.file, parts, offset) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => Ok(written),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
            let written = written.map_err(|error: io::Error| named(&error, "write", &self.path))?;
            offset += written as u64;
            IoSlice::advance_slices(&mut parts, written);
        }
        Ok(())
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buffer.len() {
            match self.file.read_at(&mut buffer[read..], offset + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(named(&error, "read", &self.path)),
            }
        }
        Ok(read)
    }

    fn sync_data(&self, what: SyncOf) -> io::Result<()> {
        rustix::fs::fdatasync(&self.file).map_err(|error| named(&error.into(), &format!("sync ({what:?})"), &self.path))
    }
}

/// An error that says what was tried with which file.
fn named(error: &io::Error, tried: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {tried} {}: {error}", path.display()))
}
