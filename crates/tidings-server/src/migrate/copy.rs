//! One conversation or home at a time: its rows from the source into the target, blindly or where they differ.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId};
use tokio::time::Instant;

use super::{MigrateError, tracked::Noted};
use crate::{
    host::row::ConversationRow,
    tables::{Freshness, Key, Prefix, Row, Stored, Tables, TablesError},
};

/// Rows read, compared and written together.
pub const PAGE: usize = 256;

/// What has its rows beside each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unit {
    Conversation(ConversationId),
    Home(UserId),
}

impl Unit {
    pub fn of(key: Key) -> Option<Self> {
        match key {
            Key::Conversation(id) => Some(Self::Conversation(id)),
            Key::Home(user) => Some(Self::Home(user)),
            _ => None,
        }
    }

    /// The row that tells of all the others: it is written last.
    fn state(&self) -> Key {
        match self {
            Self::Conversation(id) => Key::Conversation(*id),
            Self::Home(user) => Key::Home(user.clone()),
        }
    }

    fn sections(&self, last_seq: Seq) -> Vec<Section> {
        match self {
            Self::Conversation(id) => vec![
                Section::Prefix(Prefix::Archived(*id)),
                Section::Log(*id, last_seq),
                Section::Prefix(Prefix::Members(*id)),
                Section::Prefix(Prefix::Fingerprints(*id)),
            ],
            Self::Home(user) => vec![Section::Prefix(Prefix::Inbox(user.clone()))],
        }
    }
}

/// Rows in order of their keys.
enum Section {
    Prefix(Prefix),
    /// Up to this seq: what begins behind it is newer than what was asked for, and noted.
    Log(ConversationId, Seq),
}

impl Section {
    async fn page(&self, tables: &dyn Tables, after: Option<&Key>) -> Result<Vec<(Key, Stored)>, TablesError> {
        match self {
            Self::Prefix(prefix) => tables.rows(prefix.clone(), after.cloned(), PAGE).await,
            Self::Log(id, last_seq) => {
                let from = match after {
                    Some(Key::Log(_, seq)) => seq.next(),
                    _ => Seq::FIRST,
                };
                let rows = tables.log_rows_between(*id, from, *last_seq, PAGE).await?;
                Ok(rows.into_iter().map(|(seq, stored)| (Key::Log(*id, seq), stored)).collect())
            }
        }
    }

    /// All rows behind `after` up to `last`, or to the end.
    async fn range(
        &self,
        tables: &dyn Tables,
        mut after: Option<Key>,
        last: Option<&Key>,
    ) -> Result<HashMap<Key, Stored>, TablesError> {
        let mut found = HashMap::new();
        loop {
            let page = self.page(tables, after.as_ref()).await?;
            let reaches = |last: &Key| page.last().is_some_and(|(key, _)| key >= last);
            let is_last = page.len() < PAGE || last.is_some_and(reaches);
            after = page.last().map(|(key, _)| key.clone());
            found.extend(page.into_iter().filter(|(key, _)| last.is_none_or(|last| key <= last)));
            if is_last {
                return Ok(found);
            }
        }
    }
}

/// From one side to the other, and what was done.
pub struct Copier<'a> {
    pub source: &'a dyn Tables,
    pub target: &'a dyn Tables,
    pub pace: Pace,
    pub rows: AtomicU64,
    pub bytes: AtomicU64,
    pub mended: AtomicU64,
}

