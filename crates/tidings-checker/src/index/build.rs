//! Builds the index: one pass over the records in the order of time, then one sort of what was seen.

use hashbrown::{HashMap, HashSet};
use tidings_proto::{Seq, frames::server::Kind};

use crate::{
    Server,
    event::{
        BlockAsked, ClientMsgId, Connected, ConnectionId, Entry, Event, Fetched, OperationId, Record, SendAsked, Synced,
    },
    history::{History, HistoryError},
    index::{
        Answer, Attempt, AttemptNumber, Blocked, ConnectionFacts, ConnectionNumber, ConversationNumber, EventNumber,
        FirstKnown, Index, Known, Logged, Message, MessageNumber, Numbered, Operation, SessionNumber, Sighting, Step,
        UserNumber, Via,
    },
};

type Built = Result<(), String>;

impl<'h> Index<'h> {
    /// `Err`: an event rests on one that is not there, or an id stands twice.
    pub fn new(history: &'h History, server: Server) -> Result<Self, HistoryError> {
        let mut builder = Builder::new(history, server);
        for (place, record) in history.records().enumerate() {
            let take = builder.take(EventNumber::from(place), record);
            take.map_err(|what| HistoryError::Inconsistent { line: history.line(place), what })?;
        }
        Ok(builder.finish())
    }
}

struct Builder<'h> {
    index: Index<'h>,
    messages: HashMap<(ConversationNumber, UserNumber, ClientMsgId), MessageNumber>,
    sessions: HashMap<u64, SessionNumber>,
}

impl<'h> Builder<'h> {
    fn new(history: &'h History, server: Server) -> Self {
        let index = Index {
            server,
            history,
            connections: Vec::new(),
            session_count: 0,
            users: Numbered::new(),
            conversations: Numbered::new(),
            attempts: Vec::new(),
            messages: Vec::new(),
            blocks: Vec::new(),
            sightings: Vec::new(),
            by_seq: Vec::new(),
            known: Vec::new(),
            logs: Vec::new(),
            direct: HashMap::new(),
            put_out: HashSet::new(),
            connection_numbers: HashMap::new(),
            operations: HashMap::new(),
        };
        Self { index, messages: HashMap::new(), sessions: HashMap::new() }
    }

    fn take(&mut self, event: EventNumber, record: &'h Record) -> Built {
        match &record.event {
            Event::Connected(connected) => self.connected(connected),
            Event::Closed { connection } => self.connection(*connection).map(|_| ()),
            Event::Send(asked) => self.send(event, record, asked),
            Event::Sent { operation, seq, repeat } => self.sent(event, record, *operation, *seq, *repeat),
            Event::Block(asked) => self.block(event, record, asked),
            Event::Done { operation } => self.answer(*operation, Answer::Done { at: record.at, event }),
            Event::Refused { operation, .. } => self.answer(*operation, Answer::Refused { at: record.at }),
            Event::Unknown { operation } => self.answer(*operation, Answer::Unknown),
            Event::Delivered(delivered) => {
                let connection = self.connection(delivered.connection)?;
                let conversation = self.conversation(delivered.conversation);
                self.see(event, record, connection, conversation, Via::Delivered, &delivered.entry);
                Ok(())
            }
            Event::Fetched(fetched) => self.fetched(event, record, fetched),
            Event::Synced(synced) => self.synced(event, record, synced),
            Event::MarkedRead(marked) => {
                self.conversation(marked.conversation);
                self.connection(marked.connection).map(|_| ())
            }
            Event::Receipt(receipt) => {
                self.conversation(receipt.conversation);
                self.index.users.number_or_add(&receipt.user);
                self.connection(receipt.connection).map(|_| ())
            }
            Event::Mark { .. } => Ok(()),
        }
    }

    fn connected(&mut self, connected: &'h Connected) -> Built {
        let next_session = SessionNumber::from(self.sessions.len());
        let session = *self.sessions.entry(connected.session.0).or_insert(next_session);
        let user = UserNumber(self.index.users.number_or_add(&connected.user));
        let number = ConnectionNumber::from(self.index.connections.len());
        if self.index.connection_numbers.insert(connected.connection, number).is_some() {
            return Err(format!("connection {} is opened twice", connected.connection.0));
        }
        self.index.connections.push(ConnectionFacts { connected, session, user });
        Ok(())
    }

