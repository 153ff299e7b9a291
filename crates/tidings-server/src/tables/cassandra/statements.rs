//! Which table, columns and statements each kind of key has.

use scylla::{statement::prepared::PreparedStatement, value::CqlValue};

use super::{Key, Prefix};
use crate::cassandra::{Store, StoreError};

/// Seqs whose log rows are in one partition: a few megabytes of ordinary entries.
pub(super) const PART: u64 = 8_192;

/// Log rows read at once.
pub(super) const ROWS_A_READ: usize = 64;

/// The statements of one table.
pub(super) struct OfTable {
    /// Version, value, place.
    pub put: PreparedStatement,
    /// Version, place.
    pub delete: PreparedStatement,
    pub get: PreparedStatement,
}

/// Rows of a prefix: all of them, and those after one.
pub(super) struct OfPrefix {
    pub all: PreparedStatement,
    pub after: PreparedStatement,
}

pub(super) struct Statements {
    conversation: OfTable,
    log: OfTable,
    member: OfTable,
    fingerprints: OfTable,
    home: OfTable,
    inbox: OfTable,
    meta: OfTable,
    pending: OfTable,
    archive: OfTable,
    archived: OfPrefix,
    members: OfPrefix,
    fingerprints_of: OfPrefix,
    inbox_of: OfPrefix,
    conversations: OfPrefix,
    homes: OfPrefix,
    pub slice: OfPrefix,
    pending_of: OfPrefix,
    pub log_up: PreparedStatement,
    pub log_down: PreparedStatement,
    pub part_has_rows: PreparedStatement,
}

impl Statements {
    pub async fn prepare(store: &Store) -> Result<Self, StoreError> {
        let k = store.keyspace();
        let seqs = "first_seq, e, writetime(e) AS version";
        let part = "conversation = ? AND part = ? AND first_seq >= ? AND first_seq <= ?";
        Ok(Self {
            conversation: OfTable::prepare(store, "conversation", "conversation = ?").await?,
            log: OfTable::prepare(store, "log", "conversation = ? AND part = ? AND first_seq = ?").await?,
            member: OfTable::prepare(store, "member", "conversation = ? AND name = ?").await?,
            fingerprints: OfTable::prepare(store, "fingerprints", "conversation = ? AND first_seq = ?").await?,
            home: OfTable::prepare(store, "home", "name = ?").await?,
            inbox: OfTable::prepare(store, "inbox", "name = ? AND conversation = ?").await?,
            meta: OfTable::prepare(store, "meta", "name = ?").await?,
            pending: OfTable::prepare(store, "pending", "part = ? AND conversation = ?").await?,
            archive: OfTable::prepare(store, "archive", "conversation = ? AND last_seq = ?").await?,
            archived: OfPrefix::within(store, "archive", "conversation", "last_seq").await?,
            members: OfPrefix::within(store, "member", "conversation", "name").await?,
            fingerprints_of: OfPrefix::within(store, "fingerprints", "conversation", "first_seq").await?,
            inbox_of: OfPrefix::within(store, "inbox", "name", "conversation").await?,
            conversations: OfPrefix::everywhere(store, "conversation", "conversation").await?,
            homes: OfPrefix::everywhere(store, "home", "name").await?,
            slice: OfPrefix::of_ring(store, "conversation", "conversation").await?,
            pending_of: OfPrefix::within(store, "pending", "part", "conversation").await?,
            log_up: store
                .prepare(&format!("SELECT {seqs} FROM {k}.log WHERE {part} ORDER BY first_seq ASC LIMIT {ROWS_A_READ}"))
                .await?,
            log_down: store
                .prepare(&format!(
                    "SELECT {seqs} FROM {k}.log WHERE {part} ORDER BY first_seq DESC LIMIT {ROWS_A_READ}"
                ))
                .await?,
            part_has_rows: store
                .prepare(&format!("SELECT first_seq FROM {k}.log WHERE conversation = ? AND part = ? LIMIT 1"))
                .await?,
        })
    }

    pub fn of(&self, key: &Key) -> &OfTable {
        match key {
            Key::Conversation(_) => &self.conversation,
            Key::Log(..) => &self.log,
            Key::Member(..) => &self.member,
            Key::Fingerprints(..) => &self.fingerprints,
            Key::Home(_) => &self.home,
            Key::Inbox(..) => &self.inbox,
            Key::Meta(_) => &self.meta,
            Key::Pending(_) => &self.pending,
            Key::Archived(..) => &self.archive,
        }
    }

