//! The loop of one client: one task that reads packets, carries them out, and writes what waits, all that is ready at once.

use std::{
    collections::VecDeque,
    future::Future,
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use tidings_proto::CloseCode;
use tokio::time::{Instant, Sleep, sleep, timeout};

use crate::{
    home::kept::{KeptSession, PUBLISHED_MAX, Published},
    metrics::Transport,
    session::{attachment::Attachment, auth::Identity, expiry::Expiry, outbox::Next, unanswered::Counter},
};

use super::{
    super::{
        Edge,
        addresses::Peer,
        expiry,
        relay::{self, Leg, pump::pump},
    },
    carried::Carried,
    deliveries::Deliveries,
    line::Line,
    request::Awaited,
    seats::Seat,
    wire::{Incoming, Reason, Refusal, Wire},
};

/// Publishes that a client may have under way at once (receive maximum). Whoever sends more is not read meanwhile.
pub const RECEIVE_MAX: u16 = PUBLISHED_MAX as u16;
/// Taken from the outbox at once.
const TAKE_BYTES: usize = 64 * 1024;
/// A buffer that grew larger is given back.
const KEEP_BYTES: usize = 16 * 1024;
/// What a connection keeps for what it reads: room for a few acknowledgements.
const INPUT_KEPT_BYTES: usize = 32;
/// The timer of a connection for which nothing is due.
const NOTHING_DUE: Duration = Duration::from_secs(3_600);
/// How long one write may take.
const WRITE_WAIT: Duration = Duration::from_secs(60);
/// How long a client that is being closed may take to read why.
const CLOSE_WAIT: Duration = Duration::from_secs(2);
/// Cursors move this long after an acknowledgement, together.
const CURSORS_WAIT: Duration = Duration::from_secs(1);
/// Or when so many have moved.
const CURSORS_MAX: usize = 256;
/// How long the end of a connection waits for the outcome of what is under way.
const OUTCOME_WAIT: Duration = Duration::from_secs(5);

/// Why a connection ends.
pub enum End {
    /// The line failed, or the client closed it.
    Gone,
    /// The client said so.
    Disconnected {
        expiry_s: Option<u32>,
    },
    /// Not let in.
    Refused(Refusal),
    /// The client did what it must not.
    Fault(Reason),
    Close(CloseCode),
    /// Another node serves this client.
    Elsewhere(Box<Elsewhere>),
}

/// A way to the node that serves a client, and what the client has said to this one.
pub struct Elsewhere {
    pub leg: Leg,
    pub heard: Vec<u8>,
}

pub type Done = Result<(), End>;

/// The line, with what was read of it and what is to be written.
pub struct Connection {
    pub edge: Edge,
    pub wire: Wire,
    pub peer: Peer,
    /// Whom the connection names itself, before CONNECT.
    pub shown: Option<Identity>,
    line: Line,
    /// Read, and not taken yet.
    pub input: Vec<u8>,
    pub out: Vec<u8>,
    /// A write was begun and has not come to its end: what is behind it would be read as part of it.
    is_cut: bool,
}

/// A client that is let in.
pub struct Client {
    pub connection: Connection,
    pub attachment: Attachment,
    pub session: Session,
}

/// What the client has asked for, and what is under way.
pub struct Session {
    /// Subscriptions and expiry, as the home keeps them.
    pub kept: KeptSession,
    /// Whether the home keeps it.
    pub is_kept: bool,
    /// None until it subscribes to the inbox.
    pub deliveries: Option<Deliveries>,
    /// Deliveries that it takes at once.
    pub window: usize,
    pub unanswered: Arc<Counter>,
    /// Publishes without an acknowledgement, in the order in which they came; the number of the first.
    pub awaited: VecDeque<Awaited>,
    pub first_awaited: i64,
    /// Its last publishes without a `client_msg_id`, the oldest first; those that are durable are in its home as well.
    pub published: VecDeque<Published>,
    pub keep_alive: Option<Duration>,
    pub heard_at: Instant,
    pub expiry: Expiry,
    /// It named a way to log in, and may do so again.
    pub has_method: bool,
    /// When cursors that moved are to be stored.
    pub store_at: Option<Instant>,
    /// When to go, because the server stops.
    pub leave_at: Option<Instant>,
    pub frames: Vec<Bytes>,
    /// Held to the end, when everything else is done.
    pub _seat: Seat,
}

impl Connection {
    pub fn new(edge: Edge, line: Line, peer: Peer, shown: Option<Identity>) -> Self {
        let wire = Wire::new(edge.host.config.limits.frame_bytes);
        Self { edge, wire, peer, shown, line, input: Vec::new(), out: Vec::new(), is_cut: false }
    }

    pub async fn run(mut self) {
        // What happens once is boxed, as are packets: the future of a silent connection stays small.
        let end = match Box::pin(self.connect()).await {
            Ok((attachment, session)) => {
                let mut client = Client { connection: self, attachment, session: *session };
                let end = client.serve().await;
                Box::pin(client.leave(&end)).await;
                self = client.connection;
                drop(client.attachment);
                // Whoever waits for the seat need not wait for the farewell.
                drop(client.session);
                end
            }
            Err(End::Elsewhere(elsewhere)) => return Box::pin(self.relay(*elsewhere)).await,
            Err(end) => end,
        };
        Box::pin(self.close(end)).await;
    }

    /// Carries bytes to and fro from here on.
    async fn relay(self, Elsewhere { leg: Leg { stream, life }, heard }: Elsewhere) {
        let _held = (self.edge.host.metrics.relayed(Transport::Mqtt), self.edge.relay.connection());
        pump(&self.edge, Carried::new(self.line), stream, &life, heard, relay::pump::Bytes::Plain).await;
    }

    /// Reads more. The end of the line is an error.
    pub async fn fill(&mut self) -> Done {
        let before = self.input.len();
        match self.line.read(&mut self.input).await {
            Ok(true) => {
                self.edge.host.metrics.received_bytes.inc_by((self.input.len() - before) as u64);
                Ok(())
            }
            Ok(false) | Err(_) => Err(End::Gone),
        }
    }

    /// The next packet of what was read, if it is whole.
    pub fn next_packet(&mut self) -> Result<Option<Incoming>, Reason> {
        let mut taken = 0;
        let read = loop {
            let (count, read) = self.wire.read(&self.input[taken..]);
            taken += count;
            match read {
                Ok(None) if taken < self.input.len() && count > 0 => {}
                read => break read,
            }
        };
        if taken == self.input.len() {
            self.input.clear();
            self.input.shrink_to(INPUT_KEPT_BYTES);
        } else {
            self.input.drain(..taken);
        }
        read
    }

    pub async fn write_out(&mut self) -> std::io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        self.is_cut = true;
        let written = tokio::select! {
            biased;
            written = self.line.write(&self.out) => written,
            // Made only where the write has to wait.
            () = async { sleep(WRITE_WAIT).await } => Err(std::io::ErrorKind::TimedOut.into()),
        };
        self.is_cut = written.is_err();
        self.out.clear();
        if self.out.capacity() > KEEP_BYTES {
            self.out = Vec::new();
        }
        written
    }

    /// Says why, where the protocol has a way to, and gives the client a moment to read it.
    async fn close(mut self, end: End) {
        if let End::Close(code) = end {
            self.edge.host.metrics.connections_closed.of(code).inc();
        }
        if self.is_cut {
            return;
        }
        self.out.clear();
        match end {
            End::Gone | End::Elsewhere(_) => return,
            End::Disconnected { .. } => {}
            End::Refused(refusal) => self.wire.put_refusal(&mut self.out, &refusal),
            End::Fault(reason) => self.wire.put_disconnect(&mut self.out, reason, ""),
            End::Close(code) => self.wire.put_disconnect(&mut self.out, reason(code), code.reason()),
        }
        let wait = if self.edge.shutdown.has_begun() { CLOSE_WAIT / 4 } else { CLOSE_WAIT };
        let _ = timeout(wait, self.say_goodbye()).await;
    }

    async fn say_goodbye(mut self) {
        if self.write_out().await.is_ok() {
            self.line.close().await;
        }
    }
}

