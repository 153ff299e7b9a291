//! An event as a commit holds it: a byte that says whose it is, then CBOR.

use crate::{
    conversation::{actor::Conversation, event::ConversationEvent},
    home::event::HomeEvent,
    session::reply::{Answer, Reply},
};
use smallvec::SmallVec;
use std::sync::Arc;

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
}
