//! A connection for load generators: frames out as prebuilt text, frames in looked at without being built.
//!
//! The handshake is tungstenite's; after it the few WebSocket bytes a load generator needs are written and read here, because
//! masking, copying and building every frame would cost as much CPU as the server under test. Text is masked with the key 0,
//! which RFC 6455 section 5.3 permits and which changes nothing, so that it is copied as it is. This is no client for a product: it does not
//! reconnect, resume or retry, and `ping` frames are the caller's to answer (with `PONG`).

use memchr::memmem;
use tidings_proto::frames::{
    client::{Command, Hello, Request},
    server::{ServerFrame, Welcome},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::{
    endpoint::Endpoint,
    error::{ClientError, Lost},
    transport::websocket,
};

/// The answer to a frame of kind `ping`.
pub const PONG: &str = r#"{"type":"pong"}"#;

const READ_BYTES: usize = 4 * 1024;
/// Larger than any answer of a server.
const FRAME_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A logged-in connection: a reader and a writer that may live in two tasks.
#[derive(Debug)]
pub struct Connection {
    pub reader: Reader,
    pub writer: Writer,
}

impl Connection {
    /// Connects and says nothing.
    pub async fn open(url: &str) -> Result<Self, ClientError> {
        let endpoint = Endpoint::parse(url)?;
        let config = WebSocketConfig::default().read_buffer_size(1024).write_buffer_size(0);
        let socket = websocket::open(&endpoint, config).await.map_err(|lost| lost.into_error(url))?;
        // Nothing is lost with tungstenite's buffer: the server is silent until it has read `hello`.
        Ok(Self::over(socket.into_inner()))
    }

    /// Connects, says `hello` and returns behind the `welcome`.
    pub async fn connect(url: &str, hello: Hello) -> Result<(Self, Welcome), ClientError> {
        let mut connection = Self::open(url).await?;
        connection.writer.queue(&to_text(Command::Hello(hello)));
        connection.writer.flush().await.map_err(|lost| lost.into_error(url))?;
        let frame = connection.reader.next().await.map_err(|lost| lost.into_error(url))?;
        let welcome = match frame.parse()? {
            ServerFrame::Welcome(welcome) => welcome,
            ServerFrame::Error(refused) => return Err(ClientError::Refused(Box::new(refused))),
            _ => return Err(ClientError::Unexpected(frame.text().to_owned())),
        };
        Ok((connection, welcome))
    }

    fn over(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            reader: Reader { stream: read, buffer: Vec::with_capacity(READ_BYTES), start: 0 },
            writer: Writer { stream: write, buffer: Vec::new() },
        }
    }
}

/// A frame without an `id` as text, for `Writer::queue`.
pub fn to_text(command: Command) -> String {
    serde_json::to_string(&Request { id: None, command }).expect("frames have string keys and no failing values")
}

/// Gathers frames and writes them at once.
#[derive(Debug)]
pub struct Writer {
    stream: OwnedWriteHalf,
    buffer: Vec<u8>,
}

impl Writer {
    /// Appends a text frame to what the next `flush` writes. Unbounded: the caller bounds what it has in flight.
    pub fn queue(&mut self, text: &str) {
        const FINAL_TEXT: u8 = 0x81;
        self.queue_frame(FINAL_TEXT, text.as_bytes());
    }

    /// Appends any frame: `head` is the first byte of a WebSocket frame (RFC 6455 section 5.2), for tests of wrong bytes.
    pub fn queue_frame(&mut self, head: u8, payload: &[u8]) {
        const MASKED: u8 = 0x80;
        self.buffer.push(head);
        match payload.len() {
            len @ 0..126 => self.buffer.push(MASKED | len as u8),
            len @ 126..65_536 => {
                self.buffer.push(MASKED | 126);
                self.buffer.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                self.buffer.push(MASKED | 127);
                self.buffer.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        self.buffer.extend_from_slice(&[0; 4]);
        self.buffer.extend_from_slice(payload);
    }

    /// How many bytes the next `flush` writes.
    pub fn queued_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Writes what was queued. Not to be cancelled: half a frame may be out.
    pub async fn flush(&mut self) -> Result<(), Lost> {
        let written = self.stream.write_all(&self.buffer).await;
        self.buffer.clear();
        written.map_err(|error| Lost::Broken(error.to_string()))
    }
}

/// Reads frames out of one growing buffer.
#[derive(Debug)]
pub struct Reader {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
    /// What lies before was handed out.
    start: usize,
}

impl Reader {
    /// The next text frame. May be cancelled. Control frames other than a close are skipped.
    pub async fn next(&mut self) -> Result<Frame<'_>, Lost> {
        let (from, to) = loop {
            if let Some(place) = self.buffered()? {
                break place;
            }
            self.fill().await?;
        };
        Ok(Frame { bytes: &self.buffer[from..to] })
    }

    /// The next text frame if it is here already: what is left to do before one flush.
    pub fn try_next(&mut self) -> Result<Option<Frame<'_>>, Lost> {
        Ok(self.buffered()?.map(|(from, to)| Frame { bytes: &self.buffer[from..to] }))
    }