impl Client {
    async fn serve(&mut self) -> End {
        if let Err(end) = Box::pin(self.begin()).await {
            return end;
        }
        let mut timer = pin!(sleep(NOTHING_DUE));
        loop {
            if let Err(end) = self.turn(timer.as_mut()).await {
                return end;
            }
        }
    }

    /// Takes what was read, brings what is owed, writes, and waits for more.
    async fn turn(&mut self, mut timer: Pin<&mut Sleep>) -> Done {
        while self.may_take() {
            match self.connection.next_packet() {
                Ok(Some(packet)) => {
                    if self.session.keep_alive.is_some() {
                        self.session.heard_at = Instant::now();
                    }
                    if let Some(packet) = self.take_small(packet) {
                        Box::pin(self.on_packet(packet)).await?;
                    }
                }
                Ok(None) => break,
                Err(reason) => return Err(End::Fault(reason)),
            }
        }
        if self.is_behind() {
            Box::pin(self.catch_up()).await?;
        }
        self.flush().await?;
        let (may_take, is_behind) = (self.may_take(), self.is_behind());
        // A deadline that moves on leaves the timer as it is: when it runs out, nothing is due, and it is set anew.
        let deadline = self.deadline();
        if timer.is_elapsed() || deadline.is_some_and(|deadline| deadline < timer.deadline()) {
            timer.as_mut().reset(deadline.unwrap_or_else(|| Instant::now() + NOTHING_DUE));
        }
        tokio::select! {
            done = self.connection.fill(), if may_take => done,
            () = self.attachment.outbox.changed() => self.drain().await,
            () = std::future::ready(()), if is_behind => Ok(()),
            () = timer => Box::pin(self.on_time()).await,
        }
    }