    fn send(&mut self, event: EventNumber, record: &Record, asked: &'h SendAsked) -> Built {
        let connection = self.connection(asked.connection)?;
        let conversation = self.conversation(asked.conversation);
        let sender = self.index.connection(connection).user;
        if let Some(to) = &asked.to {
            let to = UserNumber(self.index.users.number_or_add(to));
            self.index.direct.insert(conversation, [sender, to]);
        }
        for user in &asked.removes {
            let user = UserNumber(self.index.users.number_or_add(user));
            self.index.put_out.insert((conversation, user));
        }
        let message = self.message(conversation, sender, &asked.client_msg_id);
        let number = AttemptNumber::from(self.index.attempts.len());
        self.operation(asked.operation, Operation::Send(number))?;
        self.index.messages[message.place()].attempts.push(number);
        let (at, answer) = (record.at, Answer::Unknown);
        self.index.attempts.push(Attempt { asked, event, at, message, connection, conversation, answer });
        Ok(())
    }

    fn sent(&mut self, event: EventNumber, record: &Record, operation: OperationId, seq: Seq, repeat: bool) -> Built {
        self.answer(operation, Answer::Sent { seq, repeat, at: record.at, event })?;
        let Some(&Operation::Send(number)) = self.index.operations.get(&operation) else {
            return Err(format!("operation {} is no send", operation.0));
        };
        let &Attempt { connection, conversation, message, asked, .. } = self.index.attempt(number);
        let (kind, message) = (asked.kind, Some(message));
        let sighting = Sighting { event, connection, conversation, seq, kind, via: Via::Ack, message, entry: None };
        self.add(record, sighting);
        Ok(())
    }

    fn block(&mut self, event: EventNumber, record: &Record, asked: &'h BlockAsked) -> Built {
        let connection = self.connection(asked.connection)?;
        let blocker = self.index.connection(connection).user;
        let blocked = UserNumber(self.index.users.number_or_add(&asked.user));
        let number = u32::try_from(self.index.blocks.len()).expect("a history has fewer than 2^32 of anything");
        self.operation(asked.operation, Operation::Block(number))?;
        let (at, answer) = (record.at, Answer::Unknown);
        self.index.blocks.push(Blocked { asked, event, at, blocker, blocked, answer });
        Ok(())
    }

    fn fetched(&mut self, event: EventNumber, record: &'h Record, fetched: &'h Fetched) -> Built {
        let connection = self.connection(fetched.connection)?;
        let conversation = self.conversation(fetched.conversation);
        let via = if fetched.is_final { Via::FinalRead } else { Via::Fetched };
        for entry in &fetched.entries {
            self.see(event, record, connection, conversation, via, entry);
        }
        self.know(conversation, record, event, fetched.last_seq);
        Ok(())
    }

    fn synced(&mut self, event: EventNumber, record: &'h Record, synced: &'h Synced) -> Built {
        let connection = self.connection(synced.connection)?;
        for conversation in &synced.removed {
            self.conversation(*conversation);
        }
        for item in &synced.items {
            let conversation = self.conversation(item.conversation);
            for entry in &item.tail {
                self.see(event, record, connection, conversation, Via::Tail, entry);
            }
            if let Some(entry) = &item.last {
                self.see(event, record, connection, conversation, Via::Preview, entry);
            }
            self.know(conversation, record, event, item.last_seq);
        }
        Ok(())
    }

    fn see(
        &mut self,
        event: EventNumber,
        record: &Record,
        connection: ConnectionNumber,
        conversation: ConversationNumber,
        via: Via,
        entry: &'h Entry,
    ) {
        let message = match (&entry.from, &entry.client_msg_id) {
            (Some(from), Some(client_msg_id)) => {
                let from = UserNumber(self.index.users.number_or_add(from));
                Some(self.message(conversation, from, client_msg_id))
            }
            _ => None,
        };
        let (seq, kind, entry) = (entry.seq, entry.kind, Some(entry));
        self.add(record, Sighting { event, connection, conversation, seq, kind, via, message, entry });
    }

