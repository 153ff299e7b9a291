//! The protocol of one connection, as a pure state machine: what came in and what time it is give what to do. A thin task
//! (in `edge/`) carries it out.

use std::{collections::VecDeque, sync::Arc};

use tidings_proto::{
    CloseCode, Code,
    frames::{
        FrameError, RequestId,
        check::check,
        client::{Command, Hello, Request},
    },
    limits::Limits,
};

use super::expiry::Expiry;

/// Bad frames within [`BAD_FRAMES_MS`] that end a connection.
const BAD_FRAMES: usize = 10;
const BAD_FRAMES_MS: u64 = 60_000;

/// How a connection is to be held.
#[derive(Clone, Debug)]
pub struct Rules {
    pub limits: Limits,
    pub unauthenticated_bytes: usize,
    pub unauthenticated_ms: u64,
    pub heartbeat_ms: u64,
}

#[derive(Debug)]
pub struct State {
    rules: Arc<Rules>,
    phase: Phase,
    /// When each of the last bad frames came.
    bad_frames: VecDeque<u64>,
    received_ms: u64,
    spoke_ms: u64,
    expiry: Expiry,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody yet, since this time; and what was said so far.
    Unauthenticated {
        since_ms: u64,
        received_bytes: usize,
    },
    Open,
}

/// What to do.
#[derive(Debug)]
pub enum Effect {
    Nothing,
    /// Log in; then call [`State::open`].
    Hello(Option<RequestId>, Box<Hello>),
    Execute(Box<Request>),
    Refuse(FrameError),
    Pong(Option<RequestId>),
    /// Warn that the token ends.
    Expiring {
        in_s: u64,
    },
    /// Ask whether the other side is there.
    Ping,
    Close(CloseCode),
    /// The other side is gone: there is nobody to tell.
    Drop,
}

impl State {
    pub fn new(rules: Arc<Rules>, now_ms: u64) -> Self {
        Self {
            rules,
            phase: Phase::Unauthenticated { since_ms: now_ms, received_bytes: 0 },
            bad_frames: VecDeque::new(),
            received_ms: now_ms,
            spoke_ms: now_ms,
            expiry: Expiry::default(),
        }
    }

    /// The client is logged in, with a token that ends at `expires_ms`.
    pub fn open(&mut self, expires_ms: Option<u64>) {
        self.phase = Phase::Open;
        self.renew(expires_ms);
    }

    /// The client showed a new token.
    pub fn renew(&mut self, expires_ms: Option<u64>) {
        self.expiry = Expiry::new(expires_ms);
    }

    /// A call has shown a new token for this device: it counts if it lasts longer.
    pub fn extend(&mut self, expires_ms: u64) {
        self.expiry.extend(expires_ms);
    }

    /// A text frame came.
    pub fn on_text(&mut self, text: &str, now_ms: u64) -> Effect {
        self.received_ms = now_ms;
        let is_too_much = match &mut self.phase {
            Phase::Unauthenticated { received_bytes, .. } => {
                *received_bytes += text.len();
                *received_bytes > self.rules.unauthenticated_bytes
            }
            Phase::Open => text.len() > self.rules.limits.frame_bytes,
        };
        if is_too_much {
            return Effect::Close(CloseCode::BadFrame);
        }
        let request = match Request::parse(text) {
            Ok(request) => request,
            Err(error) => return self.refuse(error, now_ms),
        };
        if let Err(message) = check(&request.command, &self.rules.limits) {
            return self.refuse(FrameError { id: request.id, code: Code::BadRequest, message }, now_ms);
        }
        match (self.phase, request.command) {
            (Phase::Unauthenticated { .. }, Command::Hello(hello)) => Effect::Hello(request.id, Box::new(hello)),
            (Phase::Unauthenticated { .. }, _) => {
                let message = "say hello first: {\"type\":\"hello\",\"username\":\"…\"}".to_owned();
                Effect::Refuse(FrameError { id: request.id, code: Code::Unauthenticated, message })
            }
            (Phase::Open, Command::Hello(_)) => Effect::Close(CloseCode::BadFrame),
            (Phase::Open, Command::Pong(_)) => Effect::Nothing,
            (Phase::Open, Command::Ping(_)) => Effect::Pong(request.id),
            (Phase::Open, command) => Effect::Execute(Box::new(Request { id: request.id, command })),
        }
    }

    /// A sign of life that is no frame, such as a WebSocket pong.
    pub fn on_alive(&mut self, now_ms: u64) {
        self.received_ms = now_ms;
    }

    /// Frames were written.
    pub fn on_spoken(&mut self, now_ms: u64) {
        self.spoke_ms = now_ms;
    }

    /// Time has passed; to be called at [`State::deadline_ms`].
    pub fn on_time(&mut self, now_ms: u64) -> Effect {
        match self.phase {
            Phase::Unauthenticated { since_ms, .. } if now_ms >= since_ms + self.rules.unauthenticated_ms => {
                Effect::Close(CloseCode::BadFrame)
            }
            Phase::Unauthenticated { .. } => Effect::Nothing,
            Phase::Open if now_ms >= self.gone_ms() => Effect::Drop,
            Phase::Open if self.expiry.is_over(now_ms) => Effect::Close(CloseCode::TokenExpired),
            Phase::Open => match self.expiry.warning(now_ms) {
                Some(in_s) => {
                    self.expiry.warned();
                    Effect::Expiring { in_s }
                }
                None if now_ms >= self.ping_ms() => {
                    self.spoke_ms = now_ms;
                    Effect::Ping
                }
                None => Effect::Nothing,
            },
        }
    }

