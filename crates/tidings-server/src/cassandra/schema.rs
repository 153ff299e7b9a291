//! The tables in Cassandra, each with what may write it. They are made by one explicit command, never by a node that
//! starts: two that made them at once would make two different ones.

use std::fmt::Write as _;

use super::{Store, StoreError};

/// What a table is for, and its columns.
///
/// `journal` and `data` take conditional statements only, all others plain ones only: mixing the two in one table gives
/// up the order of either. The one exception is the trimming of whole old buckets of a journal.
const TABLES: &[(&str, &str, &str)] = &[
    (
        "journal",
        "node uuid, bucket int, pos bigint, id uuid, seal boolean, e blob, PRIMARY KEY ((node, bucket), pos)",
        "commits, one row each, conditional",
    ),
    ("journals", "node uuid PRIMARY KEY, flushed bigint", "every journal, and up to where it is in the tables"),
    (
        "data",
        "name text PRIMARY KEY, epoch bigint, taker uuid, journal uuid, lineage blob, secret text",
        "which journal is the current one, conditional",
    ),
    ("conversation", "conversation blob PRIMARY KEY, e blob", "states of conversations"),
    (
        "log",
        "conversation blob, part int, first_seq bigint, e blob, PRIMARY KEY ((conversation, part), first_seq)) \
         WITH CLUSTERING ORDER BY (first_seq DESC",
        "entries, packed",
    ),
    (
        "member",
        "conversation blob, name text, e blob, PRIMARY KEY (conversation, name)",
        "members of large conversations",
    ),
    (
        "fingerprints",
        "conversation blob, first_seq bigint, e blob, PRIMARY KEY (conversation, first_seq)",
        "what repeats are found by",
    ),
    ("home", "name text PRIMARY KEY, e blob", "homes of users"),
    ("inbox", "name text, conversation blob, e blob, PRIMARY KEY (name, conversation)", "items of inboxes"),
    ("meta", "name text PRIMARY KEY, e blob", "facts of the whole"),
    (
        "archive",
        "conversation blob, last_seq bigint, e blob, PRIMARY KEY (conversation, last_seq)",
        "where old entries are among the blobs",
    ),
];

/// All statements, in order. Each does nothing where its table is there already.
pub fn statements(keyspace: &str, replicas: u32) -> Vec<String> {
    let mut all = vec![format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = \
         {{'class': 'NetworkTopologyStrategy', 'replication_factor': {replicas}}} AND durable_writes = true"
    )];
    all.extend(TABLES.iter().map(|(name, columns, comment)| {
        let (columns, also) = match columns.split_once(" WITH ") {
            Some((columns, also)) => (format!("{columns} WITH {also}) AND"), ""),
            None => (format!("{columns}) WITH"), ""),
        };
        let mut statement = format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}{also}");
        write!(statement, " comment = '{comment}'").expect("a text takes any text");
        statement
    }));
    all
}

impl Store {
    /// Makes what is missing.
    pub async fn apply_schema(&self, replicas: u32) -> Result<(), StoreError> {
        for statement in statements(self.keyspace(), replicas) {
            let done = self.session().query_unpaged(statement, ()).await;
            done.map_err(|error| StoreError::Refused(Box::new(error)))?;
        }
        Ok(())
    }

    /// The tables that are not there.
    pub async fn missing_tables(&self) -> Result<Vec<&'static str>, StoreError> {
        let statement = self.prepare("SELECT table_name FROM system_schema.tables WHERE keyspace_name = ?").await?;
        let there = super::ask::found(self.ask(&statement, (self.keyspace(),)).await?)?;
        let is_there = |name: &str| there.iter().any(|row| row.text("table_name") == Some(name));
        Ok(TABLES.iter().map(|(name, ..)| *name).filter(|name| !is_there(name)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_is_whole() {
        let all = statements("chat", 3);
        assert_eq!(all.len(), TABLES.len() + 1);
        for statement in &all {
            assert_eq!(statement.matches('(').count(), statement.matches(')').count(), "{statement}");
            assert!(statement.contains("IF NOT EXISTS chat"), "{statement}");
        }
        assert!(all[0].contains("'replication_factor': 3"));
        let log = all.iter().find(|statement| statement.contains("chat.log ")).unwrap();
        assert!(log.ends_with("WITH CLUSTERING ORDER BY (first_seq DESC) AND comment = 'entries, packed'"), "{log}");
    }
}
