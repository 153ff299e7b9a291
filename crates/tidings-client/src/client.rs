//! The handle: cheap to clone, one connection behind all clones. Requests are pipelined in the order they are started.

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tidings_proto::{
    ConversationId, DeviceId, Seq, UserId,
    frames::{
        client::{self, Command, Hello, History, Page, Range, Role, To},
        server::{Changes, EntriesPage, InboxPage, Item, RangeAnswer, Sent, ServerFrame},
    },
    limits::Limits,
};
use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    connection::{self, Settings},
    error::ClientError,
    events::{Events, Outlet, Status},
    new_client_msg_id,
    session::Options,
    transport::{Transport, Way},
};

pub(crate) type Reply = Result<ServerFrame<'static>, ClientError>;

/// What the handle asks of the task.
#[derive(Debug)]
pub(crate) enum Ask {
    Request(Box<Command>, oneshot::Sender<Reply>),
    /// Wants no answer and is lost with the connection.
    Tell(Box<Command>),
    Ack(ConversationId, Seq),
}

/// How to connect.
#[must_use]
pub struct Builder {
    /// In the order in which they are tried.
    urls: Vec<String>,
    hello: Hello,
    way: Way,
    transport: Option<Arc<dyn Transport>>,
    cursors: HashMap<ConversationId, Seq>,
    events: usize,
    window: usize,
    retries: u32,
    connect_timeout: Duration,
}

impl Builder {
    /// Who this is, where a username is enough (`auth.mode = open`).
    pub fn user(mut self, username: &str) -> Self {
        self.hello.username = Some(username.to_owned());
        self
    }

    /// Who this is, where a login service gives tokens.
    pub fn token(mut self, token: &str) -> Self {
        self.hello.token = Some(token.to_owned());
        self
    }

    /// The name of this installation. Without it the server makes one.
    pub fn device(mut self, device: &str) -> Self {
        self.hello.device = device.parse().ok();
        self
    }

    /// Continue where an earlier client stopped: its sync token, and how far each conversation was handed on. Without it, events begin
    /// with all there is now.
    pub fn resume(mut self, sync: &str, cursors: HashMap<ConversationId, Seq>) -> Self {
        self.hello.sync = Some(sync.to_owned());
        self.cursors = cursors;
        self
    }

    /// How many events wait at most for who reads them (1,024). Beyond, `Events` tells what happens.
    pub fn events_queue(mut self, events: usize) -> Self {
        self.events = events.max(1);
        self
    }

    /// How many requests are unanswered at most (1,024). Beyond, starting one waits.
    pub fn window(mut self, requests: usize) -> Self {
        self.window = requests.max(1);
        self
    }

    /// How often a request that is refused for now (`unavailable`, `rate_limited`) is sent again before its caller is told (10).
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// How long one try to connect may take (10 s).
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// Another server of the same fleet. Servers are tried in turn, after a cut and when one asks to move.
    pub fn also(mut self, url: &str) -> Self {
        self.urls.push(url.to_owned());
        self
    }

    /// Another way than WebSocket.
    pub fn way(mut self, way: Way) -> Self {
        self.way = way;
        self
    }

    /// A way of the caller's own.
    pub fn transport(mut self, transport: impl Transport) -> Self {
        self.transport = Some(Arc::new(transport));
        self
    }

    /// Connects; each server is tried once, and an error says why the last one did not let in. Afterwards the client comes back by itself. Returns when the account's state was handed on as the
    /// first event, so that nothing that happens from now on is missed.
    pub async fn connect(self) -> Result<(Client, Events), ClientError> {
        let (outlet, events) = Outlet::channel(self.events);
        Ok((self.start(outlet).await?, events))
    }

    /// As `connect`, for who only sends and asks: nothing live is handed on.
    pub async fn connect_without_events(self) -> Result<Client, ClientError> {
        self.start(Outlet::channel(1).0).await
    }

    async fn start(self, outlet: Outlet) -> Result<Client, ClientError> {
        let transport = match self.transport {
            Some(transport) => transport,
            None => self.way.to_any(&self.urls)?,
        };
        let settings = Settings { url: self.urls.join(", "), connect_timeout: self.connect_timeout };
        let options = Options { hello: self.hello, window: self.window, retries: self.retries };
        let (asks, rx) = mpsc::channel(self.window);
        let started = connection::start(settings, transport, options, outlet, self.cursors, rx).await?;
        Ok(Client {
            asks,
            status: started.status,
            user: started.welcome.user,
            device: started.welcome.device,
            limits: started.welcome.limits,
        })
    }
}

/// A connection to a server that comes back by itself. When the last clone is dropped, what is unanswered is finished if the line stands, and
/// the connection is closed.
#[derive(Clone, Debug)]
pub struct Client {
    asks: mpsc::Sender<Ask>,
    status: watch::Receiver<Status>,
    user: UserId,
    device: DeviceId,
    limits: Limits,
}

