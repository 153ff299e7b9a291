//! Which node should host which shard. A pure function of the nodes' names and weights: whoever knows the same view comes
//! to the same answer.
//!
//! Each shard likes nodes by weighted rendezvous hashing, and no node takes more than its bound. Who is taken where is the
//! outcome of deferred acceptance: a shard asks the nodes in its order, and a node that is full keeps those that score
//! highest with it. That outcome does not depend on the order in which shards are looked at, and a change of one node moves
//! few others.

use tidings_proto::{SHARDS, ShardId};

/// No node gets more than this part of its fair share, in percent.
const BOUND_PERCENT: u64 = 110;

/// A node that may host shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    /// Stays the same over restarts, so that a node gets its shards back.
    pub name: &'a str,
    /// How much it can carry beside the others. At 0 it gets nothing.
    pub weight: u32,
}

/// For each shard the candidate that should host it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Places in the list of candidates. Empty if none of them has a weight.
    hosts: Vec<u32>,
}

impl Placement {
    /// Takes about a quarter of a second for 500 candidates.
    pub fn new(candidates: &[Candidate<'_>]) -> Self {
        let nodes: Vec<_> = candidates.iter().map(Scoring::new).collect();
        let whole: u64 = candidates.iter().map(|candidate| u64::from(candidate.weight)).sum();
        if whole == 0 {
            return Self { hosts: Vec::new() };
        }
        let bound = |weight: u32| (u64::from(SHARDS) * u64::from(weight) * BOUND_PERCENT).div_ceil(whole * 100);
        let mut taken: Vec<_> = candidates.iter().map(|candidate| Taken::up_to(bound(candidate.weight))).collect();
        for shard in 0..SHARDS {
            // Whom the node lets go for it goes on asking.
            let mut asking = Some(Asking { shard, refused: None });
            while let Some(ask) = asking {
                let (node, score) = ask.next_choice(&nodes).expect("all bounds together hold more than all shards");
                let refused = taken[node].offer(Kept { score, shard: ask.shard });
                asking = refused.map(|kept| Asking { shard: kept.shard, refused: Some((node, kept.score)) });
            }
        }
        let mut hosts = vec![0; usize::from(SHARDS)];
        for (node, taken) in taken.iter().enumerate() {
            let node = u32::try_from(node).expect("a view has fewer than 2^32 nodes");
            taken.kept.iter().for_each(|kept| hosts[usize::from(kept.shard)] = node);
        }
        Self { hosts }
    }

    /// The place of the shard's host among the candidates. `None`: nobody can take it.
    pub fn host(&self, shard: ShardId) -> Option<usize> {
        self.hosts.get(usize::from(shard.0)).map(|&node| node as usize)
    }
}

/// A shard on its way to a node: refused by `refused` and all that it likes better.
#[derive(Clone, Copy)]
struct Asking {
    shard: u16,
    refused: Option<(usize, f64)>,
}

impl Asking {
    fn next_choice(self, nodes: &[Scoring]) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (node, scoring) in nodes.iter().enumerate().filter(|(_, scoring)| scoring.weight > 0.0) {
            let score = scoring.score(self.shard);
            let was_asked = self.refused.is_some_and(|(last, refused)| (score, node) >= (refused, last));
            if !was_asked && best.is_none_or(|(other, high)| (score, node) > (high, other)) {
                best = Some((node, score));
            }
        }
        best
    }
}

/// What a node keeps: a heap of at most `bound`, the lowest score on top.
struct Taken {
    bound: usize,
    kept: std::collections::BinaryHeap<Kept>,
}

#[derive(Clone, Copy, PartialEq)]
struct Kept {
    score: f64,
    shard: u16,
}

impl Taken {
    fn up_to(bound: u64) -> Self {
        Self { bound: usize::try_from(bound).expect("there are few shards"), kept: std::collections::BinaryHeap::new() }
    }