    fn may_take(&self) -> bool {
        self.session.awaited.len() < usize::from(RECEIVE_MAX)
    }

    /// Takes what is done at once, which most packets are. Others come back.
    fn take_small(&mut self, packet: Incoming) -> Option<Incoming> {
        match packet {
            Incoming::Puback { packet_id } => {
                if let Some(deliveries) = &mut self.session.deliveries {
                    deliveries.acked(packet_id);
                }
                self.note_moved();
            }
            Incoming::Ping => self.connection.wire.put_pong(&mut self.connection.out),
            other => return Some(other),
        }
        None
    }

    async fn on_packet(&mut self, packet: Incoming) -> Done {
        match packet {
            Incoming::Publish(publish) => self.on_publish(publish).await,
            Incoming::Puback { .. } | Incoming::Ping => unreachable!("these are taken at once"),
            Incoming::Subscribe(subscribe) => self.on_subscribe(subscribe).await,
            Incoming::Unsubscribe { packet_id, filters } => self.on_unsubscribe(packet_id, &filters).await,
            Incoming::Disconnect { expiry_s } if self.session.kept.expiry_s == 0 && expiry_s.is_some_and(|s| s > 0) => {
                // A session that was not to be kept cannot be any more (MQTT 5 section 3.14.2.2.2).
                Err(End::Fault(Reason::PROTOCOL_ERROR))
            }
            Incoming::Disconnect { expiry_s } => Err(End::Disconnected { expiry_s }),
            Incoming::Auth(auth) => self.on_auth(auth).await,
            Incoming::Connect(_) => Err(End::Fault(Reason::PROTOCOL_ERROR)),
        }
    }

