//! The requests that have no answer yet, in the order they were made. Pure: it writes no bytes and knows no clock.
//!
//! A request leaves only with its answer. After a cut all of them are ready again, in their order, under the same
//! `client_msg_id`, so that nothing is lost and nothing doubled. A request refused for now (`unavailable`, `rate_limited`) waits, and
//! with it all later ones of its conversation; only those already on the way can overtake it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings_proto::{
    ConversationId, UserId,
    frames::{
        RequestId,
        client::{Command, Request, To},
    },
};
use tokio::{sync::oneshot, time::Instant};

use crate::client::Reply;

/// Who waits for the answer.
#[derive(Debug)]
pub(crate) enum Waiter {
    Caller(oneshot::Sender<Reply>),
    /// Wanted by this session itself; forgotten at a cut.
    Session(Purpose),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What is there, before the first event.
    Baseline,
    /// A further page of changes after a cut, or those that were dropped for want of room.
    Changes,
    /// Entries that were missed.
    Gaps,
    /// Whom to watch, told again to a new connection.
    Watch,
}

#[derive(Debug)]
pub(crate) struct Waiting {
    pub request: Request,
    pub waiter: Waiter,
    pub attempts: u32,
}

/// What must keep its order: all that is said about one conversation, else each request alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Lane {
    Conversation(ConversationId),
    Alone(u64),
}

#[derive(Debug)]
struct Held {
    until: Instant,
    ids: BTreeSet<u64>,
}

#[derive(Debug)]
pub(crate) struct Outbox {
    me: UserId,
    next_id: u64,
    /// Everything unanswered.
    waiting: BTreeMap<u64, Waiting>,
    /// To be sent now.
    ready: BTreeSet<u64>,
    /// To be sent later.
    held: HashMap<Lane, Held>,
}

