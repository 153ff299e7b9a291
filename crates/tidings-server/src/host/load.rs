//! From the tables into memory: conversations, homes, the repeats index.

use std::{sync::Arc, time::Duration};

use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    archive,
    conversation::{
        actor::{Conversation, Stored},
        event::ProfileOf,
        members::Member,
        repeats::{Fingerprint, Repeats},
        state::State,
    },
    home::{
        actor::Home,
        item::Item,
        state::{HomeRow, HomeState},
    },
    metrics::Cache,
    tables::{Key, LogRange, Prefix, Tables, TablesError, fingerprints},
};

use super::{Host, row::ConversationRow};

/// How many rows of one actor are read at once.
const ROWS: usize = 10_000;
/// Entries read at once to complete the repeats index.
const ENTRIES: usize = 1_024;
/// How long whoever can be told to come again waits for a read. The tables of a fleet answer again when their store does.
const READ_PATIENCE: Duration = Duration::from_secs(4);

/// Why an actor is not at hand.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Tables(#[from] TablesError),
    /// Another node hosts it, or soon will.
    #[error("it is hosted elsewhere")]
    Elsewhere,
}

/// A read that somebody waits for: given up when it takes too long. What only has to be done at last waits without this.
pub(super) async fn in_time<T, E: From<TablesError>>(read: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let late = |_| Err(TablesError::Late(READ_PATIENCE).into());
    tokio::time::timeout(READ_PATIENCE, read).await.unwrap_or_else(late)
}

impl Host {
    /// The conversation, existing or not: one that nobody made has no members.
    pub async fn conversation(&self, id: ConversationId) -> Result<Arc<Conversation>, LoadError> {
        if let Some(conversation) = self.conversations.get(&id) {
            conversation.touch(self.sweep_now());
            self.metrics.cache_hits.of(Cache::Conversations).inc();
            return Ok(conversation);
        }
        // A read is rare: its future takes room only while it is under way.
        Box::pin(self.absent_conversation(id)).await
    }

    async fn absent_conversation(&self, id: ConversationId) -> Result<Arc<Conversation>, LoadError> {
        self.metrics.cache_misses.of(Cache::Conversations).inc();
        let load = || async {
            let epoch = self.shards.enter(id.shard()).ok_or(LoadError::Elsewhere)?.epoch;
            Ok::<_, LoadError>((epoch, self.load_conversation(id).await?))
        };
        let conversation = self.conversations.load(&id, load, |(epoch, (state, stored))| {
            // Nobody finds it here who came after it left.
            let _entered = self.shards.enter_in(id.shard(), epoch)?;
            let conversation = Arc::new(Conversation::new(id, epoch, state, stored));
            // Before anybody can find it: no entry of it goes past those who are here.
            self.subscribe_members(&conversation);
            Some(conversation)
        });
        let conversation = in_time(conversation).await?;
        conversation.touch(self.sweep_now());
        Ok(conversation)
    }

    async fn load_conversation(&self, id: ConversationId) -> Result<(State, Stored), TablesError> {
        let absent = || Stored { fingerprints_from: Seq::FIRST, ..Stored::default() };
        Ok(load_state(&*self.tables, id).await?.unwrap_or_else(|| (State::default(), absent())))
    }

    /// Loads the index that finds repeats, unless it is there.
    pub(crate) async fn load_repeats(&self, conversation: &Conversation) -> Result<(), TablesError> {
        loop {
            let stored = {
                let inner = conversation.lock();
                if inner.has_repeats() {
                    return Ok(());
                }
                inner.stored.clone()
            };
            let repeats = in_time(self.read_repeats(conversation.id, &stored)).await?;
            let mut inner = conversation.lock();
            // A flush in between has moved entries from memory into the tables: they would be in neither half.
            if inner.stored.flushes == stored.flushes {
                inner.set_repeats(repeats, stored.last_seq);
                return Ok(());
            }
        }
    }

