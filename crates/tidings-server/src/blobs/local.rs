//! Blobs in a folder of this machine. A blob is written aside, synced and then given its name, and the folder is synced:
//! a crash leaves it whole or not at all (and perhaps a file whose name ends in `#` and a number, which is no blob).

use std::{os::unix::fs::DirBuilderExt as _, path::Path, sync::Arc};

use object_store::local::LocalFileSystem;

use super::{BlobError, Blobs, LinkKey, Links};

impl Blobs {
    /// Blobs in this folder, which is made if it is missing.
    pub fn local(folder: &Path, key: LinkKey) -> Result<Self, BlobError> {
        let place = format!("the folder {}", folder.display());
        let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| BlobError::Failed(format!("{place} cannot be made: {error}")))?;
        // Links in the folder are followed nowhere, and what is not a blob is not listed.
        let store = LocalFileSystem::new_with_prefix(folder).map_err(|error| BlobError::of(&place, "", &error))?;
        Ok(Self::over(Arc::new(store.with_fsync(true)), Links::Own(key), place, false))
    }
}
