//! Whether the cluster keeps what it acknowledges. Looked at before anything is served: afterwards it would be too late.

use std::fmt;

use scylla::{
    policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy},
    statement::Statement,
};

use super::{
    Store, StoreError,
    ask::{Found, found},
};

/// One thing that is wrong, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsafe {
    NoKeyspace {
        keyspace: String,
    },
    MissingTables {
        keyspace: String,
        tables: Vec<&'static str>,
    },
    Replicas {
        keyspace: String,
        found: u32,
        wanted: u32,
    },
    NotDurable {
        keyspace: String,
    },
    CommitLog {
        node: String,
        found: String,
    },
    Paxos {
        node: String,
        found: String,
    },
    /// None of the nodes could be asked.
    NobodyAnswers,
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoKeyspace { keyspace } => {
                write!(f, "there is no keyspace {keyspace}: make it with tidings schema apply")
            }
            Self::MissingTables { keyspace, tables } => write!(
                f,
                "the keyspace {keyspace} lacks {}: make what is missing with tidings schema apply",
                tables.join(", ")
            ),
            Self::Replicas { keyspace, found, wanted } => write!(
                f,
                "the keyspace {keyspace} keeps {found} copies, fewer than {wanted}: losing one node would lose messages \
                 or stop the service; alter its replication, or set cassandra.replicas = {found} if that is meant"
            ),
            Self::NotDurable { keyspace } => write!(
                f,
                "the keyspace {keyspace} has durable_writes = false: its writes skip the commit log and are lost with \
                 the process; alter it"
            ),
            Self::CommitLog { node, found } => write!(
                f,
                "Cassandra node {node} has commitlog_sync: {found}, which acknowledges before it is on disk and was seen \
                 to lose acknowledged messages; set it to group or batch"
            ),
            Self::Paxos { node, found } => write!(
                f,
                "Cassandra node {node} has paxos_variant: {found}; set it to v2, which stays correct while the ring \
                 changes"
            ),
            Self::NobodyAnswers => write!(f, "no Cassandra node told its settings"),
        }
    }
}

impl Store {
    /// What is unsafe about the cluster and the keyspace; empty: nothing. Of nodes that are down nothing is known; they
    /// are named in the log.
    pub async fn check(&self, replicas: u32) -> Result<Vec<Unsafe>, StoreError> {
        let mut wrong = self.check_keyspace(replicas).await?;
        let mut asked = 0;
        let state = self.session().get_cluster_state();
        for node in state.get_nodes_info() {
            let name = node.address.to_string();
            let policy = SingleTargetLoadBalancingPolicy::new(NodeIdentifier::Node(node.clone()), None);
            let mut statement = Statement::new("SELECT name, value FROM system_views.settings");
            statement.set_load_balancing_policy(Some(policy));
            statement.set_consistency(scylla::statement::Consistency::One);
            match self.session().query_unpaged(statement, ()).await {
                Ok(answer) => {
                    asked += 1;
                    wrong.extend(judge(&name, &found(answer)?));
                }
                Err(error) => tracing::warn!(node = name, %error, "the settings of a Cassandra node are not known"),
            }
        }
        if asked == 0 {
            wrong.push(Unsafe::NobodyAnswers);
        }
        Ok(wrong)
    }

    async fn check_keyspace(&self, wanted: u32) -> Result<Vec<Unsafe>, StoreError> {
        let keyspace = self.keyspace().to_owned();
        let text = "SELECT replication, durable_writes FROM system_schema.keyspaces WHERE keyspace_name = ?";
        let statement = self.prepare(text).await?;
        let rows = found(self.ask(&statement, (&keyspace,)).await?)?;
        let Some(row) = rows.first() else { return Ok(vec![Unsafe::NoKeyspace { keyspace }]) };
        let mut wrong = Vec::new();
        let tables = self.missing_tables().await?;
        if !tables.is_empty() {
            wrong.push(Unsafe::MissingTables { keyspace: keyspace.clone(), tables });
        }
        if !row.is_true("durable_writes") {
            wrong.push(Unsafe::NotDurable { keyspace: keyspace.clone() });
        }
        let found = copies(row);
        if found < wanted {
            wrong.push(Unsafe::Replicas { keyspace, found, wanted });
        }
        Ok(wrong)
    }
}

/// How many copies a keyspace keeps: over all datacentres the sum, since a quorum counts all of them.
fn copies(keyspace: &Found) -> u32 {
    let Some(options) = keyspace.get("replication").and_then(scylla::value::CqlValue::as_map) else { return 0 };
    let counts = options.iter().filter(|(name, _)| name.as_text().is_none_or(|name| name != "class"));
    counts.filter_map(|(_, count)| count.as_text()?.split('/').next()?.parse::<u32>().ok()).sum()
}

/// What one node's settings say.
fn judge(node: &str, settings: &[Found]) -> Vec<Unsafe> {
    let setting = |name: &str| {
        let row = settings.iter().find(|row| row.text("name") == Some(name));
        row.and_then(|row| row.text("value")).unwrap_or("(not known)").to_owned()
    };
    let mut wrong = Vec::new();
    let commit_log = setting("commitlog_sync");
    if !["group", "batch"].contains(&commit_log.as_str()) {
        wrong.push(Unsafe::CommitLog { node: node.to_owned(), found: commit_log });
    }
    let paxos = setting("paxos_variant");
    if !paxos.starts_with("v2") {
        wrong.push(Unsafe::Paxos { node: node.to_owned(), found: paxos });
    }
    wrong
}
