//! The task behind the handle: one link at a time, its frames to the session and the session's frames to it, all that is ready before one
//! flush. Connects again after a cut, and before one when the server asks to move. Decides nothing about frames.

use std::{
    collections::HashMap,
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Sink, SinkExt, Stream, StreamExt, future::BoxFuture};
use tidings_proto::{
    ConversationId, Seq,
    frames::{
        client::{Command, Hello, Request},
        server::{ServerFrame, Welcome},
    },
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use crate::{
    backoff::{Backoff, PLANNED_AFTER, RESET_AFTER},
    client::Ask,
    error::{ClientError, Lost},
    events::{Outlet, Status},
    session::{Directive, Options, Session},
    transport::{Link, Transport},
};

/// How long an old link may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

pub(crate) struct Settings {
    pub url: String,
    pub connect_timeout: Duration,
}

pub(crate) struct Started {
    pub welcome: Welcome,
    pub status: watch::Receiver<Status>,
}

/// A link on which `hello` was answered.
struct Opened {
    link: Box<dyn Link>,
    welcome: Welcome,
}

enum Ended {
    Lost(Lost),
    /// Nobody holds a handle any more.
    Unused,
}

struct Connection {
    settings: Settings,
    transport: Arc<dyn Transport>,
    session: Session,
    asks: mpsc::Receiver<Ask>,
    status: watch::Sender<Status>,
    backoff: Backoff,
    /// Taken when the account's state was first handed on.
    ready: Option<oneshot::Sender<()>>,
}

/// Makes the first connection and starts the task; returns when the session is ready.
pub(crate) async fn start(
    settings: Settings,
    transport: Arc<dyn Transport>,
    options: Options,
    outlet: Outlet,
    cursors: HashMap<ConversationId, Seq>,
    asks: mpsc::Receiver<Ask>,
) -> Result<Started, ClientError> {
    let mut hello = options.hello.clone();
    hello.tail = hello.sync.is_some().then_some(0);
    let opened = open_any(&*transport, hello, outlet.is_open(), settings.connect_timeout)
        .await
        .map_err(|lost| lost.into_error(&settings.url))?;
    let welcome = opened.welcome.clone();
    let (status, status_rx) = watch::channel(Status::Connected(Box::new(welcome.clone())));
    let (ready, is_ready) = oneshot::channel();
    let session = Session::new(options, &welcome, outlet, cursors, Instant::now());
    let connection =
        Connection { settings, transport, session, asks, status, backoff: Backoff::default(), ready: Some(ready) };
    tokio::spawn(connection.run(opened));
    match is_ready.await {
        Ok(()) => Ok(Started { welcome, status: status_rx }),
        Err(_) => match &*status_rx.borrow() {
            Status::Ended { error } => Err(error.clone()),
            Status::Connected(_) | Status::Waiting { .. } => Err(ClientError::Stopped),
        },
    }
}

impl Connection {
    async fn run(mut self, first: Opened) {
        let mut opened = first;
        let error = loop {
            let since = Instant::now();
            let lost = match self.live(opened).await {
                Ended::Lost(lost) => lost,
                Ended::Unused => break ClientError::Stopped,
            };
            // Who called `connect` still waits for it: that was the one try.
            if self.ready.is_some() {
                break lost.into_error(&self.settings.url);
            }
            if since.elapsed() >= if lost.is_planned() { PLANNED_AFTER } else { RESET_AFTER } {
                self.backoff.reset();
            }
            match self.connect_again(lost).await {
                Ok(again) => opened = again,
                Err(error) => break error,
            }
        };
        self.asks.close();
        while let Ok(ask) = self.asks.try_recv() {
            self.session.ask(ask, Instant::now());
        }
        self.session.fail(&error);
        self.status.send_replace(Status::Ended { error });
    }

    /// Waits and tries until there is a link again, or a reason to give up.
    async fn connect_again(&mut self, mut lost: Lost) -> Result<Opened, ClientError> {
        loop {
            if !lost.comes_back() {
                return Err(lost.into_error(&self.settings.url));
            }
            let wait = self.wait_after(&lost);
            let retry_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(%lost, retry_in_ms, "the line was cut");
            self.status.send_replace(Status::Waiting { reason: lost.to_string(), retry_in_ms });
            let try_at = Instant::now() + wait;
            loop {
                let has_room = self.session.has_room();
                tokio::select! {
                    () = sleep_until(try_at) => break,
                    ask = self.asks.recv(), if has_room => match ask {
                        Some(ask) => self.session.ask(ask, Instant::now()),
                        None => return Err(ClientError::Stopped),
                    },
                }
            }
            match open(&*self.transport, self.session.hello(), self.session.listens(), self.settings.connect_timeout)
                .await
            {
                Ok(opened) => return Ok(opened),
                Err(error) => lost = error,
            }
        }
    }

    /// How long to wait before the next try: never less than the server said.
    fn wait_after(&mut self, lost: &Lost) -> Duration {
        let wait = self.backoff.next(rand::random());
        lost.told_wait().map_or(wait, |told| told.max(wait))
    }

    /// Serves one link after the other, as long as each hands over to the next.
    async fn live(&mut self, opened: Opened) -> Ended {
        let mut link = self.begin(opened);
        let mut outgoing = Outgoing::default();
        let mut next_link: Option<BoxFuture<'static, Result<Opened, Lost>>> = None;
        let mut unused = false;
        loop {
            unused |= self.take_asks();
            if unused && self.session.is_idle() && !outgoing.needs_flush {
                goodbye(link);
                return Ended::Unused;
            }
            while self.session.is_first_taken() {
                if let Err(lost) = link.acknowledge() {
                    return Ended::Lost(lost);
                }
            }
            let has_room = !unused && self.session.has_room();
            let deadline = self.session.deadline();
            let (starved, untaken) = (self.session.starved_outlet(), self.session.untaken_outlet());
            let session = &mut self.session;
            tokio::select! {
                frame = poll_fn(|context| outgoing.poll(&mut *link, &mut || session.next_frame(), context)) => {
                    match frame.and_then(|text| self.session.on_frame(&text, Instant::now())) {
                        Ok(Directive::Move(within)) if next_link.is_none() => {
                            next_link = Some(self.open_after(within.mul_f64(rand::random())));
                        }
                        Ok(directive) => self.carry_out(&directive),
                        Err(lost) => return Ended::Lost(lost),
                    }
                }
                ask = self.asks.recv(), if has_room => match ask {
                    Some(ask) => self.session.ask(ask, Instant::now()),
                    None => unused = true,
                },
                () = sleep_until(deadline) => if let Err(lost) = self.session.on_time(Instant::now()) {
                    return Ended::Lost(lost);
                },
                opened = async { next_link.as_mut().expect("the branch is on only then").await }, if next_link.is_some() => {
                    next_link = None;
                    match opened {
                        Ok(opened) => {
                            goodbye(std::mem::replace(&mut link, self.begin(opened)));
                            outgoing = Outgoing::default();
                        }
                        Err(lost) => {
                            tracing::debug!(%lost, "failed to move");
                            let wait = self.wait_after(&lost);
                            next_link = Some(self.open_after(wait));
                        }
                    }
                }
                () = room(starved.as_ref()), if starved.is_some() => self.session.found_room(),
                () = async { untaken.as_ref().expect("the branch is on only then").is_taken().await }, if untaken.is_some() => {}
            }
        }
    }

    /// Hands a new link to the session.
    fn begin(&mut self, opened: Opened) -> Box<dyn Link> {
        let directive = self.session.connected(&opened.welcome, opened.link.acknowledges(), Instant::now());
        self.carry_out(&directive);
        self.status.send_replace(Status::Connected(Box::new(opened.welcome)));
        opened.link
    }

    /// Takes what is asked for already, so that it leaves with one flush. `true`: nobody can ask any more.
    fn take_asks(&mut self) -> bool {
        while self.session.has_room() {
            match self.asks.try_recv() {
                Ok(ask) => self.session.ask(ask, Instant::now()),
                Err(error) => return error == mpsc::error::TryRecvError::Disconnected,
            }
        }
        false
    }

    fn carry_out(&mut self, directive: &Directive) {
        if *directive == Directive::Ready
            && let Some(ready) = self.ready.take()
        {
            // Whoever called `connect` may have given up.
            let _ = ready.send(());
        }
    }

    /// Opens another link after a while. The token it resumes from is the one of now: what comes meanwhile is told twice and handed on once.
    fn open_after(&self, wait: Duration) -> BoxFuture<'static, Result<Opened, Lost>> {
        let (transport, hello, limit) = (self.transport.clone(), self.session.hello(), self.settings.connect_timeout);
        let listens = self.session.listens();
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            open(&*transport, hello, listens, limit).await
        })
    }
}

