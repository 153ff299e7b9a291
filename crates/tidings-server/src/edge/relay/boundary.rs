//! Where the frames of a WebSocket (RFC 6455 section 5.2) end among the bytes that a server sends: there, and nowhere else, a
//! relay can put in a frame of its own.

#[derive(Debug, Default)]
pub struct Boundary {
    /// The begin of a frame, as far as it has come.
    head: [u8; 10],
    head_bytes: usize,
    /// Of the frame's content, still to come.
    left: u64,
    is_in_message: bool,
    is_closing: bool,
}

const CONTINUATION_TO_DATA_MAX: u8 = 0x7;
const CLOSE: u8 = 0x8;

impl Boundary {
    /// These bytes follow.
    pub fn on_bytes(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= skipped as u64;
            bytes = &bytes[skipped..];
            let Some((&byte, rest)) = bytes.split_first() else { return };
            bytes = rest;
            self.head[self.head_bytes] = byte;
            self.head_bytes += 1;
            if self.head_bytes >= 2 && self.head_bytes == self.head_size() {
                self.begin_frame();
            }
        }
    }

    fn head_size(&self) -> usize {
        match self.head[1] & 0x7f {
            127 => 10,
            126 => 4,
            _ => 2,
        }
    }

    fn begin_frame(&mut self) {
        let [first, second, ref long @ ..] = self.head;
        self.left = match second & 0x7f {
            127 => u64::from_be_bytes(*long),
            126 => u64::from(u16::from_be_bytes([long[0], long[1]])),
            short => u64::from(short),
        };
        let (is_last, kind) = (first & 0x80 != 0, first & 0x0f);
        if kind <= CONTINUATION_TO_DATA_MAX {
            self.is_in_message = !is_last;
        }
        self.is_closing |= kind == CLOSE;
        self.head_bytes = 0;
    }

    /// Whether a close frame may come now.
    pub fn takes_close(&self) -> bool {
        self.head_bytes == 0 && self.left == 0 && !self.is_closing
    }

    /// Whether a message may come now.
    pub fn takes_message(&self) -> bool {
        self.takes_close() && !self.is_in_message
    }
}

/// A close frame.
pub fn close(code: u16, reason: &str) -> Vec<u8> {
    let mut content = code.to_be_bytes().to_vec();
    content.extend_from_slice(reason.as_bytes());
    frame(CLOSE, &content)
}

/// A text frame.
pub fn text(text: &str) -> Vec<u8> {
    frame(0x1, text.as_bytes())
}

fn frame(kind: u8, content: &[u8]) -> Vec<u8> {
    let length = u8::try_from(content.len()).ok().filter(|length| *length < 126);
    let mut bytes = vec![0x80 | kind, length.expect("what a relay says itself is short")];
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_frames_are_found_however_the_bytes_are_cut() {
        let mut bytes = text("hi");
        bytes.extend([0x82, 126, 1, 0].into_iter().chain(vec![0x88; 256]));
        bytes.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 1].into_iter().chain(vec![0x88; 65_537]));
        bytes.extend([0x89, 0]);
        let ends = [4, 4 + 260, 4 + 260 + 65_547, 4 + 260 + 65_547 + 2];
        for cut in [1, 3, 7, 1_000, bytes.len()] {
            let mut boundary = Boundary::default();
            let mut seen = 0;
            for part in bytes.chunks(cut) {
                boundary.on_bytes(part);
                seen += part.len();
                assert_eq!(boundary.takes_message(), ends.contains(&seen), "at {seen}, by {cut}");
            }
            boundary.on_bytes(&close(3000, "draining"));
            assert!(!boundary.takes_close(), "no second one");
        }
    }

    #[test]
    fn within_a_message_in_parts_only_a_close_may_come() {
        let mut boundary = Boundary::default();
        boundary.on_bytes(&[0x01, 1, b'a']);
        assert!(boundary.takes_close() && !boundary.takes_message());
        boundary.on_bytes(&[0x8A, 0]);
        assert!(!boundary.takes_message(), "a pong between its parts");
        boundary.on_bytes(&[0x80, 1, b'b']);
        assert!(boundary.takes_message());
    }
}
