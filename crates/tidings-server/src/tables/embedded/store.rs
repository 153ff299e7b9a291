//! What happens on the blocking threads: rows into sorted segments, and reads. Every call may block.
//!
//! Keyspaces, by how they are used: `log` (written once, read in runs), `items` (inbox rows and members, read by
//! prefix), `states` (conversations and homes, read one by one, often replaced), `meta`. A put ingests them in this order: a
//! state never becomes durable before the rows it tells of. An ingestion syncs its segment, its list of segments and
//! the folder before it returns.

use std::{
    fs::{self, File},
    ops::Bound,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions,
    compaction::{Leveled, filter::Factory},
    config::{
        BlockSizePolicy, BloomConstructionPolicy, CompressionPolicy, FilterPolicy, FilterPolicyEntry,
        PartitioningPolicy, PinningPolicy,
    },
};
use tidings_proto::{ConversationId, Seq};

use super::{
    EmbeddedOptions,
    compactor::Compactor,
    value::{Content, Generations, Kept},
    verify::{check_lists, check_segments, damaged, explain},
};
use crate::{
    conversation::entry::Entry,
    journal::Position,
    tables::{
        Freshness, Key, LogRange, Prefix, Row, Slice, Stored, TablesError, Version, keys::slice_keys, log_read,
        log_read::LogReader,
    },
};

const LOG: usize = 0;
const ITEMS: usize = 1;
const STATES: usize = 2;
const META: usize = 3;
const NAMES: [&str; 4] = ["log", "items", "states", "meta"];
/// fjall numbers its own list of keyspaces 0 and the others in the order of their making.
const FOLDERS: usize = 1 + NAMES.len();

const FLUSHED: Key = Key::Meta("flushed");

pub(super) struct Store {
    // First: it holds the others open.
    compactor: Compactor,
    keyspaces: [Keyspace; 4],
    database: Database,
    generations: Generations,
    is_closed: AtomicBool,
}

/// Sizes and debts, summed over all keyspaces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Of all live segments. Replaced ones leave the disk a little later.
    pub disk_bytes: u64,
    pub segments: usize,
    /// Unmerged runs of the keyspace that has most of them: each costs a read one more look.
    pub unmerged_runs: usize,
    /// Bytes in unmerged runs: what compaction must at least rewrite.
    pub unmerged_bytes: u64,
    pub is_compacting: bool,
    pub cache_bytes: u64,
}

impl Store {
    pub(super) fn open(options: &EmbeddedOptions) -> Result<Self, TablesError> {
        let path = &options.path;
        make_if_missing(path).map_err(|error| explain(error, path, None, &[]))?;
        check_lists(path, FOLDERS)?;
        let generations = Generations::default();
        let opened = open_database(path, options.cache_bytes, &generations);
        let (database, keyspaces) = opened.map_err(|error| explain(error, path, None, &[]))?;
        let compacted =
            keyspaces.iter().cloned().zip([strategy(LOG), strategy(ITEMS), strategy(STATES), strategy(META)]);
        let compactor = Compactor::start(database.clone(), compacted.collect())
            .map_err(|error| TablesError::Failed(Arc::new(error)))?;
        let store = Self { compactor, keyspaces, database, generations, is_closed: AtomicBool::new(false) };
        store.generations.set(store.read_flushed()?.1);
        Ok(store)
    }

