//! Rule 11: inbox and sync are never too old, leave nothing out, and count right.

mod counts;

use hashbrown::{HashMap, HashSet};
use tidings_proto::Seq;

use crate::{
    Server,
    event::{Event, Item, Nanos, Synced},
    index::{ConversationNumber, EventNumber, Index, Known, SessionNumber, Step, UserNumber, Via},
    report::Outcome,
    rules::{blocks::Standing, inbox::counts::Counts},
    told::Told,
};

/// Rule 11. An item of an inbox or sync answer shows at least the `last_seq` that anybody knew, and the `read_seq` that its
/// user was told was saved, when it was asked. A conversation that a complete answer leaves out has nothing that the
/// session had not been told of. `unread` is the number of messages of others after `read_seq`, as the log has them.
/// Who was ever put out of a conversation is not owed it; what a block may hide is not owed to the blocker. In a fleet what
/// counts is what the user's own devices had been told, live or by an inbox: it reaches each home by itself.
pub(super) fn fresh_inbox(index: &Index<'_>, outcome: &mut Outcome) {
    let facts = Facts::new(index);
    let mut told = Told::new(index);
    let mut marked: HashMap<(ConversationNumber, UserNumber), Known> = HashMap::new();
    for (place, record) in index.history.records().enumerate() {
        let event = EventNumber::from(place);
        match &record.event {
            Event::MarkedRead(read) => {
                let user = index.connection(index.connection_number(read.connection)).user;
                let key = (index.conversation_number(&read.conversation), user);
                marked.entry(key).or_default().tell(Step { at: record.at, seq: read.seq, event });
            }
            Event::Synced(synced) => {
                let facts_of_connection = index.connection(index.connection_number(synced.connection));
                let (user, session) = (facts_of_connection.user, facts_of_connection.session);
                let answer = InboxAnswer { index, facts: &facts, synced, user, session, event };
                for item in &synced.items {
                    answer.check_item(outcome, item, &marked);
                }
                if synced.is_complete() {
                    answer.check_left_out(outcome, &told);
                }
            }
            _ => {}
        }
        told.observe(index, event);
    }
}

/// What the history says about who is where and what is there to count.
struct Facts {
    /// Of each user, the conversations they certainly belong to, and since when.
    memberships: Vec<Vec<(ConversationNumber, Nanos)>>,
    /// How far users may expect to see conversations, where that is not as far as anybody knew: a blocker what they certainly
    /// may see of a direct conversation with whom they (perhaps) blocked; in a fleet everybody what they were told.
    expected: HashMap<(ConversationNumber, UserNumber), Known>,
    blockers: HashSet<UserNumber>,
    counts: Counts,
}

impl Facts {
    fn new(index: &Index<'_>) -> Self {
        let standing = Standing::new(index);
        Self {
            memberships: memberships(index),
            expected: match index.server {
                Server::Alone => seen_by_blocker(index, &standing),
                Server::Fleet => told_to_users(index),
            },
            blockers: standing.blockers().collect(),
            counts: Counts::new(index),
        }
    }

    /// How far `user` may expect to see `conversation` in an answer asked at `asked`.
    fn known(
        &self,
        index: &Index<'_>,
        conversation: ConversationNumber,
        user: UserNumber,
        asked: Nanos,
    ) -> Option<Step> {
        match (self.expected.get(&(conversation, user)), index.server) {
            (Some(known), _) => known.before(asked),
            (None, Server::Alone) => index.known(conversation).before(asked),
            (None, Server::Fleet) => None,
        }
    }
}

fn memberships(index: &Index<'_>) -> Vec<Vec<(ConversationNumber, Nanos)>> {
    let mut since: HashMap<(ConversationNumber, UserNumber), Nanos> = HashMap::new();
    for sighting in &index.sightings {
        let at = index.at(sighting.event);
        since.entry((sighting.conversation, index.observer(sighting))).or_insert(at);
        for &person in index.direct.get(&sighting.conversation).into_iter().flatten() {
            since.entry((sighting.conversation, person)).or_insert(at);
        }
    }
    let user_count = index.user_count();
    let mut memberships = vec![Vec::new(); user_count];
    for ((conversation, user), at) in since {
        if !index.put_out.contains(&(conversation, user)) {
            memberships[user.place()].push((conversation, at));
        }
    }
    memberships
}

