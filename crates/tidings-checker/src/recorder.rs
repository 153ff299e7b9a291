//! Records a history while test clients run. Owns the clock and the ids of what is recorded; judges nothing.
//!
//! A client records what it asks before the bytes leave and what it learns when it has it, from one connection in the
//! order received. Every question is a guard: dropped without an answer it says `unknown`, so that a cancelled task or
//! a cut line cannot turn into a lie.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        client::Page,
        server::{Changes, EntriesPage, InboxPage, Kind, Receipt},
    },
};

use crate::{
    event::{
        BlockAsked, ClientMsgId, Connected, ConnectionId, Delivered, Entry, Event, Fetched, Item, MarkedRead, Nanos,
        OperationId, ReceiptSeen, Record, SendAsked, SessionId, Synced, TextHash, Transport,
    },
    history::History,
};

/// So many records are kept in memory at most; a longer test records to a file.
const MEMORY_RECORDS: usize = 8_000_000;

/// A cheap handle that any thread may record with.
#[derive(Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Box<dyn Fn() -> Nanos + Send + Sync>,
    /// Absent: the ids of this process.
    own_ids: Option<AtomicU64>,
    sink: Mutex<Sink>,
}

enum Sink {
    Memory(Vec<Record>),
    /// Nothing is buffered: a recording process that is killed leaves what it had recorded.
    File {
        file: File,
        failed: Option<io::Error>,
    },
}

impl Recorder {
    /// Keeps the history in memory, for `history`.
    pub fn in_memory() -> Self {
        Self::new(Sink::Memory(Vec::new()), monotonic_clock, None)
    }

    /// Appends lines to the file at `path`, one write each, so that several processes may record into one file.
    pub fn to_file(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self::new(Sink::File { file, failed: None }, monotonic_clock, None))
    }

    /// In memory, with a clock of the caller's and ids from 1: the same run gives the same history.
    pub fn simulated(clock: impl Fn() -> Nanos + Send + Sync + 'static) -> Self {
        Self::new(Sink::Memory(Vec::new()), clock, Some(AtomicU64::new(1)))
    }

    fn new(sink: Sink, clock: impl Fn() -> Nanos + Send + Sync + 'static, own_ids: Option<AtomicU64>) -> Self {
        Self { shared: Arc::new(Shared { clock: Box::new(clock), own_ids, sink: Mutex::new(sink) }) }
    }

    /// A client's state that is kept over reconnects: one of these for each sync token that is carried on.
    pub fn session(&self, user: &UserId, device: &DeviceId) -> Session {
        Session { recorder: self.clone(), id: SessionId(self.next_id()), user: user.clone(), device: device.clone() }
    }

    /// Something people should see between the events: a kill, a restart, a cut line.
    pub fn mark(&self, text: &str) {
        self.record(Event::Mark { text: text.to_owned() });
    }

    /// What was recorded so far, in memory.
    ///
    /// # Panics
    /// If this recorder writes to a file.
    pub fn history(&self) -> History {
        match &*self.shared.sink.lock() {
            Sink::Memory(records) => History::new(records.iter().cloned()),
            Sink::File { .. } => panic!("this recorder writes to a file: read that"),
        }
    }

    /// The first write that failed, if one did: the history in the file is then incomplete.
    pub fn finish(&self) -> io::Result<()> {
        match &mut *self.shared.sink.lock() {
            Sink::Memory(_) => Ok(()),
            Sink::File { failed, .. } => failed.take().map_or(Ok(()), Err),
        }
    }

    fn now(&self) -> Nanos {
        (self.shared.clock)()
    }

    fn next_id(&self) -> u64 {
        self.shared.own_ids.as_ref().unwrap_or(&PROCESS_IDS).fetch_add(1, Ordering::Relaxed)
    }

    fn record(&self, event: Event) {
        let record = Record { at: self.now(), event };
        match &mut *self.shared.sink.lock() {
            Sink::Memory(records) => {
                assert!(records.len() < MEMORY_RECORDS, "a history this long is recorded to a file");
                records.push(record);
            }
            Sink::File { file, failed } => {
                let mut line = serde_json::to_vec(&record).expect("records have string keys and no failing values");
                line.push(b'\n');
                if let Err(error) = file.write_all(&line) {
                    failed.get_or_insert(error);
                }
            }
        }
    }
}

fn monotonic_clock() -> Nanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let part = |value: i64| u64::try_from(value).expect("the monotonic clock starts at 0");
    part(time.tv_sec) * 1_000_000_000 + part(time.tv_nsec)
}

/// Ids of several processes do not meet: 22 bits of process id, 31 bits to count, 53 that any JSON reader keeps.
static PROCESS_IDS: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(u64::from(std::process::id()) << 31));

/// Records for one client state, which outlives its connections.
#[derive(Clone)]
pub struct Session {
    recorder: Recorder,
    id: SessionId,
    user: UserId,
    device: DeviceId,
}

