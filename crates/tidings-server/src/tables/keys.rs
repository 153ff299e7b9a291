//! Every row there is: its key, what stands in it, and who writes it. Keys sort as their bytes do.
//!
//! It knows the bytes of keys and nothing of values or engines.

use std::{cmp::Ordering, ops::Bound};

use tidings_proto::{ConversationId, Seq, UserId};

use super::Slice;

/// A row's key. The first byte of its encoding is the kind's tag; numbers are big-endian, so that order is kept; a
/// user id that something follows is prefixed with its length.
///
/// `Ord` is the order of the encoded bytes: by tag, then by the fields. Inbox rows sort by the length of the user id
/// first, so that no user's rows stand between those of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Key {
    /// `a`: where in the archive the entries up to this seq are, behind those of the row before (see `archive`). Version:
    /// the highest of the log rows that held them.
    Archived(ConversationId, Seq),
    /// `c`: a conversation's state. Version: its event count. Written by its host.
    Conversation(ConversationId),
    /// `l`: log entries from this seq on (see `chunk`). Version: the event count when they last changed.
    Log(ConversationId, Seq),
    /// `m`: a member of a conversation of more than 64. Version: event count.
    Member(ConversationId, UserId),
    /// `f`: fingerprints of the repeats index, for the entries from this seq on. Never changed.
    Fingerprints(ConversationId, Seq),
    /// `h`: a user's home: version counter, profile, devices, blocks, settings. Version: home version.
    Home(UserId),
    /// `i`: one item of a user's inbox. Version: home version at its last change.
    Inbox(UserId, ConversationId),
    /// `p`: whose homes do not have yet what this conversation told them. Version: twice the event count, and one more when
    /// nobody is left.
    Pending(ConversationId),
    /// `x`: facts of the whole data folder, by name: one of [`META_NAMES`].
    Meta(&'static str),
}

/// The names that a [`Key::Meta`] may have. `flushed` is the tables' own.
pub const META_NAMES: [&str; 5] = ["epoch", "flushed", "format", "lineage", "migration"];

/// Rows that are read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prefix {
    Archived(ConversationId),
    Members(ConversationId),
    Fingerprints(ConversationId),
    Inbox(UserId),
    /// All conversations' states, for `fsck`, export and counting.
    Conversations,
    /// All homes.
    Homes,
    /// What is pending of the 256 shards whose number begins with this byte.
    Pending(u8),
}

const ARCHIVED: u8 = b'a';
const CONVERSATION: u8 = b'c';
const FINGERPRINTS: u8 = b'f';
const HOME: u8 = b'h';
const INBOX: u8 = b'i';
const LOG: u8 = b'l';
const MEMBER: u8 = b'm';
const META: u8 = b'x';
const PENDING: u8 = b'p';