    pub fn of_prefix(&self, prefix: &Prefix) -> &OfPrefix {
        match prefix {
            Prefix::Archived(_) => &self.archived,
            Prefix::Members(_) => &self.members,
            Prefix::Fingerprints(_) => &self.fingerprints_of,
            Prefix::Inbox(_) => &self.inbox_of,
            Prefix::Conversations => &self.conversations,
            Prefix::Homes => &self.homes,
            Prefix::Pending(_) => &self.pending_of,
        }
    }
}

impl OfTable {
    async fn prepare(store: &Store, table: &str, place: &str) -> Result<Self, StoreError> {
        let table = format!("{}.{table}", store.keyspace());
        Ok(Self {
            put: store.prepare(&format!("UPDATE {table} USING TIMESTAMP ? SET e = ? WHERE {place}")).await?,
            delete: store.prepare(&format!("DELETE FROM {table} USING TIMESTAMP ? WHERE {place}")).await?,
            get: store.prepare(&format!("SELECT e, writetime(e) AS version FROM {table} WHERE {place}")).await?,
        })
    }
}

impl OfPrefix {
    async fn within(store: &Store, table: &str, partition: &str, column: &str) -> Result<Self, StoreError> {
        let select = select(store, table, column);
        let at = format!("WHERE {partition} = ?");
        Ok(Self {
            all: prepare(store, &format!("{select} {at} LIMIT ?")).await?,
            after: prepare(store, &format!("{select} {at} AND {column} > ? LIMIT ?")).await?,
        })
    }

    async fn everywhere(store: &Store, table: &str, column: &str) -> Result<Self, StoreError> {
        let select = select(store, table, column);
        Ok(Self {
            all: prepare(store, &format!("{select} LIMIT ?")).await?,
            after: prepare(store, &format!("{select} WHERE token({column}) > token(?) LIMIT ?")).await?,
        })
    }

    /// Rows of a range of the token ring: from its first token, or after a row; to its last token.
    async fn of_ring(store: &Store, table: &str, column: &str) -> Result<Self, StoreError> {
        let select = select(store, table, column);
        let end = format!("token({column}) <= ? LIMIT ?");
        Ok(Self {
            all: prepare(store, &format!("{select} WHERE token({column}) >= ? AND {end}")).await?,
            after: prepare(store, &format!("{select} WHERE token({column}) > token(?) AND {end}")).await?,
        })
    }
}

fn select(store: &Store, table: &str, column: &str) -> String {
    format!("SELECT {column}, e, writetime(e) AS version FROM {}.{table}", store.keyspace())
}

async fn prepare(store: &Store, text: &str) -> Result<PreparedStatement, StoreError> {
    store.prepare(text).await
}

/// The values of a key's columns, in the order of the statements.
pub(super) fn place(key: &Key) -> Vec<CqlValue> {
    let bytes = |id: &tidings_proto::ConversationId| CqlValue::Blob(id.as_bytes().to_vec());
    let text = |name: &str| CqlValue::Text(name.to_owned());
    match key {
        Key::Conversation(id) => vec![bytes(id)],
        Key::Log(id, seq) => vec![bytes(id), CqlValue::Int(part_of(seq.0)), CqlValue::BigInt(number(seq.0))],
        Key::Member(id, user) => vec![bytes(id), text(user.as_str())],
        Key::Fingerprints(id, seq) | Key::Archived(id, seq) => vec![bytes(id), CqlValue::BigInt(number(seq.0))],
        Key::Home(user) => vec![text(user.as_str())],
        Key::Inbox(user, id) => vec![text(user.as_str()), bytes(id)],
        Key::Meta(name) => vec![text(name)],
        Key::Pending(id) => vec![CqlValue::Int(i32::from(id.as_bytes()[0])), bytes(id)],
    }
}

/// The column by which rows of a prefix are ordered.
pub(super) fn last_of_place(key: &Key) -> CqlValue {
    place(key).pop().expect("every key has a column")
}

pub(super) fn prefix_place(prefix: &Prefix) -> Vec<CqlValue> {
    match prefix {
        Prefix::Members(id) | Prefix::Fingerprints(id) | Prefix::Archived(id) => place(&Key::Conversation(*id)),
        Prefix::Inbox(user) => place(&Key::Home(user.clone())),
        Prefix::Conversations | Prefix::Homes => Vec::new(),
        Prefix::Pending(part) => vec![CqlValue::Int(i32::from(*part))],
    }
}

/// The partition of a log in which a row stands that begins at this seq.
pub(super) fn part_of(first_seq: u64) -> i32 {
    i32::try_from(first_seq / PART).unwrap_or(i32::MAX)
}

/// Numbers above what Cassandra counts to are bounds only: no row stands there.
pub(super) fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
