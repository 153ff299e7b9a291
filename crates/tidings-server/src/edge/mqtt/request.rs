//! What a client publishes: carried out as any other request, and acknowledged in the order in which it came, when it is
//! durable.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_proto::{
    CloseCode, Code,
    frames::{
        FrameError, RequestId,
        client::{Command, Request},
        server::{Beat, Expiring, Refused, ServerFrame},
    },
};

use crate::{
    home::kept::{PUBLISHED_MAX, Published},
    session::{
        auth::renew,
        execute::{act, act_with, is_read, paced, read, take_rates},
        expiry::Expiry,
        reply::{Answer, Reply},
    },
};

use super::{
    super::expiry,
    connection::{Client, Done, End},
    publish::{self, Wanted},
    topics::Source,
    wire::{Delivery, Publish, Reason},
};

/// How long a warning that nobody heard waits for somebody.
const WARN_AGAIN_MS: u64 = 1_000;

/// A publish on its way.
#[derive(Debug)]
pub struct Awaited {
    /// Of one that is to be acknowledged.
    packet_id: Option<u16>,
    purpose: Purpose,
    answer: Option<ServerFrame<'static>>,
    /// The answer as it is to be sent, where that is made already.
    text: Option<String>,
}

#[derive(Debug)]
enum Purpose {
    Send,
    Request(Back),
}

/// Where the answer to a request goes.
#[derive(Debug)]
struct Back {
    id: Option<RequestId>,
    /// None: to [`Source::Answer`].
    topic: Option<String>,
    correlation: Option<Vec<u8>>,
}

impl Client {
    pub async fn on_publish(&mut self, publish: Publish) -> Done {
        let rules = self.connection.edge.host.rules.limits.clone();
        let wanted = publish::read(&publish, &rules);
        let is_request = publish.topic == "tidings/request";
        let purpose = if is_request {
            let id = match &wanted {
                Ok(Wanted::Request(request)) => request.id.clone(),
                Ok(Wanted::Send { .. }) => None,
                Err(error) => error.id.clone(),
            };
            Purpose::Request(Back {
                id,
                topic: publish.response_topic.clone(),
                correlation: publish.correlation.clone(),
            })
        } else {
            Purpose::Send
        };
        let number = self.session.first_awaited + i64::try_from(self.session.awaited.len()).unwrap_or(0);
        self.session.awaited.push_back(Awaited { packet_id: publish.packet_id, purpose, answer: None, text: None });
        match wanted {
            Ok(Wanted::Send { command, is_named }) => self.send(number, &publish, command, is_named).await,
            Ok(Wanted::Request(request)) => self.request(number, request).await,
            Err(FrameError { code, message, .. }) => {
                let refusal = Answer::refused(code, message);
                refusal.count(&self.connection.edge.host.metrics);
                self.answered(number, refusal.into_frame(None))
            }
        }
    }

    async fn send(&mut self, number: i64, publish: &Publish, mut command: Command, is_named: bool) -> Done {
        let mut with = None;
        if let (Command::Send(send), false) = (&mut command, is_named) {
            send.client_msg_id = match publish.packet_id {
                Some(packet_id) => {
                    let published = self.remember(publish, packet_id);
                    let client_msg_id = published.client_msg_id.to_string();
                    with = Some(self.remembered(published));
                    client_msg_id
                }
                None => new_client_msg_id(),
            };
        }
        let host = self.connection.edge.host.clone();
        host.metrics.frames_in.of(command.kind()).inc();
        let Some(reply) = self.admit(number, &command).await? else { return Ok(()) };
        let caller = self.attachment.caller.clone();
        self.drive(async move { act_with(&host, &caller, command, with, reply).await }).await
    }

    /// The same publish again has the same `client_msg_id`, so that it becomes one entry. One that a client sends anew has
    /// a new one, whatever its packet id and payload are.
    fn remember(&mut self, publish: &Publish, packet_id: u16) -> Published {
        let hash = publish::hash(publish);
        let known = &mut self.session.published;
        let is_same = |known: &&Published| known.packet_id == packet_id && known.hash == hash;
        if let Some(known) = known.iter().find(is_same).filter(|_| publish.dup) {
            return known.clone();
        }
        known.retain(|other| other.packet_id != packet_id);
        if known.len() >= PUBLISHED_MAX {
            known.pop_front();
        }
        let published = Published { packet_id, hash, client_msg_id: new_client_msg_id().into() };
        known.push_back(published.clone());
        published
    }

