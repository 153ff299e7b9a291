//! Writing into the tables what the journal holds, later and coalesced. One flusher, in order, so that the newest wins without a
//! read.
//!
//! The order of a flush is what makes a crash between any two steps harmless: the rows (states become durable last), the mark in the
//! tables, then the memory and the journal are given up. Rows may be ahead of the mark: a replay ignores what they have.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tidings_proto::{ConversationId, Seq, UserId};
use tokio::time::Instant;

use crate::{
    conversation::{actor::Conversation, entry::Entry, members::Member, state::State},
    home::{
        actor::Home,
        item::Item,
        state::{HomeRow, HomeState},
    },
    journal::{Position, commit::RunsAs},
    maps::{HashMap, HashSet},
    metrics::{Cache, Part, gauge},
    shutdown::Shutdown,
    tables::{
        Freshness, Key, Row, TablesError, Version, fingerprints,
        flush::{Change, LogFlush, OpenTail, log_rows},
    },
};

use super::{
    Host, Waiting,
    load::decode,
    open::Flusher,
    row::{ConversationRow, encode},
};

/// How often the flusher looks whether enough has gathered.
const LOOK: Duration = Duration::from_millis(20);
/// Users whose rows are read at once, of those that are not in memory.
const DORMANT_AT_ONCE: usize = 4_096;

impl Host {
    /// Flushes until the shutdown; the last flush is the caller's, when nothing is published any more. It packs and compresses, and
    /// so runs on a thread of its own.
    pub(super) fn flush_all(
        self: &Arc<Self>,
        runs_as: RunsAs,
        runtime: &tokio::runtime::Handle,
        shutdown: Shutdown,
    ) -> Flusher {
        let host = self.clone();
        let flush_all = async move {
            loop {
                host.wait_for_window(&shutdown).await;
                if shutdown.has_begun() || host.flush_or_fail().await.is_err() {
                    return;
                }
                host.give_up_idle();
            }
        };
        match runs_as {
            RunsAs::Task => Flusher::Task(runtime.spawn(flush_all)),
            RunsAs::Thread => {
                let runtime = runtime.clone();
                let thread = std::thread::Builder::new().name("flush".to_owned());
                let thread = thread.spawn(move || runtime.block_on(flush_all));
                Flusher::Thread(thread.expect("the system can start a thread"))
            }
        }
    }

