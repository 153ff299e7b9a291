//! The baseline: the same rows straight into the same LSM, one synced batch a commit. To the committer it is a journal.

use std::path::Path;

use async_trait::async_trait;
use bytes::Bytes;
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;
use tidings_server::{
    journal::{AppendError, Journal, Position, ReadError, framing},
    tables::Key,
};

use super::{
    flusher::inbox_item,
    load::{conversation_id, decode, user},
};

/// About what a conversation's state takes.
const STATE_BYTES: usize = 60;

pub struct Straight {
    database: Database,
    log: Keyspace,
    inbox: Keyspace,
    states: Keyspace,
    position: Mutex<Position>,
}

impl Straight {
    pub fn open(folder: &Path, cache_bytes: u64) -> fjall::Result<Self> {
        let database = Database::builder(folder.join("baseline")).cache_size(cache_bytes).open()?;
        let log = database.keyspace("log", KeyspaceCreateOptions::default)?;
        let inbox = database.keyspace("inbox", KeyspaceCreateOptions::default)?;
        let states = database.keyspace("states", KeyspaceCreateOptions::default)?;
        Ok(Self { database, log, inbox, states, position: Mutex::default() })
    }

    fn write(&self, commit: Bytes) -> anyhow::Result<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for event in framing::events(commit) {
            let event = event?;
            let (number, entry) = decode(&event)?;
            let conversation = conversation_id(number);
            let item = inbox_item(&entry);
            batch.insert(&self.log, Key::Log(conversation, entry.seq).encode(), &event[20..]);
            let mut state = [0; STATE_BYTES];
            state[..8].copy_from_slice(&entry.seq.0.to_be_bytes());
            batch.insert(&self.states, Key::Conversation(conversation).encode(), &state[..]);
            for which in 0..2 {
                batch.insert(&self.inbox, Key::Inbox(user(number, which), conversation).encode(), &item[..]);
            }
        }
        Ok(batch.commit()?)
    }

    /// Writes out what is in memory and waits until compaction has nothing to do.
    pub fn settle(&self) {
        for keyspace in [&self.log, &self.inbox, &self.states] {
            keyspace.rotate_memtable_and_wait().expect("the bench has a disk");
            let mut before = None;
            while before != Some(keyspace.tree.current_version().id()) {
                before = Some(keyspace.tree.current_version().id());
                let horizon = self.database.supervisor.snapshot_tracker.get_seqno_safe_to_gc();
                let strategy = std::sync::Arc::new(fjall::compaction::Leveled::default());
                keyspace.tree.compact(strategy, horizon).expect("the bench has a disk");
            }
        }
    }

    pub fn disk_bytes(&self) -> u64 {
        self.log.disk_space() + self.inbox.disk_space() + self.states.disk_space()
    }
}

#[async_trait]
impl Journal for Straight {
    async fn append(&self, commit: Bytes) -> Result<Position, AppendError> {
        self.write(commit).map_err(|error| AppendError::Failed(std::sync::Arc::new(std::io::Error::other(error))))?;
        let mut position = self.position.lock();
        *position = position.next();
        Ok(*position)
    }

    async fn confirm(&self) -> Result<(), AppendError> {
        Ok(())
    }

    async fn read(&self, _: Position, _: usize) -> Result<Vec<(Position, Bytes)>, ReadError> {
        Ok(Vec::new())
    }

    async fn trim(&self, _: Position) -> Result<(), AppendError> {
        Ok(())
    }

    async fn seal(&self) -> Result<Position, AppendError> {
        Ok(*self.position.lock())
    }

    fn max_commit_bytes(&self) -> usize {
        4 << 20
    }
}