impl Client {
    /// `url`: `http://host:port`.
    pub fn builder(url: &str) -> Builder {
        Builder {
            urls: vec![url.to_owned()],
            hello: Hello::default(),
            way: Way::default(),
            transport: None,
            cursors: HashMap::new(),
            events: 1_024,
            window: 1_024,
            retries: 10,
            connect_timeout: Duration::from_secs(10),
        }
    }

    pub fn user(&self) -> &UserId {
        &self.user
    }

    pub fn device(&self) -> &DeviceId {
        &self.device
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Whether there is a connection, now and as it changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Starts a request: waits for room in the window, and returns what becomes the answer. Requests started one after the
    /// other about one conversation take effect in that order. The request is made also if the answer is not waited for.
    pub async fn start(&self, command: Command) -> Result<Answer, ClientError> {
        let (tx, rx) = oneshot::channel();
        self.asks.send(Ask::Request(Box::new(command), tx)).await.map_err(|_| self.ended())?;
        Ok(Answer { rx })
    }

    /// Any request, to its answer. A refusal is an error.
    pub async fn request(&self, command: Command) -> Result<ServerFrame<'static>, ClientError> {
        self.start(command).await?.await
    }

    /// A message, durable when this returns.
    pub async fn send(&self, to: To, text: &str) -> Result<Sent, ClientError> {
        self.start_send(message(to, text)).await?.await
    }

    /// Starts a send and returns what becomes its `Sent`, so that many are under way.
    pub async fn start_send(&self, send: client::Send) -> Result<Sending, ClientError> {
        Ok(Sending { answer: self.start(Command::Send(send)).await? })
    }

    /// A page of one conversation's history, ascending.
    pub async fn fetch(&self, conversation: ConversationId, page: Page) -> Result<EntriesPage<'static>, ClientError> {
        let fetch = client::Fetch { conversation: Some(conversation), page, ranges: None };
        match self.request(Command::Fetch(fetch)).await? {
            ServerFrame::Entries(entries) => {
                entries.page.ok_or_else(|| ClientError::Unexpected("entries without a page".to_owned()))
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Pages of many conversations, in the order asked. Asks on while the answer is not whole.
    pub async fn fetch_ranges(&self, mut ranges: Vec<Range>) -> Result<Vec<RangeAnswer<'static>>, ClientError> {
        let mut answers = Vec::with_capacity(ranges.len());
        while !ranges.is_empty() {
            let fetch = client::Fetch { ranges: Some(ranges.clone()), ..client::Fetch::default() };
            let answered = match self.request(Command::Fetch(fetch)).await? {
                ServerFrame::Entries(entries) => entries.ranges.unwrap_or_default(),
                other => return Err(unexpected(&other)),
            };
            if answered.is_empty() {
                return Err(ClientError::Unexpected("no range was answered".to_owned()));
            }
            ranges.drain(..answered.len().min(ranges.len()));
            answers.extend(answered);
        }
        Ok(answers)
    }

    /// The whole inbox, latest activity first.
    pub async fn inbox(&self) -> Result<Vec<Item<'static>>, ClientError> {
        let mut items = Vec::new();
        let mut cursor = None;
        loop {
            let page = self.inbox_page(client::Inbox { cursor, ..client::Inbox::default() }).await?;
            items.extend(page.items);
            cursor = page.next;
            if cursor.is_none() {
                return Ok(items);
            }
        }
    }

