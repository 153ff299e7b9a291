//! The newest of what is remembered one by one, so that a list has a bound.

use tidings_proto::Seq;

/// Mentions, deletions and the like that a conversation or an inbox item knows one by one.
const REMEMBERED: usize = 100;

/// Puts `seq` behind the others. Beyond the bound the oldest is forgotten: a count may then be off by it, until it is read.
pub fn remember(seqs: &mut Vec<Seq>, seq: Seq) {
    if seqs.len() == REMEMBERED {
        seqs.remove(0);
    }
    seqs.push(seq);
}
