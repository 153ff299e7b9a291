//! What nodes say to each other, in CBOR. A later version may add variants and fields; one that a node does not know is
//! dropped, and asked for again of nobody.

use std::{collections::BTreeMap, sync::Arc};

use minicbor::{Decode, Encode};
use tidings_proto::{
    ConversationId, SHARDS, Seq, ShardId, UserId,
    frames::{client, server::Receipt},
};

use crate::{
    cbor,
    cluster::store::ShardRow,
    conversation::{entry::Entry, members::Member},
    home::{
        event::{HomeEvent, Tell},
        state::HomeRow,
    },
    host::{
        act::{ActError, Command},
        own::Reach,
        read::PageOf,
        row::ConversationRow,
    },
    node::NodeId,
    session::reply::Answer,
};

/// One frame of the bus.
#[derive(Debug, Encode, Decode)]
pub enum Frame {
    /// The next items of a stream, in order.
    #[n(0)]
    Batch {
        #[n(0)]
        class: Class,
        #[n(1)]
        number: u64,
        #[n(2)]
        items: Vec<Item>,
    },
    /// That batch was taken; of these of its items the shard is not here.
    #[n(1)]
    Confirm {
        #[n(0)]
        class: Class,
        #[n(1)]
        number: u64,
        #[n(2)]
        refused: Vec<u32>,
    },
    #[n(2)]
    Ask {
        #[n(0)]
        number: u64,
        #[n(1)]
        ask: Box<Ask>,
    },
    #[n(3)]
    Said {
        #[n(0)]
        number: u64,
        #[n(1)]
        said: Box<Said>,
    },
    #[n(4)]
    Notice(#[n(0)] Notice),
}

/// Two streams go from each node to each other: one does not wait for the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    /// What conversations tell homes, and answers to commands, in the order in which they were published.
    #[n(0)]
    Tells,
    #[n(1)]
    Commands,
}

/// What a stream carries: each comes once and in order, unless its shard moves.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Item {
    #[n(0)]
    Tell {
        #[n(0)]
        user: UserId,
        #[n(1)]
        tell: Tell,
        /// The node whose command, of this number, gets an answer in place of the entry.
        #[n(2)]
        sender: Option<(NodeId, u64)>,
        #[n(3)]
        with_entry: bool,
    },
    /// An entry of a large conversation, for its listeners there.
    #[n(1)]
    Entry {
        #[n(0)]
        conversation: ConversationId,
        #[cbor(n(1), with = "cbor::shared")]
        entry: Arc<Entry>,
        #[n(2)]
        sender: Option<u64>,
    },
    #[n(2)]
    Answer {
        #[n(0)]
        command: u64,
        #[n(1)]
        answer: Answer,
        /// While it waits behind something that is told.
        #[cbor(skip)]
        behind: Option<Behind>,
        /// What it waited behind went to another node, where the home of who asked is now.
        #[n(2)]
        #[cbor(default)]
        is_late: bool,
    },
    #[n(3)]
    Command {
        #[n(0)]
        number: u64,
        #[n(1)]
        command: Command,
        /// The command before it about this conversation that is not answered: it is not done before that one.
        #[n(2)]
        after: Option<u64>,
    },
}

/// What an answer keeps its place behind: what the conversation told the home of who asked.
#[derive(Clone, Copy, Debug)]
pub struct Behind {
    pub home: ShardId,
    pub conversation: ConversationId,
}

impl Item {
    pub fn class(&self) -> Class {
        match self {
            Self::Tell { .. } | Self::Entry { .. } | Self::Answer { .. } => Class::Tells,
            Self::Command { .. } => Class::Commands,
        }
    }

    /// The shard that it is for. `None`: it is for the node, whatever it hosts; of commands `commands` knows.
    pub fn shard(&self) -> Option<ShardId> {
        match self {
            Self::Tell { user, .. } => Some(user.shard()),
            Self::Entry { .. } | Self::Answer { .. } | Self::Command { .. } => None,
        }
    }

