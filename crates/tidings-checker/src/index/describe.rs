//! Says in words what an event was, for people who read a report. Nothing else in the checker makes such sentences.

use std::fmt::Write;

use tidings_proto::frames::client::Page;

use crate::{
    event::{ConnectionId, Entry, Event, Fetched, Synced},
    index::{Attempt, ConversationNumber, EventNumber, Index, MessageNumber, Operation, Sighting, UserNumber, Via},
    report::Evidence,
};

impl Index<'_> {
    pub fn evidence(&self, event: EventNumber) -> Evidence {
        let record = self.history.record(event.place());
        Evidence { line: self.history.line(event.place()), at: record.at, what: self.describe(&record.event) }
    }

    /// The event, and which of its entries is meant.
    pub fn sighting_evidence(&self, sighting: &Sighting<'_>) -> Evidence {
        let mut evidence = self.evidence(sighting.event);
        if let (Some(entry), false) = (sighting.entry, sighting.via == Via::Delivered) {
            let _ = write!(evidence.what, "; in it: {}", describe_entry(entry));
        }
        evidence
    }

    pub fn user_name(&self, user: UserNumber) -> &str {
        self.users.value(user.0).as_str()
    }

    pub fn conversation_name(&self, conversation: ConversationNumber) -> String {
        self.conversations.value(conversation.0).to_string()
    }

    /// "c-1 of ada"
    pub fn message_name(&self, number: MessageNumber) -> String {
        let message = self.message(number);
        let sender = self.user_name(message.sender);
        if let Some(&attempt) = message.attempts.first() {
            return format!("{} of {sender}", self.attempt(attempt).asked.client_msg_id);
        }
        let seen = self.sightings.iter().find(|sighting| sighting.message == Some(number));
        let id = seen.and_then(|sighting| sighting.entry).and_then(|entry| entry.client_msg_id.as_deref());
        format!("{} of {sender}", id.unwrap_or("?"))
    }

    fn describe(&self, event: &Event) -> String {
        match event {
            Event::Connected(connected) => {
                let how = if connected.resumed { "resumes" } else { "connects" };
                format!("{} {how} by {:?}", self.who(connected.connection), connected.transport)
            }
            Event::Closed { connection } => format!("{} is cut off", self.who(*connection)),
            Event::Send(asked) => {
                let (who, id) = (self.who(asked.connection), &asked.client_msg_id);
                format!("{who} sends {id} ({:?}) to {}", asked.kind, asked.conversation)
            }
            Event::Block(asked) => self.describe_block(asked.connection, &asked.user, asked.on),
            Event::Sent { operation, seq, repeat } => {
                let repeat = if *repeat { ", a repeat" } else { "" };
                format!("{}: acked at seq {seq}{repeat}", self.describe_operation(*operation))
            }
            Event::Done { operation } => format!("{}: done", self.describe_operation(*operation)),
            Event::Refused { operation, code } => format!("{}: refused, {code}", self.describe_operation(*operation)),
            Event::Unknown { operation } => format!("{}: outcome unknown", self.describe_operation(*operation)),
            Event::Delivered(delivered) => {
                let (who, entry) = (self.who(delivered.connection), describe_entry(&delivered.entry));
                format!("{who} gets {entry} of {}", delivered.conversation)
            }
            Event::Fetched(fetched) => self.describe_fetched(fetched),
            Event::Synced(synced) => self.describe_synced(synced),
            Event::MarkedRead(marked) => {
                format!("{} has marked {} read up to {}", self.who(marked.connection), marked.conversation, marked.seq)
            }
            Event::Receipt(receipt) => format!(
                "{} learns that {} has {} up to {}, read up to {}",
                self.who(receipt.connection),
                receipt.user,
                receipt.conversation,
                receipt.delivered_seq,
                receipt.read_seq
            ),
            Event::Mark { text } => text.clone(),
        }
    }

    fn describe_operation(&self, id: crate::event::OperationId) -> String {
        match self.operation(id) {
            Operation::Send(number) => {
                let Attempt { asked, .. } = self.attempt(number);
                format!("{} sent {} to {}", self.who(asked.connection), asked.client_msg_id, asked.conversation)
            }
            Operation::Block(number) => {
                let asked = self.blocks[number as usize].asked;
                self.describe_block(asked.connection, &asked.user, asked.on)
            }
        }
    }

    fn describe_block(&self, connection: ConnectionId, user: &tidings_proto::UserId, on: bool) -> String {
        format!("{} {} {user}", self.who(connection), if on { "blocks" } else { "unblocks" })
    }

    fn describe_fetched(&self, fetched: &Fetched) -> String {
        let asked = self.seconds_since_start(fetched.asked);
        let last = if fetched.is_final { " at the end" } else { "" };
        let range = describe_range(fetched.range);
        let mut text = format!(
            "{} read {}{last} ({range}, asked at {asked}), got ",
            self.who(fetched.connection),
            fetched.conversation
        );
        match (fetched.entries.first(), fetched.entries.last()) {
            (Some(first), Some(last)) => {
                let _ = write!(text, "{} entries {} to {}", fetched.entries.len(), first.seq, last.seq);
            }
            _ => text.push_str("no entries"),
        }
        let _ = write!(text, " of {} to {}", fetched.first_seq, fetched.last_seq);
        text
    }

    fn describe_synced(&self, synced: &Synced) -> String {
        let what = if synced.full { "the whole inbox" } else { "changes" };
        let asked =
            synced.asked.map_or("unasked".to_owned(), |at| format!("asked at {}", self.seconds_since_start(at)));
        let mut text = format!("{} got {what} ({asked}): {} items", self.who(synced.connection), synced.items.len());
        for item in synced.items.iter().take(3) {
            let (last_seq, read_seq, unread) = (item.last_seq, item.read_seq, item.unread);
            let _ = write!(text, ", {} last {last_seq} read {read_seq} unread {unread}", item.conversation);
        }
        text
    }

    /// "ada/laptop#17"
    fn who(&self, connection: ConnectionId) -> String {
        let connected = self.connection(self.connection_number(connection)).connected;
        format!("{}/{}#{}", connected.user, connected.device.as_str(), connection.0)
    }

    fn seconds_since_start(&self, at: u64) -> String {
        let since_start = at.saturating_sub(self.at(EventNumber(0)));
        format!("{}.{:09} s", since_start / 1_000_000_000, since_start % 1_000_000_000)
    }
}

fn describe_entry(entry: &Entry) -> String {
    let mut text = format!("seq {} ({:?})", entry.seq, entry.kind);
    if let (Some(from), Some(id)) = (&entry.from, &entry.client_msg_id) {
        let _ = write!(text, " {id} of {from}");
    }
    if let Some(hash) = entry.text {
        let _ = write!(text, ", text {:08x}", hash.0 >> 32);
    }
    text
}

fn describe_range(range: Page) -> String {
    let limit = range.limit.map_or(String::new(), |limit| format!(" limit {limit}"));
    match (range.before, range.after, range.around) {
        (Some(before), ..) => format!("before {before}{limit}"),
        (_, Some(after), _) => format!("after {after}{limit}"),
        (.., Some(around)) => format!("around {around}{limit}"),
        _ => format!("newest{limit}"),
    }
}
