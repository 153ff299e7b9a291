//! An event as a commit holds it: a byte that says whose it is, then CBOR.

use std::sync::Arc;

use smallvec::SmallVec;
use tidings_proto::{ConversationId, ShardId, UserId};

use crate::{
    conversation::{actor::Conversation, entry::Entry, event::ConversationEvent},
    home::event::HomeEvent,
    session::{
        outbox::SessionId,
        reply::{Answer, Reply},
    },
};

const CONVERSATION: u8 = 1;
const HOME: u8 = 2;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Conversation(ConversationEvent),
    Home(HomeEvent),
}

impl Event {
    pub fn encode_conversation(event: &ConversationEvent) -> Vec<u8> {
        tagged(CONVERSATION, event)
    }

    pub fn encode_home(event: &HomeEvent) -> Vec<u8> {
        tagged(HOME, event)
    }

    /// Whose event it is.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Conversation(event) => event.conversation.shard(),
            Self::Home(event) => event.user.shard(),
        }
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, minicbor::decode::Error> {
        match bytes.split_first() {
            Some((&CONVERSATION, body)) => Ok(Self::Conversation(minicbor::decode(body)?)),
            Some((&HOME, body)) => Ok(Self::Home(minicbor::decode(body)?)),
            Some((tag, _)) => {
                Err(minicbor::decode::Error::message(format!("no version of tidings before wrote events {tag}")))
            }
            None => Err(minicbor::decode::Error::end_of_input()),
        }
    }
}

fn tagged<T: minicbor::Encode<()>>(tag: u8, body: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(256);
    bytes.push(tag);
    minicbor::encode(body, &mut bytes).expect("a vector takes all bytes");
    bytes
}

/// What is handed to the committer beside the events' bytes, and comes back when they are durable.
#[derive(Debug)]
pub struct Submitted {
    pub parts: SmallVec<[Part; 2]>,
    pub answer: Option<(Reply, Answer)>,
}

#[derive(Debug)]
pub enum Part {
    Conversation(Arc<Conversation>, ConversationEvent),
    Home(HomeEvent),
    /// What a conversation of another node tells a home of this one.
    Told(Hearsay),
    /// An entry of a large conversation of another node, for those who listen to it here. It is no event.
    Heard(Heard),
    /// A session has got its answer, and its user is no member any more. It is no event.
    Left {
        user: UserId,
        conversation: ConversationId,
    },
}

#[derive(Debug)]
pub struct Hearsay {
    /// Always [`HomeChange::Told`].
    pub event: HomeEvent,
    /// The session that gets an answer in place of the entry.
    pub sender: Option<SessionId>,
    /// The sessions get the entry by this, and not as listeners of a large conversation.
    pub with_entry: bool,
}

#[derive(Debug)]
pub struct Heard {
    pub conversation: ConversationId,
    pub entry: Arc<Entry>,
    pub sender: Option<SessionId>,
}

impl Part {
    /// As the journal has it. `None`: it has nothing of it.
    pub fn encode(&self) -> Option<Vec<u8>> {
        match self {
            Self::Conversation(_, event) => Some(Event::encode_conversation(event)),
            Self::Home(event) | Self::Told(Hearsay { event, .. }) => Some(Event::encode_home(event)),
            Self::Heard(_) | Self::Left { .. } => None,
        }
    }

    /// Whose part it is.
    pub fn shard(&self) -> ShardId {
        match self {
            Self::Conversation(conversation, _) => conversation.id.shard(),
            Self::Home(event) | Self::Told(Hearsay { event, .. }) => event.user.shard(),
            Self::Heard(heard) => heard.conversation.shard(),
            Self::Left { user, .. } => user.shard(),
        }
    }
}
