//! How a WebSocket session begins: `hello`, `welcome`, and what a client that resumes has missed.

use std::sync::Arc;

use axum::extract::ws::{Message, Utf8Bytes};
use futures_util::StreamExt;
use tidings_proto::{
    CloseCode, Code,
    frames::{
        client::Hello,
        server::{Refused, ServerFrame},
    },
};

use crate::{
    cluster::view::Node,
    edge::{
        expiry::{self, now_ms, sleep_until},
        relay::{self, Found},
    },
    home::inbox::Differences,
    host::Host,
    session::{
        attachment::welcome,
        auth::{Identity, identify, log_in},
        execute::Caller,
        reply::Answer,
        state::Effect,
    },
};

use super::{Connection, Done, End};

impl Connection {
    /// Waits for the `hello`, logs in, and writes `welcome`, with the changes of a client that resumes.
    pub(super) async fn hello(&mut self, identity: Option<Identity>) -> Result<Caller, End> {
        loop {
            let mut said = None;
            let effect = tokio::select! {
                message = self.socket.next() => {
                    said = text(message.as_ref());
                    self.on_message(message)?
                }
                () = sleep_until(&self.edge, self.state.deadline_ms()) => self.state.on_time(now_ms(&self.edge)),
            };
            match effect {
                Effect::Hello(id, hello) => {
                    match self.welcome(&hello, said.unwrap_or_default(), identity.as_ref()).await? {
                        Ok(caller) => return Ok(caller),
                        Err(Answer::Refused(refused)) => {
                            self.edge.host.metrics.refused.of(refused.code).inc();
                            let is_unauthenticated = refused.code == Code::Unauthenticated;
                            self.write(ServerFrame::Error(Refused { re: id, ..*refused }).to_json()).await?;
                            if is_unauthenticated {
                                return Err(End::Close(CloseCode::Unauthenticated));
                            }
                        }
                        Err(_) => unreachable!("a login is refused or done"),
                    }
                }
                effect => self.answer(effect).await?,
            }
        }
    }

    async fn welcome(
        &mut self,
        hello: &Hello,
        said: Utf8Bytes,
        shown: Option<&Identity>,
    ) -> Result<Result<Caller, Answer>, End> {
        let host = self.edge.host.clone();
        let identity = match identify(&self.edge.auth, hello, shown, host.clock.unix_ms()).await {
            Ok(identity) => identity,
            Err(refusal) => return Ok(Err(refusal)),
        };
        self.find_home(&identity, said, shown.is_some()).await?;
        let caller = match log_in(&host, &identity).await {
            Ok(caller) => caller,
            Err(refusal) => return Ok(Err(refusal)),
        };
        // A token that cannot be read would lock the client out: it gets everything instead.
        let since = hello.sync.as_deref().map(|sync| host.read_token(&caller.home, Some(sync)).unwrap_or(None));
        let attached = match host.attach(&caller.home, &caller.device, &self.outbox, since).await {
            Ok(attached) => attached,
            Err(error) => return Ok(Err(host.answer(error))),
        };
        let begun = match missed(&host, &caller, hello.tail.unwrap_or(0), attached.differences).await {
            Ok(changes) => {
                self.state.open(expiry::on_clock(&self.edge, caller.expires_ms));
                self.begin(&caller, attached.token, changes).await.map(Ok)
            }
            Err(refusal) => Ok(Err(refusal)),
        };
        if !matches!(begun, Ok(Ok(()))) {
            host.detach(&caller.home, &self.outbox);
        }
        begun.map(|begun| begun.map(|()| caller))
    }

    /// Goes on if this node serves the user.
    async fn find_home(&mut self, identity: &Identity, said: Utf8Bytes, is_shown: bool) -> Done {
        let (edge, peer) = (&self.edge, self.peer);
        let open = async |node: Arc<Node>| match is_shown {
            // A ticket or header named the user, when this node still served them: it cannot be shown again.
            true => Err(std::io::ErrorKind::Unsupported.into()),
            false => relay::websocket::open(edge, node, peer).await,
        };
        match edge.find(identity.user.shard(), &peer, open).await {
            Found::Here => Ok(()),
            Found::There(line) => Err(End::Elsewhere(Box::new(line), said)),
            Found::Nowhere => {
                let refusal = Answer::moving();
                refusal.count(&self.edge.host.metrics);
                self.write(refusal.into_frame(None).to_json()).await?;
                Err(End::Close(CloseCode::TryLater))
            }
        }
    }

    async fn begin(&mut self, caller: &Caller, token: String, changes: Option<String>) -> Done {
        self.write(welcome(&self.edge.host, caller, &self.outbox, token, self.peer.is_relayed)).await?;
        if cfg!(feature = "next-format") {
            // A frame that clients of this version do not know.
            self.write(r#"{"type":"next"}"#.to_owned()).await?;
        }
        match changes {
            Some(changes) => self.write(changes).await,
            None => Ok(()),
        }
    }
}

/// The frame with what a client that resumes has missed.
async fn missed(
    host: &Host,
    caller: &Caller,
    tail: usize,
    differences: Option<Differences>,
) -> Result<Option<String>, Answer> {
    let Some(differences) = differences else { return Ok(None) };
    host.changes(&caller.home, None, differences, tail).await.map(Some).map_err(|error| host.answer(error))
}

/// What a message says, if it is a frame.
fn text(message: Option<&Result<Message, axum::Error>>) -> Option<Utf8Bytes> {
    match message {
        Some(Ok(Message::Text(text))) => Some(text.clone()),
        _ => None,
    }
}