impl Outbox {
    pub fn new(me: UserId) -> Self {
        Self { me, next_id: 1, waiting: BTreeMap::new(), ready: BTreeSet::new(), held: HashMap::new() }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn push(&mut self, command: Command, waiter: Waiter) {
        let id = self.next_id;
        self.next_id += 1;
        let request = Request { id: Some(RequestId::Number(id.cast_signed())), command };
        self.waiting.insert(id, Waiting { request, waiter, attempts: 0 });
        self.ready.insert(id);
    }

    /// The next request to write; it then counts as sent until the next cut.
    pub fn next_ready(&mut self) -> Option<(u64, &Request)> {
        while let Some(id) = self.ready.pop_first() {
            let Some(waiting) = self.waiting.get(&id) else { continue };
            match self.held.get_mut(&self.lane(id, &waiting.request.command)) {
                Some(held) => drop(held.ids.insert(id)),
                None => return self.waiting.get(&id).map(|waiting| (id, &waiting.request)),
            }
        }
        None
    }

    /// Takes the request that was answered.
    pub fn answered(&mut self, id: u64) -> Option<Waiting> {
        self.ready.remove(&id);
        self.waiting.remove(&id)
    }

    /// How often `id` was refused for now, this time included.
    pub fn count_attempt(&mut self, id: u64) -> u32 {
        self.waiting.get_mut(&id).map_or(0, |waiting| {
            waiting.attempts += 1;
            waiting.attempts
        })
    }

    /// Sends `id` again at `until`, and nothing of its conversation before.
    pub fn hold(&mut self, id: u64, until: Instant) {
        let Some(waiting) = self.waiting.get(&id) else { return };
        let lane = self.lane(id, &waiting.request.command);
        let held = self.held.entry(lane).or_insert_with(|| Held { until, ids: BTreeSet::new() });
        held.until = held.until.max(until);
        held.ids.insert(id);
    }

    /// When the first of what is held is due.
    pub fn due(&self) -> Option<Instant> {
        self.held.values().map(|held| held.until).min()
    }

    /// Makes ready what is due.
    pub fn release(&mut self, now: Instant) {
        let ready = &mut self.ready;
        self.held.retain(|_, held| {
            if held.until > now {
                return true;
            }
            ready.append(&mut held.ids);
            false
        });
    }

    /// The line was cut: whatever is unanswered is to be sent again, in order; the session's own wishes are void.
    pub fn cut(&mut self) {
        self.waiting.retain(|_, waiting| matches!(waiting.waiter, Waiter::Caller(_)));
        self.held.clear();
        self.ready = self.waiting.keys().copied().collect();
    }

    /// Takes everything: nothing of it will be answered.
    pub fn drain(&mut self) -> impl Iterator<Item = Waiting> + use<> {
        self.ready.clear();
        self.held.clear();
        std::mem::take(&mut self.waiting).into_values()
    }

    fn lane(&self, id: u64, command: &Command) -> Lane {
        conversation_of(&self.me, command).map_or(Lane::Alone(id), Lane::Conversation)
    }
}

/// The conversation a request is about. A user's direct conversation has a known id before it exists.
pub(crate) fn conversation_of(me: &UserId, command: &Command) -> Option<ConversationId> {
    Some(match command {
        Command::Send(send) => match &send.to {
            To::User(user) => ConversationId::direct(me, user),
            To::Conversation(conversation) => *conversation,
            To::List(_) => return None,
        },
        Command::Members(members) => members.conversation,
        Command::Leave(leave) => leave.conversation,
        Command::Rename(rename) => rename.conversation,
        Command::Edit(edit) => edit.conversation,
        Command::Redact(redact) => redact.conversation,
        Command::React(react) => react.conversation,
        Command::Block(block) => ConversationId::direct(me, &block.user),
        Command::Unblock(unblock) => ConversationId::direct(me, &unblock.user),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tidings_proto::frames::client;

    use super::*;

    fn user(name: &str) -> UserId {
        name.parse().unwrap()
    }

    fn outbox() -> Outbox {
        Outbox::new(user("ada"))
    }

    fn push(outbox: &mut Outbox, to: &str, text: &str) {
        let send = client::Send {
            to: To::User(user(to)),
            client_msg_id: text.to_owned(),
            text: text.to_owned(),
            mentions: vec![],
            reply_to: None,
            attachments: vec![],
            data: None,
        };
        outbox.push(Command::Send(send), Waiter::Caller(oneshot::channel().0));
    }

    fn written(outbox: &mut Outbox) -> Vec<String> {
        let mut texts = Vec::new();
        while let Some((_, Request { command: Command::Send(send), .. })) = outbox.next_ready() {
            texts.push(send.text.clone());
        }
        texts
    }

    #[test]
    fn a_cut_brings_back_what_is_unanswered_in_order_and_before_the_new() {
        let mut outbox = outbox();
        for text in ["1", "2", "3"] {
            push(&mut outbox, "bob", text);
        }
        assert_eq!(written(&mut outbox), ["1", "2", "3"]);
        assert!(outbox.answered(2).is_some());
        outbox.push(Command::Ping(client::Ping {}), Waiter::Session(Purpose::Gaps));
        outbox.cut();
        push(&mut outbox, "bob", "4");
        assert_eq!(written(&mut outbox), ["1", "3", "4"]);
        assert_eq!(outbox.len(), 3, "the session's own request went with the cut");
        assert!(outbox.answered(2).is_none(), "an answer counts once");
    }

    #[test]
    fn what_is_refused_for_now_holds_back_its_conversation_and_no_other() {
        let mut outbox = outbox();
        let now = Instant::now();
        push(&mut outbox, "bob", "1");
        assert_eq!(written(&mut outbox), ["1"]);
        outbox.hold(1, now + Duration::from_secs(1));
        push(&mut outbox, "bob", "2");
        push(&mut outbox, "eve", "3");
        assert_eq!(written(&mut outbox), ["3"]);
        outbox.release(now);
        assert_eq!(written(&mut outbox), [""; 0], "not due yet");
        assert_eq!(outbox.due(), Some(now + Duration::from_secs(1)));
        outbox.release(now + Duration::from_secs(1));
        assert_eq!(written(&mut outbox), ["1", "2"]);
    }
}
