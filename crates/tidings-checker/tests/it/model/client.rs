//! A client of the model: what it has asked and not heard of yet, and its recording.

use std::collections::{BTreeMap, VecDeque};

use tidings_checker::{
    Blocking, Connection, Entry, Fetching, Item, MarkingRead, Outgoing, Sending, Session, Syncing, Transport,
};
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{
        client::Page,
        server::{Kind, Receipt},
    },
};

use super::server::{Draft, InboxAnswer};

pub enum Request {
    Hello { since: Option<u64> },
    Send { number: u64, draft: Draft },
    Fetch { number: u64, conversation: ConversationId, range: Page },
    Sync { number: u64, since: Option<u64>, skip: usize, token: Option<u64> },
    Block { number: u64, other: UserId, on: bool },
    MarkRead { number: u64, conversation: ConversationId, seq: Seq },
}

pub enum Frame {
    Welcome { answer: Option<InboxAnswer>, version: u64 },
    Sent { number: u64, seq: Seq, repeat: bool },
    Refused { number: u64, code: Code },
    Done { number: u64 },
    Page { number: u64, page: Option<(Vec<Entry>, Seq)> },
    Inbox { number: u64, skip: usize, token: Option<u64>, answer: InboxAnswer },
    Entry { conversation: ConversationId, entry: Entry },
    Told { items: Vec<Item>, removed: Vec<ConversationId> },
    Receipt(Receipt),
}

/// What the rest of the model should know of what a client has just learned.
pub enum Learned {
    Nothing,
    Acked(Draft, Seq),
    Unanswered(Draft),
}

enum Pending {
    Send(Sending, Draft),
    Fetch(Fetching),
    Sync(Syncing),
    Block(Blocking),
    MarkRead(MarkingRead),
}

pub struct Link {
    pub connection: Connection,
    pub up: VecDeque<Request>,
    pub down: VecDeque<Frame>,
    /// The server has taken the `hello`.
    pub subscribed: bool,
}

pub struct Client {
    pub user: UserId,
    pub transport: Transport,
    session: Session,
    pub link: Option<Link>,
    pending: BTreeMap<u64, Pending>,
    next_number: u64,
    /// The sync token: the server's version at the last answer.
    token: Option<u64>,
}

impl Client {
    pub fn new(user: UserId, transport: Transport, session: Session) -> Self {
        Self { user, transport, session, link: None, pending: BTreeMap::new(), next_number: 0, token: None }
    }

    pub fn connect(&mut self, resumes: bool) {
        if !resumes {
            self.token = None;
        }
        let since = self.token;
        let connection = match since {
            Some(_) => self.session.resume(self.transport),
            None => self.session.connect(self.transport),
        };
        // Over HTTP there is no hello.
        let up = self.transport.is_live().then_some(Request::Hello { since }).into_iter().collect();
        self.link = Some(Link { connection, up, down: VecDeque::new(), subscribed: false });
    }

    /// The line was cut: what was asked has no answer. The sends among it.
    pub fn forget(&mut self) -> Vec<Draft> {
        let pending = std::mem::take(&mut self.pending).into_values();
        pending.filter_map(|pending| if let Pending::Send(_, draft) = pending { Some(draft) } else { None }).collect()
    }

    pub fn send(&mut self, draft: Draft) {
        let mut outgoing = match (draft.kind, &draft.text, draft.target) {
            (Kind::Message, Some(text), _) => Outgoing::message(draft.conversation, draft.client_msg_id.as_str(), text),
            (Kind::Edit, Some(text), Some(target)) => {
                Outgoing::edit(draft.conversation, draft.client_msg_id.as_str(), target, text)
            }
            (Kind::Redaction, _, Some(target)) => {
                Outgoing::redaction(draft.conversation, draft.client_msg_id.as_str(), target)
            }
            (kind, ..) => Outgoing::of_kind(kind, draft.conversation, draft.client_msg_id.as_str()),
        };
        outgoing = outgoing.removing(&draft.removes);
        if let Some(to) = &draft.to {
            outgoing = outgoing.to(to);
        }
        let sent = draft.clone();
        self.ask(
            |connection| Pending::Send(connection.sending(outgoing), draft),
            |number| Request::Send { number, draft: sent },
        );
    }

