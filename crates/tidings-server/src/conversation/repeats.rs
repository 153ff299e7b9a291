//! The repeats index of one conversation: which `client_msg_id` of whom already has a seq. It answers with candidates,
//! which the caller confirms by the entry itself; it never forgets.
//!
//! In memory an entry takes 8 bytes: 40 bits of hash and the low 24 bits of its seq, sorted, in runs of doubling size.

use smallvec::SmallVec;
use tidings_proto::{Seq, UserId};

use crate::tables::fingerprints as stored;

/// 40 bits of a hash of who and which id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fingerprint(u64);

const SEQ_BITS: u32 = 24;
const SEQ_MASK: u64 = (1 << SEQ_BITS) - 1;

impl Fingerprint {
    pub fn of(user: &UserId, client_msg_id: &str) -> Self {
        Self::number(stored::Fingerprint::of(user, client_msg_id))
    }

    /// As a row holds it; `None` for an entry without an id.
    pub fn stored(fingerprint: stored::Fingerprint) -> Option<Self> {
        (fingerprint != stored::Fingerprint::NO_ID).then(|| Self::number(fingerprint))
    }

    fn number(stored::Fingerprint(bytes): stored::Fingerprint) -> Self {
        Self(bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }
}

/// Runs that are sorted, each at least twice as long as the next; behind them a few that are not sorted yet.
#[derive(Debug, Default)]
pub struct Repeats {
    runs: Vec<Vec<u64>>,
    newest: SmallVec<[u64; NEWEST]>,
}

const NEWEST: usize = 16;

impl Repeats {
    pub fn insert(&mut self, fingerprint: Fingerprint, seq: Seq) {
        self.newest.push(fingerprint.0 << SEQ_BITS | (seq.0 & SEQ_MASK));
        if self.newest.len() < NEWEST {
            return;
        }
        let mut run = self.newest.drain(..).collect::<Vec<_>>();
        while self.runs.last().is_some_and(|last| last.len() < run.len() * 2) {
            run.extend(self.runs.pop().expect("there is a last one"));
        }
        run.sort_unstable();
        self.runs.push(run);
    }

    /// Seqs up to `last` whose entries may have this fingerprint; almost always none or the right one.
    pub fn find(&self, fingerprint: Fingerprint, last: Seq) -> SmallVec<[Seq; 1]> {
        let from = fingerprint.0 << SEQ_BITS;
        let to = from | SEQ_MASK;
        let mut found = SmallVec::new();
        let mut hit = |packed: u64| {
            // The upper bits of the seq are not kept: in a very long conversation there are several candidates.
            let mut seq = packed & SEQ_MASK;
            while seq <= last.0 {
                if seq > 0 {
                    found.push(Seq(seq));
                }
                seq += 1 << SEQ_BITS;
            }
        };
        for run in &self.runs {
            let start = run.partition_point(|packed| *packed < from);
            run[start..].iter().take_while(|packed| **packed <= to).for_each(|packed| hit(*packed));
        }
        self.newest.iter().filter(|packed| (from..=to).contains(*packed)).for_each(|packed| hit(*packed));
        found
    }

    /// About how many bytes this takes in memory.
    pub fn weight(&self) -> usize {
        self.runs.iter().map(|run| run.capacity() * 8).sum::<usize>() + 200
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_inserted_is_found_and_little_else() {
        let user = UserId::new("ada").unwrap();
        let mut repeats = Repeats::default();
        for n in 1..=5_000 {
            repeats.insert(Fingerprint::of(&user, &format!("c-{n}")), Seq(n));
        }
        let find = |id: String| repeats.find(Fingerprint::of(&user, &id), Seq(5_000));
        assert!((1..=5_000).all(|n| find(format!("c-{n}")).contains(&Seq(n))));
        assert!((0..5_000).filter(|n| !find(format!("d-{n}")).is_empty()).count() < 3);
        assert!(repeats.runs.len() < 12);
    }

    #[test]
    fn beyond_24_bits_all_possible_seqs_are_candidates() {
        let fingerprint = Fingerprint::of(&UserId::new("ada").unwrap(), "c");
        let mut repeats = Repeats::default();
        repeats.insert(fingerprint, Seq((1 << 24) + 7));
        assert_eq!(repeats.find(fingerprint, Seq(1 << 25)).as_slice(), [Seq(7), Seq((1 << 24) + 7)]);
    }
}
