//! Addresses of local blobs: a path of this server with a time until which it is good, signed with a key that only this
//! installation has.

use std::fmt;

const CONTEXT: &str = "tidings 2026 addresses of blobs";

/// Signs `/v1/blobs/<name>?until=<seconds>&sign=<hex>`, and knows its own signatures again.
#[derive(Clone)]
pub struct LinkKey([u8; 32]);

impl LinkKey {
    /// The key that belongs to the secret of an installation: the same at each start, and nobody learns the secret from it.
    pub fn of(secret: &str) -> Self {
        Self(blake3::derive_key(CONTEXT, secret.as_bytes()))
    }

    /// The path, good until this second (of Unix time).
    pub fn sign(&self, name: &str, until_s: u64) -> String {
        format!("/v1/blobs/{name}?until={until_s}&sign={}", self.mac(name, until_s).to_hex())
    }

    /// Whether this server signed it, and it is still good.
    pub fn is_good(&self, name: &str, until_s: u64, sign: &str, now_s: u64) -> bool {
        // Hashes compare in constant time.
        let is_ours = blake3::Hash::from_hex(sign).is_ok_and(|sign| sign == self.mac(name, until_s));
        is_ours && now_s <= until_s
    }

    fn mac(&self, name: &str, until_s: u64) -> blake3::Hash {
        let mut mac = blake3::Hasher::new_keyed(&self.0);
        mac.update(&until_s.to_be_bytes());
        mac.update(name.as_bytes());
        mac.finalize()
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_good_until_its_time_and_for_its_name_alone() {
        let key = LinkKey::of("secret");
        let path = key.sign("a/b", 100);
        let sign = path.strip_prefix("/v1/blobs/a/b?until=100&sign=").unwrap();
        assert!(key.is_good("a/b", 100, sign, 100));
        assert!(LinkKey::of("secret").is_good("a/b", 100, sign, 1));
        assert!(!key.is_good("a/b", 100, sign, 101), "too late");
        assert!(!key.is_good("a/b", 101, sign, 100), "another time");
        assert!(!key.is_good("a/c", 100, sign, 100), "another name");
        assert!(!LinkKey::of("other").is_good("a/b", 100, sign, 100), "another server");
        assert!(!key.is_good("a/b", 100, &sign[1..], 100) && !key.is_good("a/b", 100, "", 100));
        assert!(!format!("{key:?}").contains("sign"));
    }
}
