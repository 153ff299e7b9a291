//! Who somebody is. In open mode a username is enough, and a token from `login` says the same to HTTP calls. In jwt mode a login
//! service signs tokens; in header mode a gateway says it. A ticket stands in once where a browser cannot send a header.

pub(crate) mod get;
mod key_store;
mod keys;
mod open_token;
mod strict_json;
mod tickets;
mod token;

use std::{net::IpAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hashbrown::HashMap;
use ipnet::IpNet;
use parking_lot::Mutex;
use precis_profiles::{UsernameCaseMapped, precis_core::profile::PrecisFastInvocation};
use rand::Rng;
use tidings_proto::{Code, DeviceId, UserId, frames::client::Hello};

use crate::{
    config::{self, AuthMode},
    home::{
        actor::Home,
        event::{HomeChange, HomeEvent},
        state::Device,
    },
    host::{Host, event::Part},
};

use self::{
    key_store::{KeyStore, Sources},
    keys::{Key, Keys},
    open_token::OpenTokens,
    tickets::Tickets,
    token::{Rules, Unverified},
};
use super::{
    execute::Caller,
    reply::{Answer, Reply},
};

pub use self::{
    key_store::KeyStoreError,
    open_token::TOKEN_PREFIX,
    tickets::{TICKET_LIFE, shard as ticket_shard},
};

/// A device's last-seen is stored anew after so long.
const DEVICE_SEEN_STEP_MS: u64 = 3_600_000;
/// Tokens whose signature was found right lately; full, all are forgotten.
const SEEN_MAX: usize = 50_000;
/// The device of calls that name none.
const UNNAMED_DEVICE: &str = "d-http";

/// Whom a token, a ticket or a gateway names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub user: UserId,
    /// `None`: the client says it.
    pub device: Option<DeviceId>,
    /// Unix milliseconds.
    pub issued_ms: u64,
    /// From this moment on it is good no more, in unix milliseconds.
    pub expires_ms: Option<u64>,
    /// What the directory calls the user.
    pub name: Option<Box<str>>,
}

impl Identity {
    pub fn new(user: UserId, device: DeviceId, issued_ms: u64) -> Self {
        Self { user, device: Some(device), issued_ms, expires_ms: None, name: None }
    }

    /// The same, on the device that the client names, unless it is bound to one.
    #[must_use]
    pub fn on(self, named: Option<DeviceId>) -> Self {
        Self { device: self.device.or(named), ..self }
    }
}

pub struct Auth {
    mode: Mode,
    tickets: Tickets,
    login_url: Option<String>,
    /// Of the secret that this server, or all nodes of its fleet, and nobody else has.
    relay_key: blake3::Hash,
}

enum Mode {
    Open(OpenTokens),
    Jwt(Box<Jwt>),
    Header { gateways: Vec<IpNet> },
}

struct Jwt {
    keys: Arc<KeyStore>,
    rules: Rules,
    /// By the token's hash: whom it names, and with which keys its signature was checked.
    seen: Mutex<HashMap<blake3::Hash, (Identity, u64)>>,
}

impl Auth {
    /// `secret` stays the same over restarts: the tokens of open mode are signed with it.
    pub async fn new(config: &config::Auth, secret: &str, now_ms: u64) -> Result<Self, KeyStoreError> {
        let mode = match config.mode {
            AuthMode::Open => Mode::Open(OpenTokens::new(secret)),
            AuthMode::Jwt => Mode::Jwt(Box::new(Jwt::open(config, now_ms).await?)),
            AuthMode::Header => Mode::Header { gateways: config.gateways.clone() },
        };
        let relay_key = blake3::derive_key("tidings 2026 what nodes relay", secret.as_bytes()).into();
        Ok(Self { mode, tickets: Tickets::default(), login_url: config.login_url.clone(), relay_key })
    }

    /// By it the nodes of a fleet know each other when one hands a client on.
    pub fn relay_key(&self) -> blake3::Hash {
        self.relay_key
    }

    /// Whether people log in here, with a name alone.
    pub fn is_open(&self) -> bool {
        matches!(self.mode, Mode::Open(_))
    }

    /// Where people log in, if it is told.
    pub fn login_url(&self) -> Option<&str> {
        self.login_url.as_deref()
    }

    /// The token that `login` gives in open mode.
    pub fn open_token(&self, user: &UserId, device: &DeviceId, now_ms: u64) -> Option<String> {
        match &self.mode {
            Mode::Open(tokens) => Some(tokens.token(user, device, now_ms)),
            Mode::Jwt(_) | Mode::Header { .. } => None,
        }
    }

    /// Whom a token names.
    pub async fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, Answer> {
        match &self.mode {
            Mode::Open(tokens) => {
                tokens.verify(token).ok_or_else(|| self.refuse("token: it was not given by this server; log in again"))
            }
            Mode::Jwt(jwt) => jwt.verify(token, now_ms).await.map_err(|wrong| self.refuse(wrong.to_string())),
            Mode::Header { .. } => Err(self.refuse("token: none is taken here; come through the gateway")),
        }
    }

