//! Which entries of a link are not with the application yet: acknowledging an entry means that it may be forgotten. Pure.

use std::collections::VecDeque;

use tidings_proto::{ConversationId, Seq};

use crate::{cursors::Cursors, events::Outlet};

/// As the entries came; the link bounds how many it brings without an acknowledgement.
#[derive(Debug, Default)]
pub(super) struct Untaken {
    entries: VecDeque<Entry>,
}

#[derive(Debug)]
struct Entry {
    conversation: ConversationId,
    seq: Seq,
    /// Handed on by then: so many events had been offered.
    offered: Option<u64>,
}

impl Untaken {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn came(&mut self, conversation: ConversationId, seq: Seq) {
        self.entries.push_back(Entry { conversation, seq, offered: None });
    }

    /// Notes which entries were handed on by now. One that was handed on before, or whose conversation is none any more, has nothing to wait for
    /// but what is in front of it.
    pub fn note(&mut self, cursors: &Cursors, outlet: &Outlet) {
        for entry in self.entries.iter_mut().filter(|entry| entry.offered.is_none()) {
            if cursors.at(entry.conversation).is_none_or(|at| at >= entry.seq) {
                entry.offered = Some(outlet.offered());
            }
        }
    }

    /// Whether the oldest was taken; it is forgotten then. When nobody listens any more nothing is.
    pub fn is_first_taken(&mut self, outlet: &Outlet) -> bool {
        let first = self.entries.front().and_then(|first| first.offered).filter(|_| outlet.is_open());
        let is_taken = first.is_some_and(|offered| outlet.taken() >= offered);
        if is_taken {
            self.entries.pop_front();
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto::frames::server::{Entry, Kind, LiveEntry};

    use super::*;
    use crate::events::Event;

    fn live(seq: u64) -> LiveEntry<'static> {
        let kind = Kind::Message;
        let entry = Entry { seq: Seq(seq), kind, from: None, at: None, client_msg_id: None, text: None, more: None };
        LiveEntry { conversation: ConversationId::from_bytes([7; 16]), entry }
    }

    #[test]
    fn an_entry_is_taken_when_it_left_the_queue_and_in_its_turn() {
        let (outlet, mut events) = Outlet::channel(2);
        let (mut cursors, mut untaken) = (Cursors::default(), Untaken::default());
        cursors.begin(live(1).conversation, Seq::NONE);
        let come = |cursors: &mut Cursors, untaken: &mut Untaken, seq: u64| {
            untaken.came(live(seq).conversation, Seq(seq));
            cursors.arrive(live(seq), &mut |entry| outlet.offer(Event::Entry(entry)));
            untaken.note(cursors, &outlet);
        };
        for seq in [1, 2, 3, 2] {
            come(&mut cursors, &mut untaken, seq);
        }
        assert!(!untaken.is_first_taken(&outlet), "it waits in the queue");
        events.try_next().unwrap();
        assert!(untaken.is_first_taken(&outlet));
        assert!(!untaken.is_first_taken(&outlet), "the second is still there");
        events.try_next().unwrap();
        assert!(untaken.is_first_taken(&outlet));
        assert!(!untaken.is_first_taken(&outlet), "there was no room for the third");
        cursors.arrive(live(3), &mut |entry| outlet.offer(Event::Entry(entry)));
        untaken.note(&cursors, &outlet);
        assert!(!untaken.is_first_taken(&outlet));
        events.try_next().unwrap();
        assert!(untaken.is_first_taken(&outlet));
        assert!(untaken.is_first_taken(&outlet), "what came twice was taken once");
        assert!(untaken.is_empty());
        come(&mut cursors, &mut untaken, 4);
        drop(events);
        assert!(!untaken.is_first_taken(&outlet), "nobody takes it any more");
    }
}
