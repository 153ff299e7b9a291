//! Counts unread messages from the log, without walking it for each question.

use hashbrown::HashMap;
use tidings_proto::{Seq, frames::server::Kind, limits::UNREAD_MAX};

use crate::index::{ConversationNumber, Index, Logged, UserNumber};

pub(super) struct Counts {
    logs: Vec<LogCounts>,
}

#[derive(Default)]
struct LogCounts {
    /// At n: how many of the first n entries count. As long as the known log is dense from 1.
    counting: Vec<u64>,
    /// The counting entries of each sender, ascending.
    own: HashMap<UserNumber, Vec<Seq>>,
    /// Counting entries that were redacted: (target, its sender, the redaction's seq), by target.
    redacted: Vec<(Seq, Option<UserNumber>, Seq)>,
}

impl Counts {
    pub fn new(index: &Index<'_>) -> Self {
        Self { logs: index.logs.iter().map(|log| LogCounts::new(log)).collect() }
    }

    /// How many messages of others stand after `read_seq` up to `last_seq`, as the log was at `last_seq`. `None`: part of
    /// it is not known.
    pub fn unread(
        &self,
        conversation: ConversationNumber,
        user: UserNumber,
        read_seq: Seq,
        last_seq: Seq,
    ) -> Option<u64> {
        let log = &self.logs[conversation.place()];
        let upto = |seq: Seq| log.counting.get(usize::try_from(seq.0).ok()?).copied();
        let all = upto(last_seq)?.saturating_sub(upto(read_seq)?);
        let inside = |seq: Seq| seq > read_seq && seq <= last_seq;
        let own = log.own.get(&user).map_or(0, |own| {
            let upto = |last: Seq| own.partition_point(|&seq| seq <= last);
            upto(last_seq).saturating_sub(upto(read_seq)) as u64
        });
        let from = log.redacted.partition_point(|&(target, ..)| target <= read_seq);
        let redacted = log.redacted[from..].iter().take_while(|&&(target, ..)| inside(target));
        let redacted = redacted.filter(|&&(_, sender, seq)| sender != Some(user) && seq <= last_seq).count() as u64;
        Some((all - own - redacted).min(UNREAD_MAX))
    }
}

impl LogCounts {
    fn new(log: &[Logged]) -> Self {
        let mut counts = Self { counting: vec![0], ..Self::default() };
        let mut redacted: HashMap<Seq, Seq> = HashMap::new();
        let dense = log.iter().zip(1..).take_while(|(logged, seq)| logged.seq.0 == *seq).map(|(logged, _)| logged);
        for logged in dense.clone() {
            let counts_as_unread = matches!(logged.kind, Kind::Message | Kind::Tip);
            let before = counts.counting.last().copied().unwrap_or(0);
            counts.counting.push(before + u64::from(counts_as_unread));
            if let (true, Some(from)) = (counts_as_unread, logged.from) {
                counts.own.entry(from).or_default().push(logged.seq);
            }
            if let (Kind::Redaction, Some(target)) = (logged.kind, logged.target) {
                redacted.entry(target).or_insert(logged.seq);
            }
        }
        for target in dense.filter(|logged| matches!(logged.kind, Kind::Message | Kind::Tip)) {
            if let Some(&seq) = redacted.get(&target.seq) {
                counts.redacted.push((target.seq, target.from, seq));
            }
        }
        counts
    }
}