/// Tries each server once; a refusal that another would repeat ends it.
async fn open_any(transport: &dyn Transport, hello: Hello, listens: bool, limit: Duration) -> Result<Opened, Lost> {
    let mut opened = open(transport, hello.clone(), listens, limit).await;
    for _ in 1..transport.servers() {
        match &opened {
            Err(lost) if lost.comes_back() => opened = open(transport, hello.clone(), listens, limit).await,
            _ => break,
        }
    }
    opened
}

/// Opens a link and says `hello` on it.
async fn open(transport: &dyn Transport, hello: Hello, listens: bool, limit: Duration) -> Result<Opened, Lost> {
    let late = |_| Lost::Unreachable(format!("no welcome within {limit:?}"));
    timeout(limit, say_hello(transport, hello, listens)).await.map_err(late)?
}

async fn say_hello(transport: &dyn Transport, hello: Hello, listens: bool) -> Result<Opened, Lost> {
    let mut link = transport.open(listens).await?;
    let hello = Request { id: None, command: Command::Hello(hello) };
    let mut hello = serde_json::to_string(&hello).expect("frames have string keys and no failing values");
    if cfg!(feature = "next-format") {
        // A field that servers of this version do not know.
        hello = hello.replacen('{', "{\"next\":true,", 1);
    }
    link.send(hello).await?;
    while let Some(text) = link.next().await {
        let text = text?;
        match ServerFrame::parse(&text) {
            Ok(Some(ServerFrame::Welcome(welcome))) => {
                transport.welcomed(welcome.prefer.as_deref());
                return Ok(Opened { link, welcome });
            }
            Ok(Some(ServerFrame::Error(refused))) => return Err(Lost::Refused(Box::new(refused))),
            Ok(_) => {}
            Err(error) => return Err(Lost::Broken(format!("the server sent what is no frame: {error}"))),
        }
    }
    Err(Lost::Broken("the server hung up".to_owned()))
}