    /// Takes the next whole text frame from the buffer; its place there.
    fn buffered(&mut self) -> Result<Option<(usize, usize)>, Lost> {
        loop {
            let Some(header) = header(&self.buffer[self.start..])? else { return Ok(None) };
            let from = self.start + header.bytes;
            let to = from + header.payload_bytes;
            if to > self.buffer.len() {
                return Ok(None);
            }
            self.start = to;
            match header.opcode {
                TEXT => return Ok(Some((from, to))),
                CLOSE => return Err(closed(&self.buffer[from..to])),
                _ => {}
            }
        }
    }

    async fn fill(&mut self) -> Result<(), Lost> {
        self.buffer.drain(..self.start);
        self.start = 0;
        self.buffer.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(Lost::Broken("the server hung up".to_owned())),
            Ok(_) => Ok(()),
            Err(error) => Err(Lost::Broken(error.to_string())),
        }
    }
}

const TEXT: u8 = 1;
const CLOSE: u8 = 8;

struct Header {
    opcode: u8,
    bytes: usize,
    payload_bytes: usize,
}

/// Reads a frame's head; `None`: there is more to come.
fn header(bytes: &[u8]) -> Result<Option<Header>, Lost> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (bytes, payload_bytes) = match second {
        126 => match rest.first_chunk() {
            Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
            None => return Ok(None),
        },
        127 => match rest.first_chunk() {
            Some(len) => (10, u64::from_be_bytes(*len)),
            None => return Ok(None),
        },
        len => (2, u64::from(*len)),
    };
    let payload_bytes = usize::try_from(payload_bytes).unwrap_or(usize::MAX);
    if first & 0xf0 != 0x80 || payload_bytes > FRAME_BYTES_MAX {
        return Err(Lost::Broken("the server sent a frame in parts, or one beyond all limits".to_owned()));
    }
    Ok(Some(Header { opcode: first & 0x0f, bytes, payload_bytes }))
}

fn closed(payload: &[u8]) -> Lost {
    match payload.split_first_chunk() {
        Some((code, reason)) => {
            Lost::Closed { code: u16::from_be_bytes(*code), reason: String::from_utf8_lossy(reason).into_owned() }
        }
        None => Lost::Closed { code: 1005, reason: String::new() },
    }
}

/// A frame as it came. The looks are searches: a quote inside a JSON string is escaped, so `"seq":` can only be a key; the
/// first one is the frame's own, since its plain fields come first.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    bytes: &'a [u8],
}

impl<'a> Frame<'a> {
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    pub fn text(self) -> &'a str {
        std::str::from_utf8(self.bytes).unwrap_or_default()
    }

    /// Its `type`, empty if it has none.
    pub fn kind(self) -> &'a str {
        self.string(b"\"type\":\"")
    }

    /// Which request it answers, if that was numbered.
    pub fn re(self) -> Option<u64> {
        self.number(b"\"re\":")
    }

    pub fn seq(self) -> Option<u64> {
        self.number(b"\"seq\":")
    }

    pub fn conversation(self) -> &'a str {
        self.string(b"\"conversation\":\"")
    }

    /// Empty if it has none; as it stands there, with JSON's escapes.
    pub fn client_msg_id(self) -> &'a str {
        self.string(b"\"client_msg_id\":\"")
    }

    /// Builds the frame.
    pub fn parse(self) -> Result<ServerFrame<'static>, ClientError> {
        match ServerFrame::parse(self.text()) {
            Ok(Some(frame)) => Ok(frame),
            Ok(None) => Err(ClientError::Unexpected(format!("a frame of type {}", self.kind()))),
            Err(error) => Err(ClientError::Unexpected(format!("{error} in {}", self.text()))),
        }
    }

    fn behind(self, key: &[u8]) -> Option<&'a [u8]> {
        memmem::find(self.bytes, key).map(|place| &self.bytes[place + key.len()..])
    }

    fn number(self, key: &[u8]) -> Option<u64> {
        let digits = self.behind(key)?;
        let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
        std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
    }

    fn string(self, key: &[u8]) -> &'a str {
        let Some(text) = self.behind(key) else { return "" };
        let end = memchr::memchr(b'"', text).unwrap_or(0);
        std::str::from_utf8(&text[..end]).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_looked_at_without_being_built() {
        let text = r#"{"type":"entry","conversation":"abc","seq":17,"kind":"message","from":"ada","client_msg_id":"c-1","text":"\"seq\":99, \"re\":3"}"#;
        let frame = Frame { bytes: text.as_bytes() };
        assert_eq!((frame.kind(), frame.seq(), frame.re()), ("entry", Some(17), None));
        assert_eq!((frame.conversation(), frame.client_msg_id()), ("abc", "c-1"));
    }

    #[test]
    fn heads_are_read_whole_or_not_at_all() {
        let bytes = [0x81, 126, 1, 0];
        assert!(header(&bytes[..3]).unwrap().is_none(), "half a head");
        let header = header(&bytes).unwrap().expect("a whole head");
        assert_eq!((header.opcode, header.bytes, header.payload_bytes), (TEXT, 4, 256));
    }
}
