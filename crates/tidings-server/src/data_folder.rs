//! The data folder: who may use it (one process at a time), what it is (format, lineage) and how often it was started.
//! Makes it, locks it, keeps the operators' token in it. What journal and tables put into it is theirs.
//!
//! | file | holds |
//! |---|---|
//! | `lock` | locked by the running server; says who that is |
//! | `folder` | format, lineage and starts, with a checksum; replaced as a whole |
//! | `admin.token` | the operators' token, readable by the server's user alone |
//! | `moved` | where the data went that were handed over to a cluster (`moved`) |
//! | `journal/`, `tables/`, `blobs/` | see those modules |

pub mod moved;

use std::{
    fmt, fs,
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rand::RngCore as _;
use rustix::fs::{FlockOperation, flock};

/// The format of everything in the folder. Raised when an older version could not read what this one writes.
const FORMAT: u32 = 1;

/// Which history of the data this is: made with the folder, made anew by a restore. A sync token of another lineage
/// is answered in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lineage(pub [u8; 8]);

impl Lineage {
    fn random() -> Self {
        Self(rand::rng().next_u64().to_be_bytes())
    }
}

impl fmt::Display for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", u64::from_be_bytes(self.0))
    }
}

/// An opened data folder, locked until this is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    identity: Identity,
    /// Holds the lock.
    _lock: fs::File,
}

#[derive(Debug, thiserror::Error)]
pub enum DataFolderError {
    #[error(
        "the data folder {} is in use by {holder}: stop that server, or give this one another folder with --data",
        path.display()
    )]
    InUse { path: PathBuf, holder: String },
    #[error("the data folder {} has format {found}, this version of Tidings knows {FORMAT}: start a newer version", path.display())]
    NewerFormat { path: PathBuf, found: u32 },
    #[error(
        "{} is damaged ({what}): restore it from a backup, or start with an empty folder",
        path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error(
        "the data of this folder were handed over to {target} ({}): start there, with store = \"cassandra\". Only if what you \
         start there says that the migration is not finished, delete that file and start here again",
        path.display()
    )]
    Moved { path: PathBuf, target: String },
    #[error("{} cannot be used: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
}

impl DataFolder {
    /// Opens the folder at `path`, making it if there is none, and counts the start: when this returns, a new
    /// [`DataFolder::starts`] is on disk. Fails at once if another process has the folder.
    pub fn open(path: &Path) -> Result<Self, DataFolderError> {
        let made = !path.exists();
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
        if made {
            sync_folder(path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
        }
        let lock = lock(path)?;
        let identity = match Identity::read(path)? {
            Some(identity) => Identity { starts: identity.starts + 1, ..identity },
            None => Identity { lineage: Lineage::random(), starts: 1 },
        };
        identity.write(path)?;
        Ok(Self { path: path.to_owned(), identity, _lock: lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn lineage(&self) -> Lineage {
        self.identity.lineage
    }

    /// How often this folder was opened, this time included: the epoch of home versions.
    pub fn starts(&self) -> u64 {
        self.identity.starts
    }

    /// Makes this another lineage, durably: all sync tokens given before are answered in full. For a restore.
    pub fn renew_lineage(&mut self) -> Result<Lineage, DataFolderError> {
        self.identity.lineage = Lineage::random();
        self.identity.write(&self.path)?;
        Ok(self.identity.lineage)
    }

    /// The operators' token of this folder, made at the first call. Its file is readable by the owner alone.
    pub fn admin_token(&self) -> Result<String, DataFolderError> {
        let path = self.path.join("admin.token");
        match fs::read_to_string(&path) {
            Ok(token) if token.trim().is_empty() => {
                Err(DataFolderError::Damaged { path, what: "it is empty; delete it to get a new token".to_owned() })
            }
            Ok(token) => {
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(at(&path))?;
                Ok(token.trim().to_owned())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let mut bytes = [0; 32];
                rand::rng().fill_bytes(&mut bytes);
                let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
                replace(&path, format!("{token}\n").as_bytes())?;
                Ok(token)
            }
            Err(error) => Err(DataFolderError::Io { path, error }),
        }
    }
}

/// Takes the folder's lock and writes into its file who has it.
fn lock(folder: &Path) -> Result<fs::File, DataFolderError> {
    let path = folder.join("lock");
    let mut file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false) // Another process may hold it.
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(at(&path))?;
            let holder = if holder.is_empty() { "another process".to_owned() } else { holder.trim().to_owned() };
            return Err(DataFolderError::InUse { path: folder.to_owned(), holder });
        }
        Err(error) => return Err(DataFolderError::Io { path, error: error.into() }),
    }
    let who = format!(
        "process {} on {}, started {}\n",
        std::process::id(),
        rustix::system::uname().nodename().to_string_lossy(),
        humantime::format_rfc3339_seconds(SystemTime::now())
    );
    file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(who.as_bytes())).map_err(at(&path))?;
    Ok(file)
}

/// What `folder` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity {
    lineage: Lineage,
    starts: u64,
}

