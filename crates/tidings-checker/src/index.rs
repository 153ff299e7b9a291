//! The history once more, arranged for the rules: numbers instead of names, questions with their answers, and for each
//! entry who was shown it when. Built in one pass and one sort; judges nothing but whether the recording holds together.

mod build;
mod describe;

use std::hash::Hash;

use hashbrown::{HashMap, HashSet};
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Kind};

use crate::{
    Server,
    event::{BlockAsked, Connected, ConnectionId, Entry, Nanos, OperationId, SendAsked},
    history::History,
};

macro_rules! numbers {
    ($($name:ident,)*) => {
        $(
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub(crate) struct $name(pub u32);

            impl $name {
                pub(crate) fn place(self) -> usize {
                    self.0 as usize
                }
            }

            impl From<usize> for $name {
                fn from(place: usize) -> Self {
                    Self(u32::try_from(place).expect("a history has fewer than 2^32 of anything"))
                }
            }
        )*
    };
}

numbers! { EventNumber, ConnectionNumber, SessionNumber, UserNumber, ConversationNumber, MessageNumber, AttemptNumber, }

pub(crate) struct Index<'h> {
    /// Whose promises count.
    pub server: Server,
    pub history: &'h History,
    pub connections: Vec<ConnectionFacts<'h>>,
    pub session_count: usize,
    pub users: Numbered<UserId>,
    pub conversations: Numbered<ConversationId>,
    /// In the order of asking.
    pub attempts: Vec<Attempt<'h>>,
    pub messages: Vec<Message>,
    /// In the order of time.
    pub blocks: Vec<Blocked<'h>>,
    /// In the order of time.
    pub sightings: Vec<Sighting<'h>>,
    /// All sightings by conversation, seq, time.
    by_seq: Vec<u32>,
    /// For each conversation.
    pub known: Vec<Known>,
    /// The log of each conversation as far as anybody with the right to saw it, ascending.
    pub logs: Vec<Vec<Logged>>,
    /// The two people of each direct conversation.
    pub direct: HashMap<ConversationNumber, [UserNumber; 2]>,
    /// Who was ever put out of where, if only perhaps.
    pub put_out: HashSet<(ConversationNumber, UserNumber)>,
    connection_numbers: HashMap<ConnectionId, ConnectionNumber>,
    operations: HashMap<OperationId, Operation>,
}

pub(crate) struct ConnectionFacts<'h> {
    pub connected: &'h Connected,
    pub session: SessionNumber,
    pub user: UserNumber,
}

/// What one client asked once to make one entry.
pub(crate) struct Attempt<'h> {
    pub asked: &'h SendAsked,
    pub event: EventNumber,
    pub at: Nanos,
    pub message: MessageNumber,
    pub connection: ConnectionNumber,
    pub conversation: ConversationNumber,
    pub answer: Answer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Sent { seq: Seq, repeat: bool, at: Nanos, event: EventNumber },
    Done { at: Nanos, event: EventNumber },
    Refused { at: Nanos },
    Unknown,
}

/// What one (conversation, sender, `client_msg_id`) stands for: however often it was asked, one entry.
pub(crate) struct Message {
    pub conversation: ConversationNumber,
    pub sender: UserNumber,
    /// In the order of asking. None: somebody was shown it, but nobody sent it.
    pub attempts: Vec<AttemptNumber>,
    /// The first time that anybody was told of it.
    pub first_known: Option<FirstKnown>,
}

#[derive(Clone, Copy)]
pub(crate) struct FirstKnown {
    pub seq: Seq,
    pub at: Nanos,
    pub event: EventNumber,
}

/// A block or unblock, and its answer.
pub(crate) struct Blocked<'h> {
    pub asked: &'h BlockAsked,
    pub event: EventNumber,
    pub at: Nanos,
    pub blocker: UserNumber,
    pub blocked: UserNumber,
    pub answer: Answer,
}

/// A client was shown an entry, or told of it by an ack.
#[derive(Clone, Copy)]
pub(crate) struct Sighting<'h> {
    pub event: EventNumber,
    pub connection: ConnectionNumber,
    pub conversation: ConversationNumber,
    pub seq: Seq,
    pub kind: Kind,
    pub via: Via,
    /// Absent where the entry names no sender or no `client_msg_id`, as a void one.
    pub message: Option<MessageNumber>,
    /// Absent for an ack.
    pub entry: Option<&'h Entry>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    Ack,
    Delivered,
    Fetched,
    FinalRead,
    Tail,
    Preview,
}