    async fn read_repeats(&self, id: ConversationId, stored: &Stored) -> Result<Repeats, TablesError> {
        let mut repeats = Repeats::default();
        if stored.last_seq == Seq::NONE {
            return Ok(repeats);
        }
        // Behind the last complete run the entries themselves tell, unless the archive has taken some and left their fingerprints.
        let mut after = stored.fingerprints_from.previous();
        if stored.fingerprints_from > Seq::FIRST || stored.last_seq.0 > archive::KEPT {
            after = after.max(self.read_fingerprints(id, &mut repeats).await?);
        }
        while after < stored.last_seq {
            let entries = self.tables.log(id, LogRange::After(after), ENTRIES).await?;
            let Some(last) = entries.last() else { break };
            after = last.seq;
            for entry in entries.iter().filter(|entry| entry.seq <= stored.last_seq) {
                if let Some(client_msg_id) = &entry.client_msg_id {
                    repeats.insert(Fingerprint::of(&entry.from, client_msg_id), entry.seq);
                }
            }
        }
        Ok(repeats)
    }

    /// Reads all runs. Tells the last seq that they have.
    async fn read_fingerprints(&self, id: ConversationId, repeats: &mut Repeats) -> Result<Seq, TablesError> {
        let (mut after, mut last) = (None, Seq::NONE);
        loop {
            let rows = self.tables.rows(Prefix::Fingerprints(id), after.clone(), ROWS).await?;
            let is_last = rows.len() < ROWS;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, stored) in rows {
                let Key::Fingerprints(_, first) = key else { continue };
                let run = fingerprints::decode(&stored.value).map_err(|error| TablesError::Damaged {
                    place: format!("the fingerprints of {id} from {first}"),
                    what: error.to_string(),
                })?;
                last = last.max(Seq(first.0 + run.len() as u64).previous());
                for (seq, fingerprint) in (first.0..).zip(run) {
                    if let Some(fingerprint) = Fingerprint::stored(fingerprint) {
                        repeats.insert(fingerprint, Seq(seq));
                    }
                }
            }
            if is_last {
                return Ok(last);
            }
        }
    }

    /// The home with all its items.
    pub async fn home(&self, user: &UserId) -> Result<Arc<Home>, LoadError> {
        let home = match self.homes.get(user) {
            Some(home) => {
                self.metrics.cache_hits.of(Cache::Homes).inc();
                home
            }
            None => {
                self.metrics.cache_misses.of(Cache::Homes).inc();
                let load = || async {
                    let epoch = self.shards.enter(user.shard()).ok_or(LoadError::Elsewhere)?.epoch;
                    let flushes = self.dormant.flushes();
                    Ok::<_, LoadError>((flushes, self.load_home(user, epoch).await?))
                };
                in_time(self.homes.load(user, load, |(flushes, state)| self.wake_home(state, flushes))).await?
            }
        };
        home.touch(self.sweep_now());
        Ok(home)
    }

    /// A user's home, if it is in memory: they were here lately, or something happened to them.
    pub fn awake_home(&self, user: &UserId) -> Option<Arc<Home>> {
        let home = self.homes.get(user)?;
        self.metrics.cache_hits.of(Cache::Homes).inc();
        home.touch(self.sweep_now());
        Some(home)
    }

    async fn load_home(&self, user: &UserId, epoch: u64) -> Result<HomeState, TablesError> {
        let row = self.home_row(user).await?;
        let mut state = HomeState::new(user.clone(), epoch, row);
        let mut after = None;
        loop {
            let rows = self.tables.rows(Prefix::Inbox(user.clone()), after.clone(), ROWS).await?;
            let is_last = rows.len() < ROWS;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, stored) in rows {
                let Key::Inbox(_, conversation) = key else { continue };
                let item: Item = decode(&stored.value, || format!("the inbox row of {user} for {conversation}"))?;
                state.row.version = state.row.version.max(item.row_version());
                state.items.insert(conversation, item);
            }
            if is_last {
                return Ok(state);
            }
        }
    }

    async fn home_row(&self, user: &UserId) -> Result<HomeRow, TablesError> {
        match self.tables.get(vec![Key::Home(user.clone())]).await?.pop().flatten() {
            Some(stored) => decode(&stored.value, || format!("the home row of {user}")),
            None => Ok(HomeRow::default()),
        }
    }

    /// Makes a home of what was loaded, with the changes that waited for it. `None`: a flush ended since `flushes` were counted,
    /// and may have written changes that were not read.
    fn wake_home(&self, state: HomeState, flushes: u64) -> Option<Arc<Home>> {
        // Nobody finds it here who came after it left.
        let _entered = self.shards.enter_in(state.user.shard(), state.epoch)?;
        let waiting = self.dormant.wake(&state.user, flushes)?;
        let home = Arc::new(Home::new(state));
        let mut inner = home.lock();
        let mut is_to_be_listed = false;
        for waiting in waiting {
            let altered = waiting.apply(&mut inner.state);
            is_to_be_listed |= inner.note(altered);
        }
        drop(inner);
        if is_to_be_listed {
            self.unflushed.lock().homes.push(home.clone());
        }
        Some(home)
    }

    /// How a user is shown.
    pub async fn profile(&self, user: &UserId) -> Result<ProfileOf, TablesError> {
        Ok(self.home_rows(std::slice::from_ref(user)).await?.pop().unwrap_or_default().profile)
    }

    /// The own rows of `users`, each in its place, without waking their homes.
    pub async fn home_rows(&self, users: &[UserId]) -> Result<Vec<HomeRow>, TablesError> {
        // What waits is looked at first: it goes from there into memory or into the tables.
        let waiting: Vec<_> = users.iter().map(|user| self.dormant.own_changes(user)).collect();
        let loaded: Vec<_> =
            users.iter().map(|user| self.homes.get(user).map(|home| home.lock().state.row.clone())).collect();
        let absent = users.iter().zip(&loaded).filter(|(_, loaded)| loaded.is_none());
        let keys: Vec<_> = absent.map(|(user, _)| Key::Home(user.clone())).collect();
        let stored = if keys.is_empty() { Vec::new() } else { in_time(self.tables.get(keys)).await? };
        let mut stored = stored.into_iter();
        let mut rows = Vec::with_capacity(users.len());
        for ((user, loaded), waiting) in users.iter().zip(loaded).zip(waiting) {
            rows.push(match loaded {
                Some(row) => row,
                None => {
                    let row = match stored.next().flatten() {
                        Some(stored) => decode(&stored.value, || format!("the home row of {user}"))?,
                        None => HomeRow::default(),
                    };
                    let mut state = HomeState::new(user.clone(), self.shards.epoch(user.shard()), row);
                    for change in &waiting {
                        let _ = state.apply(change);
                    }
                    state.row
                }
            });
        }
        Ok(rows)
    }
}