    /// Keeps it if it belongs to the best; returns whoever has to go.
    fn offer(&mut self, offered: Kept) -> Option<Kept> {
        self.kept.push(offered);
        if self.kept.len() > self.bound { self.kept.pop() } else { None }
    }
}

impl Eq for Kept {}

impl Ord for Kept {
    /// The greatest is the one with the lowest score: a binary heap gives it up first.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        other.score.total_cmp(&self.score).then(self.shard.cmp(&other.shard))
    }
}

impl PartialOrd for Kept {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// How much shards like a node. The score -weight / ln(u) with u even in (0, 1) makes a shard's first choice fall on each
/// node in proportion to its weight (Thaler and Ravishankar 1998, weighted as in Schindelhauer and Schomaker 2005).
struct Scoring {
    seed: u64,
    weight: f64,
}

impl Scoring {
    fn new(candidate: &Candidate<'_>) -> Self {
        let hash = blake3::hash(candidate.name.as_bytes());
        let seed = u64::from_le_bytes(hash.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
        Self { seed, weight: f64::from(candidate.weight) }
    }

    fn score(&self, shard: u16) -> f64 {
        // 53 bits, moved off both ends of the interval.
        let even = ((mixed(self.seed ^ mixed(u64::from(shard))) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        -self.weight / even.ln()
    }
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014).
fn mixed(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn named(names: &[String], weight: impl Fn(usize) -> u32) -> Vec<Candidate<'_>> {
        names.iter().enumerate().map(|(place, name)| Candidate { name, weight: weight(place) }).collect()
    }

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("node-{number}")).collect()
    }

    fn by_name(candidates: &[Candidate<'_>]) -> Vec<String> {
        let placement = Placement::new(candidates);
        let host = |shard| candidates[placement.host(ShardId(shard)).unwrap()].name.to_owned();
        (0..SHARDS).map(host).collect()
    }

    fn loads(hosts: &[String]) -> BTreeMap<&str, usize> {
        let mut loads = BTreeMap::new();
        for host in hosts {
            *loads.entry(host.as_str()).or_default() += 1;
        }
        loads
    }

    #[test]
    fn nobody_gets_more_than_a_tenth_beyond_the_share_of_its_weight() {
        for count in [1, 2, 3, 10, 100] {
            let names = names(count);
            let weight = |place: usize| [1, 2, 4][place % 3];
            let hosts = by_name(&named(&names, weight));
            let whole: u32 = (0..count).map(weight).sum();
            for (place, name) in names.iter().enumerate() {
                let share = f64::from(SHARDS) * f64::from(weight(place)) / f64::from(whole);
                let load = loads(&hosts)[name.as_str()] as f64;
                assert!(load <= (share * 1.1).ceil(), "{name} of {count} has {load} of {share}");
                assert!(load >= share * 0.5, "{name} of {count} has only {load} of {share}");
            }
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let names = names(40);
        let mut candidates = named(&names, |_| 1);
        let hosts = by_name(&candidates);
        candidates.reverse();
        assert_eq!(by_name(&candidates), hosts);
    }

    #[test]
    fn one_node_more_or_less_moves_little_beside_its_own() {
        for count in [3, 10, 50] {
            let names = names(count + 1);
            let (before, after) = (by_name(&named(&names[..count], |_| 1)), by_name(&named(&names, |_| 1)));
            let joined = &names[count];
            let moved = before.iter().zip(&after).filter(|(before, after)| before != after).count();
            let own = after.iter().filter(|host| *host == joined).count();
            assert!(own > 0);
            assert!(moved <= own * 2, "{count} nodes and one more: {moved} moved, {own} of them to it");
        }
    }

    #[test]
    fn who_drains_gets_nothing_and_without_nodes_there_is_no_host() {
        let names = names(3);
        let hosts = by_name(&named(&names, |place| u32::from(place != 1)));
        assert!(!hosts.contains(&names[1]));
        assert_eq!(Placement::new(&named(&names, |_| 0)).host(ShardId(7)), None);
        assert_eq!(Placement::new(&[]).host(ShardId(7)), None);
    }
}