/// What each user was told other than by asking for a page.
fn told_to_users(index: &Index<'_>) -> HashMap<(ConversationNumber, UserNumber), Known> {
    let mut told: HashMap<_, Known> = HashMap::new();
    for sighting in index.sightings.iter().filter(|sighting| !matches!(sighting.via, Via::Fetched | Via::FinalRead)) {
        let step = Step { at: index.at(sighting.event), seq: sighting.seq, event: sighting.event };
        told.entry((sighting.conversation, index.observer(sighting))).or_default().tell(step);
    }
    told
}

fn seen_by_blocker(index: &Index<'_>, standing: &Standing) -> HashMap<(ConversationNumber, UserNumber), Known> {
    let mut seen: HashMap<_, Known> = HashMap::new();
    for (&conversation, &[one, other]) in &index.direct {
        for (blocker, blocked) in [(one, other), (other, one)] {
            if standing.was_used(blocker, blocked) {
                seen.insert((conversation, blocker), Known::default());
            }
        }
    }
    for sighting in &index.sightings {
        let (Some(people), Some(message)) = (index.direct.get(&sighting.conversation), sighting.message) else {
            continue;
        };
        let message = index.message(message);
        let (Some(first), Some(known)) = (index.effective_attempts(message).next(), message.first_known) else {
            continue;
        };
        for &person in people {
            let Some(visible) = seen.get_mut(&(sighting.conversation, person)) else { continue };
            if standing.certainly_not_blocked(person, message.sender, first.at, known.at) {
                visible.tell(Step { at: index.at(sighting.event), seq: sighting.seq, event: sighting.event });
            }
        }
    }
    seen
}

/// One answer under judgement.
struct InboxAnswer<'a, 'h> {
    index: &'a Index<'h>,
    facts: &'a Facts,
    synced: &'h Synced,
    user: UserNumber,
    session: SessionNumber,
    event: EventNumber,
}

impl InboxAnswer<'_, '_> {
    fn check_item(
        &self,
        outcome: &mut Outcome,
        item: &Item,
        marked: &HashMap<(ConversationNumber, UserNumber), Known>,
    ) {
        outcome.judge();
        let conversation = self.index.conversation_number(&item.conversation);
        if let Some(asked) = self.synced.asked {
            let known = self.facts.known(self.index, conversation, self.user, asked);
            if let Some(known) = known.filter(|known| known.seq > item.last_seq) {
                let what = format!("says last_seq {} when {} was known", item.last_seq, known.seq);
                self.violate(outcome, conversation, &what, Some(known));
            }
            let read = marked.get(&(conversation, self.user)).and_then(|marked| marked.before(asked));
            if let Some(read) = read.filter(|read| read.seq > item.read_seq) {
                let what = format!("says read_seq {} when {} was saved", item.read_seq, read.seq);
                self.violate(outcome, conversation, &what, Some(read));
            }
        }
        if !self.facts.blockers.contains(&self.user) {
            let unread = self.facts.counts.unread(conversation, self.user, item.read_seq, item.last_seq);
            if let Some(unread) = unread.filter(|&unread| unread != item.unread) {
                let what = format!("says {} unread where the log has {unread}", item.unread);
                self.violate(outcome, conversation, &what, None);
            }
        }
    }

    /// For a complete answer.
    fn check_left_out(&self, outcome: &mut Outcome, told: &Told) {
        let Some(asked) = self.synced.asked else { return };
        let listed = self.synced.items.iter().map(|item| &item.conversation).chain(&self.synced.removed);
        let listed: HashSet<ConversationNumber> = listed.map(|id| self.index.conversation_number(id)).collect();
        for &(conversation, since) in &self.facts.memberships[self.user.place()] {
            if since >= asked || listed.contains(&conversation) {
                continue;
            }
            outcome.judge();
            let had = if self.synced.full { Some(Seq::NONE) } else { told.last(self.session, conversation) };
            let known = self.facts.known(self.index, conversation, self.user, asked);
            if let (Some(known), Some(had)) = (known, had)
                && known.seq > had
            {
                let what = format!("is left out, when {} was known and {had} had been told", known.seq);
                self.violate(outcome, conversation, &what, Some(known));
            }
        }
    }

    fn violate(&self, outcome: &mut Outcome, conversation: ConversationNumber, what: &str, proof: Option<Step>) {
        outcome.violate(|| {
            let (user, conversation) = (self.index.user_name(self.user), self.index.conversation_name(conversation));
            let what = format!("in an inbox answer to {user}, {conversation} {what}");
            let proof = proof.map(|step| self.index.evidence(step.event));
            (what, proof.into_iter().chain([self.index.evidence(self.event)]).collect())
        });
    }
}