    fn add(&mut self, record: &Record, sighting: Sighting<'h>) {
        let Sighting { event, conversation, seq, .. } = sighting;
        if let Some(message) = sighting.message {
            let known = FirstKnown { seq, at: record.at, event };
            self.index.messages[message.place()].first_known.get_or_insert(known);
        }
        self.know(conversation, record, event, seq);
        self.index.sightings.push(sighting);
    }

    fn know(&mut self, conversation: ConversationNumber, record: &Record, event: EventNumber, seq: Seq) {
        self.index.known[conversation.place()].tell(Step { at: record.at, seq, event });
    }

    fn connection(&self, id: ConnectionId) -> Result<ConnectionNumber, String> {
        let number = self.index.connection_numbers.get(&id).copied();
        number.ok_or_else(|| format!("connection {} was not opened before", id.0))
    }

    fn conversation(&mut self, id: tidings_proto::ConversationId) -> ConversationNumber {
        let number = ConversationNumber(self.index.conversations.number_or_add(&id));
        if number.place() == self.index.known.len() {
            self.index.known.push(Known::default());
        }
        number
    }

    fn message(
        &mut self,
        conversation: ConversationNumber,
        sender: UserNumber,
        client_msg_id: &ClientMsgId,
    ) -> MessageNumber {
        let messages = &mut self.index.messages;
        *self.messages.entry((conversation, sender, client_msg_id.clone())).or_insert_with(|| {
            messages.push(Message { conversation, sender, attempts: Vec::new(), first_known: None });
            MessageNumber::from(messages.len() - 1)
        })
    }

    fn operation(&mut self, id: OperationId, operation: Operation) -> Built {
        match self.index.operations.insert(id, operation) {
            None => Ok(()),
            Some(_) => Err(format!("operation {} is asked twice", id.0)),
        }
    }

    fn answer(&mut self, id: OperationId, answer: Answer) -> Built {
        let place = match self.index.operations.get(&id) {
            Some(&Operation::Send(number)) => &mut self.index.attempts[number.place()].answer,
            Some(&Operation::Block(number)) => &mut self.index.blocks[number as usize].answer,
            None => return Err(format!("operation {} was not asked before", id.0)),
        };
        if *place != Answer::Unknown {
            return Err(format!("operation {} is answered twice", id.0));
        }
        *place = answer;
        Ok(())
    }

    fn finish(mut self) -> Index<'h> {
        self.index.session_count = self.sessions.len();
        let sightings = &self.index.sightings;
        let mut by_seq: Vec<u32> = (0..).take(sightings.len()).collect();
        by_seq.sort_unstable_by_key(|&number| {
            let sighting = &sightings[number as usize];
            (sighting.conversation, sighting.seq, number)
        });
        self.index.by_seq = by_seq;
        self.index.logs = self.logs();
        self.index
    }

    /// Of each entry the first sighting with content; failing that an ack; failing that nothing.
    fn logs(&self) -> Vec<Vec<Logged>> {
        let mut logs = Vec::new();
        logs.resize_with(self.index.conversations.len(), Vec::new);
        for group in self.index.entries() {
            let with_content = |sighting: &&&Sighting<'_>| sighting.kind != Kind::Void && sighting.via != Via::Ack;
            let acked = |sighting: &&&Sighting<'_>| sighting.via == Via::Ack;
            let Some(best) = group.clone().find(|s| with_content(&s)).or_else(|| group.clone().find(|s| acked(&s)))
            else {
                continue;
            };
            let from = match (best.message, best.entry.and_then(|entry| entry.from.as_ref())) {
                (Some(message), _) => Some(self.index.message(message).sender),
                (None, Some(from)) => self.index.users.number(from).map(UserNumber),
                (None, None) => None,
            };
            let target = best.entry.and_then(|entry| entry.target);
            let logged = Logged { seq: best.seq, kind: best.kind, from, message: best.message, target };
            logs[best.conversation.place()].push(logged);
        }
        logs
    }
}
