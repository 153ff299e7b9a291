//! What a home's user reads: the inbox, what changed since a token, and the attachment of a session to all that follows.

use std::sync::Arc;

use tidings_proto::{
    ConversationId, DeviceId, UserId,
    frames::{
        RequestId,
        client::Page,
        server::{Changes, InboxPage, ServerFrame},
    },
    limits::ANSWER_BYTES,
};

use crate::{
    conversation::{entry::Entry, event::Kind, view},
    home::{
        actor::{Home, Session},
        event::HomeChange,
        inbox::{self, Cursor, Differences},
        presence::Left,
        state::{Altered, HomeState},
        sync::{Shown, Token},
    },
    session::outbox::Outbox,
};

use super::{Host, act::ActError};

/// A token that cannot be read, or is another user's.
#[derive(Debug)]
pub struct BadSync;

impl Host {
    /// The token of a home as it is now.
    pub fn token(&self, state: &HomeState) -> String {
        Token::Home(state.version()).write(self.lineage, &state.user)
    }

    /// Which token a client showed. `None`: it has nothing that counts here.
    pub fn read_token(&self, home: &Home, text: Option<&str>) -> Result<Option<Token>, BadSync> {
        let Some(text) = text else { return Ok(None) };
        match Token::read(text, self.lineage, &home.user) {
            Shown::Token(token) => Ok(Some(token)),
            Shown::OtherLineage => Ok(None),
            Shown::Bad => Err(BadSync),
        }
    }

    /// Attaches a session: from now on it is handed everything. What differs since `since` is read after that, so that nothing
    /// falls between; what comes meanwhile is told twice.
    pub async fn attach(
        &self,
        home: &Arc<Home>,
        device: &DeviceId,
        outbox: &Arc<Outbox>,
        since: Option<Option<Token>>,
    ) -> Result<Attached, ActError> {
        let session = Session { device: device.clone(), outbox: outbox.clone(), alive: self.live.token() };
        {
            let entered = self.shards.enter_in(home.user.shard(), home.epoch());
            let _entered = entered.ok_or(ActError::Elsewhere)?;
            home.lock().register(session, self.config.limits.connections_a_device);
        }
        self.subscribe_home(home);
        if let Err(error) = self.ask_large(home).await {
            home.lock().unregister(outbox.session);
            self.subscribe_home(home);
            return Err(error);
        }
        if self.presence.enter(&home.user) {
            self.publish_presence(home);
        }
        let inner = home.lock();
        let differences = since.map(|since| inbox::differences(&inner.state, since));
        Ok(Attached { token: self.token(&inner.state), differences })
    }

    /// Ends a session's attachment.
    pub fn detach(self: &Arc<Self>, home: &Arc<Home>, outbox: &Arc<Outbox>) {
        let is_last = {
            let mut inner = home.lock();
            inner.unregister(outbox.session);
            inner.sessions.is_empty()
        };
        if is_last {
            self.subscribe_home(home);
        }
        self.presence.unwatch(outbox.session);
        if let Left::Last { generation } = self.presence.leave(&home.user) {
            let grace = std::time::Duration::from_millis(self.config.presence.grace_ms);
            // A stop does not wait for the end of a grace period.
            let (host, home) = (Arc::downgrade(self), home.clone());
            tokio::spawn(async move {
                tokio::time::sleep(grace).await;
                let Some(host) = host.upgrade() else { return };
                // One whose home has moved is online or not as its new host says.
                let is_over = host.presence.end_grace(&home.user, generation);
                if is_over && host.shards.is_here(home.user.shard()) {
                    let change = HomeChange::Left { at_ms: host.clock.unix_ms() };
                    let event = crate::home::event::HomeEvent { user: home.user.clone(), change };
                    // After a failure of the disk it is not stored; it is coarse anyway.
                    let _ = host.submit_home(event, None).await;
                    host.publish_presence(&home);
                }
            });
        }
    }

    /// Large conversations tell no home of their entries: the home asks, before it answers what is new. Tells which items are
    /// others now. Refused by a node that has not heard from its journal for long: the home may be served elsewhere.
    pub async fn ask_large(&self, home: &Arc<Home>) -> Result<Vec<ConversationId>, ActError> {
        if self.is_out_of_touch() {
            return Err(ActError::Elsewhere);
        }
        // Somebody may have seen an entry already of which this home is still to be told: who asks now finds it.
        drop(self.publishing.lock());
        let large: Vec<ConversationId> = {
            let inner = home.lock();
            inner.state.items.iter().filter(|(_, item)| item.is_large() && !item.gone).map(|(id, _)| *id).collect()
        };
        let mut changed = Vec::new();
        for id in large {
            let user = home.user.clone();
            let shown = self.state_for(id, &user, None, 0).await?;
            let mut inner = home.lock();
            let altered = inner.state.alter(id, |item| item.ask(&user, &shown.state, shown.member_count));
            if altered == Altered::Nothing {
                continue;
            }
            changed.push(id);
            if inner.note(altered) {
                self.unflushed.lock().homes.push(home.clone());
            }
        }
        Ok(changed)
    }

