//! CONNECT: who somebody is, which session goes on, and the answer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tidings_proto::{Code, DeviceId, frames::client::Hello};
use tokio::time::{Instant, timeout_at};

use crate::{
    home::kept::{Kept, KeptSession},
    session::{
        attachment::Attachment,
        auth::{identify, log_in},
        execute::Caller,
        reply::Answer,
    },
};

use super::{
    super::expiry,
    connection::{Client, Connection, End, RECEIVE_MAX, Session},
    seats::Seat,
    topics::ANSWER,
    wire::{Connack, Connect, Incoming, Reason, Will},
};

/// Deliveries under way at once, at most: what is beyond stays in the log.
const WINDOW_MAX: u16 = 64;

impl Connection {
    /// Waits for CONNECT, lets its sender in, and answers.
    pub async fn connect(&mut self) -> Result<(Attachment, Box<Session>), End> {
        let connect = self.read_connect().await?;
        let (caller, assigned) = self.let_in(&connect).await.map_err(|(reason, why)| End::Refused(reason, why))?;
        let busy = || End::Refused(Reason::BUSY, "this client id is still busy elsewhere".to_owned());
        let seat = self.edge.mqtt.take(&caller.user, &caller.device).await.ok_or_else(busy)?;
        let refused = |answer: Answer| {
            let (reason, why) = refusal(&answer);
            End::Refused(reason, why)
        };
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
                response_information: connect.wants_response_information.then_some(ANSWER),
            },
        );
        Ok((attachment, Box::new(session)))
    }

    /// Nobody is waited for longer, or listened to for more, than on any other transport.
    async fn read_connect(&mut self) -> Result<Connect, End> {
        let limits = &self.edge.host.config.limits;
        let (max_bytes, wait_ms) = (limits.unauthenticated_bytes, limits.unauthenticated_ms);
        let deadline = Instant::now() + Duration::from_millis(wait_ms);
        let mut read_bytes = 0;
        loop {
            timeout_at(deadline, self.fill()).await.unwrap_or(Err(End::Gone))?;
            let held = self.input.len();
            let packet = self.next_packet();
            read_bytes += held - self.input.len();
            if read_bytes > max_bytes {
                return Err(End::Gone);
            }
            match packet {
                Ok(None) => {}
                Ok(Some(Incoming::Connect(connect))) => return Ok(*connect),
                Err(reason @ Reason::UNSUPPORTED_VERSION) => return Err(End::Refused(reason, String::new())),
                // Who does not speak MQTT is not answered; a wrong CONNECT is.
                Err(reason) if self.wire.version.is_some() => return Err(End::Refused(reason, String::new())),
                Ok(Some(_)) | Err(_) => return Err(End::Gone),
            }
        }
    }

    /// Logs in. Tells the device's name as well, if the server made it.
    async fn let_in(&mut self, connect: &Connect) -> Result<(Caller, Option<DeviceId>), (Reason, String)> {
        let refused = |reason, why: &str| Err((reason, why.to_owned()));
        if self.edge.admit(self.address).is_err() {
            return refused(Reason::RATE, "too many connections from this address; wait a little");
        }
        if let Some(will) = connect.will {
            return Err(no_will(will));
        }
        if connect.has_method {
            return refused(Reason::BAD_METHOD, "log in by username, or by password with a token");
        }
        let is_empty = connect.client_id.is_empty();
        if is_empty && !self.wire.is_v5() && !connect.clean_start {
            return refused(Reason::CLIENT_ID, "a session that is to be kept needs a client id");
        }
        let device = match connect.client_id.as_str() {
            "" => None,
            name => Some(DeviceId::new(name).map_err(|error| (Reason::CLIENT_ID, format!("client id: {error}")))?),
        };
        let host = &self.edge.host;
        let identity = {
            let hello = self.hello(connect, device.clone());
            identify(&self.edge.auth, &hello, self.shown.as_ref(), host.clock.unix_ms()).await
        };
        let caller = match identity {
            Ok(identity) if device.is_some() && device != identity.device => {
                return refused(Reason::CLIENT_ID, "the token is of another device: use its name as the client id");
            }
            Ok(identity) => log_in(host, &identity).await,
            Err(answer) => Err(answer),
        };
        let caller = caller.map_err(|answer| {
            answer.count(&host.metrics);
            refusal(&answer)
        })?;
        let assigned = is_empty.then(|| caller.device.clone());
        Ok((caller, assigned))
    }

    /// CONNECT as the `hello` of other transports.
    fn hello(&self, connect: &Connect, device: Option<DeviceId>) -> Hello {
        // Where a username is enough, many clients give some password or other: only what is one of our tokens counts.
        let is_open = self.edge.auth.is_open();
        let is_token = |password: &String| !is_open || password.starts_with(crate::session::auth::TOKEN_PREFIX);
        let token = connect.password.clone().filter(is_token);
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
            expires_at: expiry::of(&self.edge, caller),
            store_at: None,
            leave_at: None,
            frames: Vec::new(),
            _seat: seat,
        };
        Ok((session, is_present))
    }
}

impl Client {
    /// What a session that goes on is owed.
    pub async fn begin(&mut self) -> Result<(), End> {
        match self.session.kept.inbox {
            Some(inbox) => self.begin_deliveries(inbox).await,
            None => Ok(()),
        }
    }
}

/// Nobody speaks here after they are gone.
fn no_will(will: Will) -> (Reason, String) {
    let reason = match will {
        Will { retain: true, .. } => Reason::NO_RETAIN,
        Will { qos: 2, .. } => Reason::QOS,
        Will { .. } => Reason::TOPIC_NAME,
    };
    (reason, "wills are not offered: others learn from presence that somebody is gone".to_owned())
}

fn refusal(answer: &Answer) -> (Reason, String) {
    let Answer::Refused(refused) = answer else { return (Reason::UNSPECIFIED, String::new()) };
    let reason = match refused.code {
        Code::Unauthenticated | Code::BadRequest => Reason::BAD_LOGIN,
        Code::Forbidden | Code::Blocked => Reason::NOT_AUTHORIZED,
        Code::RateLimited | Code::LimitReached => Reason::RATE,
        Code::Unavailable => Reason::UNAVAILABLE,
        _ => Reason::UNSPECIFIED,
    };
    (reason, refused.message.clone())
}