    pub(super) fn check_open(&self) -> Result<(), TablesError> {
        if self.is_closed.load(Ordering::Acquire) { Err(TablesError::Closed) } else { Ok(()) }
    }

    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
    }

    pub(super) fn put_max(&self, rows: Vec<Row>, freshness: Freshness) -> Result<(), TablesError> {
        let mut parts: [Vec<(Vec<u8>, Row)>; 4] = Default::default();
        for row in rows {
            parts[keyspace_of(&row.key)].push((row.key.encode(), row));
        }
        for (number, mut part) in parts.into_iter().enumerate().filter(|(_, part)| !part.is_empty()) {
            part.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
            if freshness == Freshness::Unknown {
                part = self.newer_only(number, part)?;
            }
            self.ingest(number, part)?;
        }
        self.compactor.ask();
        Ok(())
    }

    /// Leaves out rows of which a newer version is there, or was deleted.
    fn newer_only(&self, number: usize, part: Vec<(Vec<u8>, Row)>) -> Result<Vec<(Vec<u8>, Row)>, TablesError> {
        let mut newer = Vec::with_capacity(part.len());
        for (key, row) in part {
            let known = self.with_kept(number, &key, |kept| kept.version)?;
            if known.is_none_or(|known| known <= row.version) {
                newer.push((key, row));
            }
        }
        Ok(newer)
    }

    fn ingest(&self, number: usize, part: Vec<(Vec<u8>, Row)>) -> Result<(), TablesError> {
        if part.is_empty() {
            return Ok(());
        }
        let keyspace = &self.keyspaces[number];
        self.compactor.make_room(keyspace)?;
        let generation = self.generations.now();
        let ingested = (|| {
            let mut ingestion = keyspace.start_ingestion()?;
            for (key, row) in part {
                let content = row.value.as_deref().map_or(Content::Deleted(generation), Content::Value);
                ingestion.write(key, Kept { version: row.version, content }.encode())?;
            }
            ingestion.finish()
        })();
        ingested.map_err(|error| explain(error, keyspace.path(), None, &[]))
    }

    pub(super) fn get(&self, keys: &[Key]) -> Result<Vec<Option<Stored>>, TablesError> {
        let rows = keys.iter().map(|key| {
            let stored = self.with_kept(keyspace_of(key), &key.encode(), |kept| kept.stored())?;
            Ok(stored.flatten())
        });
        rows.collect()
    }

    fn with_kept<T>(
        &self,
        number: usize,
        key: &[u8],
        read: impl FnOnce(Kept<'_>) -> T,
    ) -> Result<Option<T>, TablesError> {
        let keyspace = &self.keyspaces[number];
        let found = keyspace.get(key).map_err(|error| explain(error, keyspace.path(), Some(keyspace), key))?;
        found.map(|value| decode(keyspace, key, &value).map(read)).transpose()
    }

    pub(super) fn rows(
        &self,
        prefix: &Prefix,
        after: Option<&Key>,
        limit: usize,
    ) -> Result<Vec<(Key, Stored)>, TablesError> {
        let prefix = prefix.encode();
        let from = match after.map(Key::encode) {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix.clone()),
        };
        let number = if matches!(prefix[0], b'm' | b'i') {
            ITEMS
        } else if matches!(prefix[0], b'f' | b'a') {
            LOG
        } else {
            STATES
        };
        self.range(number, (from, end_of(&prefix)), limit)
    }

    pub(super) fn conversations(
        &self,
        slice: Slice,
        after: Option<ConversationId>,
        limit: usize,
    ) -> Result<Vec<(ConversationId, Stored)>, TablesError> {
        let rows = self.range(STATES, slice_keys(slice, after), limit)?;
        let conversations = rows.into_iter().filter_map(|(key, stored)| match key {
            Key::Conversation(id) => Some((id, stored)),
            _ => None,
        });
        Ok(conversations.collect())
    }

    fn range(
        &self,
        number: usize,
        (from, to): (Bound<Vec<u8>>, Bound<Vec<u8>>),
        limit: usize,
    ) -> Result<Vec<(Key, Stored)>, TablesError> {
        let keyspace = &self.keyspaces[number];
        let mut rows = Vec::new();
        let near = match &from {
            Bound::Included(key) | Bound::Excluded(key) => key.clone(),
            Bound::Unbounded => Vec::new(),
        };
        for guard in keyspace.range((from, to)) {
            if rows.len() >= limit {
                break;
            }
            let (key, value) =
                guard.into_inner().map_err(|error| explain(error, keyspace.path(), Some(keyspace), &near))?;
            if let Some(stored) = decode(keyspace, &key, &value)?.stored() {
                let key =
                    Key::decode(&key).ok_or_else(|| damaged(keyspace.path(), &format!("no row has key {key:x?}")))?;
                rows.push((key, stored));
            }
        }
        Ok(rows)
    }

    pub(super) fn log(
        &self,
        conversation: ConversationId,
        range: LogRange,
        limit: usize,
    ) -> Result<Vec<Entry>, TablesError> {
        let mut reader = LogReader::new(conversation, range, limit);
        let Some((from, to)) = reader.start() else { return Ok(Vec::new()) };
        let is_forward = matches!(range, LogRange::After(_));
        self.scan_log(conversation, from, to, is_forward, |first_seq, kept| {
            if !reader.wants(first_seq) {
                return Ok(false);
            }
            if let Content::Value(value) = kept.content {
                reader.take(first_seq, kept.version, value)?;
            }
            Ok(true)
        })?;
        Ok(reader.finish())
    }

    pub(super) fn log_rows(&self, wanted: &[(ConversationId, Seq)]) -> Result<Vec<Vec<(Seq, Stored)>>, TablesError> {
        let found = wanted.iter().map(|(conversation, seq)| {
            let mut holding = Vec::new();
            self.scan_log(*conversation, log_read::earliest_start(*seq), *seq, true, |first_seq, kept| {
                if let Some(stored) = kept.stored()
                    && log_read::open(*conversation, first_seq, &stored.value)?.last_seq >= *seq
                {
                    holding.push((first_seq, stored));
                }
                Ok(true)
            })?;
            Ok(holding)
        });
        found.collect()
    }

    pub(super) fn log_rows_between(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<(Seq, Stored)>, TablesError> {
        let mut rows = Vec::new();
        if from > to || limit == 0 {
            return Ok(rows);
        }
        self.scan_log(conversation, from, to, true, |first_seq, kept| {
            rows.extend(kept.stored().map(|stored| (first_seq, stored)));
            Ok(rows.len() < limit)
        })?;
        Ok(rows)
    }

    /// Gives the log rows that begin in `from..=to` to `visit`, until it returns `false`.
    fn scan_log(
        &self,
        conversation: ConversationId,
        from: Seq,
        to: Seq,
        is_forward: bool,
        mut visit: impl FnMut(Seq, Kept<'_>) -> Result<bool, TablesError>,
    ) -> Result<(), TablesError> {
        let keyspace = &self.keyspaces[LOG];
        let (first, last) = (Key::Log(conversation, from).encode(), Key::Log(conversation, to).encode());
        let mut rows = keyspace.range(first.as_slice()..=last.as_slice());
        while let Some(guard) = if is_forward { rows.next() } else { rows.next_back() } {
            let read = guard.into_inner();
            let (key, value) = read.map_err(|error| explain(error, keyspace.path(), Some(keyspace), &first))?;
            let kept = decode(keyspace, &key, &value)?;
            let Some(Key::Log(_, first_seq)) = Key::decode(&key) else {
                return Err(damaged(keyspace.path(), &format!("no log row has key {key:x?}")));
            };
            if !visit(first_seq, kept)? {
                break;
            }
        }
        Ok(())
    }

    pub(super) fn set_flushed(&self, position: Position) -> Result<(), TablesError> {
        let generation = self.generations.now() + 1;
        let value = [position.0.to_be_bytes(), generation.to_be_bytes()].concat();
        let row = Row { key: FLUSHED, version: Version(generation), value: Some(value.into()) };
        // Every put before has synced its rows; this ingestion comes after them and syncs too.
        self.ingest(META, vec![(FLUSHED.encode(), row)])?;
        self.generations.set(generation);
        self.compactor.ask();
        Ok(())
    }

    pub(super) fn flushed(&self) -> Result<Position, TablesError> {
        Ok(self.read_flushed()?.0)
    }

    /// The mark, and how often it was set.
    fn read_flushed(&self) -> Result<(Position, u64), TablesError> {
        let Some(stored) = self.get(&[FLUSHED])?.remove(0) else { return Ok((Position::NONE, 0)) };
        let (position, generation) = stored.value.split_at_checked(8).unzip();
        let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u64::from_be_bytes);
        match (number(position), number(generation)) {
            (Some(position), Some(generation)) => Ok((Position(position), generation)),
            _ => Err(damaged(self.keyspaces[META].path(), "the flush mark has a wrong length")),
        }
    }

    pub(super) fn status(&self) -> Status {
        let mut status = Status {
            is_compacting: self.compactor.is_working(),
            cache_bytes: self.database.cache_size(),
            ..Status::default()
        };
        for keyspace in &self.keyspaces {
            let version = keyspace.tree.current_version();
            status.disk_bytes += keyspace.disk_space();
            status.segments += version.table_count();
            status.unmerged_runs = status.unmerged_runs.max(version.l0().run_count());
            status.unmerged_bytes += version.l0().size();
        }
        status
    }

    pub(super) fn verify(&self) -> Result<(), TablesError> {
        check_lists(self.database_path(), FOLDERS)?;
        self.keyspaces.iter().try_for_each(|keyspace| check_segments(keyspace, None))
    }

    pub(super) fn settle(&self) -> Result<(), TablesError> {
        self.compactor.settle()
    }

    fn database_path(&self) -> &Path {
        let keyspaces = self.keyspaces[META].path().parent();
        keyspaces.and_then(Path::parent).expect("a keyspace lies two folders below the database")
    }
}

