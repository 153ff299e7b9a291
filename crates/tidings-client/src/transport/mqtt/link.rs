//! The link: frames of the session into publishes and calls, and what comes back into frames.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll, ready},
};

use futures_util::{Sink, Stream, future::BoxFuture};
use tidings_proto::{
    frames::{
        RequestId,
        client::{Command, Request, To},
    },
    percent,
};
use tokio::time::Instant;

use super::{
    super::{Link, calls::Calls, http::PONG},
    KEEP_ALIVE_S, Opening, Talk,
    publishes::{Acknowledged, Publishes, Purpose},
    wire::{Incoming, put_disconnect, put_ping, put_puback, put_publish},
};
use crate::{error::Lost, http::Http};

/// Where any frame but a message is published.
const REQUEST: &str = "tidings/request";
/// Frames that wait for room among the publishes under way.
const WAITING_FRAMES: usize = 64;

pub(super) struct MqttLink {
    state: State,
}

enum State {
    /// Nobody said `hello` yet.
    Silent(Box<Opening>),
    Opening(BoxFuture<'static, Result<Open, Lost>>),
    Open(Box<Open>),
    Ended,
}

/// A connection that is let in.
pub(super) struct Open {
    talk: Talk,
    publishes: Publishes,
    /// So many may be under way at once.
    publishes_max: usize,
    /// To be published, in this order.
    waiting: VecDeque<(String, Way)>,
    calls: Calls,
    http: Http,
    /// What reads finds what was said before: it is called when so many publishes are acknowledged.
    reads: VecDeque<(u64, String)>,
    wrote_at: Instant,
    /// Goodbye is said.
    is_leaving: bool,
}

/// How a frame goes out.
enum Way {
    /// A message, to this topic.
    Send(String, Option<RequestId>),
    /// Anything else that acts. Its answer comes as a frame.
    Request,
    /// The same, with a new token that counts when it is acknowledged.
    Renewal(String),
}

impl MqttLink {
    pub fn new(opening: Opening) -> Self {
        Self { state: State::Silent(Box::new(opening)) }
    }
}

impl Open {
    pub fn new(talk: Talk, publishes: Publishes, receive_maximum: u16, http: Http) -> Self {
        let mut calls = Calls::default();
        calls.begin(http.clone());
        Self {
            talk,
            publishes,
            publishes_max: usize::from(receive_maximum),
            waiting: VecDeque::new(),
            calls,
            http,
            reads: VecDeque::new(),
            wrote_at: Instant::now(),
            is_leaving: false,
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() < WAITING_FRAMES && self.reads.len() < WAITING_FRAMES && self.calls.has_room()
    }

    fn is_idle(&self) -> bool {
        let is_said = self.waiting.is_empty() && self.publishes.len() == 0 && self.talk.out.is_empty();
        is_said && self.reads.is_empty() && self.calls.is_idle()
    }

    fn push(&mut self, text: String) -> Result<(), Lost> {
        let Request { id, command } =
            Request::parse(&text).map_err(|error| Lost::Broken(format!("a frame of our own: {}", error.message)))?;
        let way = match command {
            Command::Fetch(_) | Command::Inbox(_) | Command::Sync(_) => {
                let before = self.publishes.begun() + self.waiting.len() as u64;
                self.reads.push_back((before, text));
                return Ok(());
            }
            Command::Ping(_) if id.is_none() => {
                put_ping(&mut self.talk.out);
                return Ok(());
            }
            // The server's own question has another form here.
            Command::Pong(_) => return Ok(()),
            Command::Send(send) => match send.to {
                To::User(user) => Way::Send(format!("tidings/to/{}", percent::encoded(user.as_str())), id),
                To::Conversation(conversation) => Way::Send(format!("tidings/send/{conversation}"), id),
                To::List(_) => Way::Request,
            },
            Command::Auth(auth) => Way::Renewal(auth.token),
            _ => Way::Request,
        };
        self.waiting.push_back((text, way));
        Ok(())
    }

    /// Publishes what waits and may go.
    fn publish(&mut self) -> Result<(), Lost> {
        while self.publishes.len() < self.publishes_max {
            let Some((frame, way)) = self.waiting.pop_front() else { break };
            let (topic, packet_id) = match way {
                Way::Send(topic, id) => (topic, self.publishes.begin(Purpose::Send(id))),
                // Also what wants no answer is acknowledged, so that what reads can wait for it.
                Way::Request => (REQUEST.to_owned(), self.publishes.begin(Purpose::Request)),
                Way::Renewal(token) => (REQUEST.to_owned(), self.publishes.begin(Purpose::Renewal(token))),
            };
            put_publish(&mut self.talk.out, &topic, Some(packet_id), &frame)?;
        }
        Ok(())
    }

    fn on_packet(&mut self, packet: Incoming) -> Result<(), Lost> {
        match packet {
            Incoming::Puback(puback) => {
                match self.publishes.acknowledged(&puback)? {
                    Acknowledged::Answer(answer) => self.talk.frames.push_back(answer.to_json()),
                    Acknowledged::Renewed(token) => self.http.renew(&token),
                    Acknowledged::Nothing => {}
                }
                Ok(())
            }
            Incoming::Pong => {
                self.talk.frames.push_back(PONG.to_owned());
                Ok(())
            }
            packet => self.talk.take(packet),
        }
    }

    fn write(&mut self, context: &mut Context<'_>) -> Result<bool, Lost> {
        let now = Instant::now();
        if !self.talk.out.is_empty() {
            self.wrote_at = now;
        } else if (now - self.wrote_at).as_secs() > u64::from(KEEP_ALIVE_S) / 2 {
            // Who only hears must say something now and then. (Who hears nothing either is asked by the session.)
            put_ping(&mut self.talk.out);
            self.wrote_at = now;
        }
        match self.talk.line.poll_write(&mut self.talk.out, context) {
            Poll::Ready(written) => written.map(|()| true),
            Poll::Pending => Ok(false),
        }
    }

    /// Moves everything on, until there is a frame to hand on or nothing more to do.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<String, Lost>> {
        let had_room = self.has_room();
        loop {
            self.publish()?;
            while let Some((_, read)) = self.reads.pop_front_if(|(before, _)| *before <= self.publishes.ended()) {
                self.calls.push(read);
            }
            self.write(context)?;
            if let Some(frame) = self.talk.frames.pop_front() {
                return Poll::Ready(Ok(frame));
            }
            if let Poll::Ready(answer) = self.calls.poll_answer(context) {
                return Poll::Ready(answer);
            }
            if let Some(packet) = self.talk.wire.read(&mut self.talk.input)? {
                self.on_packet(packet)?;
                continue;
            }
            if self.talk.line.poll_read(&mut self.talk.input, context)?.is_pending() {
                break;
            }
        }
        if !had_room && self.has_room() {
            // Whoever waits for room asks again.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl Open {
    /// Finishes what was said, says goodbye, and waits until the server has hung up: a line that is closed with something unread takes
    /// along what was written last.
    fn poll_goodbye(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if !self.is_leaving {
            while !self.is_idle() {
                ready!(self.poll(context))?;
            }
            put_disconnect(&mut self.talk.out)?;
            self.is_leaving = true;
        }
        ready!(self.talk.line.poll_write(&mut self.talk.out, context))?;
        ready!(self.talk.line.poll_close(context))?;
        while ready!(self.talk.line.poll_read(&mut self.talk.input, context)).is_ok() {
            self.talk.input.clear();
        }
        Poll::Ready(Ok(()))
    }
}

impl Link for MqttLink {
    fn acknowledges(&self) -> bool {
        true
    }

    fn acknowledge(&mut self) -> Result<(), Lost> {
        let State::Open(open) = &mut self.state else { return Ok(()) };
        match open.talk.deliveries.pop_front() {
            Some(packet_id) => put_puback(&mut open.talk.out, packet_id),
            None => Ok(()),
        }
    }
}

impl Stream for MqttLink {
    type Item = Result<String, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let State::Opening(opening) = &mut self.state {
            match ready!(opening.as_mut().poll(context)) {
                Ok(open) => self.state = State::Open(Box::new(open)),
                Err(lost) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(lost)));
                }
            }
        }
        match &mut self.state {
            State::Open(open) => open.poll(context).map(Some),
            State::Ended => Poll::Ready(None),
            State::Silent(_) | State::Opening(_) => Poll::Pending,
        }
    }
}

impl Sink<String> for MqttLink {
    type Error = Lost;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        match &self.state {
            State::Silent(_) => Poll::Ready(Ok(())),
            State::Open(open) if open.has_room() => Poll::Ready(Ok(())),
            // Whoever waits is woken by `poll_next`.
            State::Open(_) | State::Opening(_) | State::Ended => Poll::Pending,
        }
    }

    fn start_send(mut self: Pin<&mut Self>, text: String) -> Result<(), Lost> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Silent(opening) => match Request::parse(&text) {
                Ok(Request { command: Command::Hello(hello), .. }) => {
                    self.state = State::Opening(Box::pin(opening.open(hello)));
                    Ok(())
                }
                _ => Err(Lost::Broken("the first frame must be hello".to_owned())),
            },
            State::Open(mut open) => {
                let pushed = open.push(text);
                self.state = State::Open(open);
                pushed
            }
            state @ (State::Opening(_) | State::Ended) => {
                self.state = state;
                Err(Lost::Broken("nobody is there to hear it".to_owned()))
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        // What was taken leaves with the next look for answers.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        if let State::Open(open) = &mut self.state {
            ready!(open.poll_goodbye(context))?;
        }
        self.state = State::Ended;
        Poll::Ready(Ok(()))
    }
}
