//! Blobs: bytes under a name that are written once and never change, in a folder of this machine or in a store that speaks
//! S3. The only place that knows the library behind it; it knows nothing of what the bytes mean.
//!
//! This file is the handle and its contract, `local` and `s3` say how each is opened, `links` signs the local ones, `errors` says in
//! plain words what a store answers. `tests` has the suite that all three pass.

mod errors;
mod links;
pub mod local;
pub mod s3;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt, ops::Range, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::StreamExt as _;
use object_store::{
    GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, PutPayload, memory::InMemory,
    path::Path as Name, signer::Signer,
};
use tokio::sync::Semaphore;

pub use errors::BlobError;
pub use links::LinkKey;

/// Requests under way at once; more wait.
const REQUESTS: usize = 16;
/// How long one call may take, all its attempts and its turn included.
const PATIENCE: Duration = Duration::from_secs(30);
/// No blob is larger: who reads one has it in memory.
pub const BLOB_BYTES_MAX: usize = 64 << 20;

/// A store of blobs. Cheap to clone; every call may be made from any task, and ends within half a minute.
///
/// A name is one or more parts of letters, digits, `-`, `_` and `.`, joined by `/`. What `put_new` was answered for is durable, whole,
/// and stays as it is until it is deleted.
#[derive(Clone)]
pub struct Blobs {
    store: Arc<dyn ObjectStore>,
    links: Links,
    /// Where the blobs are, for people: fits after "blobs are in".
    place: Arc<str>,
    /// They are listed in the order of their names.
    is_sorted: bool,
    requests: Arc<Semaphore>,
    patience: Duration,
}

/// Who signs addresses under which a blob can be had.
#[derive(Clone)]
enum Links {
    Nobody,
    /// This server, which also answers them.
    Own(LinkKey),
    Store(Arc<dyn Signer>),
}

/// What became of a `put_new`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    Made,
    /// There is a blob of this name; it was left as it is.
    WasThere,
}

/// A blob in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub name: String,
    pub bytes: u64,
    /// When it was written, by the store's clock.
    pub at_ms: u64,
}

impl Blobs {
    /// Blobs in memory; nothing lasts.
    pub fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()), Links::Nobody, "memory".to_owned(), true)
    }

    fn over(store: Arc<dyn ObjectStore>, links: Links, place: String, is_sorted: bool) -> Self {
        let requests = Arc::new(Semaphore::new(REQUESTS));
        Self { store, links, place: place.into(), is_sorted, requests, patience: PATIENCE }
    }

    /// Where the blobs are, for people.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Writes a blob unless one has this name. Of many that try at once one makes it. After an error it may be there, or not, but never
    /// half of it; the same call again finds out.
    pub async fn put_new(&self, name: &str, bytes: Bytes) -> Result<Put, BlobError> {
        if bytes.len() > BLOB_BYTES_MAX {
            return Err(BlobError::Failed(format!("{name} has {} bytes, more than a blob may have", bytes.len())));
        }
        let path = parse(name)?;
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let put = self.in_time(name, async {
            match self.store.put_opts(&path, PutPayload::from_bytes(bytes), options).await {
                Ok(_) => Ok(Put::Made),
                Err(object_store::Error::AlreadyExists { .. }) => Ok(Put::WasThere),
                Err(error) => Err(error),
            }
        });
        put.await
    }

    /// The whole blob.
    pub async fn get(&self, name: &str) -> Result<Bytes, BlobError> {
        let path = parse(name)?;
        self.in_time(name, async { self.store.get(&path).await?.bytes().await }).await
    }

    /// These bytes of the blob, all of them: a range that ends behind its end is refused.
    pub async fn range(&self, name: &str, range: Range<u64>) -> Result<Bytes, BlobError> {
        let path = parse(name)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        let length = range.end - range.start;
        let options = GetOptions { range: Some(GetRange::Bounded(range)), ..GetOptions::default() };
        let bytes = self.in_time(name, async { self.store.get_opts(&path, options).await?.bytes().await }).await?;
        if bytes.len() as u64 == length {
            Ok(bytes)
        } else {
            Err(BlobError::Failed(format!("{name} is shorter than it must be")))
        }
    }

    /// Blobs whose names begin with the parts of `folder`, in the order of their names, from behind `after` on, at most `limit`.
    /// Reads the whole folder, page by page.
    pub async fn list(&self, folder: &str, after: Option<&str>, limit: usize) -> Result<Vec<Listed>, BlobError> {
        let folder = parse(folder)?;
        let after = after.map(parse).transpose()?;
        let listing = async {
            let mut found = match &after {
                Some(after) => self.store.list_with_offset(Some(&folder), after),
                None => self.store.list(Some(&folder)),
            };
            // The lowest names so far.
            let mut lowest = BTreeMap::new();
            while let Some(blob) = found.next().await.transpose()? {
                let name = blob.location.to_string();
                let at_ms = u64::try_from(blob.last_modified.timestamp_millis()).unwrap_or(0);
                lowest.insert(name.clone(), Listed { name, bytes: blob.size, at_ms });
                if lowest.len() > limit {
                    lowest.pop_last();
                    if self.is_sorted {
                        break;
                    }
                }
            }
            Ok(lowest.into_values().collect())
        };
        self.in_time(folder.as_ref(), listing).await
    }

    /// Deletes a blob. One that is not there is no error.
    pub async fn delete(&self, name: &str) -> Result<(), BlobError> {
        let path = parse(name)?;
        match self.in_time(name, self.store.delete(&path)).await {
            Err(BlobError::Absent(_)) => Ok(()),
            outcome => outcome,
        }
    }

    /// An address under which anybody can read this blob for so long, in whole seconds. In a folder it is a path of this server, see
    /// [`LinkKey`]; `now_ms` is the time then. Whether there is such a blob is not asked.
    pub async fn signed_get(&self, name: &str, life: Duration, now_ms: u64) -> Result<String, BlobError> {
        let path = parse(name)?;
        match &self.links {
            Links::Nobody => Err(BlobError::Failed("blobs in memory have no address".to_owned())),
            Links::Own(key) => Ok(key.sign(path.as_ref(), now_ms / 1_000 + life.as_secs())),
            Links::Store(signer) => {
                let signed = self.in_time(name, async { signer.signed_url(http::Method::GET, &path, life).await });
                Ok(signed.await?.to_string())
            }
        }
    }

    /// Asks whether the store can be used: whether it answers, knows this server and has the bucket.
    pub async fn check(&self) -> Result<(), BlobError> {
        self.list("check", None, 1).await.map(drop)
    }

    async fn in_time<T>(
        &self,
        name: &str,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, BlobError> {
        let turn = async {
            let _turn = self.requests.acquire().await.expect("the semaphore is never closed");
            call.await
        };
        match tokio::time::timeout(self.patience, turn).await {
            Ok(outcome) => outcome.map_err(|error| BlobError::of(&self.place, name, &error)),
            Err(_) => Err(BlobError::Unreachable {
                place: self.place.to_string(),
                what: format!("no answer in {} s", self.patience.as_secs()),
            }),
        }
    }
}

impl fmt::Debug for Blobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blobs").field("place", &self.place).finish_non_exhaustive()
    }
}

fn parse(name: &str) -> Result<Name, BlobError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(is_plain);
    if !name.split('/').all(is_part) {
        return Err(BlobError::Failed(format!("{name:?} is no name of a blob")));
    }
    Name::parse(name).map_err(|_| BlobError::Failed(format!("{name:?} is no name of a blob")))
}

/// Where blobs of a data folder are.
pub fn folder(data: &std::path::Path) -> PathBuf {
    data.join("blobs")
}