impl Identity {
    /// `None`: the folder is new. One that holds data and has lost this file is damaged, not new.
    fn read(folder: &Path) -> Result<Option<Self>, DataFolderError> {
        let path = folder.join("folder");
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let has_data = ["journal", "tables"].iter().any(|name| folder.join(name).exists());
                return if has_data {
                    Err(DataFolderError::Damaged { path, what: "it is missing beside data".to_owned() })
                } else {
                    Ok(None)
                };
            }
            Err(error) => return Err(DataFolderError::Io { path, error }),
        };
        let damaged = |what: &str| DataFolderError::Damaged { path: path.clone(), what: what.to_owned() };
        let (body, checksum) = text.trim_end().rsplit_once("\nchecksum ").ok_or_else(|| damaged("no checksum"))?;
        if u32::from_str_radix(checksum, 16) != Ok(crc32c::crc32c(body.as_bytes())) {
            return Err(damaged("its checksum does not match"));
        }
        let field = |name: &str| {
            let line = body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.ok_or_else(|| damaged(&format!("no {name}")))
        };
        let format: u32 = field("format")?.parse().map_err(|_| damaged("no format"))?;
        if format > FORMAT {
            return Err(DataFolderError::NewerFormat { path: folder.to_owned(), found: format });
        }
        let lineage = u64::from_str_radix(field("lineage")?, 16).map_err(|_| damaged("no lineage"))?;
        let starts = field("starts")?.parse().map_err(|_| damaged("no starts"))?;
        Ok(Some(Self { lineage: Lineage(lineage.to_be_bytes()), starts }))
    }

    fn write(&self, folder: &Path) -> Result<(), DataFolderError> {
        let body = format!("format {FORMAT}\nlineage {}\nstarts {}", self.lineage, self.starts);
        let text = format!("{body}\nchecksum {:08x}\n", crc32c::crc32c(body.as_bytes()));
        replace(&folder.join("folder"), text.as_bytes())
    }
}

/// Puts a file (mode 0600) in the place of another: after a crash there is the old one or the new one, whole.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), DataFolderError> {
    let new = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(at(&new))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(at(&new))?;
    fs::rename(&new, path).map_err(at(path))?;
    sync_folder(path.parent().expect("a file of the data folder stands in it"))
}

/// Makes names that were added to or changed in a folder durable.
fn sync_folder(path: &Path) -> Result<(), DataFolderError> {
    fs::File::open(path).and_then(|folder| folder.sync_all()).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataFolderError {
    let path = path.to_owned();
    move |error| DataFolderError::Io { path, error }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_folder_keeps_its_lineage_and_counts_its_starts() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("a/b");
        let first = DataFolder::open(&path).unwrap();
        let (lineage, token) = (first.lineage(), first.admin_token().unwrap());
        assert_eq!((first.starts(), token.len()), (1, 64));
        assert_eq!((mode(&path), mode(&path.join("admin.token"))), (0o700, 0o600));
        drop(first);

        let mut second = DataFolder::open(&path).unwrap();
        assert_eq!((second.starts(), second.lineage(), second.admin_token().unwrap()), (2, lineage, token));
        let renewed = second.renew_lineage().unwrap();
        drop(second);
        let third = DataFolder::open(&path).unwrap();
        assert_eq!((third.starts(), third.lineage()), (3, renewed));
        assert_ne!(renewed, lineage);
    }

    #[test]
    fn the_second_process_says_who_has_the_folder() {
        let root = tempfile::tempdir().unwrap();
        let first = DataFolder::open(root.path()).unwrap();
        let refusal = DataFolder::open(root.path()).unwrap_err().to_string();
        assert!(refusal.contains(&format!("is in use by process {} on ", std::process::id())), "{refusal}");
        drop(first);
        assert_eq!(DataFolder::open(root.path()).unwrap().starts(), 2, "the refused opening was no start");
    }

    #[test]
    fn no_changed_byte_of_its_file_goes_unseen() {
        let root = tempfile::tempdir().unwrap();
        drop(DataFolder::open(root.path()).unwrap());
        let path = root.path().join("folder");
        let whole = fs::read(&path).unwrap();
        for place in 0..whole.len() - 1 {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            fs::write(&path, &bytes).unwrap();
            let error = Identity::read(root.path()).unwrap_err();
            assert!(matches!(error, DataFolderError::Damaged { .. }), "byte {place}: {error}");
            fs::write(&path, &whole[..place]).unwrap();
            assert!(Identity::read(root.path()).is_err(), "cut at {place}");
        }
        fs::write(&path, &whole).unwrap();
        assert!(Identity::read(root.path()).unwrap().is_some());

        fs::remove_file(&path).unwrap();
        fs::create_dir(root.path().join("journal")).unwrap();
        assert!(DataFolder::open(root.path()).unwrap_err().to_string().contains("missing beside data"));
    }

    #[test]
    fn a_newer_format_is_refused() {
        let root = tempfile::tempdir().unwrap();
        let body = "format 2\nlineage of another kind";
        let text = format!("{body}\nchecksum {:08x}\n", crc32c::crc32c(body.as_bytes()));
        fs::write(root.path().join("folder"), text).unwrap();
        let error = DataFolder::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("has format 2, this version of Tidings knows 1"), "{error}");
    }
}
