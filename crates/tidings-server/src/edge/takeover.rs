//! Answers that go on for hours, as a stream of events does, over HTTP/1.1: written by a small task of their own.
//!
//! What serves calls keeps two buffers of 8 KiB and more for a connection, which a silent stream would hold for nothing. So
//! the connection is only lent to it. When an answer is marked [`Endless`], the connection is taken back: the other side sees
//! its end and lets everything go, and what is left is the line and the answer.

use std::{
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

use crate::session::outbox::Outbox;

use super::door::Stream;

/// Marks an answer (among its extensions) that has no end of its own: it is the session of this outbox.
#[derive(Clone, Debug)]
pub struct Endless(pub Arc<Outbox>);

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

/// Writes the answer's head and body, to its end or until the client has gone. Whoever is cut meanwhile is not waited for.
pub async fn serve(mut stream: Stream, answer: Response, outbox: &Outbox, unix_s: u64) -> io::Result<()> {
    let (parts, mut body) = answer.into_parts();
    write(&mut stream, outbox, Bytes::from(head(&parts, unix_s))).await?;
    while let Some(part) = next_part(&mut stream, &mut body).await? {
        if !part.is_empty() {
            let size = Bytes::from(format!("{:x}\r\n", part.len()));
            write(&mut stream, outbox, size.chain(part).chain(&b"\r\n"[..])).await?;
        }
    }
    write(&mut stream, outbox, &b"0\r\n\r\n"[..]).await?;
    timeout(WRITE_WAIT, stream.shutdown()).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// The status line and the headers (RFC 9112 section 4). The body comes in chunks, and nothing behind it.
fn head(parts: &Parts, unix_s: u64) -> Vec<u8> {
    let reason = parts.status.canonical_reason().unwrap_or_default();
    let start = format!("HTTP/1.1 {} {reason}\r\ndate: {}\r\n", parts.status.as_u16(), http_date(unix_s));
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

/// A session that is closed in peace has its last events written; of any other end there is nobody to tell.
async fn write(stream: &mut Stream, outbox: &Outbox, mut bytes: impl Buf) -> io::Result<()> {
    let written = async {
        stream.write_all_buf(&mut bytes).await?;
        stream.flush().await
    };
    tokio::select! {
        biased;
        written = written => written,
        _ = outbox.cut() => Err(io::ErrorKind::ConnectionAborted.into()),
        // Made only where the write has to wait.
        () = async { tokio::time::sleep(WRITE_WAIT).await } => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// A time as headers have it (RFC 9110 section 5.6.7).
fn http_date(unix_s: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    let (days, second) = (unix_s / 86_400, unix_s % 86_400);
    let weekday = DAYS[(days % 7) as usize];
    // Years that begin in March have their leap day at the end; 400 of them are 146,097 days.
    let since = days + 719_468;
    let (era, day) = (since / 146_097, since % 146_097);
    let year_of_era = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let year = era * 400 + year_of_era + u64::from(month >= 10);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{weekday}, {day:02} {} {year:04} {hour:02}:{minute:02}:{second:02} GMT", MONTHS[month as usize])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_written_as_headers_have_them() {
        for (unix_s, date) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_827_696, "Tue, 29 Feb 2000 12:34:56 GMT"),
            (951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(unix_s), date);
        }
    }
}