impl Session {
    /// About to connect without a sync token.
    pub fn connect(&self, transport: Transport) -> Connection {
        self.open(transport, false)
    }

    /// About to connect with the last sync token of this session.
    pub fn resume(&self, transport: Transport) -> Connection {
        self.open(transport, true)
    }

    fn open(&self, transport: Transport, resumed: bool) -> Connection {
        let recorder = self.recorder.clone();
        let connection = ConnectionId(recorder.next_id());
        let opened = recorder.now();
        recorder.record(Event::Connected(Connected {
            connection,
            session: self.id,
            user: self.user.clone(),
            device: self.device.clone(),
            transport,
            resumed,
        }));
        Connection { recorder, id: connection, opened }
    }
}

/// Records for one connection. Clones record for the same one.
#[derive(Clone)]
pub struct Connection {
    recorder: Recorder,
    id: ConnectionId,
    opened: Nanos,
}

impl Connection {
    /// About to send. Give the answer to what is returned.
    #[must_use]
    pub fn sending(&self, outgoing: Outgoing) -> Sending {
        let operation = OperationId(self.recorder.next_id());
        self.recorder.record(Event::Send(SendAsked { operation, connection: self.id, ..outgoing.asked }));
        Sending { answer: Answer { recorder: self.recorder.clone(), operation, open: true } }
    }

    /// About to block or unblock `user`. Give the answer to what is returned.
    #[must_use]
    pub fn blocking(&self, user: &UserId, on: bool) -> Blocking {
        let operation = OperationId(self.recorder.next_id());
        self.recorder.record(Event::Block(BlockAsked { operation, connection: self.id, user: user.clone(), on }));
        Blocking { answer: Answer { recorder: self.recorder.clone(), operation, open: true } }
    }

    /// About to fetch. Without an answer nothing is recorded.
    pub fn fetching(&self, conversation: ConversationId, range: Page) -> Fetching {
        let asked = self.recorder.now();
        Fetching { connection: self.clone(), asked, conversation, range, is_final: false }
    }

    /// Like `fetching`, when all is over and quiet: such pages are the log for ever.
    pub fn fetching_final(&self, conversation: ConversationId, range: Page) -> Fetching {
        Fetching { is_final: true, ..self.fetching(conversation, range) }
    }

    /// About to ask for the inbox or for changes. Without an answer nothing is recorded.
    pub fn syncing(&self) -> Syncing {
        Syncing { asked: Some(self.recorder.now()), continued: false, connection: self.clone() }
    }

    /// About to ask for a later page of an answer that had more.
    pub fn syncing_on(&self) -> Syncing {
        Syncing { continued: true, ..self.syncing() }
    }

    /// For the `changes` that answer a resume: it was asked with the `hello`.
    pub fn resuming(&self) -> Syncing {
        Syncing { asked: Some(self.opened), continued: false, connection: self.clone() }
    }

    /// For `changes` that nobody asked for.
    pub fn told(&self) -> Syncing {
        Syncing { asked: None, continued: false, connection: self.clone() }
    }

    /// About to mark as read. Without an answer nothing is recorded.
    pub fn marking_read(&self, conversation: ConversationId, seq: Seq) -> MarkingRead {
        MarkingRead { connection: self.clone(), conversation, seq }
    }

    pub fn delivered(&self, conversation: ConversationId, entry: impl Into<Entry>) {
        let entry = entry.into();
        self.recorder.record(Event::Delivered(Delivered { connection: self.id, conversation, entry }));
    }

    pub fn receipt(&self, receipt: &Receipt) {
        self.recorder.record(Event::Receipt(ReceiptSeen {
            connection: self.id,
            conversation: receipt.conversation,
            user: receipt.user.clone(),
            delivered_seq: receipt.delivered_seq,
            read_seq: receipt.read_seq,
        }));
    }

    pub fn closed(&self) {
        self.recorder.record(Event::Closed { connection: self.id });
    }
}

/// What is about to be sent.
pub struct Outgoing {
    asked: SendAsked,
}

impl Outgoing {
    pub fn message(conversation: ConversationId, client_msg_id: impl Into<ClientMsgId>, text: &str) -> Self {
        let mut outgoing = Self::of_kind(Kind::Message, conversation, client_msg_id);
        outgoing.asked.text = Some(TextHash::of(text));
        outgoing
    }

    pub fn edit(conversation: ConversationId, client_msg_id: impl Into<ClientMsgId>, target: Seq, text: &str) -> Self {
        let mut outgoing = Self::of_kind(Kind::Edit, conversation, client_msg_id);
        outgoing.asked.target = Some(target);
        outgoing.asked.text = Some(TextHash::of(text));
        outgoing
    }

