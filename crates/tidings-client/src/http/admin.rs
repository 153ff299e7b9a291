//! The operator's calls (`/v1/admin`); show the admin token.

use super::*;

/// Display names to user ids, the same ones each time.
#[derive(Debug, Serialize, Deserialize)]
pub struct Resolve {
    /// At most 1,000.
    pub names: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Resolved {
    pub users: Vec<ImportUser>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportUser {
    pub user: UserId,
    pub name: String,
}

/// A part of an import: at most 1,000 users and 1,000 messages, in order.
#[derive(Debug, Serialize, Deserialize)]
pub struct Import {
    pub conversation: ImportConversation,
    pub users: Vec<ImportUser>,
    pub messages: Vec<ImportMessage>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ImportConversation {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<UserId>,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ImportMessage {
    pub client_msg_id: String,
    pub from: UserId,
    /// Unix milliseconds.
    pub at: u64,
    pub text: String,
}

/// Durable when answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Imported {
    pub conversation: ConversationId,
    pub imported: u64,
    /// Messages that were there already.
    pub repeats: u64,
    pub last_seq: Seq,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct Conversations {
    pub conversations: Vec<ConversationId>,
}

/// A page of a log as operators see it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ExportPage {
    pub entries: Vec<ExportEntry>,
    pub first_seq: Seq,
    pub last_seq: Seq,
}

#[derive(Debug, Serialize, Deserialize)]
pub struct ExportEntry {
    /// The display name of `from`: as it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_name: Option<String>,
    /// Sent by somebody who was blocked: nobody else sees it.
    #[serde(default)]
    pub void: bool,
    #[serde(flatten)]
    pub entry: Entry<'static>,
}

/// What the archive has done since the server started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Archive {
    /// 0: nothing is archived.
    pub after_months: u64,
    pub is_running: bool,
    pub rounds: u64,
    /// What the last round did that came to its end.
    pub last: Option<Archived>,
    pub last_at_ms: Option<u64>,
    /// Why the last round ended before its end, if it did.
    pub error: Option<String>,
    /// Where it is.
    pub place: String,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Archived {
    pub conversations: u64,
    pub segments: u64,
    pub blocks: u64,
    pub entries: u64,
    pub unpacked_bytes: u64,
    pub packed_bytes: u64,
    pub rows: u64,
    pub failed: u64,
}

/// The fleet, as the node that was asked knows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Fleet {
    /// It has one node because it is none.
    pub is_alone: bool,
    pub view_epoch: u64,
    /// The view that the counts of shards are of.
    pub counted_epoch: u64,
    pub shards: u64,
    /// Shards that are not where they shall be.
    pub moving: u64,
    pub nodes: Vec<FleetNode>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FleetNode {
    pub id: String,
    /// `None`: it is gone.
    pub name: Option<String>,
    pub url: Option<String>,
    pub address: Option<String>,
    pub weight: u32,
    /// `live`, `draining` or `gone`.
    pub state: String,
    pub quiet_ms: u64,
    pub is_silent: bool,
    pub hosted: u64,
    pub wished: u64,
    /// It is the one that was asked.
    pub answers: bool,
}

#[derive(Serialize)]
struct WhichNode<'a> {
    node: &'a str,
    force: bool,
}

/// To move a server alone into a cluster.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct BeginMigration {
    /// By the names of settings: `cassandra.*`, `blobs`, `s3.*`.
    pub settings: std::collections::BTreeMap<String, String>,
    /// 0: as fast as it goes.
    pub rows_per_s: u64,
}

/// How far it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Migration {
    /// `idle`, `copying`, `checking`, `following`, `switching`, `done` or `failed`.
    pub phase: String,
    pub target: Option<String>,
    pub units: u64,
    pub done: u64,
    pub rows: u64,
    pub bytes: u64,
    pub blobs: u64,
    pub mended: u64,
    pub behind: u64,
    pub read_only_ms: Option<u64>,
    pub error: Option<String>,
}

impl Http {
    pub async fn migration(&self) -> Result<Migration, ClientError> {
        self.call(Method::GET, "/v1/admin/migration", None::<&()>).await
    }

    /// Begins, or goes on where an earlier one ended; it is not waited for.
    pub async fn begin_migration(&self, begin: &BeginMigration) -> Result<Migration, ClientError> {
        self.call(Method::POST, "/v1/admin/migration", Some(begin)).await
    }

    /// Hands over: answered when that is done.
    pub async fn switch_migration(&self) -> Result<Migration, ClientError> {
        self.call(Method::POST, "/v1/admin/migration/switch", None::<&()>).await
    }

    pub async fn fleet(&self) -> Result<Fleet, ClientError> {
        self.call(Method::GET, "/v1/admin/cluster", None::<&()>).await
    }

    /// The node, by name or id, is to hand over and stop; it is not waited for.
    pub async fn drain_node(&self, node: &str) -> Result<Fleet, ClientError> {
        self.call(Method::POST, "/v1/admin/cluster/drain", Some(&WhichNode { node, force: false })).await
    }

    /// The node is dead. `force`: although it says that it lives.
    pub async fn remove_node(&self, node: &str, force: bool) -> Result<Fleet, ClientError> {
        self.call(Method::POST, "/v1/admin/cluster/remove", Some(&WhichNode { node, force })).await
    }

    pub async fn archive(&self) -> Result<Archive, ClientError> {
        self.call(Method::GET, "/v1/admin/archive", None::<&()>).await
    }

    /// Begins a round, and does not wait for its end.
    pub async fn begin_archive(&self) -> Result<Archive, ClientError> {
        self.call(Method::POST, "/v1/admin/archive", None::<&()>).await
    }

    pub async fn resolve_users(&self, names: Vec<String>) -> Result<Vec<ImportUser>, ClientError> {
        let resolved: Resolved = self.call(Method::POST, "/v1/admin/users/resolve", Some(&Resolve { names })).await?;
        Ok(resolved.users)
    }

    pub async fn import(&self, import: &Import) -> Result<Imported, ClientError> {
        self.call(Method::POST, "/v1/admin/import", Some(import)).await
    }

    /// The groups of a name.
    pub async fn conversations_named(&self, name: &str) -> Result<Vec<ConversationId>, ClientError> {
        let path = format!("/v1/admin/conversations?name={}", percent::encoded(name));
        let found: Conversations = self.call(Method::GET, &path, None::<&()>).await?;
        Ok(found.conversations)
    }

    /// Entries behind `after`, ascending; possibly fewer than `limit`, because of their bytes.
    pub async fn export_page(
        &self,
        conversation: ConversationId,
        after: Seq,
        limit: usize,
    ) -> Result<ExportPage, ClientError> {
        let path = format!("/v1/admin/conversations/{conversation}/entries?after={after}&limit={limit}");
        self.call(Method::GET, &path, None::<&()>).await
    }
}
