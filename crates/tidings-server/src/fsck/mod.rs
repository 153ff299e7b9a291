//! Checks the tables against each other: states of conversations against their logs, items of inboxes against the states; and
//! mends what follows from the rest. For a store that nobody writes to.
//!
//! A log is the truth: what is missing in it cannot be made again, and is only named. A state that lacks entries gets them applied; an
//! item is made again from the state, the log and the conversation's copy of what its user has read.

mod items;
mod states;
#[cfg(test)]
pub(crate) mod tests;

use std::{fmt, sync::Arc};

use tidings_proto::{ConversationId, Seq, ShardId, UserId};

use crate::{
    conversation::state::State,
    host::load::load_state,
    tables::{Freshness, Key, Prefix, Row, Tables, TablesError},
};

/// Rows listed at once.
const ROWS: usize = 256;

/// Something that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Cannot be mended: restore a backup, or live without.
    EntryMissing {
        conversation: ConversationId,
        seq: Seq,
    },
    /// Cannot be mended: the row, or what it needs, cannot be read.
    Unreadable {
        place: String,
        what: String,
    },
    StateBehind {
        conversation: ConversationId,
        last_seq: Seq,
        log_ends: Seq,
    },
    ItemMissing {
        user: UserId,
        conversation: ConversationId,
    },
    ItemWrong {
        user: UserId,
        conversation: ConversationId,
        last_seq: Seq,
        must_be: Seq,
    },
    /// Of a conversation that is not there, or whose member the user is not.
    ItemStray {
        user: UserId,
        conversation: ConversationId,
    },
}

impl Fault {
    pub fn can_be_mended(&self) -> bool {
        !matches!(self, Self::EntryMissing { .. } | Self::Unreadable { .. })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EntryMissing { conversation, seq } => {
                write!(f, "conversation {conversation}: entry {seq} is missing")
            }
            Self::Unreadable { place, what } => write!(f, "{place} cannot be read: {what}"),
            Self::StateBehind { conversation, last_seq, log_ends } => {
                write!(f, "conversation {conversation}: its state ends at {last_seq}, its log at {log_ends}")
            }
            Self::ItemMissing { user, conversation } => {
                write!(f, "inbox of {user}: conversation {conversation} is missing")
            }
            Self::ItemWrong { user, conversation, last_seq, must_be } => {
                write!(f, "inbox of {user}: conversation {conversation} ends at {last_seq}, and must end at {must_be}")
            }
            Self::ItemStray { user, conversation } => {
                write!(f, "inbox of {user}: conversation {conversation} is there, and {user} is no member of it")
            }
        }
    }
}

/// What was looked at and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub conversations: u64,
    pub entries: u64,
    pub homes: u64,
    pub items: u64,
    pub faults: Vec<Fault>,
    /// How many of the faults were mended.
    pub mended: u64,
}

/// Checks, and mends if it may.
pub struct Fsck {
    tables: Arc<dyn Tables>,
    /// In which each shard is hosted here: what is written into its homes is newer than all before.
    epoch: Box<dyn Fn(ShardId) -> u64 + Send + Sync>,
    mends: bool,
}

impl Fsck {
    pub fn new(tables: Arc<dyn Tables>, epoch: impl Fn(ShardId) -> u64 + Send + Sync + 'static, mends: bool) -> Self {
        Self { tables, epoch: Box::new(epoch), mends }
    }

    pub async fn run(&self) -> Result<Report, TablesError> {
        let mut report = Report::default();
        let mut after = None;
        loop {
            let rows = self.tables.rows(Prefix::Conversations, after, ROWS).await?;
            after = rows.last().map(|(key, _)| key.clone());
            if after.is_none() {
                break;
            }
            for (key, _) in rows {
                let Key::Conversation(id) = key else { continue };
                report.conversations += 1;
                let checked = self.conversation(id, &mut report).await;
                note(checked, &mut report)?;
            }
        }
        let mut after = None;
        loop {
            let rows = self.tables.rows(Prefix::Homes, after, ROWS).await?;
            after = rows.last().map(|(key, _)| key.clone());
            if after.is_none() {
                return Ok(report);
            }
            for (key, _) in rows {
                let Key::Home(user) = key else { continue };
                report.homes += 1;
                let checked = self.strays(&user, &mut report).await;
                note(checked, &mut report)?;
            }
        }
    }

    async fn conversation(&self, id: ConversationId, report: &mut Report) -> Result<(), TablesError> {
        let Some((mut state, stored)) = load_state(&*self.tables, id).await? else { return Ok(()) };
        self.log(id, &mut state, &stored, report).await?;
        self.members(id, &state, report).await
    }

    async fn write(&self, rows: Vec<Row>) -> Result<(), TablesError> {
        self.tables.put_max(rows, Freshness::Unknown).await
    }
}

/// One conversation or home that cannot be read does not end the check of the others.
fn note(checked: Result<(), TablesError>, report: &mut Report) -> Result<(), TablesError> {
    match checked {
        Err(TablesError::Damaged { place, what }) => report.faults.push(Fault::Unreadable { place, what }),
        checked => checked?,
    }
    Ok(())
}

/// Whether a user belongs to a conversation in this state.
fn is_member(state: &State, user: &UserId) -> bool {
    state.members.get(user).is_some()
}