    /// Whom a gateway at `peer` names with its headers: the user, and perhaps a display name.
    pub fn of_gateway(
        &self,
        peer: IpAddr,
        user: Option<&[u8]>,
        name: Option<&[u8]>,
    ) -> Result<Option<Identity>, Answer> {
        let (Mode::Header { gateways }, Some(user)) = (&self.mode, user) else { return Ok(None) };
        if !gateways.iter().any(|network| network.contains(&peer.to_canonical())) {
            return Err(self.refuse("X-Tidings-User: it is believed from gateways only (auth.gateways)"));
        }
        let user = std::str::from_utf8(user).ok().and_then(|user| UserId::new(user).ok());
        let user = user.ok_or_else(|| self.refuse("X-Tidings-User: this is no user's name"))?;
        let name = name.and_then(|name| std::str::from_utf8(name).ok()).filter(|name| !name.trim().is_empty());
        // The gateway vouches for each request anew: nothing was issued before a device was revoked.
        let name = name.map(|name| name.trim().into());
        Ok(Some(Identity { user, device: None, issued_ms: u64::MAX, expires_ms: None, name }))
    }

    /// Whether the page is for those alone who come with a token: then others are sent to the login service.
    pub fn guards_page(&self) -> Option<&str> {
        match self.mode {
            Mode::Jwt(_) => self.login_url(),
            Mode::Open(_) | Mode::Header { .. } => None,
        }
    }

    /// A ticket for one use within [`TICKET_LIFE`].
    pub fn ticket(&self, identity: Identity, now_ms: u64) -> String {
        self.tickets.give(identity, now_ms)
    }

    pub fn redeem(&self, ticket: &str, now_ms: u64) -> Result<Identity, Answer> {
        let identity = self.tickets.redeem(ticket, now_ms);
        identity.ok_or_else(|| self.refuse("the ticket was used or is too old; get another one"))
    }

    /// A refusal that says where to log in.
    pub fn refuse(&self, why: impl Into<String>) -> Answer {
        Answer::refused(Code::Unauthenticated, why).with(|refused| refused.login_url.clone_from(&self.login_url))
    }
}

impl Jwt {
    async fn open(config: &config::Auth, now_ms: u64) -> Result<Self, KeyStoreError> {
        let mut fixed: Vec<Key> = config.secret.iter().map(|secret| Key::secret(secret.expose())).collect();
        if let Some(text) = &config.keys {
            fixed.extend(Keys::parse(text).map_err(KeyStoreError::Settings)?);
        }
        let sources =
            Sources { file: config.keys_file.clone(), url: config.jwks_url.clone(), age_ms: config.keys_age_s * 1_000 };
        let rules = Rules {
            issuer: config.issuer.clone(),
            audience: config.audience.clone(),
            leeway_s: config.leeway_s,
            required: config.required_claims.clone(),
            user_claim: config.user_claim.clone(),
            name_claim: config.name_claim.clone(),
            device_claim: config.device_claim.clone(),
        };
        Ok(Self { keys: KeyStore::open(fixed, sources, now_ms).await?, rules, seen: Mutex::default() })
    }

