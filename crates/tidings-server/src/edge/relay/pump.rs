//! Carries bytes both ways between a client and the node that serves it, until one of them ends or this node stops.
//!
//! What one side cannot take yet is held, at most [`READ_BYTES`], and nothing more is read for it until it is gone. While
//! nothing comes nothing is held: the bytes are read onto the stack.

use std::{
    future::poll_fn,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tidings_proto::{
    CloseCode,
    frames::server::{Move, ServerFrame},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::{Instant, sleep_until, timeout},
};

use super::{
    super::Edge,
    CLOSE_WAIT, Life,
    boundary::{self, Boundary},
    silence,
};

/// Carried at once.
const READ_BYTES: usize = 8 * 1024;
/// A client that takes nothing for so long while something waits for it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the bytes are.
pub enum Bytes {
    /// Frames of a WebSocket: the node says something at least at each heartbeat, and the client is told why it ends.
    WebSocket(Boundary),
    /// Anything else, of which nothing is known: it may be silent for hours.
    Plain,
}

impl Bytes {
    pub fn of_websocket() -> Self {
        Self::WebSocket(Boundary::default())
    }

    fn on_bytes(&mut self, bytes: &[u8]) {
        if let Self::WebSocket(boundary) = self {
            boundary.on_bytes(bytes);
        }
    }
}

enum End {
    Client,
    Node,
}

/// Both ends, and what is under way between them.
struct Pump<C, N> {
    client: C,
    node: N,
    up: Way,
    down: Way,
    bytes: Bytes,
    heard_at: Instant,
}

/// Carries until one side ends. `first` goes to the node before all else.
pub async fn pump<C, N>(edge: &Edge, client: C, node: N, life: &Life, first: Vec<u8>, bytes: Bytes)
where
    C: AsyncRead + AsyncWrite + Unpin,
    N: AsyncRead + AsyncWrite + Unpin,
{
    let (up, down) = (Way::holding(first), Way::default());
    let mut pump = Pump { client, node, up, down, bytes, heard_at: Instant::now() };
    match pump.run(edge, life).await {
        End::Client => {
            let _ = timeout(CLOSE_WAIT, pump.node.shutdown()).await;
        }
        End::Node => {
            let _ = timeout(CLOSE_WAIT, pump.say_goodbye()).await;
        }
    }
}

impl<C, N> Pump<C, N>
where
    C: AsyncRead + AsyncWrite + Unpin,
    N: AsyncRead + AsyncWrite + Unpin,
{
    async fn run(&mut self, edge: &Edge, life: &Life) -> End {
        let (patience, is_chatty) = match self.bytes {
            Bytes::WebSocket(_) => (silence(edge), true),
            Bytes::Plain => (PATIENCE, false),
        };
        let mut leave_at = None;
        loop {
            let deadline = leave_at.unwrap_or(self.heard_at + patience);
            tokio::select! {
                end = poll_fn(|context| self.poll(context)) => return end,
                () = life.gone.cancelled() => return End::Node,
                () = edge.shutdown.begun(), if leave_at.is_none() => {
                    leave_at = Some(Instant::now() + edge.drain_wait());
                    self.say_move(edge.drain_wait());
                }
                () = sleep_until(deadline) => {
                    let is_over = self.heard_at + patience <= Instant::now() && (is_chatty || self.down.is_stuck());
                    if leave_at.is_some() || is_over {
                        return End::Node;
                    }
                    if !is_chatty {
                        self.heard_at = Instant::now();
                    }
                }
            }
        }
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let Self { client, node, up, down, bytes, heard_at } = self;
        let heard = |read: &[u8]| {
            *heard_at = Instant::now();
            bytes.on_bytes(read);
        };
        if down.poll(context, Pin::new(node), Pin::new(client), heard).is_ready() {
            return Poll::Ready(End::Node);
        }
        up.poll(context, Pin::new(client), Pin::new(node), |_| {}).map(|_| End::Client)
    }

    /// Tells a WebSocket's client to go elsewhere. Within a frame it cannot be told; it is closed later all the same.
    fn say_move(&mut self, after: Duration) {
        if let Bytes::WebSocket(boundary) = &self.bytes
            && boundary.takes_message()
        {
            let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
            self.down.held.extend(boundary::text(&ServerFrame::Move(Move { after_ms }).to_json()));
        }
    }

    /// Brings what is left, tells a WebSocket's client to come back, and waits until it has read that.
    async fn say_goodbye(&mut self) -> io::Result<()> {
        if let Bytes::WebSocket(boundary) = &self.bytes
            && boundary.takes_close()
        {
            let code = CloseCode::Draining;
            self.down.held.extend(boundary::close(code.number(), code.reason()));
        }
        let Self { client, down, .. } = self;
        poll_fn(|context| down.poll_write_held(context, Pin::new(&mut *client))).await?;
        client.shutdown().await?;
        let mut rest = [0; 256];
        while client.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

/// One direction.
#[derive(Default)]
struct Way {
    /// Read, and not written yet.
    held: Vec<u8>,
    written: usize,
    is_flushed: bool,
}

impl Way {
    fn holding(held: Vec<u8>) -> Self {
        Self { held, ..Self::default() }
    }

    /// Carries what can be carried now. Ready: there will be no more.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
        mut from: Pin<&mut impl AsyncRead>,
        mut to: Pin<&mut impl AsyncWrite>,
        mut heard: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_write_held(context, to.as_mut()))?;
            let mut bytes = [0; READ_BYTES];
            let mut read = ReadBuf::new(&mut bytes);
            ready!(from.as_mut().poll_read(context, &mut read))?;
            let read = read.filled();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            heard(read);
            self.is_flushed = false;
            let written = match to.as_mut().poll_write(context, read)? {
                Poll::Ready(written) => written,
                Poll::Pending => 0,
            };
            self.held.extend_from_slice(&read[written..]);
        }
    }

    /// Something waits to be written.
    fn is_stuck(&self) -> bool {
        self.written < self.held.len()
    }

    fn poll_write_held(
        &mut self,
        context: &mut Context<'_>,
        mut to: Pin<&mut impl AsyncWrite>,
    ) -> Poll<io::Result<()>> {
        while self.written < self.held.len() {
            let written = ready!(to.as_mut().poll_write(context, &self.held[self.written..]))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += written;
            self.is_flushed = false;
        }
        // Given back: a silent connection holds nothing.
        self.held = Vec::new();
        self.written = 0;
        if !self.is_flushed {
            ready!(to.poll_flush(context))?;
            self.is_flushed = true;
        }
        Poll::Ready(Ok(()))
    }
}
