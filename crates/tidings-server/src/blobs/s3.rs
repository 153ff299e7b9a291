//! Blobs in a bucket of a store that speaks S3.
//!
//! A call is tried again by the library while the store is busy or the line breaks, for less time than the call may take.

mod http;

use std::{sync::Arc, time::Duration};

use object_store::{BackoffConfig, RetryConfig, aws::AmazonS3Builder};

use super::{BlobError, Blobs, Links};

const ATTEMPTS_AFTER_THE_FIRST: usize = 4;
const ATTEMPTS_FOR: Duration = Duration::from_secs(20);

/// Which bucket, and who asks.
#[derive(Clone, PartialEq, Eq)]
pub struct S3Options {
    /// Where the store is, like `https://s3.eu-central-1.amazonaws.com`. `None`: at Amazon, by the region.
    pub endpoint: Option<String>,
    pub bucket: String,
    pub region: String,
    pub access_key_id: String,
    pub secret_access_key: String,
    /// Lets the endpoint be one without TLS.
    pub allow_http: bool,
}

impl Blobs {
    /// Blobs in a bucket, which must be there. Asks nobody yet: see [`Blobs::check`].
    pub fn s3(options: S3Options) -> Result<Self, BlobError> {
        let at = options.endpoint.clone().unwrap_or_else(|| format!("Amazon S3, {}", options.region));
        let place = format!("the bucket {} at {at}", options.bucket);
        let connector = http::Connector::new(options.allow_http)
            .map_err(|error| BlobError::Failed(format!("{place}: TLS cannot be used: {error}")))?;
        let retry = RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(5),
                base: 2.0,
            },
            max_retries: ATTEMPTS_AFTER_THE_FIRST,
            retry_timeout: ATTEMPTS_FOR,
        };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(options.bucket)
            .with_region(options.region)
            .with_access_key_id(options.access_key_id)
            .with_secret_access_key(options.secret_access_key)
            .with_allow_http(options.allow_http)
            .with_retry(retry)
            .with_http_connector(connector);
        if let Some(endpoint) = options.endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let store = Arc::new(builder.build().map_err(|error| BlobError::of(&place, "", &error))?);
        Ok(Self::over(store.clone(), Links::Store(store), place, true))
    }
}