    async fn verify(&self, token: &str, now_ms: u64) -> Result<Identity, token::Wrong> {
        self.keys.keep_fresh(now_ms);
        let hash = blake3::hash(token.as_bytes());
        let generation = self.keys.generation();
        if let Some((identity, with)) = self.seen.lock().get(&hash)
            && *with == generation
            && identity.expires_ms.is_some_and(|expires_ms| expires_ms > now_ms)
        {
            return Ok(identity.clone());
        }
        let unverified = Unverified::read(token)?;
        self.keys.check(&unverified, now_ms).await?;
        let identity = unverified.identity(&self.rules, now_ms)?;
        let mut seen = self.seen.lock();
        if seen.len() >= SEEN_MAX {
            seen.clear();
        }
        seen.insert(hash, (identity.clone(), generation));
        Ok(identity)
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

/// Whom a `hello` names; `shown` is whom the connection's own headers or ticket named already.
pub async fn identify(auth: &Auth, hello: &Hello, shown: Option<&Identity>, now_ms: u64) -> Result<Identity, Answer> {
    let identity = match (shown, &hello.token, &hello.username) {
        (Some(identity), ..) => identity.clone(),
        (None, Some(token), _) => auth.verify(token, now_ms).await?,
        (None, None, Some(name)) if auth.is_open() => {
            // Who says a name logs in now: nothing was issued before, however lately the device was signed out.
            Identity { user: username(name)?, device: None, issued_ms: u64::MAX, expires_ms: None, name: None }
        }
        (None, None, Some(_)) => {
            return Err(auth.refuse("token: a username is not enough here; log in and show a token"));
        }
        (None, None, None) => return Err(auth.refuse("username: say who you are, or show a token")),
    };
    let device = device(identity.device.clone().or_else(|| hello.device.clone()));
    Ok(identity.on(Some(device)))
}

/// Logs somebody in: the user and the device are known, durably, when this returns.
pub async fn log_in(host: &Arc<Host>, identity: &Identity) -> Result<Caller, Answer> {
    let home = host.home(&identity.user).await.map_err(|error| host.answer(error.into()))?;
    log_in_at(host, home, identity).await
}

/// The same, with the user's home.
pub async fn log_in_at(host: &Arc<Host>, home: Arc<Home>, identity: &Identity) -> Result<Caller, Answer> {
    let now_ms = host.clock.unix_ms();
    let unnamed = || DeviceId::new(UNNAMED_DEVICE).expect("it is a name");
    let id = identity.device.clone().unwrap_or_else(unnamed);
    let mut changes = Vec::new();
    let is_named_anew = {
        let inner = home.lock();
        let row = &inner.state.row;
        if !row.is_known() {
            changes.push(HomeChange::Known { at_ms: now_ms, name: None });
        }
        let device = row.devices.iter().find(|device| device.id == id);
        if device.is_some_and(|device| device.revoked_at_ms >= identity.issued_ms) {
            let refusal = Answer::refused(Code::Unauthenticated, "this device was signed out; log in again");
            return Err(refusal.with(|refused| refused.login_url.clone_from(&host.config.auth.login_url)));
        }
        if device.is_none_or(|device| device.seen_at_ms + DEVICE_SEEN_STEP_MS < now_ms || !device.is_valid()) {
            let at_ms = after_revocation(device, now_ms);
            changes.push(HomeChange::Device { device: id.clone(), at_ms });
        }
        #[cfg(feature = "next-format")]
        changes.extend(host.next.on_login(now_ms));
        identity.name.is_some() && row.profile.name != identity.name
    };
    if !changes.is_empty() {
        let (reply, answer) = Reply::to_call();
        let events = changes.into_iter().map(|change| HomeEvent { user: identity.user.clone(), change });
        host.commit(events.map(Part::Home).collect(), reply).await;
        done(answer).await?;
    }
    if is_named_anew {
        let (reply, answer) = Reply::to_call();
        let change = HomeChange::Profile { name: identity.name.clone(), picture: None, audience: None };
        host.change_profile(&identity.user, change, reply).await;
        done(answer).await?;
    }
    Ok(Caller { user: identity.user.clone(), device: id, home, expires_ms: identity.expires_ms })
}

/// The moment of a login: later than the device was signed out, also where that was in this same millisecond or the clock was
/// set back since.
pub fn login_ms(caller: &Caller, now_ms: u64) -> u64 {
    let home = caller.home.lock();
    after_revocation(home.state.row.devices.iter().find(|device| device.id == caller.device), now_ms)
}

fn after_revocation(device: Option<&Device>, now_ms: u64) -> u64 {
    match device {
        Some(device) if device.revoked_at_ms > 0 => now_ms.max(device.revoked_at_ms + 1),
        _ => now_ms,
    }
}

/// A new token for a session that lives: when it ends. It must be the same user's, and of the same device if it names one.
pub async fn renew(auth: &Auth, caller: &Caller, token: &str, now_ms: u64) -> Result<Option<u64>, Answer> {
    let identity = auth.verify(token, now_ms).await?;
    if identity.user != caller.user || identity.device.as_ref().is_some_and(|device| *device != caller.device) {
        return Err(Answer::refused(
            Code::Forbidden,
            "token: it is of another user or device; open another connection",
        ));
    }
    let revoked_at_ms = {
        let home = caller.home.lock();
        let device = home.state.row.devices.iter().find(|device| device.id == caller.device);
        device.map_or(0, |device| device.revoked_at_ms)
    };
    if revoked_at_ms >= identity.issued_ms {
        return Err(auth.refuse("token: it was given before this device was signed out; log in again"));
    }
    Ok(identity.expires_ms)
}

async fn done(answer: tokio::sync::oneshot::Receiver<Answer>) -> Result<(), Answer> {
    match answer.await {
        Ok(Answer::Done) => Ok(()),
        Ok(refused) => Err(refused),
        Err(_) => Err(Answer::unavailable()),
    }
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod name_tests {
    use super::*;

    #[test]
    fn usernames_differ_in_more_than_case() {
        assert_eq!(username("Ada").unwrap(), username("ada").unwrap());
        assert_eq!(username("ＡＤＡ").unwrap(), username("ada").unwrap());
        for wrong in ["", " ", "a b", "a\u{0}b", &"x".repeat(129)] {
            assert!(username(wrong).is_err(), "{wrong:?}");
        }
    }
}