    pub fn redaction(conversation: ConversationId, client_msg_id: impl Into<ClientMsgId>, target: Seq) -> Self {
        let mut outgoing = Self::of_kind(Kind::Redaction, conversation, client_msg_id);
        outgoing.asked.target = Some(target);
        outgoing
    }

    /// Anything else that makes an entry: `create` and `members` are of kind `members`.
    pub fn of_kind(kind: Kind, conversation: ConversationId, client_msg_id: impl Into<ClientMsgId>) -> Self {
        let asked = SendAsked {
            operation: OperationId(0),
            connection: ConnectionId(0),
            conversation,
            to: None,
            client_msg_id: client_msg_id.into(),
            kind,
            text: None,
            target: None,
            removes: Vec::new(),
        };
        Self { asked }
    }

    /// The conversation is the direct one with `user`. Without it, blocks are judged as in a group.
    #[must_use]
    pub fn to(mut self, user: &UserId) -> Self {
        self.asked.to = Some(user.clone());
        self
    }

    /// These users are put out by it; the sender, when leaving.
    #[must_use]
    pub fn removing(mut self, users: &[UserId]) -> Self {
        self.asked.removes = users.to_vec();
        self
    }
}

struct Answer {
    recorder: Recorder,
    operation: OperationId,
    open: bool,
}

impl Answer {
    fn give(&mut self, event: Event) {
        self.open = false;
        self.recorder.record(event);
    }

    /// Some codes refuse; these leave open what happened (PROTOCOL: repeat with the same id).
    fn refuse(&mut self, code: Code) {
        let operation = self.operation;
        match code {
            Code::Unavailable | Code::Internal => self.give(Event::Unknown { operation }),
            _ => self.give(Event::Refused { operation, code }),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        if self.open {
            self.give(Event::Unknown { operation: self.operation });
        }
    }
}

/// A send on its way. Dropped without an answer: unknown.
pub struct Sending {
    answer: Answer,
}

impl Sending {
    pub fn sent(mut self, seq: Seq, repeat: bool) {
        let operation = self.answer.operation;
        self.answer.give(Event::Sent { operation, seq, repeat });
    }

    /// An error came back. One that leaves the outcome open is recorded as unknown.
    pub fn refused(mut self, code: Code) {
        self.answer.refuse(code);
    }
}

/// A block or unblock on its way. Dropped without an answer: unknown.
pub struct Blocking {
    answer: Answer,
}

impl Blocking {
    pub fn done(mut self) {
        let operation = self.answer.operation;
        self.answer.give(Event::Done { operation });
    }

    /// An error came back. One that leaves the outcome open is recorded as unknown.
    pub fn refused(mut self, code: Code) {
        self.answer.refuse(code);
    }
}

/// A fetch on its way.
pub struct Fetching {
    connection: Connection,
    asked: Nanos,
    conversation: ConversationId,
    range: Page,
    is_final: bool,
}

impl Fetching {
    /// `more`: the answer ended before the range did, because of its size.
    pub fn returned(self, page: &EntriesPage<'_>, more: bool) {
        let entries = page.entries.iter().map(Entry::from).collect();
        self.returned_entries(entries, page.first_seq, page.last_seq, more);
    }

    pub fn returned_entries(self, entries: Vec<Entry>, first_seq: Seq, last_seq: Seq, more: bool) {
        let Self { connection, asked, conversation, range, is_final } = self;
        connection.recorder.record(Event::Fetched(Fetched {
            connection: connection.id,
            asked,
            conversation,
            range,
            first_seq,
            last_seq,
            entries,
            more,
            is_final,
        }));
    }
}

/// An inbox or sync request on its way.
pub struct Syncing {
    connection: Connection,
    asked: Option<Nanos>,
    continued: bool,
}

impl Syncing {
    pub fn returned_inbox(self, page: &InboxPage<'_>) {
        self.returned_items(page.items.iter().map(Item::from).collect(), Vec::new(), true, page.next.is_some());
    }

    pub fn returned_changes(self, changes: &Changes<'_>) {
        let items = changes.items.iter().map(Item::from).collect();
        self.returned_items(items, changes.removed.clone(), changes.full, changes.more);
    }

    /// `full`: the whole account (with later pages, if `more`), not just what differs.
    pub fn returned_items(self, items: Vec<Item>, removed: Vec<ConversationId>, full: bool, more: bool) {
        let Self { connection, asked, continued } = self;
        let synced = Synced { connection: connection.id, asked, full, more, continued, items, removed };
        connection.recorder.record(Event::Synced(synced));
    }
}

/// A `mark_read` on its way.
pub struct MarkingRead {
    connection: Connection,
    conversation: ConversationId,
    seq: Seq,
}

impl MarkingRead {
    pub fn done(self) {
        let Self { connection, conversation, seq } = self;
        connection.recorder.record(Event::MarkedRead(MarkedRead { connection: connection.id, conversation, seq }));
    }
}
