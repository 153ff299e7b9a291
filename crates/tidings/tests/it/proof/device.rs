//! One device over a raw socket: it does what its plan says, several requests at once, records all it asks and hears, and comes back
//! with its sync token. What it got no answer to it asks again, with the same `client_msg_id`.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{Rng, rngs::StdRng};
use tidings_checker::{Blocking, Connection, Fetching, MarkingRead, Sending, Session, Syncing, Transport};
use tidings_client::{
    Lost, raw,
    raw::{PONG, to_text},
};
use tidings_proto::{
    CloseCode, Code, UserId,
    frames::{
        RequestId,
        client::{Command, Fetch, Hello, Inbox, Page, Request},
        server::{Changes, EntriesPage, Kind, LiveEntry, ServerFrame},
    },
};
use tokio::sync::watch;

use super::{
    held::Held,
    plan::Plan,
    run::Phase,
    world::{World, device, user},
};

/// Requests that are under way at once, at most.
const WINDOW: usize = 12;
/// After a refusal for now.
pub const REST: Duration = Duration::from_millis(100);
/// A page of what was missed.
const MISSED: usize = 100;

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
    world: Arc<World>,
    pub user: UserId,
    session: Session,
    name: &'static str,
    plan: Plan,
    pub held: Arc<Mutex<Held>>,
    /// Without an answer yet: to be asked again.
    again: VecDeque<Command>,
    /// How long an answer may take before the line is given up.
    patience: Option<Duration>,
    /// Refused for now: nothing is asked before.
    rests_until: Option<Instant>,
    phase: watch::Receiver<Phase>,
}

/// One connection of a device.
struct Line {
    recorded: Connection,
    writer: raw::Writer,
    waiting: HashMap<i64, Waiting>,
    last_id: i64,
    /// Came with a token, whose changes are still to come.
    resuming: bool,
}

impl Device {
    pub fn new(
        world: &Arc<World>,
        person: &str,
        name: &'static str,
        rng: StdRng,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let user = user(person);
        Self {
            session: world.recorder.session(&user, &device(name)),
            plan: Plan::new(&user, &format!("{person}-{name}"), rng),
            world: world.clone(),
            user,
            name,
            held: Arc::default(),
            again: VecDeque::new(),
            patience: None,
            rests_until: None,
            phase,
        }
    }

    /// Gives a line up that is silent for so long while an answer is awaited.
    pub fn giving_up_after(self, silence: Duration) -> Self {
        Self { patience: Some(silence), ..self }
    }

    /// Talks until the line is cut, or until all is over.
    pub async fn live(&mut self, url: &str) {
        let sync = self.held.lock().unwrap().sync.clone();
        let resuming = sync.is_some();
        let recorded = if resuming {
            self.session.resume(Transport::WebSocket)
        } else {
            self.session.connect(Transport::WebSocket)
        };
        let hello =
            Hello { username: Some(self.user.to_string()), device: Some(device(self.name)), sync, ..Hello::default() };
        let Some(Ok((connection, _welcome))) = within(self.patience, raw::Connection::connect(url, hello)).await else {
            recorded.closed();
            return;
        };
        let raw::Connection { mut reader, writer } = connection;
        let mut line = Line { recorded, writer, waiting: HashMap::new(), last_id: 0, resuming };
        let lost = self.talk(&mut line, &mut reader).await.err();
        self.leave(line);
        if let Some(Lost::Closed { code, reason }) = lost {
            assert!(CloseCode::is_reconnect(code), "{} was closed with {code} {reason}", self.user);
        }
    }

    async fn talk(&mut self, line: &mut Line, reader: &mut raw::Reader) -> Result<(), Lost> {
        if !line.resuming {
            self.ask(line, Command::Inbox(Inbox { limit: Some(1_000), ..Inbox::default() }));
        }
        loop {
            let is_over = matches!(*self.phase.borrow(), Phase::Over);
            if is_over && line.waiting.is_empty() && !line.resuming {
                return Ok(());
            }
            if !is_over && !line.resuming && self.rests_until.is_none_or(|until| until <= Instant::now()) {
                self.ask_some(line);
            }
            line.writer.flush().await?;
            if line.waiting.is_empty() && !line.resuming {
                // Nothing to wait for: a moment for what comes of its own accord.
                let moment = Duration::from_millis(self.plan.rng().random_range(0..20));
                if let Ok(frame) = tokio::time::timeout(moment, reader.next()).await {
                    self.hear(line, frame?.parse())?;
                }
            } else {
                let Some(frame) = within(self.patience, reader.next()).await else { return Err(Lost::Silent) };
                self.hear(line, frame?.parse())?;
            }
            while let Some(frame) = reader.try_next()? {
                self.hear(line, frame.parse())?;
            }
        }
    }