    /// The frame that tells of one item that is another, or gone.
    pub(super) fn changes_of(&self, state: &HomeState, conversation: ConversationId) -> String {
        let item = &state.items[&conversation];
        let (items, removed) = if item.gone {
            (Vec::new(), vec![conversation])
        } else {
            (vec![inbox::item(state, conversation, item)], Vec::new())
        };
        let sync = self.token(state);
        ServerFrame::Changes(Changes { re: None, items, removed, sync, more: false, full: false }).to_json()
    }

    /// What changed since a token, as a frame. With a `tail` each item carries its newest entries.
    pub async fn changes(
        &self,
        home: &Arc<Home>,
        re: Option<RequestId>,
        differences: Differences,
        tail: usize,
    ) -> Result<String, ActError> {
        let tails = self.tails(home, &differences.items, tail).await?;
        let inner = home.lock();
        let state = &inner.state;
        let sync = differences.next.write(self.lineage, &state.user);
        let items = items(state, &differences.items, &tails);
        let Differences { removed, more, full, .. } = differences;
        Ok(ServerFrame::Changes(Changes { re, items, removed, sync, more, full }).to_json())
    }

    /// A page of the inbox, as a frame.
    pub async fn inbox(
        &self,
        home: &Arc<Home>,
        re: Option<RequestId>,
        cursor: Option<Cursor>,
        limit: usize,
        tail: usize,
    ) -> Result<String, ActError> {
        self.ask_large(home).await?;
        let (ids, next, sync) = {
            let inner = home.lock();
            let (ids, next) = inbox::page(&inner.state, cursor, limit);
            (ids, next, self.token(&inner.state))
        };
        let tails = self.tails(home, &ids, tail).await?;
        let inner = home.lock();
        let items = items(&inner.state, &ids, &tails);
        let next = next.map(Cursor::write);
        Ok(ServerFrame::Inbox(InboxPage { re, items, next, sync }).to_json())
    }

    /// The newest entries of each conversation, as far as an answer's size allows.
    async fn tails(
        &self,
        home: &Arc<Home>,
        ids: &[ConversationId],
        tail: usize,
    ) -> Result<Vec<Vec<Arc<Entry>>>, ActError> {
        let mut tails = Vec::with_capacity(ids.len());
        let mut bytes = 0;
        if tail == 0 {
            return Ok(tails);
        }
        for id in ids {
            // Beyond the size the client fetches what it wants.
            if bytes > ANSWER_BYTES / 2 {
                tails.push(Vec::new());
                continue;
            }
            let page = Page { limit: Some(tail), ..Page::default() };
            let entries = match self.page(*id, &home.user, page).await {
                Ok(page) => page.entries,
                // Left while this was read.
                Err(ActError::Refused(_) | ActError::Answered(_)) => Vec::new(),
                Err(error) => return Err(error),
            };
            bytes += entries.iter().map(|entry| entry.weight()).sum::<usize>();
            tails.push(entries);
        }
        Ok(tails)
    }
}

/// What a session begins with.
#[derive(Debug)]
pub struct Attached {
    pub token: String,
    /// To be told before anything else, if the client resumes.
    pub differences: Option<Differences>,
}

fn items<'a>(
    state: &'a HomeState,
    ids: &[ConversationId],
    tails: &'a [Vec<Arc<Entry>>],
) -> Vec<tidings_proto::frames::server::Item<'a>> {
    let shown = ids.iter().enumerate().filter_map(|(at, id)| {
        let item = state.items.get(id).filter(|item| !item.gone)?;
        let hides = |user: &UserId| state.hides(*id, user);
        let viewer = view::Viewer { user: &state.user, hides: &hides };
        let mut shown = inbox::item(state, *id, item);
        shown.tail = tails.get(at).map(|tail| tail.iter().map(|entry| view::entry(entry, viewer)).collect());
        Some(shown)
    });
    shown.collect()
}

/// Whether two people share a conversation: what "contacts" means.
pub(super) fn is_contact(state: &HomeState, other: &UserId) -> bool {
    let direct = ConversationId::direct(&state.user, other);
    state.items.get(&direct).is_some_and(|item| item.kind == Kind::Direct && !item.gone)
}
