//! What each session had been told of each conversation, as the history goes by: the state that a client with a sync
//! token carries from one connection to the next.

use hashbrown::{HashMap, HashSet};
use tidings_proto::Seq;

use crate::{
    event::{Event, Nanos, Synced},
    index::{ConversationNumber, EventNumber, Index, Operation, SessionNumber},
};

pub(crate) struct Told {
    sessions: Vec<Scope>,
}

/// From a connection without a sync token on, over all resumes, until the next such connection.
#[derive(Default)]
struct Scope {
    last: HashMap<ConversationNumber, Heard>,
    /// It had the whole inbox in one answer: a conversation that was not in it had nothing.
    whole: bool,
    /// What the pages of the last whole inbox named so far.
    listed: HashSet<ConversationNumber>,
}

/// What a session has heard of a conversation.
#[derive(Clone, Copy)]
enum Heard {
    UpTo(Seq),
    /// Taken away from the user: what comes when they are let in again may start anywhere.
    TakenAway {
        at: Nanos,
    },
}

impl Heard {
    fn up_to(self) -> Option<Seq> {
        match self {
            Self::UpTo(seq) => Some(seq),
            Self::TakenAway { .. } => None,
        }
    }
}

impl Told {
    pub fn new(index: &Index<'_>) -> Self {
        let mut sessions = Vec::new();
        sessions.resize_with(index.session_count, Scope::default);
        Self { sessions }
    }

    /// The furthest seq that the session had heard of. `None`: it cannot be held against the server what comes next.
    pub fn last(&self, session: SessionNumber, conversation: ConversationNumber) -> Option<Seq> {
        let scope = &self.sessions[session.place()];
        match scope.last.get(&conversation) {
            Some(heard) => heard.up_to(),
            None => scope.whole.then_some(Seq::NONE),
        }
    }

    /// Like `last`, but only of conversations that the session had heard of.
    pub fn heard(&self, session: SessionNumber, conversation: ConversationNumber) -> Option<Seq> {
        self.sessions[session.place()].last.get(&conversation).and_then(|heard| heard.up_to())
    }

    /// Call for every event, in order.
    pub fn observe(&mut self, index: &Index<'_>, event: EventNumber) {
        let record = index.history.record(event.place());
        match &record.event {
            Event::Connected(connected) if !connected.resumed => {
                let number = index.connection_number(connected.connection);
                self.sessions[index.connection(number).session.place()] = Scope::default();
            }
            Event::Sent { operation, seq, repeat: false } => {
                if let Operation::Send(number) = index.operation(*operation) {
                    let attempt = index.attempt(number);
                    let facts = index.connection(attempt.connection);
                    // Over HTTP an ack overtakes what others sent before: it tells of one entry, not of all up to it.
                    if facts.connected.transport.is_live() {
                        self.raise(facts.session, attempt.conversation, *seq, None);
                    }
                }
            }
            Event::Delivered(delivered) => {
                let number = index.connection_number(delivered.connection);
                let conversation = index.conversation_number(&delivered.conversation);
                self.raise(index.connection(number).session, conversation, delivered.entry.seq, None);
            }
            Event::Fetched(fetched) => {
                let number = index.connection_number(fetched.connection);
                let conversation = index.conversation_number(&fetched.conversation);
                self.raise(index.connection(number).session, conversation, fetched.last_seq, Some(fetched.asked));
            }
            Event::Synced(synced) => self.synced(index, synced, record.at),
            _ => {}
        }
    }

    fn synced(&mut self, index: &Index<'_>, synced: &Synced, at: Nanos) {
        let session = index.connection(index.connection_number(synced.connection)).session;
        for item in &synced.items {
            self.raise(session, index.conversation_number(&item.conversation), item.last_seq, synced.asked);
        }
        let scope = &mut self.sessions[session.place()];
        for conversation in &synced.removed {
            scope.last.insert(index.conversation_number(conversation), Heard::TakenAway { at });
        }
        scope.whole |= synced.full && synced.is_complete();
        if synced.full {
            scope.listed_whole(index, synced, at);
        }
    }

    /// `asked`: it is an answer, and was asked for then.
    fn raise(&mut self, session: SessionNumber, conversation: ConversationNumber, seq: Seq, asked: Option<Nanos>) {
        let heard = self.sessions[session.place()].last.entry(conversation).or_insert(Heard::UpTo(seq));
        *heard = match *heard {
            Heard::UpTo(last) => Heard::UpTo(last.max(seq)),
            // Answers come beside the live frames: this one was on its way when the conversation was taken away.
            Heard::TakenAway { at } if asked.is_some_and(|asked| asked < at) => return,
            Heard::TakenAway { .. } => Heard::UpTo(seq),
        };
    }
}

impl Scope {
    /// A whole inbox makes the client drop what is not in it.
    fn listed_whole(&mut self, index: &Index<'_>, synced: &Synced, at: Nanos) {
        if !synced.continued {
            self.listed.clear();
        }
        self.listed.extend(synced.items.iter().map(|item| index.conversation_number(&item.conversation)));
        if !synced.more {
            let dropped = self.last.iter_mut().filter(|(conversation, _)| !self.listed.contains(*conversation));
            dropped.for_each(|(_, heard)| *heard = Heard::TakenAway { at });
        }
    }
}