    async fn wait_for_window(&self, shutdown: &Shutdown) {
        let window = Duration::from_millis(self.config.flush.window_ms);
        let window_bytes = usize::try_from(self.config.flush.window_bytes).unwrap_or(usize::MAX);
        let began = Instant::now();
        while began.elapsed() < window && self.unflushed.lock().bytes < window_bytes {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = shutdown.begun() => return,
            }
        }
    }

    /// Writes everything that is published by now. After an error nothing is acknowledged any more.
    pub async fn flush_or_fail(&self) -> Result<(), TablesError> {
        let outcome = self.flush(Freshness::Newest).await;
        if let Err(error) = &outcome {
            self.metrics.errors.of(Part::Tables).inc();
            self.fail(error.to_string());
        }
        outcome
    }

    /// One at a time; and none after one that has failed or was given up half-way: what that one took is neither in the tables nor in
    /// any list of what is to be written, and the mark must not pass it.
    pub(super) async fn flush(&self, freshness: Freshness) -> Result<(), TablesError> {
        let mut is_unfinished = self.flushing.lock().await;
        if std::mem::replace(&mut *is_unfinished, true) {
            return Err(TablesError::Closed);
        }
        self.flush_alone(freshness).await?;
        *is_unfinished = false;
        Ok(())
    }

    async fn flush_alone(&self, freshness: Freshness) -> Result<(), TablesError> {
        let began = Instant::now();
        let (position, conversations) = {
            let mut unflushed = self.unflushed.lock();
            unflushed.bytes = 0;
            unflushed.flushing_since = unflushed.since.take();
            // Everything up to this position is in the lists, or among the dormant, by now.
            (unflushed.position, std::mem::take(&mut unflushed.conversations))
        };
        let mut windows: Vec<_> = conversations
            .iter()
            .filter(|conversation| self.writes(conversation.id.shard()))
            .map(Window::take)
            .collect();
        // All that the windows hold has been told before the homes are taken: a state is written with all that it told.
        drop(self.publishing.lock());
        let dormant = self.dormant.begin_flush();
        let homes = std::mem::take(&mut self.unflushed.lock().homes);
        if windows.is_empty() && homes.is_empty() && dormant.is_empty() && !self.has_settled_pending() {
            self.unflushed.lock().flushing_since = None;
            return self.mark_flushed(position).await;
        }
        let mut rows = self.log_rows(&mut windows).await?;
        rows.extend(windows.iter().map(Window::state_row));
        let written = self.pending_rows(&windows, &mut rows);
        let loaded: HashSet<UserId> = homes.iter().map(|home| home.user.clone()).collect();
        homes.iter().for_each(|home| home_rows(home, &mut rows));
        self.dormant_rows(dormant.into_iter().filter(|(user, _)| !loaded.contains(user)).collect(), &mut rows).await?;
        let count = rows.len();
        self.tables.put_max(rows, freshness).await?;
        self.tables.set_flushed(position).await?;
        self.note_pending(written);
        windows.into_iter().for_each(Window::end);
        self.dormant.end_flush();
        self.unflushed.lock().flushing_since = None;
        self.release(position).await;
        self.metrics.flush_rows.inc_by(count as u64);
        self.metrics.flush_duration.observe(began.elapsed());
        Ok(())
    }

    /// Nothing is to be written: what was committed changed nothing.
    async fn mark_flushed(&self, position: Position) -> Result<(), TablesError> {
        if self.tables.flushed().await? < position {
            self.tables.set_flushed(position).await?;
            self.release(position).await;
        }
        Ok(())
    }

    async fn log_rows(&self, windows: &mut [Window]) -> Result<Vec<Row>, TablesError> {
        let mut flushes: Vec<_> = windows
            .iter_mut()
            .map(|window| LogFlush {
                conversation: window.conversation.id,
                tail: &mut window.tail,
                version: Version(window.state.version),
                new: &window.new,
                changed: &window.changed,
            })
            .collect();
        let mut rows = log_rows(&*self.tables, &mut flushes).await?;
        for window in windows {
            window.member_rows(&mut rows);
            self.fingerprint_rows(window, &mut rows).await?;
        }
        Ok(rows)
    }

    /// Writes the runs of fingerprints that this window completes.
    async fn fingerprint_rows(&self, window: &mut Window, rows: &mut Vec<Row>) -> Result<(), TablesError> {
        let id = window.conversation.id;
        while window.fingerprints_from.0 + fingerprints::RUN <= window.state.last_seq.0 + 1 {
            let from = window.fingerprints_from;
            let first_new = window.new.first().map_or(Seq(window.state.last_seq.0 + 1), |entry| entry.seq);
            // A flush must not need the archive: of entries that it has, it left the fingerprints.
            let mut run = self.left_fingerprints(id, from).await?;
            run.truncate(usize::try_from(first_new.0.saturating_sub(from.0)).unwrap_or(usize::MAX));
            let next = Seq(from.0 + run.len() as u64);
            if next < first_new {
                let rest = (first_new.0 - next.0).min(fingerprints::RUN - run.len() as u64);
                let count = usize::try_from(rest).expect("a run is short");
                let range = crate::tables::LogRange::After(next.previous());
                run.extend(self.tables.log(id, range, count).await?.iter().map(fingerprint));
            }
            let place = usize::try_from(from.0.saturating_sub(first_new.0)).expect("a window is in memory");
            run.extend(
                window.new[place..].iter().take(fingerprints::RUN as usize - run.len()).map(|entry| fingerprint(entry)),
            );
            let value = Some(fingerprints::encode(&run).into());
            rows.push(Row { key: Key::Fingerprints(id, from), version: Version(window.state.version), value });
            window.fingerprints_from = Seq(from.0 + fingerprints::RUN);
        }
        Ok(())
    }

    /// What the archive has left of a run that is not complete yet.
    async fn left_fingerprints(
        &self,
        id: ConversationId,
        from: Seq,
    ) -> Result<Vec<fingerprints::Fingerprint>, TablesError> {
        let Some(stored) = self.tables.get(vec![Key::Fingerprints(id, from)]).await?.pop().flatten() else {
            return Ok(Vec::new());
        };
        fingerprints::decode(&stored.value).map_err(|error| TablesError::Damaged {
            place: format!("the fingerprints of {id} from {from}"),
            what: error.to_string(),
        })
    }

    /// Applies what waits for homes that are not in memory, and makes rows of it, without keeping them.
    async fn dormant_rows(
        &self,
        dormant: Vec<(UserId, Arc<[Waiting]>)>,
        rows: &mut Vec<Row>,
    ) -> Result<(), TablesError> {
        for users in dormant.chunks(DORMANT_AT_ONCE) {
            let mut keys = Vec::new();
            for (user, waiting) in users {
                keys.push(Key::Home(user.clone()));
                let concerned: HashSet<ConversationId> =
                    waiting.iter().filter_map(|waiting| waiting.conversation(user)).collect();
                keys.extend(concerned.into_iter().map(|id| Key::Inbox(user.clone(), id)));
            }
            let mut stored: HashMap<Key, _> = keys.clone().into_iter().zip(self.tables.get(keys).await?).collect();
            for (user, waiting) in users {
                let row: HomeRow = match stored.remove(&Key::Home(user.clone())).flatten() {
                    Some(stored) => decode(&stored.value, || format!("the home row of {user}"))?,
                    None => HomeRow::default(),
                };
                let mut state = HomeState::new(user.clone(), self.shards.epoch(user.shard()), row);
                for id in waiting.iter().filter_map(|waiting| waiting.conversation(user)) {
                    if let Some(stored) = stored.remove(&Key::Inbox(user.clone(), id)).flatten() {
                        let item: Item = decode(&stored.value, || format!("the inbox row of {user} for {id}"))?;
                        state.items.insert(id, item);
                    }
                }
                let changed: HashSet<_> = waiting
                    .iter()
                    .filter_map(|waiting| match waiting.apply(&mut state) {
                        crate::home::state::Altered::Item(id) | crate::home::state::Altered::Cursor(id) => Some(id),
                        _ => None,
                    })
                    .collect();
                state_rows(&state, changed.into_iter(), rows);
            }
        }
        Ok(())
    }

    /// Gives the backlog's room back to the senders, and the journal's beginning to the disk.
    async fn release(&self, position: Position) {
        let Some(running) = self.running.get() else { return };
        running.committer.flushed(position);
        // That it takes more room than it must is no reason to stop.
        if let Err(error) = running.journal.trim(position).await {
            self.metrics.errors.of(Part::Journal).inc();
            tracing::warn!(%error, "the journal could not be trimmed");
        }
    }

    /// Keeps the caches within their bytes.
    fn give_up_idle(&self) {
        let sweep = self.sweep.fetch_add(1, Ordering::Relaxed);
        let bytes = |setting: u64| usize::try_from(setting).unwrap_or(usize::MAX);
        let conversations = self.conversations.give_up(bytes(self.config.cache.conversations_bytes), sweep);
        let homes = self.homes.give_up(bytes(self.config.cache.homes_bytes), sweep);
        self.metrics.cache_bytes.of(Cache::Conversations).set(gauge(conversations as u64));
        self.metrics.cache_bytes.of(Cache::Homes).set(gauge(homes as u64));
    }
}

