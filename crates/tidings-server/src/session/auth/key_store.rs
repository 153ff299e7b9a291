//! The keys as they are now: those of the settings, of a file and of a URL. File and URL are read again when they are old, and
//! when a token names a key that is not known, once a minute at most. What cannot be read leaves the keys as they were.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::RwLock;

use super::{
    get::get,
    keys::{Key, Keys, KeysError},
    token::{Unverified, Wrong},
};

/// Between two readings that tokens of unknown keys ask for: whoever makes up names of keys must not load the key server.
const ASK_AGAIN_MS: u64 = 60_000;
/// The same while there are no keys of the URL at all.
const FIRST_AGAIN_MS: u64 = 2_000;

#[derive(Debug, thiserror::Error)]
pub enum KeyStoreError {
    #[error("failed to read the keys in auth.keys: {0}")]
    Settings(KeysError),
    #[error("failed to read the keys in {path}: {error}")]
    File { path: PathBuf, error: std::io::Error },
    #[error("failed to use the keys in {path}: {error}")]
    FileKeys { path: PathBuf, error: KeysError },
}

/// Where keys come from, beside the settings themselves.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    pub file: Option<PathBuf>,
    pub url: Option<String>,
    pub age_ms: u64,
}

pub struct KeyStore {
    fixed: Vec<Key>,
    sources: Sources,
    found: RwLock<Found>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
    /// When file and URL were last read, or tried, in unix milliseconds.
    tried_ms: AtomicU64,
    generation: AtomicU64,
}

#[derive(Default)]
struct Found {
    of_file: Vec<Key>,
    of_url: Vec<Key>,
    /// All keys together.
    keys: Arc<Keys>,
}

impl KeyStore {
    /// With what the settings and the file say. A key server that is not there yet does not keep the server from starting.
    pub async fn open(fixed: Vec<Key>, sources: Sources, now_ms: u64) -> Result<Arc<Self>, KeyStoreError> {
        let of_file = read_file(sources.file.as_ref()).await?;
        let store = Self {
            fixed,
            found: RwLock::new(Found { of_file, ..Found::default() }),
            sources,
            reading: tokio::sync::Mutex::default(),
            tried_ms: AtomicU64::new(now_ms),
            generation: AtomicU64::new(0),
        };
        store.read_url().await;
        store.join();
        Ok(Arc::new(store))
    }

    /// Begins to read file and URL again if that is due. Nobody waits for it: the keys that are known are good.
    pub fn keep_fresh(self: &Arc<Self>, now_ms: u64) {
        let age_ms = now_ms.saturating_sub(self.tried_ms.load(Ordering::Acquire));
        if age_ms > self.sources.age_ms && self.reading.try_lock().is_ok() {
            let store = self.clone();
            tokio::spawn(async move { store.read(store.sources.age_ms, now_ms).await });
        }
    }

    /// Changes whenever keys were read: what was found right with other keys is to be checked anew.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether the token was signed with one of the keys.
    pub async fn check(&self, token: &Unverified<'_>, now_ms: u64) -> Result<(), Wrong> {
        let keys = self.found.read().keys.clone();
        match keys.check(token) {
            // A key without a name may have been replaced too: then the old one says that the signature is wrong.
            Err(wrong @ (Wrong::UnknownKey | Wrong::Signature | Wrong::OtherAlgorithm)) => {
                let has_url_keys = self.sources.url.is_none() || !self.found.read().of_url.is_empty();
                let again_ms = if has_url_keys { ASK_AGAIN_MS } else { FIRST_AGAIN_MS };
                if !self.read(again_ms, now_ms).await {
                    return Err(wrong);
                }
                let keys = self.found.read().keys.clone();
                keys.check(token)
            }
            checked => checked,
        }
    }

    /// Reads file and URL, unless that was done less than `again_ms` ago; tells whether it was done since the call.
    async fn read(&self, again_ms: u64, now_ms: u64) -> bool {
        if self.sources.file.is_none() && self.sources.url.is_none() {
            return false;
        }
        let seen_ms = self.tried_ms.load(Ordering::Acquire);
        let _one = self.reading.lock().await;
        let tried_ms = self.tried_ms.load(Ordering::Acquire);
        if tried_ms != seen_ms {
            return true;
        }
        if now_ms.saturating_sub(tried_ms) < again_ms {
            return false;
        }
        match read_file(self.sources.file.as_ref()).await {
            Ok(keys) => self.found.write().of_file = keys,
            Err(error) => tracing::warn!(%error, "the keys that are known stay good"),
        }
        self.read_url().await;
        self.join();
        self.tried_ms.store(now_ms, Ordering::Release);
        true
    }

    async fn read_url(&self) {
        let Some(url) = &self.sources.url else { return };
        let outcome = match get(url).await {
            Ok(text) => Keys::parse(&text).map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        match outcome {
            Ok(keys) => self.found.write().of_url = keys,
            Err(error) => tracing::warn!(error, "auth.jwks_url gives no keys; those that are known stay good"),
        }
    }

    fn join(&self) {
        let mut found = self.found.write();
        let mut keys = Keys::default();
        keys.extend(self.fixed.iter().chain(&found.of_file).chain(&found.of_url).cloned());
        found.keys = Arc::new(keys);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }
}

async fn read_file(path: Option<&PathBuf>) -> Result<Vec<Key>, KeyStoreError> {
    let Some(path) = path else { return Ok(Vec::new()) };
    let path = path.clone();
    let text = match tokio::fs::read_to_string(&path).await {
        Ok(text) => text,
        Err(error) => return Err(KeyStoreError::File { path, error }),
    };
    Keys::parse(&text).map_err(|error| KeyStoreError::FileKeys { path, error })
}