    /// A way back for the answer, when the client's rate allows the request; else it is refused.
    async fn admit(&mut self, number: i64, command: &Command) -> Result<Option<Reply>, End> {
        let host = self.connection.edge.host.clone();
        let has_echo = !self.session.kept.inbox.is_some_and(|inbox| inbox.no_local);
        let (outbox, unanswered) = (self.attachment.outbox.clone(), self.session.unanswered.begin());
        let reply = Reply::to_session(Some(RequestId::Number(number)), outbox, unanswered);
        let reply = reply.counted(&host.metrics).with_echo(has_echo);
        match self.pace(command).await? {
            Ok(()) => Ok(Some(reply)),
            Err(refusal) => {
                reply.answer(refusal);
                Ok(None)
            }
        }
    }

    /// Waits as long as the rates have it. The inner `Err`: too much waits already.
    async fn pace(&mut self, command: &Command) -> Result<Result<(), Answer>, End> {
        let host = self.connection.edge.host.clone();
        let taken = take_rates(&host, &self.attachment.caller, command);
        self.drive(paced(taken)).await
    }

    async fn request(&mut self, number: i64, request: Request) -> Done {
        let Request { id, command } = request;
        let host = self.connection.edge.host.clone();
        host.metrics.frames_in.of(command.kind()).inc();
        let caller = self.attachment.caller.clone();
        if is_read(&command) {
            if let Err(refusal) = self.pace(&command).await? {
                refusal.count(&host.metrics);
                return self.answered(number, refusal.into_frame(id));
            }
            // It sees all that was asked on this connection before.
            let unanswered = self.session.unanswered.clone();
            self.drive(async move { unanswered.all_answered().await }).await?;
            let text = self.drive(async move {
                match read(&host, &caller, id.clone(), command).await {
                    Ok(frame) => frame,
                    Err(refusal) => refusal.into_frame(id).to_json(),
                }
            });
            let text = text.await?;
            return self.answered_by(number, text);
        }
        if matches!(command, Command::Ping(_)) {
            return self.answered(number, ServerFrame::Pong(Beat { re: id }));
        }
        let Some(reply) = self.admit(number, &command).await? else { return Ok(()) };
        let outbox = self.attachment.outbox.clone();
        match command {
            Command::Typing(typing) => {
                let typed = host.typing(&caller.user, typing.conversation, outbox.session).await;
                reply.answer(typed.map_or_else(|error| host.answer(error), |()| Answer::Done));
                Ok(())
            }
            Command::Watch(watch) => {
                let watched = host.watch(&caller.user, &outbox, &watch.users).await;
                reply.answer(watched.map_or_else(|error| host.answer(error), |()| Answer::Done));
                Ok(())
            }
            Command::Auth(auth) => {
                let edge = self.connection.edge.clone();
                let renewed = renew(&edge.auth, &caller, &auth.token, host.clock.unix_ms()).await;
                if let Ok(expires_ms) = &renewed {
                    self.session.expiry = Expiry::new(expiry::on_clock(&edge, *expires_ms));
                }
                reply.answer(renewed.map_or_else(|refusal| refusal, |_| Answer::Done));
                Ok(())
            }
            command => self.drive(async move { act(&host, &caller, command, reply).await }).await,
        }
    }

    /// The answer to one of the awaited publishes is there. What is answered in front goes out.
    pub fn answered(&mut self, number: i64, answer: ServerFrame<'static>) -> Done {
        let place = usize::try_from(number - self.session.first_awaited).ok();
        if let Some(awaited) = place.and_then(|place| self.session.awaited.get_mut(place)) {
            awaited.answer = Some(answer);
        }
        while self.session.awaited.front().is_some_and(|awaited| awaited.answer.is_some() || awaited.text.is_some()) {
            let Some(awaited) = self.session.awaited.pop_front() else { break };
            self.session.first_awaited += 1;
            self.acknowledge(awaited)?;
        }
        Ok(())
    }

    /// A read is answered with a frame that is made.
    fn answered_by(&mut self, number: i64, text: String) -> Done {
        let place = usize::try_from(number - self.session.first_awaited).ok();
        if let Some(awaited) = place.and_then(|place| self.session.awaited.get_mut(place)) {
            awaited.text = Some(text);
        }
        self.answered(-1, ServerFrame::Ok(tidings_proto::frames::server::Answered { re: None }))
    }