fn decode<'a>(keyspace: &Keyspace, key: &[u8], value: &'a [u8]) -> Result<Kept<'a>, TablesError> {
    Kept::decode(value).ok_or_else(|| damaged(keyspace.path(), &format!("the row of key {key:x?} has no version")))
}

fn keyspace_of(key: &Key) -> usize {
    match key {
        Key::Log(..) | Key::Fingerprints(..) | Key::Archived(..) => LOG,
        Key::Member(..) | Key::Inbox(..) | Key::Pending(_) => ITEMS,
        Key::Conversation(_) | Key::Home(_) => STATES,
        Key::Meta(_) => META,
    }
}

/// Behind the last key that begins with `prefix`.
fn end_of(prefix: &[u8]) -> Bound<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 255 {
            end.push(last + 1);
            return Bound::Excluded(end);
        }
    }
    Bound::Unbounded
}

fn open_database(
    path: &Path,
    cache_bytes: u64,
    generations: &Generations,
) -> Result<(Database, [Keyspace; 4]), fjall::Error> {
    let filter: Arc<dyn Factory> = Arc::new(generations.clone());
    let database = Database::builder(path)
        .cache_size(cache_bytes)
        // See `compactor`. Nothing is ever written through fjall's own write-ahead log.
        .worker_threads_unchecked(0)
        .with_compaction_filter_factories(Arc::new(move |_| Some(Arc::clone(&filter))))
        .open()?;
    let mut keyspaces = Vec::new();
    for (number, name) in NAMES.into_iter().enumerate() {
        keyspaces.push(database.keyspace(name, || layout(number))?);
    }
    let keyspaces = keyspaces.try_into().unwrap_or_else(|_| unreachable!("there are as many keyspaces as names"));
    Ok((database, keyspaces))
}