/// A conversation's state as the tables have it, with its members; `None`: there is none.
pub(crate) async fn load_state(
    tables: &dyn Tables,
    id: ConversationId,
) -> Result<Option<(State, Stored)>, TablesError> {
    let Some(stored) = tables.get(vec![Key::Conversation(id)]).await?.pop().flatten() else { return Ok(None) };
    let row: ConversationRow = decode(&stored.value, || format!("the row of conversation {id}"))?;
    let mut members = Vec::new();
    if row.has_member_rows() {
        let mut after = None;
        loop {
            let rows = tables.rows(Prefix::Members(id), after.clone(), ROWS).await?;
            let is_last = rows.len() < ROWS;
            after = rows.last().map(|(key, _)| key.clone());
            for (key, stored) in rows {
                let Key::Member(_, user) = key else { continue };
                let member: Member = decode(&stored.value, || format!("the row of member {user} of {id}"))?;
                members.push((user, member));
            }
            if is_last {
                break;
            }
        }
    }
    Ok(Some(row.into_state(members)))
}

/// Reads a row's value; `place` names the row in the error.
pub(crate) fn decode<'b, T: minicbor::Decode<'b, ()>>(
    value: &'b [u8],
    place: impl Fn() -> String,
) -> Result<T, TablesError> {
    minicbor::decode(value).map_err(|error| TablesError::Damaged { place: place(), what: error.to_string() })
}
