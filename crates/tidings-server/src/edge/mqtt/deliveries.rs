//! What was delivered to one connection, conversation by conversation, in the order of its log and without gaps. Pure: it
//! says what may go out, what has to be read from the log, and up to where the client has everything.
//!
//! Deliveries that are not acknowledged are bounded. What comes while there is no room is not kept: it is in the log, and
//! its conversation is noted as behind.

use std::collections::VecDeque;

use hashbrown::{HashMap, hash_map::Entry};
use tidings_proto::{ConversationId, Seq};

use crate::host::cursors::Delivered;

/// Own sends whose echo is kept back; beyond it the oldest is forgotten, and would be echoed when it is read from the log.
const OWN_MAX: usize = 256;

#[derive(Debug)]
pub struct Deliveries {
    /// Deliveries under way at once; `None`: the client acknowledges nothing.
    window: Option<usize>,
    inflight: VecDeque<Inflight>,
    last_packet_id: u16,
    places: HashMap<ConversationId, Place>,
    /// Conversations with something in the log that was not sent, each once.
    behind: VecDeque<ConversationId>,
    /// Up to where the client has everything, where that has changed.
    moved: HashMap<ConversationId, Delivered>,
    own: VecDeque<(ConversationId, Seq)>,
}

#[derive(Clone, Copy, Debug)]
struct Inflight {
    packet_id: u16,
    conversation: ConversationId,
    seq: Seq,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    /// Everything up to here was sent on this connection, or before it.
    sent: Seq,
    is_behind: bool,
}

impl Deliveries {
    pub fn new(window: Option<usize>) -> Self {
        Self {
            window,
            inflight: VecDeque::new(),
            last_packet_id: 0,
            places: HashMap::new(),
            behind: VecDeque::new(),
            moved: HashMap::new(),
            own: VecDeque::new(),
        }
    }

    /// From here on the client lacks what is in the log.
    pub fn begin(&mut self, conversation: ConversationId, delivered: Seq) {
        self.places.insert(conversation, Place { sent: delivered, is_behind: false });
        self.fall_behind(conversation);
    }

    /// An entry as it happens. True: it is to be sent now.
    pub fn take(&mut self, conversation: ConversationId, seq: Seq) -> bool {
        let has_room = self.has_room();
        let place = self.place(conversation, seq);
        if seq <= place.sent || place.is_behind {
            return false;
        }
        if seq > place.sent.next() || !has_room {
            self.fall_behind(conversation);
            return false;
        }
        true
    }

    /// The client's own send, which it is not to get back.
    pub fn skip_own(&mut self, conversation: ConversationId, seq: Seq) {
        if self.own.len() >= OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back((conversation, seq));
        if self.take(conversation, seq) {
            self.pass(conversation, seq);
        }
    }

    pub fn is_own(&self, conversation: ConversationId, seq: Seq) -> bool {
        self.own.contains(&(conversation, seq))
    }

    /// The next entry of its conversation goes out. With a window it has the packet id that is told here.
    pub fn send(&mut self, conversation: ConversationId, seq: Seq) -> Option<u16> {
        self.place(conversation, seq).sent = seq;
        if self.window.is_none() {
            self.moved.insert(conversation, Delivered { seq, is_acked: false });
            return None;
        }
        let packet_id = self.next_packet_id();
        self.inflight.push_back(Inflight { packet_id, conversation, seq });
        Some(packet_id)
    }

    /// The next entry of its conversation is not for this client: it counts as delivered.
    pub fn pass(&mut self, conversation: ConversationId, seq: Seq) {
        self.place(conversation, seq).sent = seq;
        if !self.inflight.iter().any(|inflight| inflight.conversation == conversation) {
            let is_acked = self.moved.get(&conversation).is_some_and(|moved| moved.is_acked);
            self.moved.insert(conversation, Delivered { seq, is_acked });
        }
    }

    /// The client acknowledges a delivery. One of an earlier connection is of no account.
    pub fn acked(&mut self, packet_id: u16) {
        let Some(at) = self.inflight.iter().position(|inflight| inflight.packet_id == packet_id) else { return };
        let Some(Inflight { conversation, .. }) = self.inflight.remove(at) else { return };
        let oldest = self.inflight.iter().find(|inflight| inflight.conversation == conversation);
        let seq = match (oldest, self.places.get(&conversation)) {
            (Some(oldest), _) => oldest.seq.previous(),
            (None, Some(place)) => place.sent,
            (None, None) => return,
        };
        self.moved.insert(conversation, Delivered { seq, is_acked: true });
    }

    pub fn has_room(&self) -> bool {
        self.room() > 0
    }

    /// How many deliveries may begin now.
    pub fn room(&self) -> usize {
        self.window.map_or(usize::MAX, |window| window.saturating_sub(self.inflight.len()))
    }

    /// What to read from the log next: a conversation, and what the client has of it.
    pub fn next_behind(&self) -> Option<(ConversationId, Seq)> {
        let conversation = self.behind.front().filter(|_| self.has_room())?;
        Some((*conversation, self.places.get(conversation)?.sent))
    }

