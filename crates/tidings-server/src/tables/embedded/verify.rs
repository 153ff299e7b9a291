//! How damage of the tables' files is found and named. fjall checks the checksum of each block that it reads, but
//! neither that of its lists of segments, nor does it say which file was wrong; and it takes a keyspace without a list
//! for one that was never finished, and removes it. So the lists are checked here before fjall sees them.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use fjall::{AbstractTree, Keyspace};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::tables::TablesError;

/// In each keyspace's folder: the number of its newest list (8 bytes, little-endian), its xxh3-128 (16), and 0.
const CURRENT: &str = "current";

/// Checks the lists of segments of all keyspaces below `path`, of which there must be `count`.
pub(super) fn check_lists(path: &Path, count: usize) -> Result<(), TablesError> {
    for number in 0..count {
        let folder = path.join("keyspaces").join(number.to_string());
        let current_path = folder.join(CURRENT);
        let current = read(&current_path)?;
        let (list, checksum) =
            parse_current(&current).ok_or_else(|| damaged(&current_path, "it does not name a list of segments"))?;
        let list_path = folder.join(format!("v{list}"));
        if xxh3_128(&read(&list_path)?) != checksum {
            return Err(damaged(&list_path, "its checksum is not the one that `current` names"));
        }
    }
    Ok(())
}

fn parse_current(bytes: &[u8]) -> Option<(u64, u128)> {
    let (list, rest) = bytes.split_first_chunk()?;
    let (checksum, kind) = rest.split_first_chunk()?;
    (kind == [0]).then(|| (u64::from_le_bytes(*list), u128::from_le_bytes(*checksum)))
}

/// Reads all segments of `keyspace`, or only those whose keys surround `key`, and reports the first damaged one.
pub(super) fn check_segments(keyspace: &Keyspace, key: Option<&[u8]>) -> Result<(), TablesError> {
    for segment in keyspace.tree.current_version().iter_tables() {
        if key.is_some_and(|key| !segment.metadata.key_range.contains_key(key)) {
            continue;
        }
        let mut file = File::open(&*segment.path).map_err(|error| unreadable(&segment.path, error))?;
        let mut hash = Xxh3::new();
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let length = file.read(&mut buffer).map_err(|error| unreadable(&segment.path, error))?;
            if length == 0 {
                break;
            }
            hash.update(&buffer[..length]);
        }
        if hash.digest128() != segment.checksum().into_u128() {
            return Err(damaged(&segment.path, "its checksum is not the one that was noted when it was written"));
        }
    }
    Ok(())
}

/// What an error of fjall means. `keyspace` and `key` help to find the damaged file.
pub(super) fn explain(error: fjall::Error, path: &Path, keyspace: Option<&Keyspace>, key: &[u8]) -> TablesError {
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) if !is_damage(&error) => {
            TablesError::Failed(Arc::new(error))
        }
        fjall::Error::Locked => {
            let what = format!("{} is in use by another process", path.display());
            TablesError::Failed(Arc::new(io::Error::new(io::ErrorKind::ResourceBusy, what)))
        }
        error => match keyspace.map(|keyspace| check_segments(keyspace, Some(key))) {
            Some(Err(found)) => found,
            _ => damaged(path, &error.to_string()),
        },
    }
}

/// A file that is shorter than it was, or gone.
fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
    matches!(error.kind(), InvalidData | NotFound | UnexpectedEof)
}

fn read(path: &Path) -> Result<Vec<u8>, TablesError> {
    std::fs::read(path).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, error: io::Error) -> TablesError {
    if is_damage(&error) { damaged(path, &error.to_string()) } else { TablesError::Failed(Arc::new(error)) }
}

pub(super) fn damaged(path: &Path, what: &str) -> TablesError {
    TablesError::Damaged { place: path.display().to_string(), what: what.to_owned() }
}
