//! Which settings of `[auth]` make sense together: a start with a door that cannot be opened, or that anybody opens, is refused.

use super::{
    origin::{is_origin, is_safe_url},
    settings::{Auth, AuthMode},
};

/// RFC 7518 section 3.2: a key for HS256 has at least the size of its hash.
const SECRET_BYTES_MIN: usize = 32;

impl Auth {
    pub(super) fn contradictions(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut wrong = |name, what: &str| found.push((name, what.to_owned()));
        match self.mode {
            AuthMode::Open => {}
            AuthMode::Jwt => {
                let has_keys = self.keys.is_some() || self.keys_file.is_some() || self.jwks_url.is_some();
                if self.secret.is_none() && !has_keys {
                    wrong("auth.mode", "tokens need keys: set auth.secret, auth.keys, auth.keys_file or auth.jwks_url");
                }
            }
            AuthMode::Header if self.gateways.is_empty() => {
                wrong("auth.gateways", "name the networks of the gateways: from nobody else a header is believed");
            }
            AuthMode::Header => {}
        }
        if self.secret.as_ref().is_some_and(|secret| secret.expose().len() < SECRET_BYTES_MIN) {
            wrong("auth.secret", "must have at least 32 bytes, or it can be guessed from one token");
        }
        if self.jwks_url.as_deref().is_some_and(|url| !is_safe_url(url)) {
            wrong("auth.jwks_url", "must be an https:// address (plain http:// on this machine only)");
        }
        if self.login_url.as_deref().is_some_and(|url| !is_safe_url(url)) {
            wrong("auth.login_url", "must be an https:// address (plain http:// on this machine only)");
        }
        if let Some(origin) = self.return_origins.iter().find(|origin| !is_origin(origin)) {
            found.push(("auth.return_origins", format!("{origin:?} is no origin; write it like https://chat.example")));
        }
        found
    }
}
