//! What the client says and what it makes of what it is told. No I/O, no clock, no randomness of its own: time comes in as a value, frames go out by
//! `next_frame`, events by the outlet, answers to those who wait for them.
//! It outlives its connections: `connected` begins the next one with everything that is unanswered and the sync token of
//! what was handed on.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use tidings_proto::{
    ConversationId, Seq, UserId,
    codes::Code,
    frames::{
        RequestId,
        client::{self, Command, Hello},
        server::{Beat, LiveEntry, Refused, ServerFrame, Welcome},
    },
};
use tokio::time::Instant;

use crate::{
    client::{Ask, Reply},
    cursors::{Cursors, live},
    error::{ClientError, Lost, is_transient},
    events::{Event, Outlet},
    frames::{own_entry, re, telling, text_of},
    outbox::{Outbox, Purpose, Waiter},
};

mod catch_up;
mod untaken;

use untaken::Untaken;

/// Receipts are coalesced: one `ack` a conversation in this time.
const ACK_EVERY: Duration = Duration::from_secs(1);
/// Newest entries asked for with each changed conversation when coming back: most gaps are filled by them.
const RESUME_TAIL: usize = 20;
/// Conversations whose gaps are fetched by one request.
const GAP_RANGES: usize = 100;
/// A refusal for now that does not say when to come back.
const RETRY_AFTER: Duration = Duration::from_millis(500);

/// What the task has to do about a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Directive {
    Nothing,
    /// The account's state was handed on: events are complete from here.
    Ready,
    /// Connect anew at a random time up to this, then let go.
    Move(Duration),
}

pub(crate) struct Options {
    pub hello: Hello,
    /// Unanswered requests at most.
    pub window: usize,
    /// How often a request refused for now is sent again before its caller is told.
    pub retries: u32,
}

pub(crate) struct Session {
    options: Options,
    me: UserId,
    outbox: Outbox,
    cursors: Cursors,
    outlet: Outlet,
    /// Frames that bear no id, to be written before all others.
    urgent: VecDeque<String>,
    /// The account's state up to which everything was handed on. `None` until the baseline is whole.
    sync: Option<String>,
    /// The next `changes` without `re` tells what was missed.
    resuming: bool,
    /// Changes were dropped for want of room.
    missed_changes: bool,
    /// There was no room for an event: nothing is fetched until there is.
    starved: bool,
    asked: Asked,
    watched: Option<Vec<UserId>>,
    /// The token that the server took last: shown again if it refuses a new one.
    accepted_token: Option<String>,
    acks: HashMap<ConversationId, Seq>,
    acks_due: Option<Instant>,
    frame_bytes: usize,
    heartbeat: Duration,
    heard: Instant,
    pinged: bool,
    /// What this connection brought and the application has not, on a link that wants to know it.
    untaken: Option<Untaken>,
}

/// Which of the session's own requests are under way.
#[derive(Default)]
struct Asked {
    changes: bool,
    gaps: bool,
}

impl Session {
    /// `at`: where the caller's own durable state stands, with the token in `options.hello`.
    pub fn new(
        options: Options,
        welcome: &Welcome,
        outlet: Outlet,
        at: HashMap<ConversationId, Seq>,
        now: Instant,
    ) -> Self {
        let mut cursors = Cursors::default();
        for (conversation, seq) in at {
            cursors.begin(conversation, seq);
        }
        Self {
            me: welcome.user.clone(),
            outbox: Outbox::new(welcome.user.clone()),
            cursors,
            outlet,
            urgent: VecDeque::new(),
            sync: options.hello.sync.clone(),
            resuming: false,
            missed_changes: false,
            starved: false,
            asked: Asked::default(),
            watched: None,
            accepted_token: options.hello.token.clone(),
            acks: HashMap::new(),
            acks_due: None,
            frame_bytes: welcome.limits.frame_bytes,
            heartbeat: Duration::from_secs(welcome.heartbeat_s.max(1)),
            heard: now,
            pinged: false,
            untaken: None,
            options,
        }
    }

