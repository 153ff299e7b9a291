//! CONNECT: who somebody is, which session goes on, and the answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tidings_proto::{Code, DeviceId, frames::client::Hello};
use tokio::time::{Instant, timeout_at};

use crate::{
    cluster::view::Node,
    home::kept::{Kept, KeptSession},
    session::{
        attachment::Attachment,
        auth::{Identity, identify, log_in, renew},
        execute::take_request,
        expiry::Expiry,
        reply::Answer,
    },
};

use super::{
    super::{admission::Later, expiry, relay::Found},
    connection::{Client, Connection, Elsewhere, End, RECEIVE_MAX, Session},
    seats::Seat,
    topics::ANSWER,
    wire::{Auth, Connack, Connect, Incoming, Reason, Refusal, Will},
};

/// The name of the login (MQTT 5 section 4.12) whose data is a token: one that may be renewed while the connection stands.
const METHOD: &str = "token";
/// Deliveries under way at once, at most: what is beyond stays in the log.
const WINDOW_MAX: u16 = 64;

impl Connection {
    /// Waits for CONNECT, lets its sender in, and answers.
    pub async fn connect(&mut self) -> Result<(Attachment, Box<Session>), End> {
        let (connect, heard) = self.read_connect().await?;
        let identity = self.identify(&connect).await.map_err(End::Refused)?;
        self.find_home(&identity, heard).await?;
        let caller = log_in(&self.edge.host, &identity).await.map_err(|answer| {
            answer.count(&self.edge.host.metrics);
            End::Refused(refusal(&answer))
        })?;
        let assigned = connect.client_id.is_empty().then(|| caller.device.clone());
        let busy = || End::Refused(Refusal::new(Reason::BUSY, "this client id is still busy elsewhere"));
        let seat = self.edge.mqtt.take(&caller.user, &caller.device).await.ok_or_else(busy)?;
        let refused = |answer: Answer| End::Refused(refusal(&answer));
        let (attachment, _) = Attachment::begin(&self.edge.host, &caller, None).await.map_err(refused)?;
        seat.attach(&attachment.outbox);
        let (session, is_present) = self.resume(&connect, &attachment, seat).await.map_err(refused)?;
        self.wire.put_connack(
            &mut self.out,
            &Connack {
                session_present: is_present,
                assigned: assigned.as_ref().map(DeviceId::as_str),
                receive_maximum: RECEIVE_MAX,
                max_packet_bytes: self.edge.host.config.limits.frame_bytes,
                method: connect.method.as_deref(),
                response_information: connect.wants_response_information.then_some(ANSWER),
            },
        );
        Ok((attachment, Box::new(session)))
    }