/// An entry of a log, put together from all who saw it with its content.
#[derive(Clone, Copy)]
pub(crate) struct Logged {
    pub seq: Seq,
    pub kind: Kind,
    pub from: Option<UserNumber>,
    pub message: Option<MessageNumber>,
    pub target: Option<Seq>,
}

/// How far a conversation was known to reach, at each time: to any client, by ack, entry or `last_seq`.
#[derive(Default)]
pub(crate) struct Known {
    /// Rising in time and in seq.
    steps: Vec<Step>,
}

#[derive(Clone, Copy)]
pub(crate) struct Step {
    pub at: Nanos,
    pub seq: Seq,
    pub event: EventNumber,
}

impl Known {
    /// Must be told in the order of time.
    pub fn tell(&mut self, step: Step) {
        if self.steps.last().is_none_or(|last| last.seq < step.seq) {
            self.steps.push(step);
        }
    }

    /// The furthest known strictly before `at`: what happens in the same nanosecond is concurrent.
    pub fn before(&self, at: Nanos) -> Option<Step> {
        let count = self.steps.partition_point(|step| step.at < at);
        self.steps[..count].last().copied()
    }

    /// The furthest ever known.
    pub fn at_last(&self) -> Option<Step> {
        self.steps.last().copied()
    }
}

#[derive(Clone, Copy)]
pub(crate) enum Operation {
    Send(AttemptNumber),
    Block(u32),
}

/// Things by number, and the number of each.
pub(crate) struct Numbered<T> {
    values: Vec<T>,
    numbers: HashMap<T, u32>,
}

impl<T: Clone + Eq + Hash> Numbered<T> {
    fn new() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new() }
    }

    fn number_or_add(&mut self, value: &T) -> u32 {
        if let Some(&number) = self.numbers.get(value) {
            return number;
        }
        let number = u32::try_from(self.values.len()).expect("a history has fewer than 2^32 of anything");
        self.values.push(value.clone());
        self.numbers.insert(value.clone(), number);
        number
    }

    fn number(&self, value: &T) -> Option<u32> {
        self.numbers.get(value).copied()
    }

    fn value(&self, number: u32) -> &T {
        &self.values[number as usize]
    }

    fn len(&self) -> usize {
        self.values.len()
    }
}

impl<'h> Index<'h> {
    pub fn connection(&self, number: ConnectionNumber) -> &ConnectionFacts<'h> {
        &self.connections[number.place()]
    }

    /// Of a connection that an event names.
    pub fn connection_number(&self, id: ConnectionId) -> ConnectionNumber {
        self.connection_numbers[&id]
    }

    pub fn attempt(&self, number: AttemptNumber) -> &Attempt<'h> {
        &self.attempts[number.place()]
    }

    pub fn message(&self, number: MessageNumber) -> &Message {
        &self.messages[number.place()]
    }

    pub fn operation(&self, id: OperationId) -> Operation {
        self.operations[&id]
    }

    pub fn conversation_number(&self, id: &ConversationId) -> ConversationNumber {
        ConversationNumber(self.conversations.number(id).expect("each conversation of an event was numbered"))
    }

    pub fn user_count(&self) -> usize {
        self.users.len()
    }

    pub fn conversation_count(&self) -> usize {
        self.conversations.len()
    }

    pub fn at(&self, event: EventNumber) -> Nanos {
        self.history.record(event.place()).at
    }

    /// The user who saw it.
    pub fn observer(&self, sighting: &Sighting<'_>) -> UserNumber {
        self.connection(sighting.connection).user
    }

    /// All sightings of one entry, for each entry of each conversation, ascending; in each group by time.
    pub fn entries(&self) -> impl Iterator<Item = impl Iterator<Item = &Sighting<'h>> + Clone> {
        let place = |&number: &u32| &self.sightings[number as usize];
        let same = move |one: &u32, other: &u32| {
            let (one, other) = (place(one), place(other));
            (one.conversation, one.seq) == (other.conversation, other.seq)
        };
        self.by_seq.chunk_by(same).map(move |group| group.iter().map(place))
    }

    pub fn known(&self, conversation: ConversationNumber) -> &Known {
        &self.known[conversation.place()]
    }

    pub fn logged(&self, conversation: ConversationNumber, seq: Seq) -> Option<&Logged> {
        let log = &self.logs[conversation.place()];
        log.binary_search_by_key(&seq, |logged| logged.seq).ok().map(|place| &log[place])
    }

    /// The attempts that may have had an effect: those not refused.
    pub fn effective_attempts(&self, message: &Message) -> impl Iterator<Item = &Attempt<'h>> {
        let attempts = message.attempts.iter().map(|&number| self.attempt(number));
        attempts.filter(|attempt| !matches!(attempt.answer, Answer::Refused { .. }))
    }
}
