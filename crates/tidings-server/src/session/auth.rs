//! Who somebody is. In open mode a username is enough; a token from `login` says the same to HTTP calls, and a ticket stands in
//! for it once where a browser cannot send a header.

use std::{collections::HashMap, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::Mutex;
use precis_profiles::{UsernameCaseMapped, precis_core::profile::PrecisFastInvocation};
use rand::Rng;
use tidings_proto::{Code, DeviceId, UserId, frames::client::Hello};

use crate::{
    home::event::{HomeChange, HomeEvent},
    host::{Host, event::Part},
};

use super::{
    execute::Caller,
    reply::{Answer, Reply},
};

const TOKEN_PREFIX: &str = "tdo1_";
pub const TICKET_LIFE: Duration = Duration::from_secs(30);
/// Tickets that wait to be used; the oldest goes first.
const TICKETS_MAX: usize = 100_000;
/// A device's last-seen is stored anew after so long.
const DEVICE_SEEN_STEP_MS: u64 = 3_600_000;

/// What a token or ticket says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    pub device: DeviceId,
    /// Unix milliseconds.
    pub issued_ms: u64,
}

pub struct Auth {
    key: [u8; 32],
    /// By ticket: whose, and until when (unix milliseconds).
    tickets: Mutex<HashMap<String, (Identity, u64)>>,
}

impl Auth {
    /// `secret` stays the same over restarts: tokens are signed with a key made of it.
    pub fn new(secret: &str) -> Self {
        Self {
            key: blake3::derive_key("tidings 2026 tokens of the open mode", secret.as_bytes()),
            tickets: Mutex::default(),
        }
    }

    pub fn token(&self, identity: &Identity) -> String {
        let claims = format!("{}\0{}\0{}", identity.user, identity.device, identity.issued_ms);
        let mac = blake3::keyed_hash(&self.key, claims.as_bytes());
        format!("{TOKEN_PREFIX}{}.{}", URL_SAFE_NO_PAD.encode(&claims), URL_SAFE_NO_PAD.encode(mac.as_bytes()))
    }

    /// Whom a token names. `None`: it was not made here.
    pub fn verify(&self, token: &str) -> Option<Identity> {
        let (claims, mac) = token.strip_prefix(TOKEN_PREFIX)?.split_once('.')?;
        let claims = URL_SAFE_NO_PAD.decode(claims).ok()?;
        let mac: [u8; 32] = URL_SAFE_NO_PAD.decode(mac).ok()?.try_into().ok()?;
        // The comparison of hashes takes the same time wherever they differ.
        if blake3::keyed_hash(&self.key, &claims) != blake3::Hash::from(mac) {
            return None;
        }
        let claims = String::from_utf8(claims).ok()?;
        let mut parts = claims.split('\0');
        let (user, device, issued) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Identity {
            user: UserId::new(user).ok()?,
            device: DeviceId::new(device).ok()?,
            issued_ms: issued.parse().ok()?,
        })
    }

    /// A ticket for one use within [`TICKET_LIFE`].
    pub fn ticket(&self, identity: Identity, now_ms: u64) -> String {
        let ticket = URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 24]>());
        let mut tickets = self.tickets.lock();
        if tickets.len() >= TICKETS_MAX {
            tickets.retain(|_, (_, until_ms)| *until_ms > now_ms);
        }
        if tickets.len() < TICKETS_MAX {
            tickets.insert(ticket.clone(), (identity, now_ms + u64::try_from(TICKET_LIFE.as_millis()).unwrap_or(0)));
        }
        ticket
    }

    pub fn redeem(&self, ticket: &str, now_ms: u64) -> Option<Identity> {
        let (identity, until_ms) = self.tickets.lock().remove(ticket)?;
        (until_ms > now_ms).then_some(identity)
    }
}

/// A username as RFC 8265 section 3.3 prepares it: case and width do not matter.
pub fn username(text: &str) -> Result<UserId, Answer> {
    let refused = |why: String| Answer::refused(Code::BadRequest, format!("username: {why}"));
    let prepared = UsernameCaseMapped::enforce(text).map_err(|_| {
        refused(format!("{text:?} is no username; use letters, digits and signs such as . _ - without spaces"))
    })?;
    UserId::new(&prepared).map_err(|error| refused(error.to_string()))
}

