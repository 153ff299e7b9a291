//! Client ids that are UUIDs in their usual spelling, as 16 bytes; and those that count, as `import:9`, `import:10` do.

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

/// No id of a client is longer.
const COUNTED_BYTES_MAX: usize = 64;

/// Makes the number at the end of `id` one higher. Whether there is one.
pub(super) fn count_up(id: &mut String) -> bool {
    if id.len() > COUNTED_BYTES_MAX || !id.ends_with(|end: char| end.is_ascii_digit()) {
        return false;
    }
    let head = id.trim_end_matches('9').len();
    let nines = id.len() - head;
    id.truncate(head);
    if let Some(digit @ '0'..='8') = id.chars().next_back() {
        id.pop();
        id.push(char::from(digit as u8 + 1));
    } else {
        id.push('1');
    }
    id.extend(std::iter::repeat_n('0', nines));
    true
}

fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}