    pub async fn inbox_page(&self, inbox: client::Inbox) -> Result<InboxPage<'static>, ClientError> {
        match self.request(Command::Inbox(inbox)).await? {
            ServerFrame::Inbox(page) => Ok(page),
            other => Err(unexpected(&other)),
        }
    }

    /// What differs since `sync`; without it, all there is. `more`: ask again with the new token.
    pub async fn sync(&self, sync: Option<String>, tail: Option<usize>) -> Result<Changes<'static>, ClientError> {
        match self.request(Command::Sync(client::Sync { sync, tail })).await? {
            ServerFrame::Changes(changes) => Ok(changes),
            other => Err(unexpected(&other)),
        }
    }

    /// This user has read up to `seq`, on all devices.
    pub async fn mark_read(&self, conversation: ConversationId, seq: Seq) -> Result<(), ClientError> {
        self.done(Command::MarkRead(client::MarkRead { conversation, seq })).await
    }

    /// This device has the conversation up to `seq`. Told within a second, coalesced; lost with the client.
    pub async fn ack(&self, conversation: ConversationId, seq: Seq) -> Result<(), ClientError> {
        self.asks.send(Ask::Ack(conversation, seq)).await.map_err(|_| self.ended())
    }

    /// This user is typing. Lost where there is no connection.
    pub async fn typing(&self, conversation: ConversationId) -> Result<(), ClientError> {
        let typing = Command::Typing(client::Typing { conversation });
        self.asks.send(Ask::Tell(Box::new(typing))).await.map_err(|_| self.ended())
    }

    /// Whose presence to be told of, instead of those before; kept over cuts.
    pub async fn watch(&self, users: Vec<UserId>) -> Result<(), ClientError> {
        self.done(Command::Watch(client::Watch { users })).await
    }

    /// A new group with this user as its owner.
    pub async fn create(&self, name: &str, members: Vec<UserId>, history: History) -> Result<Sent, ClientError> {
        let (client_msg_id, name) = (new_client_msg_id(), name.to_owned());
        self.entry(Command::Create(client::Create { client_msg_id, name, members, history })).await
    }

    /// Adds and removes members and sets roles, all in one entry.
    pub async fn members(
        &self,
        conversation: ConversationId,
        add: Vec<UserId>,
        remove: Vec<UserId>,
        roles: BTreeMap<UserId, Role>,
    ) -> Result<Sent, ClientError> {
        let client_msg_id = new_client_msg_id();
        self.entry(Command::Members(client::Members { client_msg_id, conversation, add, remove, roles })).await
    }

    pub async fn leave(&self, conversation: ConversationId) -> Result<Sent, ClientError> {
        self.entry(Command::Leave(client::Leave { client_msg_id: new_client_msg_id(), conversation })).await
    }

    pub async fn rename(&self, conversation: ConversationId, name: &str) -> Result<Sent, ClientError> {
        let (client_msg_id, name) = (new_client_msg_id(), name.to_owned());
        self.entry(Command::Rename(client::Rename { client_msg_id, conversation, name })).await
    }

    pub async fn edit(&self, conversation: ConversationId, seq: Seq, text: &str) -> Result<Sent, ClientError> {
        let (client_msg_id, text) = (new_client_msg_id(), text.to_owned());
        self.entry(Command::Edit(client::Edit { client_msg_id, conversation, seq, text })).await
    }

    pub async fn redact(&self, conversation: ConversationId, seq: Seq) -> Result<Sent, ClientError> {
        self.entry(Command::Redact(client::Redact { client_msg_id: new_client_msg_id(), conversation, seq })).await
    }

    pub async fn react(
        &self,
        conversation: ConversationId,
        seq: Seq,
        emoji: &str,
        on: bool,
    ) -> Result<Sent, ClientError> {
        let (client_msg_id, emoji) = (new_client_msg_id(), emoji.to_owned());
        self.entry(Command::React(client::React { client_msg_id, conversation, seq, emoji, on })).await
    }

    pub async fn block(&self, user: UserId) -> Result<(), ClientError> {
        self.done(Command::Block(client::Block { user })).await
    }

    pub async fn unblock(&self, user: UserId) -> Result<(), ClientError> {
        self.done(Command::Unblock(client::Unblock { user })).await
    }

    pub async fn set(&self, set: client::Set) -> Result<(), ClientError> {
        self.done(Command::Set(set)).await
    }

    pub async fn profile(&self, profile: client::Profile) -> Result<(), ClientError> {
        self.done(Command::Profile(profile)).await
    }

    /// A new token for this connection and those after it.
    pub async fn renew(&self, token: &str) -> Result<(), ClientError> {
        self.done(Command::Auth(client::Auth { token: token.to_owned() })).await
    }

    /// A request that makes an entry.
    async fn entry(&self, command: Command) -> Result<Sent, ClientError> {
        match self.request(command).await? {
            ServerFrame::Sent(sent) | ServerFrame::Created(sent) => Ok(sent),
            other => Err(unexpected(&other)),
        }
    }

    async fn done(&self, command: Command) -> Result<(), ClientError> {
        match self.request(command).await? {
            ServerFrame::Ok(_) => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    fn ended(&self) -> ClientError {
        match &*self.status.borrow() {
            Status::Ended { error } => error.clone(),
            Status::Connected(_) | Status::Waiting { .. } => ClientError::Stopped,
        }
    }
}

/// A plain message with a fresh `client_msg_id`.
pub(crate) fn message(to: To, text: &str) -> client::Send {
    client::Send {
        to,
        client_msg_id: new_client_msg_id(),
        text: text.to_owned(),
        mentions: Vec::new(),
        reply_to: None,
        attachments: Vec::new(),
        data: None,
    }
}

fn unexpected(frame: &ServerFrame<'_>) -> ClientError {
    let mut text = frame.to_json();
    text.truncate(text.floor_char_boundary(200));
    ClientError::Unexpected(text)
}

/// What becomes the answer of a request.
#[derive(Debug)]
pub struct Answer {
    rx: oneshot::Receiver<Reply>,
}

impl Future for Answer {
    type Output = Reply;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Reply> {
        Pin::new(&mut self.rx).poll(context).map(|reply| reply.unwrap_or(Err(ClientError::Stopped)))
    }
}

/// What becomes the `Sent` of a send.
#[derive(Debug)]
pub struct Sending {
    answer: Answer,
}

impl Future for Sending {
    type Output = Result<Sent, ClientError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answer).poll(context).map(|reply| match reply? {
            ServerFrame::Sent(sent) => Ok(sent),
            other => Err(unexpected(&other)),
        })
    }
}