/// A device's name, given or made.
pub fn device(given: Option<DeviceId>) -> DeviceId {
    given.unwrap_or_else(|| {
        let name = format!("d-{}", URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 12]>()));
        DeviceId::new(&name).expect("18 letters and digits are a name")
    })
}

/// Whom a `hello` names.
pub fn identify(auth: &Auth, hello: &Hello, now_ms: u64) -> Result<Identity, Answer> {
    match (&hello.token, &hello.username) {
        (Some(token), _) => auth.verify(token).ok_or_else(|| {
            Answer::refused(Code::Unauthenticated, "token: it was not given by this server; log in again")
        }),
        (None, Some(name)) => {
            let user = username(name)?;
            Ok(Identity { user, device: device(hello.device.clone()), issued_ms: now_ms })
        }
        (None, None) => Err(Answer::refused(Code::Unauthenticated, "username: say who you are, or show a token")),
    }
}

/// Logs somebody in: the user and the device are known, durably, when this returns.
pub async fn log_in(host: &Arc<Host>, identity: &Identity) -> Result<Caller, Answer> {
    let home = host.home(&identity.user).await.map_err(|error| host.answer(error.into()))?;
    let now_ms = host.clock.unix_ms();
    let mut changes = Vec::new();
    {
        let inner = home.lock();
        let row = &inner.state.row;
        if !row.is_known() {
            changes.push(HomeChange::Known { at_ms: now_ms, name: None });
        }
        let device = row.devices.iter().find(|device| device.id == identity.device);
        if device.is_some_and(|device| device.revoked_at_ms >= identity.issued_ms) {
            return Err(Answer::refused(Code::Unauthenticated, "this device was signed out; log in again"));
        }
        if device.is_none_or(|device| device.seen_at_ms + DEVICE_SEEN_STEP_MS < now_ms) {
            changes.push(HomeChange::Device { device: identity.device.clone(), at_ms: now_ms });
        }
    }
    if !changes.is_empty() {
        let (reply, answer) = Reply::to_call();
        let events = changes.into_iter().map(|change| HomeEvent { user: identity.user.clone(), change });
        host.commit(events.map(Part::Home).collect(), reply).await;
        match answer.await {
            Ok(Answer::Done) => {}
            Ok(refused) => return Err(refused),
            Err(_) => return Err(Answer::unavailable()),
        }
    }
    Ok(Caller { user: identity.user.clone(), device: identity.device.clone(), home })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ada() -> Identity {
        Identity { user: UserId::new("ada").unwrap(), device: DeviceId::new("laptop").unwrap(), issued_ms: 7 }
    }

    #[test]
    fn a_token_is_believed_as_it_was_given_only() {
        let auth = Auth::new("secret");
        let token = auth.token(&ada());
        assert_eq!(auth.verify(&token), Some(ada()));
        assert_eq!(Auth::new("other").verify(&token), None);
        for at in 0..token.len() {
            let mut wrong = token.clone().into_bytes();
            wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
            assert_ne!(auth.verify(std::str::from_utf8(&wrong).unwrap()), Some(ada()), "byte {at}");
        }
    }

    #[test]
    fn a_ticket_is_good_once_and_not_for_long() {
        let auth = Auth::new("secret");
        let ticket = auth.ticket(ada(), 1_000);
        assert_eq!(auth.redeem(&ticket, 30_999), Some(ada()));
        assert_eq!(auth.redeem(&ticket, 30_999), None);
        assert_eq!(auth.redeem(&auth.ticket(ada(), 1_000), 31_000), None);
    }

    #[test]
    fn usernames_differ_in_more_than_case() {
        assert_eq!(username("Ada").unwrap(), username("ada").unwrap());
        assert_eq!(username("ＡＤＡ").unwrap(), username("ada").unwrap());
        for wrong in ["", " ", "a b", "a\u{0}b", &"x".repeat(129)] {
            assert!(username(wrong).is_err(), "{wrong:?}");
        }
    }
}
