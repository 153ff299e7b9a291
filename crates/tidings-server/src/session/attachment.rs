//! A session on a transport that has no socket of its own: attached to its user's home while this lives.

use std::sync::Arc;

use bytes::Bytes;
use tidings_proto::frames::server::{ServerFrame, Welcome};

use crate::{
    home::{inbox, inbox::Differences, sync::Token},
    host::{Host, feed::Attached},
};

use super::{
    execute::Caller,
    outbox::{Next, Outbox},
    reply::Answer,
};

/// Dropped, it ends the session, also where the transport just vanishes.
pub struct Attachment {
    host: Arc<Host>,
    pub caller: Caller,
    pub outbox: Arc<Outbox>,
}

impl Attachment {
    /// From now on the outbox gets everything. What differs since `since` comes with it.
    pub async fn begin(
        host: &Arc<Host>,
        caller: &Caller,
        since: Option<Option<Token>>,
    ) -> Result<(Self, Attached), Answer> {
        let outbox = Arc::new(Outbox::new(host.config.limits.outbox_bytes));
        let attached = host.attach(&caller.home, &caller.device, &outbox, since).await;
        let attached = attached.map_err(|error| host.answer(error))?;
        host.metrics.sessions.inc();
        Ok((Self { host: host.clone(), caller: caller.clone(), outbox }, attached))
    }

    /// What waits, in order, and the token of one who has got it all.
    pub fn take(&self, into: &mut Vec<Bytes>) -> (Next, String) {
        // Whatever raises the home's version is handed to its sessions under this lock.
        let home = self.caller.home.lock();
        let next = self.outbox.take(into, usize::MAX);
        (next, self.host.token(&home.state))
    }

    /// What changed since `since`, asked anew.
    pub async fn changes_since(&self, since: Option<Token>) -> Result<Differences, Answer> {
        let home = &self.caller.home;
        self.host.ask_large(home).await.map_err(|error| self.host.answer(error))?;
        Ok(inbox::differences(&home.lock().state, since))
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        self.host.metrics.sessions.dec();
        self.host.detach(&self.caller.home, &self.outbox);
    }
}

/// The first frame of a session. A client that came by another node (`is_relayed`) is told where it is served.
pub fn welcome(host: &Host, caller: &Caller, outbox: &Outbox, token: String, is_relayed: bool) -> String {
    let welcome = Welcome {
        user: caller.user.clone(),
        device: caller.device.clone(),
        session: format!("s-{}", outbox.session.0),
        sync: token,
        prefer: host.config.node.public_url.clone().filter(|_| is_relayed),
        heartbeat_s: host.config.limits.heartbeat_s,
        limits: host.rules.limits.clone(),
        features: if cfg!(feature = "next-format") { vec!["next".to_owned()] } else { Vec::new() },
    };
    let welcome = ServerFrame::Welcome(welcome).to_json();
    if cfg!(feature = "next-format") {
        // A field that clients of this version do not know.
        return welcome.replacen('{', "{\"next\":{\"is\":[1]},", 1);
    }
    welcome
}