    /// The first frame of the next connection.
    pub fn hello(&self) -> Hello {
        let mut hello = self.options.hello.clone();
        hello.sync = self.sync.clone().filter(|_| self.outlet.is_open());
        hello.tail = hello.sync.is_some().then_some(RESUME_TAIL);
        hello
    }

    /// A connection was made with `hello`. `Ready` if there is nothing to wait for.
    pub fn connected(&mut self, welcome: &Welcome, acknowledges: bool, now: Instant) -> Directive {
        self.outbox.cut();
        self.untaken = acknowledges.then(Untaken::default);
        self.urgent.clear();
        self.asked = Asked::default();
        self.frame_bytes = welcome.limits.frame_bytes;
        self.heartbeat = Duration::from_secs(welcome.heartbeat_s.max(1));
        (self.heard, self.pinged) = (now, false);
        self.options.hello.device = Some(welcome.device.clone());
        self.missed_changes = false;
        if let Some(users) = &self.watched {
            self.outbox.push(Command::Watch(client::Watch { users: users.clone() }), Waiter::Session(Purpose::Watch));
        }
        self.resuming = self.sync.is_some() && self.outlet.is_open();
        if self.resuming {
            return Directive::Nothing;
        }
        if self.outlet.is_open() {
            self.ask_changes(None, Purpose::Baseline);
            return Directive::Nothing;
        }
        Directive::Ready
    }

    /// Whether anybody takes events.
    pub fn listens(&self) -> bool {
        self.outlet.is_open()
    }

    /// Whether another request may be taken.
    pub fn has_room(&self) -> bool {
        self.outbox.len() < self.options.window
    }

    pub fn is_idle(&self) -> bool {
        self.outbox.len() == 0 && self.urgent.is_empty() && self.acks.is_empty()
    }

    /// Takes what the handle asks for.
    pub fn ask(&mut self, ask: Ask, now: Instant) {
        match ask {
            Ask::Request(command, answer) => {
                if let Command::Watch(watch) = &*command {
                    self.watched = Some(watch.users.clone());
                }
                if let Command::Auth(auth) = &*command {
                    self.options.hello.token = Some(auth.token.clone());
                }
                self.outbox.push(*command, Waiter::Caller(answer));
            }
            Ask::Tell(command) => self.urgent.push_back(telling(*command)),
            Ask::Ack(conversation, seq) => {
                let ack = self.acks.entry(conversation).or_default();
                *ack = seq.max(*ack);
                self.acks_due.get_or_insert(now + ACK_EVERY);
            }
        }
    }

    /// The next frame to write.
    pub fn next_frame(&mut self) -> Option<String> {
        if let Some(text) = self.urgent.pop_front() {
            return Some(text);
        }
        self.ask_for_what_is_missing();
        loop {
            let (id, request) = self.outbox.next_ready()?;
            let text = text_of(request);
            if text.len() <= self.frame_bytes {
                return Some(text);
            }
            let error = ClientError::TooLarge { bytes: text.len(), max: self.frame_bytes };
            self.answer(id, Err(error));
        }
    }

    /// When `on_time` has something to do.
    pub fn deadline(&self) -> Instant {
        let silence = self.heard + if self.pinged { self.heartbeat.mul_f64(2.5) } else { self.heartbeat };
        [self.outbox.due(), self.acks_due].into_iter().flatten().fold(silence, Instant::min)
    }

    pub fn on_time(&mut self, now: Instant) -> Result<(), Lost> {
        self.outbox.release(now);
        if self.acks_due.is_some_and(|due| due <= now) {
            self.acks_due = None;
            for (conversation, seq) in self.acks.drain() {
                self.urgent.push_back(telling(Command::Ack(client::Ack { conversation, seq })));
            }
        }
        if now >= self.heard + self.heartbeat.mul_f64(2.5) {
            return Err(Lost::Silent);
        }
        if now >= self.heard + self.heartbeat && !self.pinged {
            self.pinged = true;
            self.urgent.push_back(telling(Command::Ping(client::Ping {})));
        }
        Ok(())
    }