    /// First what is left of the last connection, then whatever comes to mind.
    fn ask_some(&mut self, line: &mut Line) {
        if self.plan.rng().random_bool(0.5) && !line.waiting.is_empty() {
            return;
        }
        while line.waiting.len() < WINDOW {
            let missed = self.held.lock().unwrap().missed();
            if let Some(command) = self.again.pop_front() {
                self.ask(line, command);
            } else if let Some((conversation, after)) = missed.filter(|_| line.waiting.is_empty()) {
                let page = Page { after: Some(after), limit: Some(MISSED), ..Page::default() };
                self.ask(line, Command::Fetch(Fetch { conversation: Some(conversation), page, ranges: None }));
            } else {
                let (seen, sync) = {
                    let held = self.held.lock().unwrap();
                    let seen: Vec<_> =
                        held.have.iter().map(|(id, seq)| (*id, *seq)).filter(|(_, seq)| seq.0 > 0).collect();
                    (seen, held.sync.clone())
                };
                let command = self.plan.next(&self.world, &seen, sync.as_deref());
                self.ask(line, command);
            }
            if self.plan.rng().random_bool(0.2) {
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
            Command::Typing(_) => return line.writer.queue(&to_text(command)),
            _ => Waiting::Entry(self.world.sending(&line.recorded, &self.user, &command), Box::new(command.clone())),
        };
        line.last_id += 1;
        line.waiting.insert(line.last_id, waiting);
        let request = Request { id: Some(RequestId::Number(line.last_id)), command };
        line.writer.queue(&serde_json::to_string(&request).unwrap());
    }

    fn hear(
        &mut self,
        line: &mut Line,
        frame: Result<ServerFrame<'static>, tidings_client::ClientError>,
    ) -> Result<(), Lost> {
        match frame.expect("the server speaks the protocol") {
            ServerFrame::Entry(live) => self.delivered(line, &live),
            ServerFrame::Sent(sent) | ServerFrame::Created(sent) => {
                let Some(Waiting::Entry(sending, command)) = line.answered(sent.re.as_ref()) else {
                    panic!("sent answers a send")
                };
                sending.sent(sent.seq, sent.repeat);
                self.world.note_acked();
                if matches!(*command, Command::Send(_)) {
                    self.world.remember(sent.conversation, sent.seq, &self.user);
                }
                if !sent.repeat {
                    self.held.lock().unwrap().have(sent.conversation, sent.seq);
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
                self.held.lock().unwrap().changes(&changes);
            }
            ServerFrame::Changes(changes) => {
                let syncing = match line.answered(changes.re.as_ref()) {
                    Some(Waiting::Sync(syncing)) => syncing,
                    None if std::mem::take(&mut line.resuming) => line.recorded.resuming(),
                    None => line.recorded.told(),
                    Some(_) => panic!("changes answer a sync"),
                };
                syncing.returned_changes(&changes);
                self.held.lock().unwrap().changes(&changes);
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
            ServerFrame::Ping(_) => line.writer.queue(PONG),
            _ => {}
        }
        Ok(())
    }

    fn delivered(&mut self, line: &Line, live: &LiveEntry<'_>) {
        line.recorded.delivered(live.conversation, &live.entry);
        if live.entry.kind == Kind::Message
            && let Some(from) = &live.entry.from
        {
            self.world.remember(live.conversation, live.entry.seq, from);
        }
        self.held.lock().unwrap().have(live.conversation, live.entry.seq);
    }

    /// What was missed is filled up from its beginning; other pages are only looked at.
    fn fetched(&mut self, asked: Page, page: &EntriesPage<'_>) {
        let mut held = self.held.lock().unwrap();
        let Some(have) = held.have.get(&page.conversation).copied() else { return };
        match (page.entries.first(), page.entries.last()) {
            (Some(first), Some(last)) if first.seq <= have.next() => held.have(page.conversation, last.seq),
            // Nothing is behind it that this user may see. (What goes on beyond `last_seq` was told after the page was made.)
            (None, _) if asked.after == Some(have) => held.have(page.conversation, page.last_seq),
            _ => {}
        }
    }

    fn refused(&mut self, line: &mut Line, re: Option<&RequestId>, code: Code, message: &str) {
        match line.answered(re) {
            Some(Waiting::Entry(sending, command)) => {
                sending.refused(code);
                self.world.note_refused(code);
                if code == Code::Unavailable {
                    self.again.push_back(*command);
                    self.rests_until = Some(Instant::now() + REST);
                }
            }
            Some(Waiting::Block(blocking)) => blocking.refused(code),
            Some(Waiting::Fetch(..)) if code == Code::UnknownConversation => {
                // Put out of it; the `changes` that say so are on their way, or were lost with the last connection.
            }
            Some(_) => assert!(
                matches!(code, Code::Unavailable | Code::UnknownConversation),
                "{} was refused: {code} {message}",
                self.user
            ),
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

/// `None`: it took longer.
pub async fn within<T>(patience: Option<Duration>, future: impl Future<Output = T>) -> Option<T> {
    match patience {
        Some(patience) => tokio::time::timeout(patience, future).await.ok(),
        None => Some(future.await),
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