impl Key {
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Archived(conversation, seq) => join(ARCHIVED, &[conversation.as_bytes(), &seq.0.to_be_bytes()]),
            Self::Conversation(conversation) => join(CONVERSATION, &[conversation.as_bytes()]),
            Self::Log(conversation, seq) => join(LOG, &[conversation.as_bytes(), &seq.0.to_be_bytes()]),
            Self::Member(conversation, user) => join(MEMBER, &[conversation.as_bytes(), user.as_str().as_bytes()]),
            Self::Fingerprints(conversation, seq) => {
                join(FINGERPRINTS, &[conversation.as_bytes(), &seq.0.to_be_bytes()])
            }
            Self::Home(user) => join(HOME, &[user.as_str().as_bytes()]),
            Self::Inbox(user, conversation) => {
                join(INBOX, &[&[length(user)], user.as_str().as_bytes(), conversation.as_bytes()])
            }
            Self::Pending(conversation) => join(PENDING, &[conversation.as_bytes()]),
            Self::Meta(name) => join(META, &[name.as_bytes()]),
        }
    }

    /// The key with these bytes; `None` if there is no such key.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (tag, rest) = bytes.split_first()?;
        match *tag {
            ARCHIVED => with_seq(rest).map(|(conversation, seq)| Self::Archived(conversation, seq)),
            CONVERSATION => Some(Self::Conversation(conversation(rest)?)),
            LOG => with_seq(rest).map(|(conversation, seq)| Self::Log(conversation, seq)),
            MEMBER => {
                let (id, name) = rest.split_at_checked(16)?;
                Some(Self::Member(conversation(id)?, user(name)?))
            }
            FINGERPRINTS => with_seq(rest).map(|(conversation, seq)| Self::Fingerprints(conversation, seq)),
            HOME => Some(Self::Home(user(rest)?)),
            INBOX => {
                let (length, rest) = rest.split_first()?;
                let (name, id) = rest.split_at_checked(usize::from(*length))?;
                Some(Self::Inbox(user(name)?, conversation(id)?))
            }
            PENDING => Some(Self::Pending(conversation(rest)?)),
            META => META_NAMES.into_iter().find(|name| name.as_bytes() == rest).map(Self::Meta),
            _ => None,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            Self::Archived(..) => ARCHIVED,
            Self::Conversation(_) => CONVERSATION,
            Self::Log(..) => LOG,
            Self::Member(..) => MEMBER,
            Self::Fingerprints(..) => FINGERPRINTS,
            Self::Home(_) => HOME,
            Self::Inbox(..) => INBOX,
            Self::Pending(_) => PENDING,
            Self::Meta(_) => META,
        }
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Conversation(a), Self::Conversation(b)) | (Self::Pending(a), Self::Pending(b)) => a.cmp(b),
            (Self::Log(a, n), Self::Log(b, m))
            | (Self::Fingerprints(a, n), Self::Fingerprints(b, m))
            | (Self::Archived(a, n), Self::Archived(b, m)) => (a, n).cmp(&(b, m)),
            (Self::Member(a, x), Self::Member(b, y)) => (a, x).cmp(&(b, y)),
            (Self::Home(x), Self::Home(y)) => x.cmp(y),
            (Self::Inbox(x, a), Self::Inbox(y, b)) => (length(x), x, a).cmp(&(length(y), y, b)),
            (Self::Meta(x), Self::Meta(y)) => x.cmp(y),
            _ => self.tag().cmp(&other.tag()),
        }
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Prefix {
    /// The bytes with which exactly the keys of these rows begin.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Archived(conversation) => join(ARCHIVED, &[conversation.as_bytes()]),
            Self::Members(conversation) => join(MEMBER, &[conversation.as_bytes()]),
            Self::Fingerprints(conversation) => join(FINGERPRINTS, &[conversation.as_bytes()]),
            Self::Inbox(user) => join(INBOX, &[&[length(user)], user.as_str().as_bytes()]),
            Self::Conversations => vec![CONVERSATION],
            Self::Homes => vec![HOME],
            Self::Pending(part) => vec![PENDING, *part],
        }
    }

    pub fn covers(&self, key: &Key) -> bool {
        match (self, key) {
            (Self::Members(a), Key::Member(b, _))
            | (Self::Fingerprints(a), Key::Fingerprints(b, _))
            | (Self::Archived(a), Key::Archived(b, _)) => a == b,
            (Self::Inbox(a), Key::Inbox(b, _)) => a == b,
            (Self::Conversations, Key::Conversation(_)) | (Self::Homes, Key::Home(_)) => true,
            (Self::Pending(part), Key::Pending(id)) => id.as_bytes()[0] == *part,
            _ => false,
        }
    }
}

/// Where engines that sort by key have the states of a slice's conversations, from after `after` on.
pub(super) fn slice_keys(slice: Slice, after: Option<ConversationId>) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let (lowest, end) = slice.ids();
    let from = match after {
        Some(after) if after >= lowest => Bound::Excluded(Key::Conversation(after).encode()),
        _ => Bound::Included(Key::Conversation(lowest).encode()),
    };
    let end = end.map_or(vec![CONVERSATION + 1], |end| Key::Conversation(end).encode());
    (from, Bound::Excluded(end))
}

fn join(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    bytes.push(tag);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes
}

