//! Where an answer goes: to a connection's outbox, in order with its live frames, or to a call that waits for it.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{
        RequestId,
        server::{Answered, Refused, Sent, ServerFrame},
    },
};
use tokio::sync::oneshot;

use crate::{conversation::decide::Refusal, metrics::Metrics, node::NodeId};

use super::{
    outbox::{Class, Outbox, SessionId, Wakes},
    unanswered::Unanswered,
};

/// An answer before it knows its request's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Sent { conversation: ConversationId, seq: Seq, at_ms: u64, repeat: bool },
    Created { conversation: ConversationId, seq: Seq, at_ms: u64, repeat: bool },
    Done,
    Refused(Box<Refused>),
}

impl Answer {
    pub fn refused(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        let refused = Refused { re: None, code, message, retry_after_ms: None, users: Vec::new(), login_url: None };
        Self::Refused(Box::new(refused))
    }

    pub fn unknown_users(users: Vec<UserId>) -> Self {
        let names = users.iter().map(UserId::as_str).collect::<Vec<_>>().join(", ");
        Self::refused(Code::UnknownUser, format!("nobody was ever here as {names}; they must log in once"))
            .with(|refused| refused.users = users)
    }

    pub fn login_is_elsewhere(login_url: Option<&str>) -> Self {
        let message = "a username is not enough here: log in at login_url and show the token that you get there";
        Self::refused(Code::LoginIsElsewhere, message).with(|refused| refused.login_url = login_url.map(str::to_owned))
    }

    /// The outcome is not known: the journal failed while this was under way, or takes nothing more.
    pub fn unavailable() -> Self {
        let message = "nothing can be stored now; whether this was is not known: repeat it with the same client_msg_id";
        Self::refused(Code::Unavailable, message).with(|refused| refused.retry_after_ms = Some(1_000))
    }

    /// What it concerns is on its way from one node to another.
    pub fn moving() -> Self {
        let message = "this is moving to another node now; repeat it with the same client_msg_id";
        Self::refused(Code::Unavailable, message).with(|refused| refused.retry_after_ms = Some(1_000))
    }

    /// What it needs of the store has not come.
    pub fn late() -> Self {
        let message = "the store does not answer now; repeat it with the same client_msg_id after retry_after_ms";
        Self::refused(Code::Unavailable, message).with(|refused| refused.retry_after_ms = Some(1_000))
    }

    pub fn rate_limited(retry_after_ms: u64) -> Self {
        Self::refused(Code::RateLimited, "too many requests; wait and repeat them with the same client_msg_id")
            .with(|refused| refused.retry_after_ms = Some(retry_after_ms))
    }

    /// Everybody comes at once: it is somebody else's turn.
    pub fn try_later(retry_after_ms: u64) -> Self {
        Self::refused(Code::Unavailable, "too many come at once; come back after retry_after_ms")
            .with(|refused| refused.retry_after_ms = Some(retry_after_ms))
    }

    pub(super) fn with(mut self, set: impl FnOnce(&mut Refused)) -> Self {
        if let Self::Refused(refused) = &mut self {
            set(refused);
        }
        self
    }

    /// Counts it among the acks, or the refusals.
    pub fn count(&self, metrics: &Metrics) {
        match self {
            Self::Sent { repeat, .. } | Self::Created { repeat, .. } => {
                metrics.sends_acked.inc();
                metrics.sends_repeated.inc_by(u64::from(*repeat));
            }
            Self::Done => {}
            Self::Refused(refused) => {
                metrics.refused.of(refused.code).inc();
            }
        }
    }

    pub fn into_frame(self, re: Option<RequestId>) -> ServerFrame<'static> {
        match self {
            Self::Sent { conversation, seq, at_ms, repeat } => {
                ServerFrame::Sent(Sent { re, conversation, seq, at: at_ms, repeat })
            }
            Self::Created { conversation, seq, at_ms, repeat } => {
                ServerFrame::Created(Sent { re, conversation, seq, at: at_ms, repeat })
            }
            Self::Done => ServerFrame::Ok(Answered { re }),
            Self::Refused(refused) => ServerFrame::Error(Refused { re, ..*refused }),
        }
    }
}

/// As other nodes are told of it: what was made, null, or the refusal as JSON.
impl<C> minicbor::Encode<C> for Answer {
    fn encode<W: minicbor::encode::Write>(
        &self,
        encoder: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let made = match self {
            Self::Sent { conversation, seq, at_ms, repeat } => (false, conversation, seq, at_ms, repeat),
            Self::Created { conversation, seq, at_ms, repeat } => (true, conversation, seq, at_ms, repeat),
            Self::Done => return encoder.null()?.ok(),
            Self::Refused(refused) => {
                let json = serde_json::to_string(refused).expect("it has string keys and no failing values");
                return encoder.str(&json)?.ok();
            }
        };
        encoder.encode(made)?.ok()
    }
}

