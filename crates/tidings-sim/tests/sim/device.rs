//! One device: it does what its plan says, several requests at once, records all it asks and hears, and comes back with its sync
//! token, to whatever node. What it got no answer to it asks again, with the same `client_msg_id`.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use rand::{Rng, rngs::StdRng};
use tidings_checker::{Blocking, Connection, Fetching, MarkingRead, Sending, Session, Syncing, Transport};
use tidings_proto::{
    Code, UserId,
    frames::{
        RequestId,
        client::{Command, Fetch, Hello, Inbox, Page, Request},
        server::{Changes, EntriesPage, Kind, LiveEntry, ServerFrame},
    },
};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

use super::{
    lines::{Lines, Lost, Socket},
    proof::{
        held::Held,
        plan::Plan,
        world::{World as People, device, user},
    },
};

/// Requests that are under way at once, at most.
const WINDOW: usize = 6;
/// After a refusal for now.
const REST: Duration = Duration::from_millis(300);
/// A page of what was missed.
const MISSED: usize = 100;
/// A line that is silent for so long while an answer is awaited is given up.
const PATIENCE: Duration = Duration::from_secs(9);

/// A request on its way.
enum Waiting {
    Entry(Sending, Box<Command>),
    Block(Blocking),
    Fetch(Fetching, Page),
    Sync(Syncing),
    Read(MarkingRead),
    Other,
}

pub struct Device {
    people: Arc<People>,
    lines: Arc<Lines>,
    pub user: UserId,
    session: Session,
    name: &'static str,
    plan: Plan,
    pub held: Arc<Mutex<Held>>,
    /// Without an answer yet: to be asked again.
    again: VecDeque<Command>,
    /// Refused for now: nothing is asked before.
    rests_until: Option<Instant>,
    is_over: watch::Receiver<bool>,
}

/// One connection of a device.
struct Line {
    recorded: Connection,
    socket: Socket,
    waiting: HashMap<i64, Waiting>,
    last_id: i64,
    /// Came with a token, whose changes are still to come.
    resuming: bool,
}

impl Device {
    pub fn new(
        people: &Arc<People>,
        lines: &Arc<Lines>,
        person: &str,
        name: &'static str,
        rng: StdRng,
        is_over: watch::Receiver<bool>,
    ) -> Self {
        let user = user(person);
        Self {
            session: people.recorder.session(&user, &device(name)),
            plan: Plan::new(&user, &format!("{person}-{name}"), rng),
            people: people.clone(),
            lines: lines.clone(),
            user,
            name,
            held: Arc::default(),
            again: VecDeque::new(),
            rests_until: None,
            is_over,
        }
    }