    /// Awaits `work`, and meanwhile writes what waits.
    pub async fn drive<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        let mut work = pin!(work);
        loop {
            let outbox = self.attachment.outbox.clone();
            tokio::select! {
                done = &mut work => return Ok(done),
                () = outbox.changed() => self.drain().await?,
            }
        }
    }

    /// Brings all that waits in the outbox.
    pub async fn drain(&mut self) -> Done {
        if let Some(expires_ms) = expiry::renewed(&self.connection.edge, &self.attachment.outbox) {
            self.session.expiry.extend(expires_ms);
        }
        loop {
            let mut frames = std::mem::take(&mut self.session.frames);
            let next = self.attachment.outbox.take(&mut frames, TAKE_BYTES);
            for frame in frames.drain(..) {
                self.on_frame(&frame)?;
            }
            self.session.frames = frames;
            self.flush().await?;
            match next {
                Next::Frames => {}
                Next::Empty => break,
                Next::Close(code) => return Err(End::Close(code)),
            }
        }
        self.note_moved();
        Ok(())
    }

    /// Writes, but does not wait for a reader whose session is cut meanwhile.
    pub async fn flush(&mut self) -> Done {
        if self.connection.out.is_empty() {
            return Ok(());
        }
        let outbox = self.attachment.outbox.clone();
        tokio::select! {
            biased;
            written = self.connection.write_out() => written.map_err(|_| End::Gone),
            code = outbox.cut() => Err(End::Close(code)),
        }
    }

    /// When something is to be done, whatever the client does.
    fn deadline(&self) -> Option<Instant> {
        let silent = self.session.keep_alive.map(|wait| self.session.heard_at + wait);
        let Session { store_at, leave_at, expiry, .. } = self.session;
        let expiry_at = expiry.deadline_ms().and_then(|at_ms| expiry::instant(&self.connection.edge, at_ms));
        let all = [silent, store_at, leave_at, expiry_at];
        all.into_iter().flatten().min()
    }

    async fn on_time(&mut self) -> Done {
        let now = Instant::now();
        let session = &mut self.session;
        if session.keep_alive.is_some_and(|wait| session.heard_at + wait <= now) {
            return Err(End::Fault(Reason::KEEP_ALIVE));
        }
        let now_ms = expiry::now_ms(&self.connection.edge);
        if session.expiry.is_over(now_ms) {
            return Err(End::Close(CloseCode::TokenExpired));
        }
        if let Some(in_s) = session.expiry.warning(now_ms) {
            self.warn(in_s, now_ms);
        }
        let session = &mut self.session;
        if session.leave_at.is_some_and(|at| at <= now) {
            return Err(End::Close(CloseCode::Draining));
        }
        if session.store_at.is_some_and(|at| at <= now) {
            let store = self.store_cursors();
            self.drive(store).await?;
        }
        Ok(())
    }

    /// Cursors that have moved are stored a little later, with those that move meanwhile.
    pub fn note_moved(&mut self) {
        let wait = match self.session.deliveries.as_ref().map_or(0, Deliveries::moved_count) {
            0 => return,
            CURSORS_MAX.. => Duration::ZERO,
            // They go with those that wait already.
            _ if self.session.store_at.is_some() => return,
            _ => CURSORS_WAIT,
        };
        let at = Instant::now() + wait;
        self.session.store_at = Some(self.session.store_at.map_or(at, |before| before.min(at)));
    }

    /// Stores the cursors that have moved by now.
    pub fn store_cursors(&mut self) -> impl Future<Output = ()> + Send + use<> {
        self.session.store_at = None;
        let moved = self.session.deliveries.as_mut().map(Deliveries::take_moved).unwrap_or_default();
        let cursors = self.session.kept.inbox.filter(|_| self.session.is_kept).map(|inbox| inbox.cursors);
        let (host, user) = (self.connection.edge.host.clone(), self.attachment.caller.user.clone());
        async move {
            if !moved.is_empty() {
                host.delivered(&user, cursors, &moved).await;
            }
        }
    }

    /// Leaves behind what the device will find when it comes back.
    async fn leave(&mut self, end: &End) {
        self.store_cursors().await;
        // A repeat on the next connection must find what became of this one's publishes.
        let _ = timeout(OUTCOME_WAIT, self.session.unanswered.all_answered()).await;
        // Of a revoked device nothing is kept.
        if !self.session.is_kept || matches!(end, End::Close(CloseCode::Revoked)) {
            return;
        }
        let host = self.connection.edge.host.clone();
        let mut kept = self.session.kept.clone();
        if let End::Disconnected { expiry_s: Some(expiry_s) } = end {
            kept.expiry_s = *expiry_s;
        }
        kept.left_at_ms = host.clock.unix_ms();
        if let Err(answer) = self.keep(Some(kept).filter(|kept| kept.expiry_s > 0), false).await {
            answer.count(&host.metrics);
        }
    }
}

/// Why the server closes a session, as a reason code.
fn reason(code: CloseCode) -> Reason {
    match code {
        CloseCode::Draining => Reason::SHUTTING_DOWN,
        CloseCode::Lagging => Reason::QUOTA,
        CloseCode::GoingIdle | CloseCode::TryLater => Reason::BUSY,
        CloseCode::TokenExpired | CloseCode::Unauthenticated => Reason::NOT_AUTHORIZED,
        CloseCode::BadFrame => Reason::PROTOCOL_ERROR,
        CloseCode::Revoked => Reason::ADMINISTRATIVE,
        CloseCode::Replaced => Reason::TAKEN_OVER,
        CloseCode::UnsupportedVersion => Reason::UNSPECIFIED,
    }
}