impl<'b, C> minicbor::Decode<'b, C> for Answer {
    fn decode(decoder: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        match decoder.datatype()? {
            minicbor::data::Type::Null => decoder.null().map(|()| Self::Done),
            minicbor::data::Type::String => serde_json::from_str(decoder.str()?)
                .map(Self::Refused)
                .map_err(|error| minicbor::decode::Error::message(error.to_string())),
            _ => {
                let (is_created, conversation, seq, at_ms, repeat) = decoder.decode()?;
                Ok(if is_created {
                    Self::Created { conversation, seq, at_ms, repeat }
                } else {
                    Self::Sent { conversation, seq, at_ms, repeat }
                })
            }
        }
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        Self::refused(refusal.code, refusal.message)
    }
}

/// Who is not told of its own entry, because it gets the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    Here(SessionId),
    /// One of another node, known there by this number.
    There {
        node: NodeId,
        command: u64,
    },
}

impl Sender {
    /// The session, if it is here.
    pub fn session(&self) -> Option<SessionId> {
        match self {
            Self::Here(session) => Some(*session),
            Self::There { .. } => None,
        }
    }
}

/// One request's way back. Answering takes it; one that is dropped unanswered answers `unavailable`.
#[derive(Debug)]
pub struct Reply {
    id: Option<RequestId>,
    to: Option<To>,
    /// When its request was read.
    since: Instant,
    /// Counts the answer; none where the server asks itself.
    metrics: Option<Arc<Metrics>>,
    /// The session gets its own entry, too.
    has_echo: bool,
}

enum To {
    Session(Arc<Outbox>, Unanswered),
    Call(oneshot::Sender<Answer>),
    Peer(Sender, Box<dyn FnOnce(Answer) + Send + Sync>),
}

impl std::fmt::Debug for To {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Session(..) => "Session",
            Self::Call(_) => "Call",
            Self::Peer(..) => "Peer",
        })
    }
}

impl Reply {
    pub fn to_session(id: Option<RequestId>, outbox: Arc<Outbox>, unanswered: Unanswered) -> Self {
        Self { id, to: Some(To::Session(outbox, unanswered)), since: Instant::now(), metrics: None, has_echo: false }
    }

    /// For a caller that waits, such as an HTTP call.
    pub fn to_call() -> (Self, oneshot::Receiver<Answer>) {
        let (tx, rx) = oneshot::channel();
        (Self { id: None, to: Some(To::Call(tx)), since: Instant::now(), metrics: None, has_echo: false }, rx)
    }

    /// For one of another node.
    pub fn to_peer(sender: Sender, answer: Box<dyn FnOnce(Answer) + Send + Sync>) -> Self {
        Self { id: None, to: Some(To::Peer(sender, answer)), since: Instant::now(), metrics: None, has_echo: false }
    }

    /// Whether one of another node gets it.
    pub fn is_of_peer(&self) -> bool {
        matches!(self.to, Some(To::Peer(..)))
    }

    /// The home of who asked has left, and with it what was to be told before the answer: they ask again where it is now. A session
    /// that is about to end is told so by its end.
    pub fn ask_elsewhere(self) {
        if matches!(self.to, Some(To::Session(..))) {
            self.forget();
        } else {
            self.answer(Answer::moving());
        }
    }

    /// Ends it without an answer: it will be given elsewhere.
    pub fn forget(mut self) {
        self.to = None;
    }

    /// Has the answer counted, and of an ack the time since this was made.
    #[must_use]
    pub fn counted(mut self, metrics: &Arc<Metrics>) -> Self {
        self.metrics = Some(metrics.clone());
        self
    }

    /// Has the session told of its own entry as well, before the answer.
    #[must_use]
    pub fn with_echo(mut self, has_echo: bool) -> Self {
        self.has_echo = has_echo;
        self
    }

    /// Who is not told of its own entry, because it gets this answer.
    pub fn sender(&self) -> Option<Sender> {
        match &self.to {
            Some(To::Session(outbox, _)) if !self.has_echo => Some(Sender::Here(outbox.session)),
            Some(To::Peer(sender, _)) => Some(*sender),
            Some(_) | None => None,
        }
    }

    pub fn answer(mut self, answer: Answer) {
        self.give(answer);
    }

    /// As [`Reply::answer`]; the connection writes it when `wakes` is dropped.
    pub fn answer_among(mut self, answer: Answer, wakes: &mut Wakes) {
        self.give_by(answer, |outbox, frame| wakes.push(outbox, frame, Class::Durable));
    }

    fn give(&mut self, answer: Answer) {
        self.give_by(answer, |outbox, frame| outbox.push(frame, Class::Durable));
    }

    fn give_by(&mut self, answer: Answer, push: impl FnOnce(&Arc<Outbox>, Bytes)) {
        if let Some(metrics) = self.metrics.take() {
            answer.count(&metrics);
            if matches!(answer, Answer::Sent { .. } | Answer::Created { .. }) {
                metrics.send_ack.observe(self.since.elapsed());
            }
        }
        match self.to.take() {
            Some(To::Session(outbox, unanswered)) => {
                let id = self.id.take();
                // Without an id only refusals answer.
                if id.is_some() || matches!(answer, Answer::Refused(_)) {
                    push(&outbox, Bytes::from(answer.into_frame(id).to_json()));
                }
                drop(unanswered);
            }
            // The caller may have gone; what happened, happened.
            Some(To::Call(call)) => drop(call.send(answer)),
            Some(To::Peer(_, tell)) => tell(answer),
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.to.is_some() {
            self.give(Answer::unavailable());
        }
    }
}