    /// Where events wait for room, if they do: wait for `Outlet::room`, then tell `found_room`.
    pub fn starved_outlet(&self) -> Option<Outlet> {
        (self.starved && self.outlet.is_open()).then(|| self.outlet.clone())
    }

    pub fn found_room(&mut self) {
        self.starved = false;
    }

    /// Whether the oldest entry that the link waits to acknowledge is with the application. Then it counts as acknowledged.
    pub fn is_first_taken(&mut self) -> bool {
        self.untaken.as_mut().is_some_and(|untaken| untaken.is_first_taken(&self.outlet))
    }

    /// Where entries wait to be taken that a link wants to acknowledge then.
    pub fn untaken_outlet(&self) -> Option<Outlet> {
        self.untaken
            .as_ref()
            .filter(|untaken| !untaken.is_empty() && self.outlet.is_open())
            .map(|_| self.outlet.clone())
    }

    pub fn on_frame(&mut self, text: &str, now: Instant) -> Result<Directive, Lost> {
        let directive = self.hear(text, now);
        if let Some(untaken) = &mut self.untaken {
            untaken.note(&self.cursors, &self.outlet);
        }
        directive
    }

    fn hear(&mut self, text: &str, now: Instant) -> Result<Directive, Lost> {
        (self.heard, self.pinged) = (now, false);
        let frame = match ServerFrame::parse(text) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(Directive::Nothing),
            Err(error) => return Err(Lost::Broken(format!("the server sent what is no frame: {error}"))),
        };
        match frame {
            ServerFrame::Entry(entry) => {
                if let Some(untaken) = &mut self.untaken {
                    untaken.came(entry.conversation, entry.entry.seq);
                }
                self.arrive(entry);
            }
            ServerFrame::Changes(changes) if changes.re.is_none() => return Ok(self.on_changes(changes)),
            ServerFrame::Receipt(receipt) => self.offer_ephemeral(Event::Receipt(receipt)),
            ServerFrame::Typing(typing) => self.offer_ephemeral(Event::Typing(typing)),
            ServerFrame::Presence(presence) => self.offer_ephemeral(Event::Presence(presence)),
            ServerFrame::Expiring(expiring) => self.offer_ephemeral(Event::Expiring { in_s: expiring.in_s }),
            ServerFrame::Ping(_) => self.urgent.push_back(telling(Command::Pong(client::Pong {}))),
            ServerFrame::Move(to) => return Ok(Directive::Move(Duration::from_millis(to.after_ms))),
            ServerFrame::Close(close) => return Err(Lost::Closed { code: close.code, reason: close.reason }),
            ServerFrame::Error(Refused { re: None, code, message, .. }) => {
                tracing::warn!(%code, message, "the server refused what wanted no answer");
            }
            ServerFrame::Welcome(_) | ServerFrame::Pong(Beat { re: None }) => {}
            answer => return Ok(self.on_answer(answer, now)),
        }
        Ok(Directive::Nothing)
    }

    /// Nothing will be answered any more.
    pub fn fail(&mut self, error: &ClientError) {
        for waiting in self.outbox.drain() {
            if let Waiter::Caller(answer) = waiting.waiter {
                drop(answer.send(Err(error.clone())));
            }
        }
    }

    fn on_answer(&mut self, answer: ServerFrame<'static>, now: Instant) -> Directive {
        let Some(RequestId::Number(id)) = re(&answer) else { return Directive::Nothing };
        let id = id.cast_unsigned();
        if let ServerFrame::Error(refused) = answer {
            return self.on_refusal(id, &refused, now);
        }
        let Some(waiting) = self.outbox.answered(id) else { return Directive::Nothing };
        match waiting.waiter {
            Waiter::Caller(caller) => {
                self.account(&waiting.request.command, &answer);
                drop(caller.send(Ok(answer)));
                Directive::Nothing
            }
            Waiter::Session(purpose) => self.on_own_answer(purpose, answer),
        }
    }

    fn on_own_answer(&mut self, purpose: Purpose, answer: ServerFrame<'static>) -> Directive {
        match (purpose, answer) {
            (Purpose::Baseline, ServerFrame::Changes(changes)) => {
                self.asked.changes = false;
                self.on_baseline(changes)
            }
            (Purpose::Changes, ServerFrame::Changes(changes)) => {
                self.asked.changes = false;
                self.on_missed(changes)
            }
            (Purpose::Gaps, ServerFrame::Entries(entries)) => {
                self.asked.gaps = false;
                self.on_gaps(entries);
                Directive::Nothing
            }
            _ => Directive::Nothing,
        }
    }

    fn on_refusal(&mut self, id: u64, refused: &Refused, now: Instant) -> Directive {
        let attempts = self.outbox.count_attempt(id);
        if is_transient(refused.code) && attempts <= self.options.retries {
            let after = refused.retry_after_ms.map_or(RETRY_AFTER * attempts.min(20), Duration::from_millis);
            self.outbox.hold(id, now + after);
            return Directive::Nothing;
        }
        match self.answer(id, Err(ClientError::Refused(Box::new(refused.clone())))) {
            Some(Purpose::Gaps) => {
                self.asked.gaps = false;
                for range in self.cursors.ranges(GAP_RANGES) {
                    self.cursors.remove(range.conversation);
                }
            }
            Some(Purpose::Baseline | Purpose::Changes) => {
                self.asked.changes = false;
                if refused.code == Code::BadSync {
                    self.sync = None;
                }
                self.missed_changes = true;
            }
            Some(Purpose::Watch) | None => {}
        }
        Directive::Nothing
    }

    /// Tells who waits for `id`; the purpose, if it was this session.
    fn answer(&mut self, id: u64, reply: Reply) -> Option<Purpose> {
        let waiting = self.outbox.answered(id)?;
        match waiting.waiter {
            Waiter::Caller(caller) => {
                let shown = &mut self.options.hello.token;
                if let (Command::Auth(auth), Err(_)) = (&waiting.request.command, &reply)
                    && shown.as_ref() == Some(&auth.token)
                {
                    shown.clone_from(&self.accepted_token);
                }
                drop(caller.send(reply));
                None
            }
            Waiter::Session(purpose) => Some(purpose),
        }
    }

    /// An own request made an entry: its place is among the events, though it comes as an answer.
    fn account(&mut self, command: &Command, answer: &ServerFrame<'static>) {
        if let Command::Auth(auth) = command {
            self.accepted_token = Some(auth.token.clone());
        }
        if !self.outlet.is_open() {
            return;
        }
        match answer {
            // Over HTTP an answer may come before the changes that bring its conversation: they tell where it begins.
            ServerFrame::Sent(sent) if sent.seq > Seq::FIRST && self.cursors.at(sent.conversation).is_none() => {
                self.missed_changes = true;
            }
            ServerFrame::Sent(sent) => match own_entry(&self.me, command, sent) {
                Some(entry) => self.arrive(live(sent.conversation, entry)),
                None => self.cursors.want(sent.conversation, sent.seq),
            },
            ServerFrame::Created(sent) => {
                self.cursors.begin(sent.conversation, Seq::NONE);
                self.cursors.want(sent.conversation, sent.seq);
            }
            _ => {}
        }
    }

    fn arrive(&mut self, entry: LiveEntry<'static>) {
        if !self.outlet.is_open() {
            return;
        }
        let (outlet, starved) = (&self.outlet, &mut self.starved);
        self.cursors.arrive(entry, &mut |entry| {
            let room = outlet.offer(Event::Entry(entry));
            *starved |= !room;
            room
        });
    }

    /// What may be lost: it is dropped when there is no room.
    fn offer_ephemeral(&self, event: Event) {
        self.outlet.offer(event);
    }
}