    /// When to call [`State::on_time`] next.
    pub fn deadline_ms(&self) -> u64 {
        match self.phase {
            Phase::Unauthenticated { since_ms, .. } => since_ms + self.rules.unauthenticated_ms,
            Phase::Open => self.ping_ms().min(self.gone_ms()).min(self.expiry.deadline_ms().unwrap_or(u64::MAX)),
        }
    }

    /// A ping is due when nothing came for an interval, and one interval after the last word of ours.
    fn ping_ms(&self) -> u64 {
        self.received_ms.max(self.spoke_ms) + self.rules.heartbeat_ms
    }

    fn gone_ms(&self) -> u64 {
        self.received_ms + self.patience_ms()
    }

    /// How long the other side may do nothing: neither say anything nor take what is written.
    pub fn patience_ms(&self) -> u64 {
        self.rules.heartbeat_ms * 5 / 2
    }

    fn refuse(&mut self, error: FrameError, now_ms: u64) -> Effect {
        if error.code != Code::BadFrame {
            return Effect::Refuse(error);
        }
        self.bad_frames.push_back(now_ms);
        while self.bad_frames.front().is_some_and(|first_ms| first_ms + BAD_FRAMES_MS <= now_ms) {
            self.bad_frames.pop_front();
        }
        if self.bad_frames.len() >= BAD_FRAMES { Effect::Close(CloseCode::BadFrame) } else { Effect::Refuse(error) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let limits = Limits::default();
        let rules = Rules { limits, unauthenticated_bytes: 4_096, unauthenticated_ms: 5_000, heartbeat_ms: 25_000 };
        State::new(Arc::new(rules), 0)
    }

    fn open() -> State {
        let mut state = state();
        state.open(None);
        state
    }

    #[test]
    fn hello_comes_first_and_once() {
        let mut state = state();
        assert!(
            matches!(state.on_text(r#"{"type":"ping","id":1}"#, 0), Effect::Refuse(error) if error.code == Code::Unauthenticated)
        );
        let hello = r#"{"type":"hello","username":"ada"}"#;
        assert!(matches!(state.on_text(hello, 0), Effect::Hello(None, _)));
        state.open(None);
        assert!(matches!(state.on_text(hello, 0), Effect::Close(CloseCode::BadFrame)));
    }

    #[test]
    fn who_says_nothing_or_too_much_before_hello_is_closed() {
        let mut state = state();
        assert_eq!(state.deadline_ms(), 5_000);
        assert!(matches!(state.on_time(4_999), Effect::Nothing));
        assert!(matches!(state.on_time(5_000), Effect::Close(CloseCode::BadFrame)));
        let long = format!(r#"{{"type":"hello","username":"{}"}}"#, "a".repeat(5_000));
        assert!(matches!(state.on_text(&long, 0), Effect::Close(CloseCode::BadFrame)));
        let mut state = self::state();
        let some = format!(r#"{{"type":"ping","x":"{}"}}"#, "a".repeat(2_000));
        assert!(matches!(state.on_text(&some, 0), Effect::Refuse(_)));
        assert!(matches!(state.on_text(&some, 0), Effect::Refuse(_)));
        assert!(matches!(state.on_text(&some, 0), Effect::Close(CloseCode::BadFrame)), "the sum counts");
    }

    #[test]
    fn the_tenth_bad_frame_in_a_minute_closes() {
        let mut state = open();
        for n in 0..9 {
            assert!(matches!(state.on_text("{", n), Effect::Refuse(_)), "{n}");
        }
        assert!(matches!(state.on_text("{", 60_009), Effect::Refuse(_)), "the first ones are too long ago");
        let mut state = open();
        let last = (0..10).map(|n| state.on_text("{", n)).last();
        assert!(matches!(last, Some(Effect::Close(CloseCode::BadFrame))));
        assert!(
            matches!(open().on_text(r#"{"type":"send"}"#, 0), Effect::Refuse(error) if error.code == Code::BadRequest)
        );
    }

    #[test]
    fn the_end_of_a_token_is_told_before_and_then_closes() {
        let mut state = open();
        state.renew(Some(100_000));
        assert_eq!(state.deadline_ms(), 25_000, "the ping comes first");
        state.on_alive(39_000);
        assert_eq!(state.deadline_ms(), 40_000);
        assert!(matches!(state.on_time(40_000), Effect::Expiring { in_s: 60 }));
        state.on_alive(99_000);
        assert_eq!(state.deadline_ms(), 100_000, "one warning is enough");
        assert!(matches!(state.on_time(100_000), Effect::Close(CloseCode::TokenExpired)));
        state.renew(Some(110_000));
        assert!(matches!(state.on_time(100_000), Effect::Expiring { in_s: 10 }), "a short one at once");
        state.renew(None);
        state.on_alive(110_000);
        assert!(matches!(state.on_time(110_000), Effect::Nothing));
    }

    #[test]
    fn a_silent_client_is_asked_and_then_dropped() {
        let mut state = open();
        assert_eq!(state.deadline_ms(), 25_000);
        assert!(matches!(state.on_time(25_000), Effect::Ping));
        assert_eq!(state.deadline_ms(), 50_000);
        assert!(matches!(state.on_time(50_000), Effect::Ping));
        assert!(matches!(state.on_time(62_500), Effect::Drop));
        let mut state = open();
        assert!(matches!(state.on_text(r#"{"type":"pong"}"#, 24_000), Effect::Nothing));
        assert_eq!(state.deadline_ms(), 49_000);
    }
}
