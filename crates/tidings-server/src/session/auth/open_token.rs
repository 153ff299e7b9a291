//! The tokens of open mode: what `login` was told, with a keyed hash that only this server can make.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_proto::{DeviceId, UserId};

use super::Identity;

pub const TOKEN_PREFIX: &str = "tdo1_";

pub struct OpenTokens {
    key: [u8; 32],
}

impl OpenTokens {
    pub fn new(secret: &str) -> Self {
        Self { key: blake3::derive_key("tidings 2026 tokens of the open mode", secret.as_bytes()) }
    }

    pub fn token(&self, user: &UserId, device: &DeviceId, issued_ms: u64) -> String {
        let claims = format!("{user}\0{device}\0{issued_ms}");
        let mac = blake3::keyed_hash(&self.key, claims.as_bytes());
        format!("{TOKEN_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// Whom a token names. `None`: it was not made here.
    pub fn verify(&self, token: &str) -> Option<Identity> {
        let (claims, mac) = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let mac: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
        // The comparison of hashes takes the same time wherever they differ.
        if blake3::keyed_hash(&self.key, &claims) != blake3::Hash::from(mac) {
            return None;
        }
        let claims = String::from_utf8(claims).ok()?;
        let mut parts = claims.split('\0');
        let (user, device, issued) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Identity::new(UserId::new(user).ok()?, DeviceId::new(device).ok()?, issued.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_believed_as_it_was_given_only() {
        let (ada, laptop) = (UserId::new("ada").unwrap(), DeviceId::new("laptop").unwrap());
        let tokens = OpenTokens::new("secret");
        let token = tokens.token(&ada, &laptop, 7);
        let identity = Identity::new(ada, laptop, 7);
        assert_eq!(tokens.verify(&token), Some(identity.clone()));
        assert_eq!(OpenTokens::new("other").verify(&token), None);
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            let wrong = tokens.verify(std::str::from_utf8(&wrong).unwrap());
            assert_ne!(wrong, Some(identity.clone()), "byte {at}");
        }
    }
}