/// How the segments of a keyspace are laid out: settled by measuring, see docs/formats.md.
fn layout(number: usize) -> KeyspaceCreateOptions {
    // Log rows are compressed already; the others are small and few.
    KeyspaceCreateOptions::default()
        .data_block_compression_policy(CompressionPolicy::disabled())
        .data_block_size_policy(BlockSizePolicy::all(4 * 1024))
        .filter_policy(FilterPolicy::all(FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0))))
        .filter_block_partitioning_policy(PartitioningPolicy::new([false, false, true]))
        .index_block_partitioning_policy(PartitioningPolicy::new([false, false, true]))
        .filter_block_pinning_policy(PinningPolicy::new([true, true, false]))
        .index_block_pinning_policy(PinningPolicy::new([true, true, false]))
        .compaction_strategy(Arc::new(strategy(number)))
}

fn strategy(_: usize) -> Leveled {
    Leveled::default()
}

/// Makes the tables aside and moves them into place, so that a folder that is there is complete.
fn make_if_missing(path: &Path) -> Result<(), fjall::Error> {
    if fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some()) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent)?;
    let mut aside = path.as_os_str().to_owned();
    aside.push(".new");
    let aside = Path::new(&aside);
    if aside.try_exists()? {
        fs::remove_dir_all(aside)?;
    }
    drop(open_database(aside, 1024 * 1024, &Generations::default())?);
    sync_folders(aside)?;
    fs::rename(aside, path)?;
    File::open(parent)?.sync_all()?;
    Ok(())
}

/// Makes the names in a folder and below it durable: the engine leaves some of those that it makes at its start.
fn sync_folders(folder: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_folders(&entry.path())?;
        }
    }
    File::open(folder)?.sync_all()
}
