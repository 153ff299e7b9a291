//! The note in a data folder whose data were handed over to a cluster: nobody may go on with them here by mistake.

use std::{fs, io, path::Path};

use super::{DataFolderError, at, replace, sync_folder};

const NAME: &str = "moved";

/// Notes, durably, where the data went. Before they are opened there: a crash in between leaves both closed, never both open.
pub fn note(folder: &Path, target: &str) -> io::Result<()> {
    replace(&folder.join(NAME), format!("{target}\n").as_bytes()).map_err(io::Error::other)
}

/// They were not handed over after all.
pub fn forget(folder: &Path) -> io::Result<()> {
    fs::remove_file(folder.join(NAME))?;
    sync_folder(folder).map_err(io::Error::other)
}

/// Refuses a folder whose data were handed over.
pub fn check(folder: &Path) -> Result<(), DataFolderError> {
    let path = folder.join(NAME);
    match fs::read_to_string(&path) {
        Ok(target) => Err(DataFolderError::Moved { path, target: target.trim().to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(at(&path)(error)),
    }
}