    /// Talks, on one connection after the other, until all is over.
    pub async fn live(mut self) {
        loop {
            let has_finished = self.connect().await;
            if has_finished {
                return;
            }
            let pause = self.plan.rng().random_range(10..400);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    /// `true`: it has finished.
    async fn connect(&mut self) -> bool {
        let sync = self.held.lock().sync.clone();
        let resuming = sync.is_some();
        let recorded = if resuming {
            self.session.resume(Transport::WebSocket)
        } else {
            self.session.connect(Transport::WebSocket)
        };
        let hello =
            Hello { username: Some(self.user.to_string()), device: Some(device(self.name)), sync, ..Hello::default() };
        let Some(socket) = self.lines.open(hello).await else {
            recorded.closed();
            return *self.is_over.borrow() && self.again.is_empty();
        };
        let mut line = Line { recorded, socket, waiting: HashMap::new(), last_id: 0, resuming };
        let talked = self.talk(&mut line).await;
        self.leave(line);
        match talked {
            Ok(()) => true,
            Err(Lost::Closed(code)) => {
                assert!(
                    tidings_proto::CloseCode::is_reconnect(code.number()),
                    "{} was closed with {code:?}",
                    self.user
                );
                false
            }
            Err(Lost::Broken) => false,
        }
    }

    async fn talk(&mut self, line: &mut Line) -> Result<(), Lost> {
        if !line.resuming {
            self.ask(line, Command::Inbox(Inbox { limit: Some(1_000), ..Inbox::default() }));
        }
        loop {
            let is_over = *self.is_over.borrow();
            let has_rested = self.rests_until.is_none_or(|until| until <= Instant::now());
            if is_over && line.waiting.is_empty() && !line.resuming && self.again.is_empty() {
                return Ok(());
            }
            if !line.resuming && has_rested {
                if is_over { self.ask_again(line) } else { self.ask_some(line) }
            }
            if line.waiting.is_empty() && !line.resuming {
                // Nothing to wait for: a moment for what comes of its own accord.
                let moment = Duration::from_millis(self.plan.rng().random_range(20..300));
                if let Ok(frame) = timeout(moment, line.socket.next()).await {
                    self.hear(line, frame?);
                }
            } else {
                let Ok(frame) = timeout(PATIENCE, line.socket.next()).await else { return Err(Lost::Broken) };
                self.hear(line, frame?);
            }
        }
    }

    fn ask_again(&mut self, line: &mut Line) {
        while line.waiting.len() < WINDOW {
            let Some(command) = self.again.pop_front() else { return };
            self.ask(line, command);
        }
    }

    /// First what is left of the last connection, then whatever comes to mind.
    fn ask_some(&mut self, line: &mut Line) {
        if self.plan.rng().random_bool(0.5) && !line.waiting.is_empty() {
            return;
        }
        while line.waiting.len() < WINDOW {
            let missed = self.held.lock().missed();
            if let Some(command) = self.again.pop_front() {
                self.ask(line, command);
            } else if let Some((conversation, after)) = missed.filter(|_| line.waiting.is_empty()) {
                let page = Page { after: Some(after), limit: Some(MISSED), ..Page::default() };
                self.ask(line, Command::Fetch(Fetch { conversation: Some(conversation), page, ranges: None }));
            } else {
                let (seen, sync) = {
                    let held = self.held.lock();
                    let seen: Vec<_> =
                        held.have.iter().map(|(id, seq)| (*id, *seq)).filter(|(_, seq)| seq.0 > 0).collect();
                    (seen, held.sync.clone())
                };
                let command = self.plan.next(&self.people, &seen, sync.as_deref());
                self.ask(line, command);
            }
            if self.plan.rng().random_bool(0.4) {
                return;
            }
        }
    }

    fn ask(&mut self, line: &mut Line, command: Command) {
        let waiting = match &command {
            Command::Fetch(Fetch { conversation: Some(conversation), page, .. }) => {
                Waiting::Fetch(line.recorded.fetching(*conversation, *page), *page)
            }
            Command::Inbox(_) | Command::Sync(_) => Waiting::Sync(line.recorded.syncing()),
            Command::MarkRead(read) => Waiting::Read(line.recorded.marking_read(read.conversation, read.seq)),
            Command::Block(block) => Waiting::Block(line.recorded.blocking(&block.user, true)),
            Command::Unblock(unblock) => Waiting::Block(line.recorded.blocking(&unblock.user, false)),
            Command::Ack(_) => Waiting::Other,
            Command::Typing(_) => return line.socket.say(&Request { id: None, command }),
            _ => Waiting::Entry(self.people.sending(&line.recorded, &self.user, &command), Box::new(command.clone())),
        };
        line.last_id += 1;
        line.waiting.insert(line.last_id, waiting);
        line.socket.say(&Request { id: Some(RequestId::Number(line.last_id)), command });
    }

    fn hear(&mut self, line: &mut Line, frame: ServerFrame<'static>) {
        match frame {
            ServerFrame::Entry(live) => self.delivered(line, &live),
            ServerFrame::Sent(sent) | ServerFrame::Created(sent) => {
                let Some(Waiting::Entry(sending, command)) = line.answered(sent.re.as_ref()) else {
                    panic!("sent answers a send")
                };
                sending.sent(sent.seq, sent.repeat);
                self.people.note_acked();
                if matches!(*command, Command::Send(_)) {
                    self.people.remember(sent.conversation, sent.seq, &self.user);
                }
                if !sent.repeat {
                    self.held.lock().have(sent.conversation, sent.seq);
                }
            }
            ServerFrame::Entries(entries) => {
                let (Some(Waiting::Fetch(fetching, asked)), Some(page)) =
                    (line.answered(entries.re.as_ref()), entries.page)
                else {
                    panic!("entries answer a fetch")
                };
                fetching.returned(&page, entries.more);
                self.fetched(asked, &page);
            }
            ServerFrame::Inbox(page) => {
                let Some(Waiting::Sync(syncing)) = line.answered(page.re.as_ref()) else {
                    panic!("an inbox was asked for")
                };
                syncing.returned_inbox(&page);
                let (removed, re) = (Vec::new(), None);
                let changes = Changes { re, items: page.items, removed, sync: page.sync, more: false, full: true };
                self.held.lock().changes(&changes);
            }
            ServerFrame::Changes(changes) => {
                let syncing = match line.answered(changes.re.as_ref()) {
                    Some(Waiting::Sync(syncing)) => syncing,
                    None if std::mem::take(&mut line.resuming) => line.recorded.resuming(),
                    None => line.recorded.told(),
                    Some(_) => panic!("changes answer a sync"),
                };
                syncing.returned_changes(&changes);
                self.held.lock().changes(&changes);
            }
            ServerFrame::Receipt(receipt) => line.recorded.receipt(&receipt),
            ServerFrame::Ok(answered) => match line.answered(answered.re.as_ref()) {
                Some(Waiting::Block(blocking)) => blocking.done(),
                Some(Waiting::Read(reading)) => reading.done(),
                // It was so already, and no entry was made.
                Some(Waiting::Entry(sending, _)) => sending.refused(Code::Conflict),
                _ => {}
            },
            ServerFrame::Error(refused) => self.refused(line, refused.re.as_ref(), refused.code, &refused.message),
            ServerFrame::Ping(_) => line.socket.pong(),
            _ => {}
        }
    }

    fn delivered(&mut self, line: &Line, live: &LiveEntry<'_>) {
        line.recorded.delivered(live.conversation, &live.entry);
        if live.entry.kind == Kind::Message
            && let Some(from) = &live.entry.from
        {
            self.people.remember(live.conversation, live.entry.seq, from);
        }
        self.held.lock().have(live.conversation, live.entry.seq);
    }

    /// What was missed is filled up from its beginning; other pages are only looked at.
    fn fetched(&mut self, asked: Page, page: &EntriesPage<'_>) {
        let mut held = self.held.lock();
        let Some(have) = held.have.get(&page.conversation).copied() else { return };
        match (page.entries.first(), page.entries.last()) {
            (Some(first), Some(last)) if first.seq <= have.next() => held.have(page.conversation, last.seq),
            // Nothing is behind it that this user may see.
            (None, _) if asked.after == Some(have) => held.have(page.conversation, page.last_seq),
            _ => {}
        }
    }

    fn refused(&mut self, line: &mut Line, re: Option<&RequestId>, code: Code, message: &str) {
        match line.answered(re) {
            Some(Waiting::Entry(sending, command)) => {
                sending.refused(code);
                self.people.note_refused(code);
                if code == Code::Unavailable {
                    self.again.push_back(*command);
                    self.rests_until = Some(Instant::now() + REST);
                }
            }
            Some(Waiting::Block(blocking)) => blocking.refused(code),
            Some(_) => {
                let is_expected = matches!(code, Code::Unavailable | Code::UnknownConversation);
                assert!(is_expected, "{} was refused: {code} {message}", self.user);
                self.rests_until = Some(Instant::now() + REST);
            }
            None => assert!(
                matches!(code, Code::Unavailable | Code::UnknownConversation),
                "{}: {code} {message}",
                self.user
            ),
        }
    }

    /// The line is gone: what had no answer will be asked again.
    fn leave(&mut self, line: Line) {
        let mut waiting: Vec<_> = line.waiting.into_iter().collect();
        waiting.sort_unstable_by_key(|(id, _)| *id);
        for (_, waiting) in waiting {
            if let Waiting::Entry(_, command) = waiting {
                self.again.push_back(*command);
            }
        }
        line.recorded.closed();
    }
}

impl Line {
    fn answered(&mut self, re: Option<&RequestId>) -> Option<Waiting> {
        match re {
            Some(RequestId::Number(id)) => self.waiting.remove(id),
            _ => None,
        }
    }
}
