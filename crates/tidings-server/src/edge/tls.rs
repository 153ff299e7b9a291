//! The server's own TLS: certificate and key from files, which are read again when they change. New connections get the new
//! certificate; a pair that cannot be used leaves the old one in place.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use parking_lot::Mutex;
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, pem, pem::PemObject},
};
use tokio_rustls::TlsAcceptor;

use crate::trust;

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("failed to read {path}: {error}")]
    File { path: PathBuf, error: io::Error },
    #[error("failed to read {path} as PEM: {error}")]
    Pem { path: PathBuf, error: pem::Error },
    #[error("failed to use the certificate with its key: {0}")]
    Pair(#[from] rustls::Error),
}

pub struct Tls {
    certificate: PathBuf,
    key: PathBuf,
    current: Mutex<Current>,
}

struct Current {
    acceptor: TlsAcceptor,
    written: Written,
}

/// When both files were last written.
type Written = [SystemTime; 2];

impl Tls {
    pub fn open(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let written = [written(certificate)?, written(key)?];
        let current = Mutex::new(Current { acceptor: acceptor(certificate, key)?, written });
        Ok(Self { certificate: certificate.to_owned(), key: key.to_owned(), current })
    }

    /// For one connection, with the files as they are now.
    pub fn acceptor(&self) -> TlsAcceptor {
        let now = written(&self.certificate).and_then(|certificate| Ok([certificate, written(&self.key)?]));
        let mut current = self.current.lock();
        match now {
            Ok(now) if now != current.written => {
                // Whether it can be used or not: it is not tried again before it changes again.
                current.written = now;
                match acceptor(&self.certificate, &self.key) {
                    Ok(acceptor) => {
                        current.acceptor = acceptor;
                        tracing::info!("the TLS certificate was read again");
                    }
                    Err(error) => tracing::warn!(%error, "the TLS certificate that is in use stays"),
                }
            }
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "the TLS certificate that is in use stays"),
        }
        current.acceptor.clone()
    }
}

fn written(path: &Path) -> Result<SystemTime, TlsError> {
    let time = std::fs::metadata(path).and_then(|data| data.modified());
    time.map_err(|error| TlsError::File { path: path.to_owned(), error })
}

fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let wrong = |path: &Path| {
        let path = path.to_owned();
        move |error| TlsError::Pem { path, error }
    };
    let chain = trust::certificates(certificate).map_err(wrong(certificate))?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(wrong(key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}
