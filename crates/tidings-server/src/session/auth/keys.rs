//! The keys that tokens are checked with. Each has one algorithm, fixed by what the key is: a public key never serves as a
//! shared secret, whatever a token says.

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;

use super::token::{Unverified, Wrong};

/// Keys of one source; a login service has a few.
const KEYS_MAX: usize = 64;

#[derive(Clone)]
pub struct Key {
    /// None: it serves tokens with any `kid` that no other key has.
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

#[derive(Clone, Default)]
pub struct Keys(Vec<Key>);

/// What is wrong with a text that should be keys. It does not repeat the text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("it is neither PEM nor a JWK or JWK set")]
    Form,
    #[error("it holds a private key; the server needs the public one only")]
    Private,
    #[error("no key in it is an RSA, P-256 or Ed25519 key for signatures")]
    NoneUsable,
    #[error("it holds more than {KEYS_MAX} keys")]
    TooMany,
}

impl Key {
    pub fn secret(secret: &str) -> Self {
        Self { kid: None, algorithm: Algorithm::HS256, key: DecodingKey::from_secret(secret.as_bytes()) }
    }
}

impl Keys {
    /// Reads PEM blocks, a JWK, or a JWK set (RFC 7517). Keys of a set that are for something else are passed over.
    pub fn parse(text: &str) -> Result<Vec<Key>, KeysError> {
        let text = text.trim();
        let keys = if text.starts_with("-----BEGIN") { pem_keys(text)? } else { jwk_keys(text)? };
        match keys.len() {
            0 => Err(KeysError::NoneUsable),
            count if count > KEYS_MAX => Err(KeysError::TooMany),
            _ => Ok(keys),
        }
    }

    pub fn extend(&mut self, keys: impl IntoIterator<Item = Key>) {
        self.0.extend(keys);
    }

    /// Whether one of the keys has signed the token.
    pub fn check(&self, token: &Unverified<'_>) -> Result<(), Wrong> {
        let is_named = |key: &&Key| token.kid.is_some() && key.kid == token.kid;
        let named: Vec<&Key> = self.0.iter().filter(is_named).collect();
        let candidates = match (&token.kid, named.is_empty()) {
            (_, false) => named,
            (Some(_), true) => self.0.iter().filter(|key| key.kid.is_none()).collect(),
            (None, true) => self.0.iter().collect(),
        };
        if candidates.is_empty() {
            return Err(Wrong::UnknownKey);
        }
        let mut fitting = candidates.into_iter().filter(|key| key.algorithm == token.algorithm).peekable();
        if fitting.peek().is_none() {
            return Err(Wrong::OtherAlgorithm);
        }
        let signs = |key: &Key| {
            let message = token.message.as_bytes();
            jsonwebtoken::crypto::verify(token.signature, message, &key.key, key.algorithm).unwrap_or(false)
        };
        if fitting.any(signs) { Ok(()) } else { Err(Wrong::Signature) }
    }
}

fn pem_keys(text: &str) -> Result<Vec<Key>, KeysError> {
    if text.contains("PRIVATE KEY-----") {
        return Err(KeysError::Private);
    }
    let key = |block: &str| {
        let block = block.trim().as_bytes();
        let of = |algorithm, key| Key { kid: None, algorithm, key };
        let rsa = DecodingKey::from_rsa_pem(block).map(|key| of(Algorithm::RS256, key));
        let ec = || DecodingKey::from_ec_pem(block).map(|key| of(Algorithm::ES256, key));
        let ed = || DecodingKey::from_ed_pem(block).map(|key| of(Algorithm::EdDSA, key));
        rsa.or_else(|_| ec()).or_else(|_| ed()).map_err(|_| KeysError::NoneUsable)
    };
    text.split_inclusive("-----END PUBLIC KEY-----").filter(|block| !block.trim().is_empty()).map(key).collect()
}

fn jwk_keys(text: &str) -> Result<Vec<Key>, KeysError> {
    #[derive(Deserialize)]
    struct Set {
        keys: Vec<serde_json::Value>,
    }
    let value: serde_json::Value = serde_json::from_str(text).map_err(|_| KeysError::Form)?;
    let values = match serde_json::from_value::<Set>(value.clone()) {
        Ok(set) => set.keys,
        Err(_) if value.get("kty").is_some() => vec![value],
        Err(_) => return Err(KeysError::Form),
    };
    if values.iter().any(|key| key.get("d").is_some()) {
        return Err(KeysError::Private);
    }
    Ok(values.into_iter().filter_map(|value| jwk_key(&serde_json::from_value(value).ok()?)).collect())
}

fn jwk_key(jwk: &Jwk) -> Option<Key> {
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        // Among them shared secrets: whoever can read the set could sign with them.
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_signatures = common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|operations| operations.contains(&KeyOperations::Verify))
        && common.key_algorithm.is_none_or(|it| it == named);
    let key = DecodingKey::from_jwk(jwk).ok()?;
    is_for_signatures.then(|| Key { kid: common.key_id.clone(), algorithm, key })
}
