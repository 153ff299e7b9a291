//! Rule 10: a block hides what the blocked person does, all of it and nothing else. Also says, for other rules, when a block
//! certainly stood and when it certainly did not.

use hashbrown::{HashMap, HashSet};
use tidings_proto::frames::server::Kind;

use crate::{
    event::{Event, Nanos},
    index::{Answer, Blocked, EventNumber, Index, Message, Sighting, UserNumber, Via},
    report::{Evidence, Outcome},
};

/// Rule 10. In a direct conversation an entry asked after the block was answered, and known before an unblock was asked,
/// is void for the blocker for ever; one known before the block was asked never is, unless it changes a void one: what is
/// about a void entry is void, also after an unblock. In groups the same goes for each
/// read, by the block as it stood from question to answer. What overlaps with a block or an unblock may be either.
pub(super) fn blocks(index: &Index<'_>, outcome: &mut Outcome) {
    let standing = Standing::new(index);
    let void: HashSet<_> = index
        .sightings
        .iter()
        .filter(|sighting| sighting.kind == Kind::Void)
        .map(|sighting| (index.observer(sighting), sighting.conversation, sighting.seq))
        .collect();
    for sighting in index.sightings.iter().filter(|sighting| sighting.via != Via::Ack) {
        let Some(logged) = index.logged(sighting.conversation, sighting.seq) else { continue };
        let (Some(author), Some(message)) = (logged.from, logged.message) else { continue };
        let observer = index.observer(sighting);
        let is_void = sighting.kind == Kind::Void;
        if !is_void && !standing.was_used(observer, author) {
            continue;
        }
        let Some((from, to)) = window(index, sighting, index.message(message)) else { continue };
        let mut targets = index.effective_attempts(index.message(message)).filter_map(|attempt| attempt.asked.target);
        let is_about_void = targets.any(|target| void.contains(&(observer, sighting.conversation, target)));
        if is_void && is_about_void {
            continue;
        }
        outcome.judge();
        let what = if is_void && standing.certainly_not_blocked(observer, author, from, to) {
            "is void, though they had not blocked its sender"
        } else if !is_void && standing.certainly_blocked(observer, author, from, to) {
            "shows its content, though they had blocked its sender"
        } else {
            continue;
        };
        outcome.violate(|| {
            let (conversation, user) = (index.conversation_name(sighting.conversation), index.user_name(observer));
            let what = format!("for {user}, seq {} of {conversation} {what}", sighting.seq);
            let blocks = standing.evidence(index, observer, author);
            let attempts = index.message(message).attempts.iter().map(|&number| index.attempt(number).event);
            let asked = attempts.take(1).map(|event| index.evidence(event));
            (what, blocks.into_iter().chain(asked).chain([index.sighting_evidence(sighting)]).collect())
        });
    }
}

/// From when to when a block decides about this sighting.
fn window(index: &Index<'_>, sighting: &Sighting<'_>, message: &Message) -> Option<(Nanos, Nanos)> {
    let sent = index.effective_attempts(message).next()?.at;
    if index.direct.contains_key(&sighting.conversation) {
        return Some((sent, message.first_known?.at));
    }
    let record = index.history.record(sighting.event.place());
    let asked = match &record.event {
        Event::Fetched(fetched) => Some(fetched.asked),
        Event::Synced(synced) => synced.asked,
        _ => None,
    };
    Some((asked.unwrap_or(sent), record.at))
}

/// When each block certainly stood, as far as the answers prove it.
pub(super) struct Standing {
    pairs: HashMap<(UserNumber, UserNumber), Pair>,
}

#[derive(Default)]
struct Pair {
    changes: Vec<Change>,
    on: Spans,
    off: Spans,
}

struct Change {
    on: bool,
    asked: Nanos,
    /// When it had certainly taken effect: absent if nobody knows.
    done: Option<Nanos>,
    event: EventNumber,
}

impl Standing {
    pub fn new(index: &Index<'_>) -> Self {
        let mut pairs: HashMap<_, Pair> = HashMap::new();
        for block in index.blocks.iter().filter(|block| !matches!(block.answer, Answer::Refused { .. })) {
            pairs.entry((block.blocker, block.blocked)).or_default().changes.push(change(block));
        }
        for pair in pairs.values_mut() {
            pair.on = Spans::of(&pair.changes, true);
            pair.off = Spans::of(&pair.changes, false);
        }
        Self { pairs }
    }

    /// Whether `blocker` ever blocked `other`, if only perhaps.
    pub fn was_used(&self, blocker: UserNumber, other: UserNumber) -> bool {
        self.pairs.contains_key(&(blocker, other))
    }