    pub fn fetch(&mut self, conversation: ConversationId, range: Page) {
        let pending = |connection: &Connection| Pending::Fetch(connection.fetching(conversation, range));
        self.ask(pending, |number| Request::Fetch { number, conversation, range });
    }

    pub fn sync(&mut self, whole: bool) {
        let since = self.token.filter(|_| !whole);
        self.sync_page(since, 0, None);
    }

    fn sync_page(&mut self, since: Option<u64>, skip: usize, token: Option<u64>) {
        let pending = |connection: &Connection| {
            Pending::Sync(if skip == 0 { connection.syncing() } else { connection.syncing_on() })
        };
        self.ask(pending, |number| Request::Sync { number, since, skip, token });
    }

    pub fn block(&mut self, other: &UserId, on: bool) {
        let pending = |connection: &Connection| Pending::Block(connection.blocking(other, on));
        self.ask(pending, |number| Request::Block { number, other: other.clone(), on });
    }

    pub fn mark_read(&mut self, conversation: ConversationId, seq: Seq) {
        let pending = |connection: &Connection| Pending::MarkRead(connection.marking_read(conversation, seq));
        self.ask(pending, |number| Request::MarkRead { number, conversation, seq });
    }

    fn ask(&mut self, pending: impl FnOnce(&Connection) -> Pending, request: impl FnOnce(u64) -> Request) {
        let Some(link) = &mut self.link else { return };
        self.next_number += 1;
        self.pending.insert(self.next_number, pending(&link.connection));
        link.up.push_back(request(self.next_number));
    }

    pub fn receive(&mut self, frame: Frame) -> Learned {
        let Some(link) = &self.link else { return Learned::Nothing };
        match frame {
            Frame::Welcome { answer: Some(InboxAnswer { items, removed, full, more, .. }), version } => {
                link.connection.resuming().returned_items(items, removed, full, more);
                self.token = Some(version);
            }
            Frame::Welcome { answer: None, version } => self.token = Some(version),
            Frame::Entry { conversation, entry } => link.connection.delivered(conversation, entry),
            Frame::Told { items, removed } => link.connection.told().returned_items(items, removed, false, false),
            Frame::Receipt(receipt) => link.connection.receipt(&receipt),
            Frame::Sent { number, seq, repeat } => {
                if let Some(Pending::Send(sending, draft)) = self.pending.remove(&number) {
                    sending.sent(seq, repeat);
                    return Learned::Acked(draft, seq);
                }
            }
            Frame::Refused { number, code } => {
                // A refused mark_read is nothing to remember.
                if let Some(Pending::Send(sending, draft)) = self.pending.remove(&number) {
                    sending.refused(code);
                    return Learned::Unanswered(draft);
                }
            }
            Frame::Done { number } => match self.pending.remove(&number) {
                Some(Pending::Block(blocking)) => blocking.done(),
                Some(Pending::MarkRead(marking)) => marking.done(),
                _ => {}
            },
            Frame::Page { number, page } => {
                if let (Some(Pending::Fetch(fetching)), Some((entries, last_seq))) =
                    (self.pending.remove(&number), page)
                {
                    fetching.returned_entries(entries, Seq::FIRST, last_seq, false);
                }
            }
            Frame::Inbox { number, skip, token, answer } => self.receive_inbox(number, skip, token, answer),
        }
        Learned::Nothing
    }

    fn receive_inbox(&mut self, number: u64, skip: usize, first_token: Option<u64>, answer: InboxAnswer) {
        let Some(Pending::Sync(syncing)) = self.pending.remove(&number) else { return };
        let InboxAnswer { items, removed, full, more, version } = answer;
        let next = skip + items.len();
        syncing.returned_items(items, removed, full, more);
        // The token of the first page, once all pages are there: what moved meanwhile comes again.
        let token = first_token.unwrap_or(version);
        if more {
            self.sync_page(None, next, Some(token));
        } else if self.token.is_none_or(|old| old < token) {
            self.token = Some(token);
        }
    }
}
