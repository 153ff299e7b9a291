//! Rules 8 and 12: the order of one connection, and of a session over its connections.

use hashbrown::{HashMap, HashSet};
use tidings_proto::Seq;

use crate::{
    event::{Event, Synced},
    index::{Answer, Attempt, ConnectionNumber, ConversationNumber, EventNumber, Index, Operation, SessionNumber, Via},
    report::Outcome,
    rules::time::was_asked_for,
    told::Told,
};

/// An entry that came of its own accord, or the ack that stands for it on the sender's connection.
struct Live {
    event: EventNumber,
    connection: ConnectionNumber,
    conversation: ConversationNumber,
    seq: Seq,
}

/// What lies between a session's last word of a conversation and the first entry of a new connection.
struct Jump {
    live: Live,
    session: SessionNumber,
    from: Seq,
}

/// Rule 8. On a live connection entries (and the acks of its own sends that were no repeats) ascend by one for each
/// conversation. A new connection begins at most one behind what its session had been told by its first inbox or sync
/// answer (later ones excuse nothing: by then everything has to come of its own accord); a seq in between is excused only
/// if the session fetched it, or got it in a tail, at some time.
pub(super) fn no_gaps(index: &Index<'_>, outcome: &mut Outcome) {
    let mut told = Told::new(index);
    let mut last: HashMap<(ConnectionNumber, ConversationNumber), (Seq, EventNumber)> = HashMap::new();
    let mut starts = Starts::default();
    let mut jumps = Vec::new();
    for (place, record) in index.history.records().enumerate() {
        let event = EventNumber::from(place);
        if let Event::Synced(synced) = &record.event {
            starts.observe(index, &told, synced);
            let connection = index.connection_number(synced.connection);
            for conversation in &synced.removed {
                last.remove(&(connection, index.conversation_number(conversation)));
            }
        }
        if let Some(live) = live(index, event, &record.event) {
            outcome.judge();
            let session = index.connection(live.connection).session;
            let key = (live.connection, live.conversation);
            match last.insert(key, (live.seq, event)) {
                Some((before, proof)) if before.next() != live.seq => {
                    violate(index, outcome, &live, before, &[proof, event]);
                }
                Some(_) => {}
                None => {
                    let from = starts.fixed.get(&key).copied().or(told.last(session, live.conversation));
                    // A first inbox may already leave out what its user was put out of meanwhile; what is on its way then
                    // comes all the same, and nothing says from where on.
                    let nothing_said = from == Some(Seq::NONE) && is_put_out(index, &live);
                    if let Some(from) = from.filter(|from| from.next() < live.seq && !nothing_said) {
                        jumps.push(Jump { live, session, from });
                    }
                }
            }
        }
        told.observe(index, event);
    }
    let fetched = fetched(index, &jumps);
    for Jump { live, session, from } in &jumps {
        let missing = |seq: &u64| !fetched.contains(&(*session, live.conversation, Seq(*seq)));
        if (from.next().0..live.seq.0).any(|seq| missing(&seq)) {
            violate(index, outcome, live, *from, &[live.event]);
        }
    }
}

/// Where connections begin in conversations of which they have shown no entry yet.
#[derive(Default)]
struct Starts {
    answered: HashSet<ConnectionNumber>,
    fixed: HashMap<(ConnectionNumber, ConversationNumber), Seq>,
}

impl Starts {
    /// Before `told` has observed it.
    fn observe(&mut self, index: &Index<'_>, told: &Told, synced: &Synced) {
        let connection = index.connection_number(synced.connection);
        for conversation in &synced.removed {
            self.fixed.remove(&(connection, index.conversation_number(conversation)));
        }
        if self.answered.insert(connection) {
            return;
        }
        for item in &synced.items {
            let conversation = index.conversation_number(&item.conversation);
            if let Some(last) = told.heard(index.connection(connection).session, conversation) {
                self.fixed.entry((connection, conversation)).or_insert(last);
            }
        }
    }
}

fn live(index: &Index<'_>, event: EventNumber, what: &Event) -> Option<Live> {
    let live = match what {
        Event::Delivered(delivered) => {
            let connection = index.connection_number(delivered.connection);
            let conversation = index.conversation_number(&delivered.conversation);
            Live { event, connection, conversation, seq: delivered.entry.seq }
        }
        Event::Sent { operation, seq, repeat: false } => match index.operation(*operation) {
            Operation::Send(number) => {
                let &Attempt { connection, conversation, .. } = index.attempt(number);
                Live { event, connection, conversation, seq: *seq }
            }
            Operation::Block(_) => return None,
        },
        _ => return None,
    };
    index.connection(live.connection).connected.transport.is_live().then_some(live)
}

fn is_put_out(index: &Index<'_>, live: &Live) -> bool {
    index.put_out.contains(&(live.conversation, index.connection(live.connection).user))
}

fn violate(index: &Index<'_>, outcome: &mut Outcome, live: &Live, before: Seq, events: &[EventNumber]) {
    outcome.violate(|| {
        let conversation = index.conversation_name(live.conversation);
        let user = index.user_name(index.connection(live.connection).user);
        let what = format!("{user} got seq {} of {conversation} after having been told up to {before}", live.seq);
        (what, events.iter().map(|&event| index.evidence(event)).collect())
    });
}

/// What the sessions of `jumps` asked for themselves, in the conversations of `jumps`.
fn fetched(index: &Index<'_>, jumps: &[Jump]) -> HashSet<(SessionNumber, ConversationNumber, Seq)> {
    let wanted: HashSet<_> = jumps.iter().map(|jump| (jump.session, jump.live.conversation)).collect();
    let asked = index.sightings.iter().filter(|sighting| was_asked_for(sighting.via) && sighting.via != Via::FinalRead);
    let keyed = asked.map(|seen| (index.connection(seen.connection).session, seen.conversation, seen.seq));
    keyed.filter(|&(session, conversation, _)| wanted.contains(&(session, conversation))).collect()
}

/// Rule 12. Of the sends of one connection (of a kind that keeps order) to one conversation, those acked there as no repeats
/// have ascending seqs in the order sent.
pub(super) fn send_order(index: &Index<'_>, outcome: &mut Outcome) {
    let mut last: HashMap<(ConnectionNumber, ConversationNumber), (Seq, &Attempt<'_>, EventNumber)> = HashMap::new();
    for attempt in &index.attempts {
        let Answer::Sent { seq, repeat: false, event, .. } = attempt.answer else { continue };
        if !index.connection(attempt.connection).connected.transport.keeps_order() {
            continue;
        }
        outcome.judge();
        let Some((before, earlier, acked)) =
            last.insert((attempt.connection, attempt.conversation), (seq, attempt, event))
        else {
            continue;
        };
        if seq <= before {
            outcome.violate(|| {
                let (one, other) = (&earlier.asked.client_msg_id, &attempt.asked.client_msg_id);
                let what = format!("{one} was sent before {other} and stands at {before}, behind {seq}");
                let events = [earlier.event, attempt.event, acked, event];
                (what, events.map(|event| index.evidence(event)).to_vec())
            });
        }
    }
}