async fn room(outlet: Option<&Outlet>) {
    match outlet {
        Some(outlet) => outlet.room().await,
        None => std::future::pending().await,
    }
}

/// Closes a link politely, beside everything else.
fn goodbye(mut link: Box<dyn Link>) {
    tokio::spawn(async move { timeout(GOODBYE, link.close()).await });
}

/// What is being written to a link.
#[derive(Default)]
struct Outgoing {
    needs_flush: bool,
}

impl Outgoing {
    /// Feeds the link as many frames as there are and it takes, flushes, and reads. Frames are made only when the link takes
    /// them, and reading never waits for writing: otherwise two full buffers could wait for each other.
    fn poll(
        &mut self,
        mut link: &mut dyn Link,
        next_frame: &mut dyn FnMut() -> Option<String>,
        context: &mut Context<'_>,
    ) -> Poll<Result<String, Lost>> {
        while Pin::new(&mut link).poll_ready(context)?.is_ready() {
            let Some(text) = next_frame() else { break };
            Pin::new(&mut link).start_send(text)?;
            self.needs_flush = true;
        }
        if self.needs_flush && Pin::new(&mut link).poll_flush(context)?.is_ready() {
            self.needs_flush = false;
        }
        Pin::new(&mut link)
            .poll_next(context)
            .map(|text| text.unwrap_or_else(|| Err(Lost::Broken("the server hung up".to_owned()))))
    }
}
