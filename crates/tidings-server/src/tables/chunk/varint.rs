//! Numbers as LEB128, strings that end with a byte of their own, and a reader that never goes past the end.

use super::ChunkError;

/// UTF-8 has no such byte.
const STRING_END: u8 = 0xff;

pub(super) fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// Small differences of either sign become small numbers.
pub(super) fn put_difference(bytes: &mut Vec<u8>, from: u64, to: u64) {
    let difference = to.wrapping_sub(from) as i64;
    put(bytes, ((difference << 1) ^ (difference >> 63)) as u64);
}

pub(super) fn put_string(bytes: &mut Vec<u8>, string: &str) {
    bytes.extend_from_slice(string.as_bytes());
    bytes.push(STRING_END);
}

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, ChunkError> {
        let (first, rest) = self.0.split_first().ok_or(ChunkError::Malformed("it is too short"))?;
        self.0 = rest;
        Ok(*first)
    }

    pub(super) fn number(&mut self) -> Result<u64, ChunkError> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(ChunkError::Malformed("a number is too long"))
    }

    pub(super) fn difference(&mut self, from: u64) -> Result<u64, ChunkError> {
        let number = self.number()?;
        Ok(from.wrapping_add((number >> 1) ^ (number & 1).wrapping_neg()))
    }

    pub(super) fn bytes(&mut self, length: u64) -> Result<&'a [u8], ChunkError> {
        let length = usize::try_from(length).map_err(|_| ChunkError::Malformed("a length"))?;
        let (head, rest) = self.0.split_at_checked(length).ok_or(ChunkError::Malformed("a length"))?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn counted_bytes(&mut self) -> Result<&'a [u8], ChunkError> {
        let length = self.number()?;
        self.bytes(length)
    }

    /// What [`put_string`] has written.
    pub(super) fn string(&mut self) -> Result<&'a [u8], ChunkError> {
        let end = self.0.iter().position(|byte| *byte == STRING_END);
        let (string, rest) = self.0.split_at(end.ok_or(ChunkError::Malformed("a string does not end"))?);
        self.0 = &rest[1..];
        Ok(string)
    }

    pub(super) fn rest(self) -> &'a [u8] {
        self.0
    }
}
