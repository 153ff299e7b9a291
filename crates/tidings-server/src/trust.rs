//! Whom this server believes when it asks others over TLS: the authorities that this machine trusts (`SSL_CERT_FILE`
//! names others).

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

pub fn client_config() -> Result<ClientConfig, rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}
