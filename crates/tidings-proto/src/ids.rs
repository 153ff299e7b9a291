//! Names and numbers that identify and order things.
//!
//! Each is a type of its own, so that a user cannot be passed where a device is meant, nor a count where a `Seq` is.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::limits::{DEVICE_BYTES, USER_BYTES};

/// How many shards conversations and users are divided into. Fixed for ever: ids carry the shard.
pub const SHARDS: u16 = 16_384;

/// A part of all conversations and users, `0..SHARDS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u16);

/// The place of an entry in its conversation: 1, 2, 3 …, dense, given by the server.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    minicbor::Encode,
    minicbor::Decode,
)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct Seq(#[n(0)] pub u64);

impl Seq {
    /// Before the first entry.
    pub const NONE: Self = Self(0);
    pub const FIRST: Self = Self(1);

    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The seq before this one; `NONE` stays `NONE`.
    #[must_use]
    pub fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Why a string is no id. The text fits after "failed to read …: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {max} bytes")]
    TooLong { max: usize },
    #[error("it contains a control character")]
    Control,
    #[error("it is not 26 characters of a-z and 2-7")]
    NotAConversation,
}

fn check_name(text: &str, max: usize) -> Result<(), IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    if text.len() > max {
        return Err(IdError::TooLong { max });
    }
    if text.chars().any(char::is_control) {
        return Err(IdError::Control);
    }
    Ok(())
}

macro_rules! name_id {
    ($(#[$doc:meta])* $name:ident, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            pub fn new(text: &str) -> Result<Self, IdError> {
                check_name(text, $max)?;
                Ok(Self(text.into()))
            }

            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(serde::de::Error::custom)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                encoder: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                encoder.str(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let text = decoder.str()?;
                Self::new(text).map_err(|error| minicbor::decode::Error::message(error.to_string()))
            }
        }
    };
}

name_id!(
    /// A user's name in the product: `sub` of a token, or the username in open mode. 1 to 128 bytes, cheap to clone.
    UserId,
    USER_BYTES
);
name_id!(
    /// A device's name, given by the client and kept by it: an installation. 1 to 64 bytes.
    DeviceId,
    DEVICE_BYTES
);

impl UserId {
    /// The shard that hosts this user's home.
    pub fn shard(&self) -> ShardId {
        shard_of(&digest("user", &[self.as_str()]))
    }
}

/// Where people talk. 16 bytes: the shard (2), then a hash of what made it; on the wire 26 characters of base 32.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, minicbor::Encode, minicbor::Decode)]
#[cbor(transparent)]
pub struct ConversationId(#[cbor(n(0), with = "minicbor::bytes")] [u8; 16]);

impl ConversationId {
    /// The one conversation of two people, in either order. It lives on the shard of one of the two.
    pub fn direct(one: &UserId, other: &UserId) -> Self {
        let (low, high) = if one <= other { (one, other) } else { (other, one) };
        let hash = digest("direct", &[low.as_str(), high.as_str()]);
        let near = if hash[31] & 1 == 0 { low } else { high };
        Self::on_shard(near.shard(), &hash)
    }

    /// The group that `creator` made with `client_msg_id`: the same again when the request is repeated.
    pub fn group(creator: &UserId, client_msg_id: &str) -> Self {
        let hash = digest("group", &[creator.as_str(), client_msg_id]);
        Self::on_shard(shard_of(&hash), &hash)
    }

    fn on_shard(shard: ShardId, hash: &[u8; 32]) -> Self {
        let mut id = [0; 16];
        id[..2].copy_from_slice(&shard.0.to_be_bytes());
        id[2..].copy_from_slice(&hash[2..16]);
        Self(id)
    }

    pub fn shard(self) -> ShardId {
        ShardId(u16::from_be_bytes([self.0[0], self.0[1]]) % SHARDS)
    }

    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

impl ConversationId {
    /// Hands over the id as text, without a formatter: every frame has one.
    fn with_text<T>(self, take: impl FnOnce(&str) -> T) -> T {
        let mut value = u128::from_be_bytes(self.0);
        let mut text = [0; 26];
        for place in text.iter_mut().rev() {
            *place = BASE32[(value & 31) as usize];
            value >>= 5;
        }
        take(std::str::from_utf8(&text).expect("base 32 is ASCII"))
    }
}

impl fmt::Display for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.write_str(text))
    }
}

impl fmt::Debug for ConversationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ConversationId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let digits = text.as_bytes();
        // 26 characters hold 130 bits: the first one may only carry the lowest three.
        if digits.len() != 26 || !(b'a'..=b'h').contains(&digits[0]) {
            return Err(IdError::NotAConversation);
        }
        let mut value = 0u128;
        for digit in digits {
            let five = match digit {
                b'a'..=b'z' => digit - b'a',
                b'2'..=b'7' => digit - b'2' + 26,
                _ => return Err(IdError::NotAConversation),
            };
            value = value << 5 | u128::from(five);
        }
        Ok(Self(value.to_be_bytes()))
    }
}

impl Serialize for ConversationId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with_text(|text| serializer.serialize_str(text))
    }
}

impl<'de> Deserialize<'de> for ConversationId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A hash of `parts` that no other division of the same bytes has, apart for each `domain`.
fn digest(domain: &str, parts: &[&str]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for part in std::iter::once(&domain).chain(parts) {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    *hasher.finalize().as_bytes()
}

fn shard_of(hash: &[u8; 32]) -> ShardId {
    ShardId(u16::from_be_bytes([hash[0], hash[1]]) % SHARDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::new(name).unwrap()
    }

    #[test]
    fn a_direct_conversation_is_the_same_from_both_sides_and_lives_near_one_of_them() {
        for name in ["bob", "eve", "mallory", "zoë"] {
            let id = ConversationId::direct(&user("ada"), &user(name));
            assert_eq!(id, ConversationId::direct(&user(name), &user("ada")));
            assert!([user("ada").shard(), user(name).shard()].contains(&id.shard()));
        }
        assert_ne!(ConversationId::direct(&user("ab"), &user("c")), ConversationId::direct(&user("a"), &user("bc")));
    }

    #[test]
    fn a_conversation_id_survives_text_and_refuses_what_is_none() {
        let id = ConversationId::group(&user("ada"), "c-1");
        assert_eq!(id.to_string().parse(), Ok(id));
        for wrong in ["", "abc", &"z".repeat(26), &"A".repeat(26), &id.to_string()[1..]] {
            assert_eq!(wrong.parse::<ConversationId>(), Err(IdError::NotAConversation));
        }
    }

    #[test]
    fn names_have_a_length_and_no_control_characters() {
        assert_eq!(UserId::new(""), Err(IdError::Empty));
        assert_eq!(UserId::new(&"x".repeat(129)), Err(IdError::TooLong { max: 128 }));
        assert_eq!(UserId::new("a\nb"), Err(IdError::Control));
        assert!(UserId::new(&"x".repeat(128)).is_ok());
    }
}