    fn acknowledge(&mut self, awaited: Awaited) -> Done {
        let Awaited { packet_id, purpose, answer, text } = awaited;
        let refused = match &answer {
            Some(ServerFrame::Error(refused)) => Some(refused.clone()),
            _ => None,
        };
        let is_v5 = self.connection.wire.is_v5();
        if let Some(refused) = refused.as_ref().filter(|refused| refused.code == Code::Unavailable && !is_v5) {
            tracing::debug!(why = refused.message, "a publish is left unacknowledged");
            // Version 3.1.1 cannot say that the outcome is not known: the client is to send it again.
            if packet_id.is_some() {
                return Err(End::Close(CloseCode::TryLater));
            }
        }
        match purpose {
            Purpose::Send => {
                if let Some(refused) = refused.as_ref().filter(|_| !is_v5 || packet_id.is_none()) {
                    self.tell(&ServerFrame::Error(refused.clone()).to_json(), &None, None);
                }
            }
            Purpose::Request(Back { id, topic, correlation }) => {
                // Without a name only refusals are told, as on every transport; but who says where to wants to know.
                let is_wanted = id.is_some() || refused.is_some() || topic.is_some() || correlation.is_some();
                let text = text.or_else(|| answer.as_ref().map(|answer| named(answer.clone(), id).to_json()));
                if let Some(text) = text.filter(|_| is_wanted) {
                    self.tell(&text, &topic, correlation.as_deref());
                }
            }
        }
        let Some(packet_id) = packet_id else { return Ok(()) };
        let (wire, out) = (&self.connection.wire, &mut self.connection.out);
        match (refused, answer) {
            (Some(refused), _) => {
                let wait = refused.retry_after_ms.map(|wait| wait.to_string());
                let mut properties = vec![("code", refused.code.as_str()), ("message", refused.message.as_str())];
                properties.extend(wait.iter().map(|wait| ("retry_after_ms", wait.as_str())));
                properties.extend(refused.users.iter().map(|user| ("user", user.as_str())));
                wire.put_puback(out, packet_id, publish::reason(refused.code), &properties);
            }
            (None, Some(ServerFrame::Sent(sent) | ServerFrame::Created(sent))) => {
                let (conversation, seq) = (sent.conversation.to_string(), sent.seq.to_string());
                let at = sent.at.to_string();
                let mut properties =
                    vec![("conversation", conversation.as_str()), ("seq", seq.as_str()), ("at", at.as_str())];
                properties.extend(sent.repeat.then_some(("repeat", "true")));
                wire.put_puback(out, packet_id, Reason::SUCCESS, &properties);
            }
            (None, _) => wire.put_puback(out, packet_id, Reason::SUCCESS, &[]),
        }
        Ok(())
    }

    /// Tells that the token ends soon: where the client hears answers, else where it hears what happens. Who has not subscribed
    /// yet is told when it has.
    pub fn warn(&mut self, in_s: u64, now_ms: u64) {
        let (answer, live) = (self.session.kept.answer, self.session.kept.live);
        if !answer && !live {
            self.session.expiry.warn_again(now_ms + WARN_AGAIN_MS);
            return;
        }
        self.session.expiry.warned();
        let frame = ServerFrame::Expiring(Expiring { in_s }).to_json();
        if answer {
            self.tell(&frame, &None, None);
        } else {
            self.publish(Source::Live, None, frame.as_bytes());
        }
    }

    /// Publishes an answer where the client wants it: where it said, or on its own topic if it listens there.
    fn tell(&mut self, text: &str, topic: &Option<String>, correlation: Option<&[u8]>) {
        let answer = Source::Answer;
        let (topic, place) = match topic {
            Some(topic) => (topic.as_str(), None),
            None if self.session.kept.answer => (answer.topic(), Some(answer.place())),
            None => return,
        };
        let delivery = Delivery { topic, place, packet_id: None, payload: text.as_bytes(), correlation };
        self.connection.edge.host.metrics.sent(text.as_bytes());
        self.connection.wire.put_publish(&mut self.connection.out, &delivery);
    }
}

/// The answer under the name that the client gave its request.
fn named(answer: ServerFrame<'static>, re: Option<RequestId>) -> ServerFrame<'static> {
    match answer {
        ServerFrame::Sent(sent) => ServerFrame::Sent(tidings_proto::frames::server::Sent { re, ..sent }),
        ServerFrame::Created(sent) => ServerFrame::Created(tidings_proto::frames::server::Sent { re, ..sent }),
        ServerFrame::Ok(_) => ServerFrame::Ok(tidings_proto::frames::server::Answered { re }),
        ServerFrame::Pong(_) => ServerFrame::Pong(Beat { re }),
        ServerFrame::Error(refused) => ServerFrame::Error(Refused { re, ..refused }),
        other => other,
    }
}

/// For a message whose sender gave none.
fn new_client_msg_id() -> String {
    format!("q-{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>()))
}
