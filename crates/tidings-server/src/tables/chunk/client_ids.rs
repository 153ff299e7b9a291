//! Client ids that are UUIDs in their usual spelling, as 16 bytes.

/// The bytes of `text`, if it is exactly what [`to_text`] would make of them.
pub(super) fn from_text(text: &str) -> Option<[u8; 16]> {
    let text: &[u8; 36] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    let mut place = 0;
    for byte in &mut bytes {
        if matches!(place, 8 | 13 | 18 | 23) {
            if text[place] != b'-' {
                return None;
            }
            place += 1;
        }
        *byte = digit(text[place])? << 4 | digit(text[place + 1])?;
        place += 2;
    }
    Some(bytes)
}

pub(super) fn to_text(bytes: &[u8; 16]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
    text.into_boxed_str()
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
