//! Answers that go on for hours, as a stream of events does, over HTTP/1.1: written by a small task of their own.
//!
//! What serves calls keeps two buffers of 8 KiB and more for a connection, which a silent stream would hold for nothing. So
//! the connection is only lent to it. When an answer is marked [`Endless`], the connection is taken back: the other side sees
//! its end and lets everything go, and what is left is the line and the answer.

use std::{
    fmt::Write as _,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{body::Body, http::response::Parts, response::Response};
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::timeout,
};

use super::door::Stream;

/// Marks an answer (among its extensions) that has no end of its own.
#[derive(Clone, Copy, Debug)]
pub struct Endless;

/// Whoever takes nothing for so long is given up.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// What a client says meanwhile is of no account, and read so much at once.
const READ_BYTES: usize = 256;

/// A connection, as it is lent. Taken back, it is at its end: nothing comes, and what is written goes nowhere.
pub struct Lent(Arc<Mutex<Loan>>);

/// The right to take it back.
#[derive(Clone)]
pub struct Lender(Arc<Mutex<Loan>>);

struct Loan {
    stream: Option<Stream>,
    /// All that was written is out.
    is_flushed: bool,
}

pub fn lend(stream: Stream) -> (Lent, Lender) {
    let loan = Arc::new(Mutex::new(Loan { stream: Some(stream), is_flushed: true }));
    (Lent(loan.clone()), Lender(loan))
}

impl Lender {
    /// The connection, unless an earlier answer is still on its way.
    pub fn take_back(&self) -> Option<Stream> {
        let mut loan = self.0.lock();
        if loan.is_flushed { loan.stream.take() } else { None }
    }
}

/// Writes the answer's head and body, to its end or until the client has gone.
pub async fn serve(mut stream: Stream, answer: Response) -> io::Result<()> {
    let (parts, mut body) = answer.into_parts();
    write(&mut stream, Bytes::from(head(&parts))).await?;
    while let Some(part) = next_part(&mut stream, &mut body).await? {
        if !part.is_empty() {
            let size = Bytes::from(format!("{:x}\r\n", part.len()));
            write(&mut stream, size.chain(part).chain(&b"\r\n"[..])).await?;
        }
    }
    write(&mut stream, &b"0\r\n\r\n"[..]).await?;
    timeout(WRITE_WAIT, stream.shutdown()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The status line and the headers (RFC 9112 section 4). The body comes in chunks, and nothing behind it.
fn head(parts: &Parts) -> Vec<u8> {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let mut start = String::new();
    let _ = write!(start, "HTTP/1.1 {} {reason}\r\n", parts.status.as_u16());
    let mut head = start.into_bytes();
    for (name, value) in &parts.headers {
        for piece in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(piece);
        }
    }
    head.extend_from_slice(b"transfer-encoding: chunked\r\nconnection: close\r\n\r\n");
    head
}

/// The next part of the body. The client's end is an error.
async fn next_part(stream: &mut Stream, body: &mut Body) -> io::Result<Option<Bytes>> {
    loop {
        tokio::select! {
            frame = body.frame() => match frame.transpose().map_err(io::Error::other)? {
                Some(frame) => {
                    if let Ok(part) = frame.into_data() {
                        return Ok(Some(part));
                    }
                }
                None => return Ok(None),
            },
            read = poll_fn(|context| poll_skip(stream, context)) => read?,
        }
    }
}

/// Reads what the client says. Its end is an error.
fn poll_skip(stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut bytes = [0; READ_BYTES];
    let mut read = ReadBuf::new(&mut bytes);
    ready!(Pin::new(stream).poll_read(context, &mut read))?;
    Poll::Ready(if read.filled().is_empty() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) })
}

async fn write(stream: &mut Stream, mut bytes: impl Buf) -> io::Result<()> {
    let written = timeout(WRITE_WAIT, async {
        stream.write_all_buf(&mut bytes).await?;
        stream.flush().await
    });
    written.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

impl AsyncRead for Lent {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.lock().stream {
            Some(stream) => Pin::new(stream).poll_read(context, into),
            None => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncWrite for Lent {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Loan { stream, is_flushed } = &mut *self.0.lock();
        let Some(stream) = stream else { return Poll::Ready(Ok(bytes.len())) };
        *is_flushed = false;
        Pin::new(stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Loan { stream, is_flushed } = &mut *self.0.lock();
        let Some(stream) = stream else { return Poll::Ready(Ok(parts.iter().map(|part| part.len()).sum())) };
        *is_flushed = false;
        Pin::new(stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.lock().stream.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Loan { stream, is_flushed } = &mut *self.0.lock();
        if let Some(stream) = stream {
            ready!(Pin::new(stream).poll_flush(context))?;
        }
        *is_flushed = true;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.0.lock().stream {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            None => Poll::Ready(Ok(())),
        }
    }
}
