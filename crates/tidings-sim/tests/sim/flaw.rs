//! Rules that a fleet is made to break, to see that the simulation finds it.

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
}

impl Flaw {
    pub const ALL: [Self; 4] = [Self::NoSeal, Self::NoReplay, Self::AckBeforeCommit, Self::FlushNotAwaited];

    pub fn name(self) -> &'static str {
        match self {
            Self::NoSeal => "no-seal",
            Self::NoReplay => "no-replay",
            Self::AckBeforeCommit => "ack-before-commit",
            Self::FlushNotAwaited => "flush-not-awaited",
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|flaw| flaw.name() == name)
    }
}
