//! Connecting: contact points, credentials, TLS, and the times that keep one hung node from holding up all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{PrivateKeyDer, pem::PemObject as _},
};
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    errors::{
        ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError, NewSessionError,
    },
    policies::retry::FallthroughRetryPolicy,
    statement::{Consistency, SerialConsistency},
};

use super::{Store, StoreError};
use crate::trust;

/// A connection that answers nothing for so long is given up. With the driver's usual times everything stands still for
/// as long as one node hangs.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
const CONNECT: Duration = Duration::from_secs(3);
/// Longer than a node itself waits for the others.
const REQUEST: Duration = Duration::from_secs(4);

/// Where the cluster is and how to speak with it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Some nodes, as `address:port`; the others are learned from them.
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub tls: Option<TlsOptions>,
    /// Requests under way at once.
    pub requests: usize,
}

#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Who signed the nodes' certificates; without it whom this system trusts.
    pub ca_file: Option<PathBuf>,
    /// Certificate and key of this client, where the cluster asks for them.
    pub client: Option<(PathBuf, PathBuf)>,
}

impl Store {
    /// Connects; the keyspace need not exist yet.
    pub async fn connect(options: &Options) -> Result<Self, StoreError> {
        let profile = ExecutionProfile::builder()
            .consistency(Consistency::Quorum)
            .serial_consistency(Some(SerialConsistency::Serial))
            .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
            .speculative_execution_policy(None)
            .request_timeout(Some(REQUEST))
            .build();
        let mut builder = SessionBuilder::new()
            .known_nodes(&options.nodes)
            .default_execution_profile_handle(profile.into_handle())
            .keepalive_interval(KEEP_ALIVE)
            .keepalive_timeout(KEEP_ALIVE)
            .connection_timeout(CONNECT)
            .tcp_nodelay(true)
            .fetch_schema_metadata(true)
            .keyspaces_to_fetch([options.keyspace.clone()]);
        if let (Some(user), Some(password)) = (&options.user, &options.password) {
            builder = builder.user(user, password);
        }
        if let Some(tls) = &options.tls {
            builder = builder.tls_context(Some(tls_config(tls)?));
        }
        let session: Session = builder.build().await.map_err(|error| not_connected(error, options))?;
        Ok(Self::new(session, options.keyspace.clone(), options.requests))
    }
}

/// What is wrong with the login is said in the words of the settings.
fn not_connected(error: NewSessionError, options: &Options) -> StoreError {
    use ConnectionSetupRequestErrorKind::{DbError as Said, MissingAuthentication};
    if let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(setup),
        ..
    })) = &error
    {
        let user = options.user.clone().unwrap_or_default();
        match &setup.error {
            Said(DbError::AuthenticationError, said) => return StoreError::Login { user, said: said.clone() },
            MissingAuthentication => return StoreError::LoginMissing,
            _ => {}
        }
    }
    StoreError::Connect(Box::new(error))
}

fn tls_config(options: &TlsOptions) -> Result<Arc<ClientConfig>, StoreError> {
    let wrong = |path: &Path, error: &dyn std::fmt::Display| StoreError::Tls(format!("{}: {error}", path.display()));
    let certificates = |path: &Path| trust::certificates(path).map_err(|error| wrong(path, &error));
    let roots = match &options.ca_file {
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| wrong(path, &error))?;
            }
            roots
        }
        None => trust::system_roots(),
    };
    let config = ClientConfig::builder().with_root_certificates(roots);
    let config = match &options.client {
        Some((certificate, key)) => {
            let key_of = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong(key, &error))?;
            config
                .with_client_auth_cert(certificates(certificate)?, key_of)
                .map_err(|error| wrong(certificate, &error))?
        }
        None => config.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}