    /// The shard in whose order it stands.
    pub fn route(&self) -> Option<ShardId> {
        match self {
            Self::Answer { behind, .. } => behind.map(|behind| behind.home),
            _ => self.shard(),
        }
    }

    /// The conversation that tells this, or behind whose word it waits.
    pub fn told_by(&self) -> Option<ConversationId> {
        match self {
            Self::Tell { tell, .. } => Some(tell.conversation),
            Self::Answer { behind, .. } => behind.map(|behind| behind.conversation),
            Self::Entry { .. } | Self::Command { .. } => None,
        }
    }

    /// What an answer waited behind goes elsewhere.
    pub fn be_late(&mut self) {
        if let Self::Answer { behind, is_late, .. } = self {
            (*behind, *is_late) = (None, true);
        }
    }

    /// About how many bytes it takes.
    pub fn weight(&self) -> usize {
        let of_entry = |entry: &Arc<Entry>| entry.weight();
        128 + match self {
            Self::Tell { tell, .. } => tell.weight(),
            Self::Entry { entry, .. } => of_entry(entry),
            Self::Answer { .. } => 64,
            Self::Command { command, .. } => command.weight(),
        }
    }
}

/// A question to the node that hosts what it is about. Asking twice changes nothing.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Ask {
    /// A home's own row.
    #[n(0)]
    Home(#[n(0)] UserId),
    /// Change a home. Answered when that is durable.
    #[n(1)]
    Change(#[n(0)] Box<HomeEvent>),
    /// Move a conversation's registers. Answered when that is durable.
    #[n(2)]
    Reach(#[n(0)] Reach),
    /// History, as this user may see it.
    #[n(3)]
    Page {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        user: UserId,
        #[n(2)]
        page: AskedPage,
    },
    /// A conversation's state. Of many members it has those behind `after`, up to `limit`, and this user.
    #[n(4)]
    State {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        user: UserId,
        #[n(2)]
        after: Option<UserId>,
        #[n(3)]
        limit: u32,
    },
    /// How `asker` sees a user's presence; and it is to be told of changes for the next minute.
    #[n(5)]
    Presence {
        #[n(0)]
        user: UserId,
        #[n(1)]
        asker: UserId,
    },
    /// Entries of this large conversation are to be sent here for the next while. Tells the last there is.
    #[n(6)]
    Listen(#[n(0)] ConversationId),
    /// A page of the log as operators see it.
    #[n(7)]
    Log {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        after: Seq,
        #[n(2)]
        limit: u32,
    },
}

/// The answer to an [`Ask`].
#[derive(Debug, Encode, Decode)]
pub enum Said {
    #[n(0)]
    Done,
    /// It is not hosted there.
    #[n(1)]
    Elsewhere,
    #[n(2)]
    Refused(#[n(0)] Answer),
    #[n(3)]
    Home(#[n(0)] Box<HomeRow>),
    #[n(4)]
    Ord(#[n(0)] u64),
    /// Of history, or of the log.
    #[n(5)]
    Page(#[n(0)] PageOf),
    #[n(6)]
    State(#[n(0)] Box<StateOf>),
    /// A presence frame.
    #[n(7)]
    Presence(#[n(0)] String),
    #[n(8)]
    Last(#[n(0)] Seq),
}

impl Said {
    /// It is no answer to what was asked.
    pub fn misplaced(&self) -> ActError {
        tracing::error!(said = ?self, "another node answers a question that was not asked");
        ActError::Answered(Box::new(Answer::unavailable()))
    }
}

#[derive(Clone, Copy, Debug, Encode, Decode)]
pub struct AskedPage {
    #[n(0)]
    pub before: Option<Seq>,
    #[n(1)]
    pub after: Option<Seq>,
    #[n(2)]
    pub around: Option<Seq>,
    #[n(3)]
    pub limit: Option<u32>,
}

impl From<client::Page> for AskedPage {
    fn from(page: client::Page) -> Self {
        let client::Page { before, after, around, limit } = page;
        Self { before, after, around, limit: limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX)) }
    }
}

impl From<AskedPage> for client::Page {
    fn from(page: AskedPage) -> Self {
        let AskedPage { before, after, around, limit } = page;
        Self { before, after, around, limit: limit.map(|limit| limit as usize) }
    }
}

/// A conversation's state as another node is told it.
#[derive(Debug, Encode, Decode)]
pub struct StateOf {
    #[n(0)]
    pub row: ConversationRow,
    #[n(1)]
    pub member_count: u64,
    /// Of many members: some of them.
    #[n(2)]
    pub members: Vec<(UserId, Member)>,
}

/// How far a member of a group is.
#[derive(Clone, Copy, Debug, Encode, Decode)]
pub struct Reached {
    #[n(0)]
    conversation: ConversationId,
    #[n(1)]
    delivered: Seq,
    #[n(2)]
    read: Seq,
}

impl Reached {
    pub fn of(receipt: &Receipt) -> Self {
        let &Receipt { conversation, delivered_seq: delivered, read_seq: read, .. } = receipt;
        Self { conversation, delivered, read }
    }

    pub fn by(self, user: UserId) -> Receipt {
        let Self { conversation, delivered, read } = self;
        Receipt { conversation, user, delivered_seq: delivered, read_seq: read }
    }
}

/// What may be lost.
#[derive(Clone, Debug, Encode, Decode)]
pub enum Notice {
    /// A frame for the sessions of these users, but of those who block `from`.
    #[n(0)]
    Ephemeral {
        #[n(0)]
        users: Vec<UserId>,
        #[n(1)]
        from: UserId,
        #[n(2)]
        frame: String,
        /// The frame is a receipt of a group, about `from`.
        #[n(3)]
        #[cbor(default)]
        receipt: Option<Reached>,
    },
    /// How `asker` sees a user's presence now.
    #[n(1)]
    Presence {
        #[n(0)]
        user: UserId,
        #[n(1)]
        asker: UserId,
        #[n(2)]
        frame: String,
    },
    /// Somebody types in a conversation that is hosted there.
    #[n(3)]
    Typing {
        #[n(0)]
        conversation: ConversationId,
        #[n(1)]
        user: UserId,
    },
    /// Rows of shards were moved: whom they name now need not wait until it reads that.
    #[n(2)]
    ShardsMoved {
        #[n(0)]
        to: Vec<MovedTo>,
    },
    /// Whoever says this serves these shards no more in these epochs: who looks for one waits until it is heard where it is then.
    #[n(4)]
    ShardsLeave {
        #[n(0)]
        shards: Vec<(u16, u64)>,
    },
    /// There is a new view: who is in it need not wait until it looks again.
    #[n(5)]
    ViewChanged,
    #[cfg(feature = "next-format")]
    #[n(60)]
    Next(#[n(0)] u64),
}

/// Shards that one node hosts now, each since an epoch.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct MovedTo {
    #[n(0)]
    host: NodeId,
    #[n(1)]
    shards: Vec<(u16, u64)>,
}

impl MovedTo {
    /// By hosts. Rows that name nobody are left out.
    pub fn of(rows: &[(ShardId, ShardRow)]) -> Vec<Self> {
        let mut to: BTreeMap<NodeId, Vec<(u16, u64)>> = BTreeMap::new();
        for (shard, row) in rows {
            if let Some(host) = row.host {
                to.entry(host).or_default().push((shard.0, row.epoch));
            }
        }
        to.into_iter().map(|(host, shards)| Self { host, shards }).collect()
    }

    pub fn rows(&self) -> impl Iterator<Item = (ShardId, ShardRow)> {
        let row = |epoch| ShardRow { host: Some(self.host), epoch };
        let shards = self.shards.iter().filter(|(shard, _)| *shard < SHARDS);
        shards.map(move |&(shard, epoch)| (ShardId(shard), row(epoch)))
    }
}