impl Copier<'_> {
    /// Writes all rows, whatever the target has.
    pub async fn copy(&self, unit: &Unit) -> Result<(), MigrateError> {
        let Some(state) = self.state(unit).await? else { return Ok(()) };
        // Most are small: all their rows are one write, of which the state comes last.
        let mut rows = Vec::new();
        for section in unit.sections(last_seq(unit, &state)?) {
            let mut after = None;
            loop {
                let page = section.page(self.source, after.as_ref()).await?;
                let is_last = page.len() < PAGE;
                after = page.last().map(|(key, _)| key.clone());
                rows.extend(page.into_iter().map(put));
                if rows.len() >= PAGE {
                    self.put(std::mem::take(&mut rows)).await?;
                }
                if is_last {
                    break;
                }
            }
        }
        rows.push(put((unit.state(), state)));
        self.put(rows).await
    }

    /// Compares all rows with the target's, writes what differs, and sees that it was taken.
    pub async fn check(&self, unit: &Unit) -> Result<(), MigrateError> {
        let Some(state) = self.state(unit).await? else { return Ok(()) };
        for section in unit.sections(last_seq(unit, &state)?) {
            let mut after = None;
            loop {
                let page = section.page(self.source, after.as_ref()).await?;
                let is_last = page.len() < PAGE;
                let end = if is_last { None } else { page.last().map(|(key, _)| key.clone()) };
                self.pace.take(page.len()).await;
                let other = section.range(self.target, after.clone(), end.as_ref()).await?;
                self.mend(page, other).await?;
                if is_last {
                    break;
                }
                after = end;
            }
        }
        let other = self.target.get(vec![unit.state()]).await?.pop().flatten();
        let other = other.map(|stored| (unit.state(), stored)).into_iter().collect();
        self.mend(vec![(unit.state(), state)], other).await
    }

    async fn state(&self, unit: &Unit) -> Result<Option<Stored>, MigrateError> {
        Ok(self.source.get(vec![unit.state()]).await?.pop().flatten())
    }

    /// Makes the rows of the target like those of the source.
    async fn mend(&self, page: Vec<(Key, Stored)>, mut other: HashMap<Key, Stored>) -> Result<(), MigrateError> {
        let mut rows = Vec::new();
        for (key, stored) in page {
            if other.remove(&key).as_ref() != Some(&stored) {
                rows.push(put((key, stored)));
            }
        }
        // With the version that it has, so that a newer one that comes later stays.
        rows.extend(other.into_iter().map(|(key, stored)| Row { key, version: stored.version, value: None }));
        if rows.is_empty() {
            return Ok(());
        }
        self.mended.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.put(rows.clone()).await?;
        self.taken(rows).await
    }

    /// Writes again what was noted, and sees that it was taken.
    pub async fn follow(&self, noted: &HashMap<Key, Noted>) -> Result<(), MigrateError> {
        let mut noted: Vec<_> = noted.iter().filter(|(key, _)| !matches!(key, Key::Meta(_))).collect();
        // States last, here too: until the switch nobody reads them, but a check may.
        noted.sort_by_key(|(key, _)| matches!(key, Key::Conversation(_) | Key::Home(_)));
        for part in noted.chunks(PAGE) {
            let keys = part.iter().map(|(key, _)| (*key).clone()).collect();
            let stored = self.source.get(keys).await?;
            let rows = part.iter().zip(stored).filter_map(|((key, noted), stored)| match stored {
                Some(stored) => Some(put(((*key).clone(), stored))),
                // Written, and deleted since: the delete is noted, or will be.
                None if !noted.is_deleted => None,
                None => Some(Row { key: (*key).clone(), version: noted.version, value: None }),
            });
            let rows: Vec<_> = rows.collect();
            self.put(rows.clone()).await?;
            self.taken(rows).await?;
        }
        Ok(())
    }

    async fn put(&self, rows: Vec<Row>) -> Result<(), MigrateError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.pace.take(rows.len()).await;
        let bytes: usize = rows.iter().filter_map(|row| row.value.as_ref()).map(|value| value.len()).sum();
        self.rows.fetch_add(rows.len() as u64, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(self.target.put_max(rows, Freshness::Unknown).await?)
    }

    /// Reads rows back.
    async fn taken(&self, rows: Vec<Row>) -> Result<(), MigrateError> {
        let found = self.target.get(rows.iter().map(|row| row.key.clone()).collect()).await?;
        for (row, found) in rows.into_iter().zip(found) {
            let is_taken = match (&row.value, &found) {
                (Some(value), Some(found)) => found.version == row.version && found.value == *value,
                (None, None) => true,
                (None, Some(found)) => found.version > row.version,
                (Some(_), None) => false,
            };
            if !is_taken {
                return Err(MigrateError::Differs(format!("{:?}", row.key)));
            }
        }
        Ok(())
    }
}

fn put((key, Stored { version, value }): (Key, Stored)) -> Row {
    Row { key, version, value: Some(value) }
}

fn last_seq(unit: &Unit, state: &Stored) -> Result<Seq, TablesError> {
    match unit {
        Unit::Conversation(id) => Ok(ConversationRow::read(*id, &state.value)?.last_seq()),
        Unit::Home(_) => Ok(Seq::NONE),
    }
}

/// So many rows a second.
pub struct Pace {
    rows_per_s: u64,
    next: Mutex<Instant>,
}

impl Pace {
    /// 0: as fast as it goes.
    pub fn new(rows_per_s: u64) -> Self {
        Self { rows_per_s, next: Mutex::new(Instant::now()) }
    }

    async fn take(&self, rows: usize) {
        if self.rows_per_s == 0 {
            return;
        }
        let at = {
            let mut next = self.next.lock();
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_secs_f64(rows as f64 / self.rows_per_s as f64);
            at
        };
        tokio::time::sleep_until(at).await;
    }
}
