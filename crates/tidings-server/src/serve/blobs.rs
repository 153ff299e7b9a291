//! Opening the blobs that the settings name.

use std::time::Duration;

use crate::{
    blobs::{self, BlobError, Blobs, LinkKey, s3::S3Options},
    config::{BlobStore, Config, Store},
};

/// A bucket that does not answer must not hold up the start for longer.
const CHECK: Duration = Duration::from_secs(5);

/// `secret` is what only this installation knows. A bucket that does not answer is no reason not to start: sends need none of it.
/// One that will not have this server is told now.
pub async fn open(config: &Config, secret: &str) -> Result<Blobs, BlobError> {
    match config.blobs {
        // Nothing lasts there, so blobs need not.
        BlobStore::Local if config.store == Store::Memory => Ok(Blobs::memory()),
        BlobStore::Local => Blobs::local(&blobs::folder(&config.data), LinkKey::of(secret)),
        BlobStore::S3 => {
            let blobs = Blobs::s3(options(&config.s3))?;
            match tokio::time::timeout(CHECK, blobs.check()).await {
                Ok(Err(error)) if !error.is_temporary() => Err(error),
                Ok(Ok(())) => Ok(blobs),
                _ => {
                    tracing::warn!(place = blobs.place(), "does not answer; what is there cannot be read for now");
                    Ok(blobs)
                }
            }
        }
    }
}

fn options(config: &crate::config::S3) -> S3Options {
    S3Options {
        endpoint: config.endpoint.clone(),
        bucket: config.bucket.clone().unwrap_or_default(),
        region: config.region.clone(),
        access_key_id: config.access_key_id.clone().unwrap_or_default(),
        secret_access_key: config
            .secret_access_key
            .as_ref()
            .map_or_else(String::new, |secret| secret.expose().to_owned()),
        allow_http: config.allow_http,
    }
}