    /// A part of the first conversation that is behind was read and sent. With `is_all` there was no more in the log; else it
    /// is another conversation's turn.
    pub fn caught_up(&mut self, is_all: bool) {
        let Some(conversation) = self.behind.pop_front() else { return };
        if is_all {
            if let Some(place) = self.places.get_mut(&conversation) {
                place.is_behind = false;
            }
        } else {
            self.behind.push_back(conversation);
        }
    }

    /// Up to where the client has everything, since this was asked last.
    pub fn take_moved(&mut self) -> Vec<(ConversationId, Delivered)> {
        self.moved.drain().collect()
    }

    pub fn moved_count(&self) -> usize {
        self.moved.len()
    }

    /// What is told of a conversation for the first time follows on what the client has.
    fn place(&mut self, conversation: ConversationId, seq: Seq) -> &mut Place {
        match self.places.entry(conversation) {
            Entry::Occupied(place) => place.into_mut(),
            Entry::Vacant(place) => place.insert(Place { sent: seq.previous(), is_behind: false }),
        }
    }

    fn fall_behind(&mut self, conversation: ConversationId) {
        if let Some(place) = self.places.get_mut(&conversation).filter(|place| !place.is_behind) {
            place.is_behind = true;
            self.behind.push_back(conversation);
        }
    }

    fn next_packet_id(&mut self) -> u16 {
        loop {
            self.last_packet_id = self.last_packet_id.checked_add(1).unwrap_or(1);
            if !self.inflight.iter().any(|inflight| inflight.packet_id == self.last_packet_id) {
                return self.last_packet_id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings_proto::UserId;

    use super::*;

    fn id(name: &str) -> ConversationId {
        ConversationId::group(&UserId::new("ada").unwrap(), name)
    }

    fn send(deliveries: &mut Deliveries, conversation: ConversationId, seq: u64) -> Option<u16> {
        deliveries.take(conversation, Seq(seq)).then(|| deliveries.send(conversation, Seq(seq)).unwrap())
    }

    #[test]
    fn what_finds_no_room_comes_from_the_log_and_in_order() {
        let mut deliveries = Deliveries::new(Some(2));
        let team = id("team");
        let first = send(&mut deliveries, team, 7).unwrap();
        assert!(send(&mut deliveries, team, 8).is_some());
        assert!(send(&mut deliveries, team, 7).is_none(), "it was sent");
        assert!(send(&mut deliveries, team, 9).is_none(), "there is no room");
        assert_eq!(deliveries.next_behind(), None, "nor for the log");
        deliveries.acked(first);
        assert_eq!(deliveries.next_behind(), Some((team, Seq(8))));
        assert!(send(&mut deliveries, team, 10).is_none(), "9 comes first");
        deliveries.send(team, Seq(9));
        deliveries.caught_up(false);
        assert_eq!(deliveries.next_behind(), None);
    }

    #[test]
    fn a_gap_is_read_from_the_log() {
        let mut deliveries = Deliveries::new(Some(64));
        let team = id("team");
        deliveries.begin(team, Seq(3));
        deliveries.caught_up(true);
        assert!(send(&mut deliveries, team, 4).is_some());
        assert!(send(&mut deliveries, team, 6).is_none());
        assert_eq!(deliveries.next_behind(), Some((team, Seq(4))));
        deliveries.send(team, Seq(5));
        deliveries.send(team, Seq(6));
        deliveries.caught_up(true);
        assert!(send(&mut deliveries, team, 7).is_some());
    }

    #[test]
    fn a_cursor_stands_before_the_first_that_is_not_acknowledged() {
        let mut deliveries = Deliveries::new(Some(64));
        let team = id("team");
        let ids: Vec<_> = (1..=3).map(|seq| send(&mut deliveries, team, seq).unwrap()).collect();
        deliveries.acked(ids[1]);
        assert_eq!(deliveries.take_moved(), [(team, Delivered { seq: Seq(0), is_acked: true })]);
        deliveries.acked(ids[0]);
        assert_eq!(deliveries.take_moved(), [(team, Delivered { seq: Seq(2), is_acked: true })]);
        deliveries.acked(ids[0]);
        assert_eq!(deliveries.take_moved(), []);
        deliveries.acked(ids[2]);
        assert_eq!(deliveries.take_moved(), [(team, Delivered { seq: Seq(3), is_acked: true })]);
    }

    #[test]
    fn an_own_send_is_passed_over_and_counts_as_delivered() {
        let mut deliveries = Deliveries::new(Some(64));
        let team = id("team");
        let first = send(&mut deliveries, team, 1).unwrap();
        deliveries.skip_own(team, Seq(2));
        assert_eq!(deliveries.take_moved(), [], "the one before it is not acknowledged");
        deliveries.acked(first);
        assert_eq!(deliveries.take_moved(), [(team, Delivered { seq: Seq(2), is_acked: true })]);
        deliveries.skip_own(team, Seq(4));
        assert_eq!(deliveries.next_behind(), Some((team, Seq(2))));
        assert!(deliveries.is_own(team, Seq(4)) && !deliveries.is_own(team, Seq(3)));
    }
}
