//! The tables in Cassandra, each with what may write it. They are made by one explicit command, never by a node that
//! starts: two that made them at once would make two different ones.

use super::{Store, StoreError};

struct Table {
    name: &'static str,
    columns: &'static str,
    /// What it is for.
    comment: &'static str,
    /// How rows of a partition are ordered, if not upwards.
    order: Option<&'static str>,
}

impl Table {
    const fn new(name: &'static str, columns: &'static str, comment: &'static str) -> Self {
        Self { name, columns, comment, order: None }
    }

    fn statement(&self, keyspace: &str) -> String {
        let Self { name, columns, comment, order } = self;
        let order = order.map_or(String::new(), |order| format!("CLUSTERING ORDER BY ({order}) AND "));
        format!("CREATE TABLE IF NOT EXISTS {keyspace}.{name} ({columns}) WITH {order}comment = '{comment}'")
    }
}

/// `journal`, `data`, `fleet` and `shards` take conditional statements only, all others plain ones only: mixing the two in
/// one table gives up the order of either. The one exception is the trimming of whole old buckets of a journal.
const TABLES: &[Table] = &[
    Table::new(
        "journal",
        "node uuid, bucket int, pos bigint, id uuid, seal boolean, e blob, PRIMARY KEY ((node, bucket), pos)",
        "commits, one row each, conditional",
    ),
    Table::new(
        "journals",
        "node uuid PRIMARY KEY, flushed bigint",
        "every journal, and up to where it is in the tables",
    ),
    Table::new(
        "data",
        "name text PRIMARY KEY, epoch bigint, taker uuid, journal uuid, lineage blob, secret text",
        "which journal is the current one, conditional",
    ),
    Table::new("fleet", "name text PRIMARY KEY, epoch bigint, e blob", "the view: which nodes there are, conditional"),
    Table::new(
        "shards",
        "part int PRIMARY KEY, version bigint, e blob",
        "which node hosts each shard of a part, conditional",
    ),
    Table::new("alive", "node uuid PRIMARY KEY, beat bigint", "that nodes live, told once a second"),
    Table::new("conversation", "conversation blob PRIMARY KEY, e blob", "states of conversations"),
    Table {
        order: Some("first_seq DESC"),
        ..Table::new(
            "log",
            "conversation blob, part int, first_seq bigint, e blob, PRIMARY KEY ((conversation, part), first_seq)",
            "entries, packed",
        )
    },
    Table::new(
        "member",
        "conversation blob, name text, e blob, PRIMARY KEY (conversation, name)",
        "members of large conversations",
    ),
    Table::new(
        "fingerprints",
        "conversation blob, first_seq bigint, e blob, PRIMARY KEY (conversation, first_seq)",
        "what repeats are found by",
    ),
    Table::new("home", "name text PRIMARY KEY, e blob", "homes of users"),
    Table::new("inbox", "name text, conversation blob, e blob, PRIMARY KEY (name, conversation)", "items of inboxes"),
    Table::new(
        "pending",
        "part int, conversation blob, e blob, PRIMARY KEY (part, conversation)",
        "whom a conversation has told what their homes do not have yet",
    ),
    Table::new("meta", "name text PRIMARY KEY, e blob", "facts of the whole"),
    Table::new(
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
    all.extend(TABLES.iter().map(|table| table.statement(keyspace)));
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
        Ok(TABLES.iter().map(|table| table.name).filter(|name| !is_there(name)).collect())
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
