//! Rules that a fleet is made to break, to see that the simulation finds it.

use std::{collections::HashMap, time::Duration};

use bytes::Bytes;
use tidings_proto::{ConversationId, UserId, frames::server::ServerFrame};

use super::{faults::Fault, lines::parse};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// Whoever takes shards from a node does not end its journal first.
    NoSeal,
    /// Whoever takes shards does not replay.
    NoReplay,
    /// An ack is given before the commit is in the store.
    AckBeforeCommit,
    /// A flush says that all is written while it still is on its way.
    FlushNotAwaited,
    /// An entry is left out among those that a session is told.
    EntriesSkipped,
    /// A receipt is shown again when a newer one was shown.
    OldReceipts,
}

impl Flaw {
    pub const ALL: [Self; 6] = [
        Self::NoSeal,
        Self::NoReplay,
        Self::AckBeforeCommit,
        Self::FlushNotAwaited,
        Self::EntriesSkipped,
        Self::OldReceipts,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoSeal => "no-seal",
            Self::NoReplay => "no-replay",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::FlushNotAwaited => "flush-not-awaited",
            Self::EntriesSkipped => "entries-skipped",
            Self::OldReceipts => "old-receipts",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flaw| flaw.name() == name)
    }

    /// How the fault begins that tells of it. Others may be told too: much follows from one thing that is wrong.
    pub fn tells_as(self) -> &'static str {
        match self {
            // As the simulated store says it (`store.rs`).
            Self::NoSeal => "position ",
            Self::NoReplay | Self::AckBeforeCommit => "durable, ",
            Self::FlushNotAwaited => "fresh_reads, ",
            Self::EntriesSkipped => "no_gaps, ",
            Self::OldReceipts => "receipts_forward, ",
        }
    }

    /// What shows it, and for how long, where `node` serves somebody who talks: it befalls such a fleet besides all that befalls others.
    pub fn shown_by(self, node: usize) -> Option<(Fault, Duration)> {
        let (fault, seconds) = match self {
            Self::NoSeal => (Fault::Pause(node), 8),
            Self::NoReplay | Self::AckBeforeCommit | Self::FlushNotAwaited => (Fault::Kill(node), 2),
            Self::EntriesSkipped | Self::OldReceipts => return None,
        };
        Some((fault, Duration::from_secs(seconds)))
    }
}

/// What a connection makes of the frames that its session is told.
pub struct Telling {
    flaw: Option<Flaw>,
    entries: usize,
    /// The last one of each member.
    receipts: HashMap<(ConversationId, UserId), Bytes>,
}

impl Telling {
    /// One of so many entries is skipped.
    const EVERY: usize = 16;

    pub fn new(flaw: Option<Flaw>) -> Self {
        Self { flaw, entries: 0, receipts: HashMap::new() }
    }

    /// What is written in place of `frame`: without a flaw that frame.
    pub fn of(&mut self, frame: Bytes) -> Vec<Bytes> {
        let Some(flaw) = self.flaw else { return vec![frame] };
        match (flaw, parse(&frame)) {
            (Flaw::EntriesSkipped, ServerFrame::Entry(_)) => {
                self.entries += 1;
                if self.entries.is_multiple_of(Self::EVERY) { Vec::new() } else { vec![frame] }
            }
            (Flaw::OldReceipts, ServerFrame::Receipt(receipt)) => {
                let before = self.receipts.insert((receipt.conversation, receipt.user), frame.clone());
                [frame].into_iter().chain(before).collect()
            }
            _ => vec![frame],
        }
    }
}
