//! Growing from one machine: a server that works alone copies its tables into others while it goes on serving, follows
//! what is written meanwhile, and hands over: it takes nothing more for some seconds, and ends.
//!
//! Four phases. *Copy*: every row is written into the target; how far it came is kept there, so that it goes on after a
//! kill. *Check*: each conversation and each home is read on both sides and compared, row by row; what differs is written
//! again. *Follow*: rows that were written since (`tracked`) are written again, over and over. *Switch*: nothing more is taken,
//! everything is flushed, the last rows are written and read back, and the target is opened for others.
//!
//! Why the target is whole then: the check compares each row at some moment after notes were begun, and whatever is written
//! after that moment is noted. What the copy wrote, when and how often, does not matter; versions make a repeat harmless.
//! The target and its state are behind `target`; this knows no engine.

mod job;
mod walk;
mod copy;
mod switch;
pub mod target;
pub mod tracked;

use serde::Serialize;
use utoipa::ToSchema;

pub use job::{Migration, Options, Parts, SWITCH_WITHIN};

/// What a migration does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// None was begun since the start.
    #[default]
    Idle,
    Copying,
    Checking,
    /// The target has everything but what was written in the last moments: the switch may come.
    Following,
    /// Nothing is taken.
    Switching,
    /// The target has everything; this server ends.
    Done,
    /// It ended early, and says why. Begin it again: it goes on.
    Failed,
}

/// How far a migration is.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Status {
    pub phase: Phase,
    /// Where to.
    pub target: Option<String>,
    /// Conversations and homes.
    pub units: u64,
    /// Of them, those that the phase is through with.
    pub done: u64,
    /// Rows written into the target, and the bytes of their values.
    pub rows: u64,
    pub bytes: u64,
    /// Blobs of the archive that were copied.
    pub blobs: u64,
    /// Rows that the check found different and wrote again.
    pub mended: u64,
    /// Rows written here that the target does not have yet.
    pub behind: u64,
    /// For how long nothing was taken, at the switch.
    pub read_only_ms: Option<u64>,
    /// Why it ended early, or why the last switch was given up.
    pub error: Option<String>,
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum MigrateError {
    #[error("a migration to {0} is under way")]
    UnderWay(String),
    #[error("{0}")]
    Settings(String),
    #[error("the target cannot be used: {0}")]
    Open(String),
    #[error("no migration is under way")]
    NotUnderWay,
    #[error("it is not so far yet: it is {0}")]
    TooEarly(&'static str),
    #[error("{0}")]
    Target(#[from] target::TargetError),
    #[error(transparent)]
    Tables(#[from] crate::tables::TablesError),
    #[error(transparent)]
    Blobs(#[from] crate::blobs::BlobError),
    #[error("row {0} of the target does not take what is written into it")]
    Differs(String),
    #[error("too much was written meanwhile to keep up with it; begin again when there is less to do")]
    TooMuch,
    #[error("the last rows could not be written within {0:?}, so nothing was switched and sends are taken again")]
    Slow(std::time::Duration),
    #[error("this server can store nothing any more")]
    HostFailed,
    #[error("{path}: {error}", path = path.display())]
    Folder { path: std::path::PathBuf, error: std::sync::Arc<std::io::Error> },
    #[error("the server stops")]
    Stopping,
}