    /// Everybody who ever blocked somebody, if only perhaps.
    pub fn blockers(&self) -> impl Iterator<Item = UserNumber> {
        self.pairs.keys().map(|&(blocker, _)| blocker)
    }

    /// The block stood all the time from `from` to `to`.
    pub fn certainly_blocked(&self, blocker: UserNumber, other: UserNumber, from: Nanos, to: Nanos) -> bool {
        self.pairs.get(&(blocker, other)).is_some_and(|pair| pair.on.cover(from, to))
    }

    /// No block stood at any time from `from` to `to`.
    pub fn certainly_not_blocked(&self, blocker: UserNumber, other: UserNumber, from: Nanos, to: Nanos) -> bool {
        self.pairs.get(&(blocker, other)).is_none_or(|pair| pair.off.cover(from, to))
    }

    fn evidence(&self, index: &Index<'_>, blocker: UserNumber, other: UserNumber) -> Vec<Evidence> {
        let changes = self.pairs.get(&(blocker, other)).map(|pair| &pair.changes[..]).unwrap_or_default();
        changes.iter().take(6).map(|change| index.evidence(change.event)).collect()
    }
}

fn change(block: &Blocked<'_>) -> Change {
    let (done, event) = match block.answer {
        Answer::Done { at, event } => (Some(at), event),
        _ => (None, block.event),
    };
    Change { on: block.asked.on, asked: block.at, done, event }
}

/// Spans of time, by start; `end` is the latest end of all that start no later.
#[derive(Default)]
struct Spans(Vec<Span>);

struct Span {
    start: Nanos,
    end: Nanos,
}

impl Spans {
    /// When the answers prove the block to be `on` (or off): from the answer of a change to it until the first opposite
    /// change is asked that was not over before. At the start of the history nothing is blocked.
    fn of(changes: &[Change], on: bool) -> Self {
        // Opposite changes by the time they were over, latest first, with the earliest asked of all up to there.
        let mut opposite: Vec<(Nanos, Nanos)> = changes
            .iter()
            .filter(|change| change.on != on)
            .map(|change| (change.done.unwrap_or(Nanos::MAX), change.asked))
            .collect();
        opposite.sort_unstable_by(|one, other| other.cmp(one));
        let mut earliest = Nanos::MAX;
        for (_, asked) in &mut opposite {
            earliest = earliest.min(*asked);
            *asked = earliest;
        }
        let end = |asked: Nanos| match opposite.partition_point(|&(done, _)| done >= asked) {
            0 => Nanos::MAX,
            count => opposite[count - 1].1,
        };
        let mut spans: Vec<Span> = changes
            .iter()
            .filter(|change| change.on == on)
            .filter_map(|change| Some(Span { start: change.done?, end: end(change.asked) }))
            .collect();
        if !on {
            spans.push(Span { start: 0, end: end(0) });
        }
        spans.sort_unstable_by_key(|span| span.start);
        let mut latest = 0;
        for span in &mut spans {
            latest = latest.max(span.end);
            span.end = latest;
        }
        Self(spans)
    }

    /// Whether one span holds all from `from` to `to`.
    fn cover(&self, from: Nanos, to: Nanos) -> bool {
        let count = self.0.partition_point(|span| span.start < from);
        self.0[..count].last().is_some_and(|span| span.end > to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(on: bool, asked: Nanos, done: Option<Nanos>) -> Change {
        Change { on, asked, done, event: EventNumber(0) }
    }

    #[test]
    fn a_block_is_certain_from_its_answer_to_the_question_that_may_end_it() {
        let changes = [change(true, 10, Some(20)), change(false, 50, Some(60)), change(true, 80, None)];
        let (on, off) = (Spans::of(&changes, true), Spans::of(&changes, false));
        assert!(on.cover(21, 49) && !on.cover(20, 30) && !on.cover(21, 50) && !on.cover(90, 95));
        assert!(off.cover(1, 9) && !off.cover(1, 10) && !off.cover(30, 40) && off.cover(61, 79) && !off.cover(61, 80));
    }

    #[test]
    fn an_answer_that_never_came_makes_all_that_follows_uncertain() {
        let changes = [change(true, 10, None), change(false, 30, Some(40))];
        assert!(!Spans::of(&changes, false).cover(50, 60), "the block may arrive after the unblock");
        let changes = [change(true, 10, Some(20)), change(true, 30, Some(40)), change(false, 35, Some(45))];
        assert!(Spans::of(&changes, true).cover(21, 34) && !Spans::of(&changes, false).cover(46, 50));
    }
}