    /// Nobody is waited for longer, or listened to for more, than on any other transport. All that was said comes with it.
    async fn read_connect(&mut self) -> Result<(Connect, Vec<u8>), End> {
        let limits = &self.edge.host.config.limits;
        let (max_bytes, wait_ms) = (limits.unauthenticated_bytes, limits.unauthenticated_ms);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let (mut read_bytes, mut heard) = (0, Vec::new());
        loop {
            let before = self.input.len();
            timeout_at(deadline, self.fill()).await.unwrap_or(Err(End::Gone))?;
            heard.extend_from_slice(&self.input[before..]);
            let held = self.input.len();
            let packet = self.next_packet();
            read_bytes += held - self.input.len();
            if read_bytes > max_bytes {
                return Err(End::Gone);
            }
            match packet {
                Ok(None) => {}
                Ok(Some(Incoming::Connect(connect))) => return Ok((*connect, heard)),
                Err(reason @ Reason::UNSUPPORTED_VERSION) => return Err(End::Refused(Refusal::new(reason, ""))),
                // Who does not speak MQTT is not answered; a wrong CONNECT is.
                Err(reason) if self.wire.version.is_some() => return Err(End::Refused(Refusal::new(reason, ""))),
                Ok(Some(_)) | Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Whom CONNECT names, if it is one that can be let in.
    async fn identify(&mut self, connect: &Connect) -> Result<Identity, Refusal> {
        let refused = |reason, why: &str| Err(Refusal::new(reason, why));
        if let Err(later) = self.edge.admit(self.peer.client.ip()) {
            let (reason, why) = match later {
                Later::Address { .. } => (Reason::RATE, "too many connections from this address"),
                Later::Crowd { .. } => (Reason::BUSY, "too many come at once"),
            };
            let why = format!("{why}; come back in {} ms", later.wait_ms());
            return Err(Refusal { reason, why, retry_after_ms: Some(later.wait_ms()) });
        }
        if let Some(will) = connect.will {
            return Err(no_will(will));
        }
        if connect.method.as_deref().is_some_and(|method| method != METHOD) {
            return refused(
                Reason::BAD_METHOD,
                "log in by username, by password with a token, or by the method `token`",
            );
        }
        let is_empty = connect.client_id.is_empty();
        if is_empty && !self.wire.is_v5() && !connect.clean_start {
            return refused(Reason::CLIENT_ID, "a session that is to be kept needs a client id");
        }
        let device = match connect.client_id.as_str() {
            "" => None,
            name => Some(
                DeviceId::new(name).map_err(|error| Refusal::new(Reason::CLIENT_ID, format!("client id: {error}")))?,
            ),
        };
        let host = &self.edge.host;
        let identity = {
            let hello = self.hello(connect, device.clone());
            identify(&self.edge.auth, &hello, self.shown.as_ref(), host.clock.unix_ms()).await
        };
        match identity {
            Ok(identity) if device.is_some() && device != identity.device => {
                refused(Reason::CLIENT_ID, "the token is of another device: use its name as the client id")
            }
            Ok(identity) => Ok(identity),
            Err(answer) => {
                answer.count(&host.metrics);
                Err(refusal(&answer))
            }
        }
    }

    /// Goes on if this node serves the user. `heard`: what another one has to hear.
    async fn find_home(&mut self, identity: &Identity, heard: Vec<u8>) -> Result<(), End> {
        let is_shown = self.shown.is_some();
        let (edge, peer) = (&self.edge, &self.peer);
        let open = async |node: Arc<Node>| match is_shown {
            // A ticket or header of the WebSocket named the user, when this node still served them: it cannot be shown again.
            true => Err(std::io::ErrorKind::Unsupported.into()),
            false => edge.leg(&node, peer).await,
        };
        match edge.find(identity.user.shard(), peer, open).await {
            Found::Here => Ok(()),
            Found::There(leg) => Err(End::Elsewhere(Box::new(Elsewhere { leg, heard }))),
            Found::Nowhere => Err(End::Refused(refusal(&Answer::moving()))),
        }
    }

    /// CONNECT as the `hello` of other transports.
    fn hello(&self, connect: &Connect, device: Option<DeviceId>) -> Hello {
        // Where a username is enough, many clients give some password or other: only what is one of our tokens counts.
        let is_open = self.edge.auth.is_open();
        let is_token = |password: &String| !is_open || password.starts_with(crate::session::auth::TOKEN_PREFIX);
        let shown = || Some(String::from_utf8_lossy(connect.shown.as_deref()?).into_owned());
        let token = if connect.method.is_some() { shown() } else { connect.password.clone().filter(is_token) };
        Hello { username: connect.username.clone(), token, device, ..Hello::default() }
    }

    /// The session that goes on, or a new one. Tells whether there was one.
    async fn resume(
        &mut self,
        connect: &Connect,
        attachment: &Attachment,
        seat: Seat,
    ) -> Result<(Session, bool), Answer> {
        let (host, caller) = (self.edge.host.clone(), &attachment.caller);
        let now_ms = host.clock.unix_ms();
        let known = caller.home.lock().state.row.kept(&caller.device).cloned();
        let (known, published) =
            known.map_or((None, Vec::new()), |Kept { session, published, .. }| (session, published));
        let resumed = known.clone().filter(|known| !connect.clean_start && !known.is_over(now_ms));
        let is_present = resumed.is_some();
        let kept = KeptSession { expiry_s: connect.expiry_s, left_at_ms: 0, ..resumed.unwrap_or_default() };
        let is_kept = is_present || connect.expiry_s > 0;
        let wanted = is_kept.then(|| kept.clone());
        if wanted != known {
            host.keep_session(&caller.home, &caller.device, wanted, false).await?;
        }
        let keep_alive = Duration::from_secs(u64::from(connect.keep_alive_s)) * 3 / 2;
        let session = Session {
            kept,
            is_kept,
            deliveries: None,
            window: usize::from(connect.receive_maximum.min(WINDOW_MAX)),
            unanswered: Arc::default(),
            awaited: VecDeque::new(),
            first_awaited: 0,
            published: published.into(),
            keep_alive: (!keep_alive.is_zero()).then_some(keep_alive),
            heard_at: Instant::now(),
            expiry: expiry::of(&self.edge, caller),
            has_method: connect.method.is_some(),
            store_at: None,
            leave_at: None,
            frames: Vec::new(),
            _seat: seat,
        };
        Ok((session, is_present))
    }
}

impl Client {
    /// A new token for the connection that stands (MQTT 5 section 4.12.1).
    pub async fn on_auth(&mut self, auth: Auth) -> Result<(), End> {
        if !self.session.has_method || auth.reason != Reason::REAUTHENTICATE || auth.method.as_deref() != Some(METHOD) {
            return Err(End::Fault(Reason::PROTOCOL_ERROR));
        }
        let token =
            String::from_utf8(auth.shown.unwrap_or_default()).map_err(|_| End::Fault(Reason::NOT_AUTHORIZED))?;
        let edge = self.connection.edge.clone();
        take_request(&edge.host, &self.attachment.caller).map_err(|_| End::Fault(Reason::RATE))?;
        match renew(&edge.auth, &self.attachment.caller, &token, edge.host.clock.unix_ms()).await {
            Ok(expires_ms) => {
                self.session.expiry = Expiry::new(expiry::on_clock(&edge, expires_ms));
                self.connection.wire.put_auth(&mut self.connection.out, METHOD);
                Ok(())
            }
            Err(refusal) => {
                refusal.count(&edge.host.metrics);
                Err(End::Fault(Reason::NOT_AUTHORIZED))
            }
        }
    }

    /// What a session that goes on is owed.
    pub async fn begin(&mut self) -> Result<(), End> {
        match self.session.kept.inbox {
            Some(inbox) => self.begin_deliveries(inbox).await,
            None => Ok(()),
        }
    }
}

/// Nobody speaks here after they are gone.
fn no_will(will: Will) -> Refusal {
    let reason = match will {
        Will { retain: true, .. } => Reason::NO_RETAIN,
        Will { qos: 2, .. } => Reason::QOS,
        Will { .. } => Reason::TOPIC_NAME,
    };
    Refusal::new(reason, "wills are not offered: others learn from presence that somebody is gone")
}

fn refusal(answer: &Answer) -> Refusal {
    let Answer::Refused(refused) = answer else { return Refusal::new(Reason::UNSPECIFIED, "") };
    let reason = match refused.code {
        Code::Unauthenticated | Code::BadRequest => Reason::BAD_LOGIN,
        Code::Forbidden | Code::Blocked => Reason::NOT_AUTHORIZED,
        Code::RateLimited | Code::LimitReached => Reason::RATE,
        Code::Unavailable => Reason::UNAVAILABLE,
        _ => Reason::UNSPECIFIED,
    };
    Refusal { reason, why: refused.message.clone(), retry_after_ms: refused.retry_after_ms }
}
