//! Who is taken for dead. Silence on the bus only raises the question; it is answered by the store: each node raises a
//! counter there, and a node is dead whose counter stood still while the counters of those who look moved: for three seconds,
//! or for less if its machine says that nobody listens at its door any more.
//!
//! No safety rests on it: whoever is taken for dead and is not finds its journal sealed.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use crate::node::NodeId;

/// How long a counter must have stood still.
pub const STILL: Duration = Duration::from_secs(3);

/// The same of a node whose door is shut: a process that has ended, and not one that is slow. Two looks without a new beat.
pub const STILL_AND_SHUT: Duration = Duration::from_millis(750);

/// What one node has seen of the others' counters.
#[derive(Debug, Default)]
pub struct Suspicion {
    seen: HashMap<NodeId, Seen>,
}

#[derive(Debug)]
struct Seen {
    counter: u64,
    /// Since when it has this value, as far as this node can say.
    since: Instant,
}

impl Suspicion {
    /// Notes what was read from the store at `now`. `own_write_succeeded`: this node's own counter could be raised since
    /// the last look. If it could not, it is this node that is cut off, and the others' silence says nothing.
    pub fn look(&mut self, now: Instant, counters: &HashMap<NodeId, u64>, own_write_succeeded: bool) {
        self.seen.retain(|id, _| counters.contains_key(id));
        for (&id, &counter) in counters {
            let seen = self.seen.entry(id).or_insert(Seen { counter, since: now });
            if seen.counter != counter || !own_write_succeeded {
                *seen = Seen { counter, since: now };
            }
        }
    }

    /// For how long each counter has stood still.
    pub fn quiet(&self, now: Instant) -> impl Iterator<Item = (NodeId, Duration)> {
        self.seen.iter().map(move |(&id, seen)| (id, now.duration_since(seen.since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALIVE: NodeId = NodeId::from_bytes([1; 16]);
    const STUCK: NodeId = NodeId::from_bytes([2; 16]);

    fn dead(suspicion: &Suspicion, now: Instant) -> Vec<NodeId> {
        suspicion.quiet(now).filter(|(_, quiet)| *quiet >= STILL).map(|(id, _)| id).collect()
    }

    /// Looks once a second; `writes` says whether the own write before each look succeeded. Who is dead after each.
    fn watch(writes: &[bool]) -> Vec<Vec<NodeId>> {
        let start = Instant::now();
        let mut suspicion = Suspicion::default();
        let look = |(second, &succeeded): (usize, &bool)| {
            let now = start + Duration::from_secs(second as u64);
            suspicion.look(now, &HashMap::from([(ALIVE, second as u64), (STUCK, 7)]), succeeded);
            dead(&suspicion, now)
        };
        writes.iter().enumerate().map(look).collect()
    }

    #[test]
    fn a_counter_that_stands_still_for_three_seconds_is_dead() {
        assert_eq!(watch(&[true; 5]), [vec![], vec![], vec![], vec![STUCK], vec![STUCK]]);
    }

    #[test]
    fn whoever_cannot_write_accuses_nobody() {
        assert_eq!(watch(&[true, true, false, true, true]), vec![Vec::<NodeId>::new(); 5]);
        assert!(watch(&[false; 20]).iter().all(Vec::is_empty));
    }

    #[test]
    fn who_has_left_the_store_is_forgotten() {
        let start = Instant::now();
        let mut suspicion = Suspicion::default();
        suspicion.look(start, &HashMap::from([(STUCK, 7)]), true);
        suspicion.look(start + STILL, &HashMap::new(), true);
        assert_eq!(dead(&suspicion, start + STILL).len(), 0);
    }
}
