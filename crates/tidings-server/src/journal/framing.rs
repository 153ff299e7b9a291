//! How events lie in a commit: one version byte, then each event as its length (LEB128) and its bytes. It knows no
//! event's meaning; encoder and decoder stand here and nowhere else. docs/formats.md describes it.

use bytes::{Buf, Bytes};

/// The first byte of each commit.
pub const VERSION: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadCommit {
    #[error("the commit is empty")]
    Empty,
    #[error("commit format {0} is not known to this build")]
    UnknownVersion(u8),
    /// A length that does not fit what follows it.
    #[error("an event's length is wrong")]
    BadLength,
}

/// The events of a commit, in order, as slices of it (nothing is copied). Ends after the first error.
pub fn events(commit: Bytes) -> impl Iterator<Item = Result<Bytes, BadCommit>> {
    let mut rest = commit;
    let mut refused = match rest.first() {
        None => Some(BadCommit::Empty),
        Some(&VERSION) => {
            rest.advance(1);
            None
        }
        Some(&version) => Some(BadCommit::UnknownVersion(version)),
    };
    std::iter::from_fn(move || {
        if let Some(refused) = refused.take() {
            rest.clear();
            return Some(Err(refused));
        }
        if rest.is_empty() {
            return None;
        }
        match take_length(&mut rest) {
            Some(length) if length <= rest.len() => Some(Ok(rest.split_to(length))),
            _ => {
                rest.clear();
                Some(Err(BadCommit::BadLength))
            }
        }
    })
}

/// The bytes that an event of `length` bytes takes in a commit.
pub fn framed_bytes(length: usize) -> usize {
    let significant_bits = usize::BITS - (length | 1).leading_zeros();
    significant_bits.div_ceil(7) as usize + length
}

/// Appends one event; answers where its bytes now lie. The caller has put [`VERSION`] at the start.
pub fn push(commit: &mut Vec<u8>, event: &[u8]) -> std::ops::Range<u32> {
    let mut rest = event.len();
    while rest >= 0x80 {
        commit.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    commit.push(rest as u8);
    let start = commit.len() as u32;
    commit.extend_from_slice(event);
    start..commit.len() as u32
}

fn take_length(rest: &mut Bytes) -> Option<usize> {
    let mut length = 0u64;
    for (index, &byte) in rest.iter().take(5).enumerate() {
        length |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            rest.advance(index + 1);
            return Some(length as usize);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_back_as_slices_of_the_commit() {
        let lengths = [0, 1, 127, 128, 16_383, 16_384, 70_000];
        let mut commit = vec![VERSION];
        for length in lengths {
            let before = commit.len();
            let range = push(&mut commit, &vec![length as u8; length]);
            assert_eq!(range.len(), length);
            assert_eq!(commit.len() - before, framed_bytes(length));
        }
        let commit = Bytes::from(commit);
        let read: Vec<Bytes> = events(commit.clone()).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.iter().map(Bytes::len).collect::<Vec<_>>(), lengths);
        assert!(read[1..].iter().all(|event| commit.as_ptr_range().contains(&event.as_ptr())));
    }

    #[test]
    fn wrong_bytes_are_refused_once() {
        let refusals = |bytes: &'static [u8]| events(Bytes::from_static(bytes)).collect::<Vec<_>>();
        assert_eq!(refusals(b""), [Err(BadCommit::Empty)]);
        assert_eq!(refusals(b"\x02\x01a"), [Err(BadCommit::UnknownVersion(2))]);
        assert_eq!(refusals(b"\x01\x01a\x02b"), [Ok(Bytes::from_static(b"a")), Err(BadCommit::BadLength)]);
        assert_eq!(refusals(b"\x01\x80"), [Err(BadCommit::BadLength)]);
        assert_eq!(refusals(b"\x01\xff\xff\xff\xff\xff\x01"), [Err(BadCommit::BadLength)]);
    }
}
