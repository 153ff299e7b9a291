//! Frames as server-sent events (WHATWG HTML section 9.2): the way in where a proxy lets answers flow but no WebSocket through.

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use http_body_util::{BodyExt, BodyStream};
use hyper::body::Incoming;
use tidings_proto::{frames::client::Hello, percent};

use super::http::PONG;
use crate::{error::Lost, http::Http};

/// Answers are at most 1 MiB; twice that leaves room for what surrounds them.
const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// Opens the stream; `welcome` is its first frame.
pub(super) async fn open(http: &Http, hello: &Hello) -> Result<BoxStream<'static, Result<String, Lost>>, Lost> {
    let mut path = format!("/v1/events?tail={}", hello.tail.unwrap_or(0));
    if let Some(sync) = &hello.sync {
        path += &format!("&sync={}", percent::encoded(sync));
    }
    let body = http.open(&path).await.map_err(Lost::of_call)?;
    let lines = Lines { body: BodyStream::new(body), buffer: Vec::new(), read: 0 };
    Ok(stream::unfold(Some(lines), next_frame).boxed())
}

/// The data of the next event. A comment shows that the line stands, as a `pong` does.
async fn next_frame(lines: Option<Lines>) -> Option<(Result<String, Lost>, Option<Lines>)> {
    let mut lines = lines?;
    loop {
        match lines.next().await {
            Ok(Some(line)) => {
                if let Some(data) = line.strip_prefix("data:") {
                    let frame = data.strip_prefix(' ').unwrap_or(data).to_owned();
                    return Some((Ok(frame), Some(lines)));
                }
                if line.starts_with(':') {
                    return Some((Ok(PONG.to_owned()), Some(lines)));
                }
            }
            Ok(None) => return None,
            Err(lost) => return Some((Err(lost), None)),
        }
    }
}

struct Lines {
    body: BodyStream<Incoming>,
    buffer: Vec<u8>,
    /// Up to here the buffer was handed on.
    read: usize,
}

impl Lines {
    async fn next(&mut self) -> Result<Option<String>, Lost> {
        let mut searched = self.read;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.buffer[searched..]) {
                let line = std::str::from_utf8(&self.buffer[self.read..searched + end]);
                let line = line.map_err(|_| Lost::Broken("the server sent what is not UTF-8".to_owned()))?;
                let line = line.trim_end_matches('\r').to_owned();
                self.read = searched + end + 1;
                return Ok(Some(line));
            }
            self.buffer.drain(..self.read);
            self.read = 0;
            searched = self.buffer.len();
            if searched > EVENT_BYTES_MAX {
                return Err(Lost::Broken(format!("an event of more than {EVENT_BYTES_MAX} bytes")));
            }
            match self.more().await? {
                Some(bytes) => self.buffer.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }

    async fn more(&mut self) -> Result<Option<Bytes>, Lost> {
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(error)) => return Err(Lost::Broken(error.to_string())),
                None => return Ok(None),
            }
        }
    }
}
