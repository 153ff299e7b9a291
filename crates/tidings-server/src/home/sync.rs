//! The sync token: which state of the account's inbox a client has. Opaque to clients, at most 64 bytes, never too old.
//!
//! Bytes: format (1), lineage of the data (8), a hash of the user (4), then versions of the home (8 each, big-endian): `Home`
//! one, `More` three. Written as base 64 for URLs, without padding (RFC 4648 section 5).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_proto::UserId;

use crate::data_folder::Lineage;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    /// The client has everything up to this home version.
    Home(u64),
    /// In the middle of a long answer.
    More(More),
}

/// The client has everything up to `since`, and what changed in `below..=to`; then it will have everything up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct More {
    pub since: u64,
    pub below: u64,
    pub to: u64,
    /// The whole inbox is being told.
    pub full: bool,
}

/// What a client showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    Token(Token),
    /// Right in itself, but of another lineage (after a restore): the whole inbox answers it.
    OtherLineage,
    /// Unreadable, or of another user.
    Bad,
}

const HOME: u8 = 1;
const MORE: u8 = 2;
const MORE_FULL: u8 = 3;

impl Token {
    pub fn write(self, lineage: Lineage, user: &UserId) -> String {
        let mut bytes = Vec::with_capacity(37);
        let (format, versions) = match self {
            Self::Home(version) => (HOME, vec![version]),
            Self::More(More { since, below, to, full }) => {
                (if full { MORE_FULL } else { MORE }, vec![since, below, to])
            }
        };
        bytes.push(format);
        bytes.extend(lineage.0);
        bytes.extend(user_hash(user));
        versions.iter().for_each(|version| bytes.extend(version.to_be_bytes()));
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn read(text: &str, lineage: Lineage, user: &UserId) -> Shown {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(text) else { return Shown::Bad };
        let Some((&format, rest)) = bytes.split_first() else { return Shown::Bad };
        let Some((token_lineage, rest)) = rest.split_at_checked(8) else { return Shown::Bad };
        let Some((hash, rest)) = rest.split_at_checked(4) else { return Shown::Bad };
        let (versions, end) = rest.as_chunks::<8>();
        let versions: Vec<u64> = versions.iter().copied().map(u64::from_be_bytes).collect();
        let token = match (format, versions.as_slice()) {
            (HOME, &[version]) => Self::Home(version),
            (MORE | MORE_FULL, &[since, below, to]) => Self::More(More { since, below, to, full: format == MORE_FULL }),
            _ => return Shown::Bad,
        };
        if !end.is_empty() || hash != user_hash(user) {
            return Shown::Bad;
        }
        if token_lineage == lineage.0 { Shown::Token(token) } else { Shown::OtherLineage }
    }
}

fn user_hash(user: &UserId) -> [u8; 4] {
    let [a, b, c, d, ..] = *blake3::hash(user.as_str().as_bytes()).as_bytes();
    [a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_by_its_own_user_and_lineage_only() {
        let (ada, bob) = (UserId::new("ada").unwrap(), UserId::new("bob").unwrap());
        let (here, elsewhere) = (Lineage([1; 8]), Lineage([2; 8]));
        let more = Token::More(More { since: 1, below: 9, to: u64::MAX, full: true });
        for token in [Token::Home(0), Token::Home(u64::MAX), more] {
            let text = token.write(here, &ada);
            assert!(text.len() <= 64, "{text}");
            assert_eq!(Token::read(&text, here, &ada), Shown::Token(token));
            assert_eq!(Token::read(&text, here, &bob), Shown::Bad);
            assert_eq!(Token::read(&text, elsewhere, &ada), Shown::OtherLineage);
            assert_eq!(Token::read(&text[1..], here, &ada), Shown::Bad);
            assert_eq!(Token::read(&format!("{text}AAAA"), here, &ada), Shown::Bad);
        }
        assert_eq!(Token::read("", here, &ada), Shown::Bad);
        assert_eq!(Token::read("?", here, &ada), Shown::Bad);
    }
}