fn length(user: &UserId) -> u8 {
    u8::try_from(user.as_str().len()).expect("a user id has at most 128 bytes")
}

fn conversation(bytes: &[u8]) -> Option<ConversationId> {
    bytes.try_into().ok().map(ConversationId::from_bytes)
}

fn user(bytes: &[u8]) -> Option<UserId> {
    std::str::from_utf8(bytes).ok().and_then(|name| UserId::new(name).ok())
}

fn with_seq(bytes: &[u8]) -> Option<(ConversationId, Seq)> {
    let (id, seq) = bytes.split_at_checked(16)?;
    Some((conversation(id)?, Seq(u64::from_be_bytes(seq.try_into().ok()?))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a_user() -> impl Strategy<Value = UserId> {
        // Two letters and short names: many are prefixes of each other.
        prop_oneof!["[ab]{1,4}", "[ab\u{10ffff}é]{1,32}"].prop_map(|name| UserId::new(&name).unwrap())
    }

    fn a_conversation() -> impl Strategy<Value = ConversationId> {
        prop_oneof![Just([0; 16]), Just([255; 16]), any::<[u8; 16]>()].prop_map(ConversationId::from_bytes)
    }

    fn a_seq() -> impl Strategy<Value = Seq> {
        prop_oneof![0..3u64, Just(255), Just(256), Just(u64::MAX), any::<u64>()].prop_map(Seq)
    }

    fn a_key() -> impl Strategy<Value = Key> {
        prop_oneof![
            (a_conversation(), a_seq()).prop_map(|(c, s)| Key::Archived(c, s)),
            a_conversation().prop_map(Key::Conversation),
            (a_conversation(), a_seq()).prop_map(|(c, s)| Key::Log(c, s)),
            (a_conversation(), a_user()).prop_map(|(c, u)| Key::Member(c, u)),
            (a_conversation(), a_seq()).prop_map(|(c, s)| Key::Fingerprints(c, s)),
            a_user().prop_map(Key::Home),
            (a_user(), a_conversation()).prop_map(|(u, c)| Key::Inbox(u, c)),
            a_conversation().prop_map(Key::Pending),
            prop::sample::select(&META_NAMES[..]).prop_map(Key::Meta),
        ]
    }

    fn a_prefix() -> impl Strategy<Value = Prefix> {
        prop_oneof![
            a_conversation().prop_map(Prefix::Archived),
            a_conversation().prop_map(Prefix::Members),
            a_conversation().prop_map(Prefix::Fingerprints),
            a_user().prop_map(Prefix::Inbox),
            Just(Prefix::Conversations),
            Just(Prefix::Homes),
            any::<u8>().prop_map(Prefix::Pending),
        ]
    }

    proptest! {
        #[test]
        fn keys_survive_their_bytes_and_sort_as_they_do(one in a_key(), other in a_key()) {
            prop_assert_eq!(Key::decode(&one.encode()), Some(one.clone()));
            prop_assert_eq!(one.cmp(&other), one.encode().cmp(&other.encode()));
        }

        #[test]
        fn a_prefix_covers_exactly_its_rows(prefix in a_prefix(), key in a_key()) {
            prop_assert_eq!(key.encode().starts_with(&prefix.encode()), prefix.covers(&key));
        }

        #[test]
        fn no_bytes_break_the_decoder(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(key) = Key::decode(&bytes) {
                prop_assert_eq!(key.encode(), bytes);
            }
        }
    }

    #[test]
    fn the_rows_of_a_user_and_of_one_whose_name_begins_alike_are_apart() {
        let (ab, abc) = (UserId::new("ab").unwrap(), UserId::new("abc").unwrap());
        // A conversation id that begins with the letter that makes one name the other.
        let conversation = ConversationId::from_bytes([b'c'; 16]);
        let key = Key::Inbox(ab.clone(), conversation);
        assert!(key.encode().starts_with(&Prefix::Inbox(ab).encode()));
        assert!(!key.encode().starts_with(&Prefix::Inbox(abc).encode()));
    }
}