impl Waiting {
    /// The item that it is about.
    fn conversation(&self, home: &UserId) -> Option<ConversationId> {
        match self {
            Self::Tell(tell) => Some(tell.conversation),
            Self::Change(change) => change.conversation(home),
        }
    }
}

/// What one conversation has for a flush: its committed state at one moment, and the entries since the last flush.
pub(super) struct Window {
    pub conversation: Arc<Conversation>,
    pub state: State,
    tail: OpenTail,
    fingerprints_from: Seq,
    new: Vec<Arc<Entry>>,
    changed: Vec<Change>,
    changed_members: HashSet<UserId>,
}

impl Window {
    fn take(conversation: &Arc<Conversation>) -> Self {
        let mut inner = conversation.lock();
        // What is committed from here on belongs to the next flush.
        inner.dirty = false;
        Self {
            conversation: conversation.clone(),
            state: inner.committed().clone(),
            tail: inner.stored.tail.clone(),
            fingerprints_from: inner.stored.fingerprints_from.max(Seq::FIRST),
            new: inner.overlay.iter().cloned().collect(),
            changed: inner.changes.iter().flat_map(Change::of).collect(),
            changed_members: std::mem::take(&mut inner.changed_members),
        }
    }

    fn member_rows(&mut self, rows: &mut Vec<Row>) {
        let version = Version(self.state.version);
        for user in self.changed_members.drain() {
            let value = self.state.members.get(&user).map(encode::<Member>);
            rows.push(Row { key: Key::Member(self.conversation.id, user), version, value });
        }
    }

    fn state_row(&self) -> Row {
        Row {
            key: Key::Conversation(self.conversation.id),
            version: Version(self.state.version),
            value: Some(encode(&ConversationRow::new(&self.state, self.tail.clone(), self.fingerprints_from))),
        }
    }

    fn end(self) {
        self.conversation.lock().flushed(self.tail, self.state.last_seq, self.fingerprints_from);
    }
}

fn home_rows(home: &Home, rows: &mut Vec<Row>) {
    let mut inner = home.lock();
    let changed = std::mem::take(&mut inner.changed);
    state_rows(&inner.state, changed.items.into_iter(), rows);
}

fn state_rows(state: &HomeState, changed: impl Iterator<Item = ConversationId>, rows: &mut Vec<Row>) {
    let version = Version(state.version());
    rows.push(Row { key: Key::Home(state.user.clone()), version, value: Some(encode(&state.row)) });
    for id in changed {
        let item = &state.items[&id];
        let (key, version) = (Key::Inbox(state.user.clone(), id), Version(item.row_version()));
        rows.push(Row { key, version, value: Some(encode(item)) });
    }
}

fn fingerprint(entry: &Entry) -> fingerprints::Fingerprint {
    match &entry.client_msg_id {
        Some(id) => fingerprints::Fingerprint::of(&entry.from, id),
        None => fingerprints::Fingerprint::NO_ID,
    }
}
