//! Links over plain HTTP: frames go out as calls, and come in as events or by polls. Slower than a WebSocket, and through any proxy.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{Sink, Stream, StreamExt, future::BoxFuture, stream::BoxStream};
use tidings_proto::frames::client::{Command, Hello, Request};
use tokio::sync::Mutex;

use super::{Link, Transport, calls::Calls, events, polls};
use crate::{
    error::{ClientError, Lost},
    http::{Http, Login},
};

/// What a link says to show that it lives, where it has nothing to tell.
pub(super) const PONG: &str = r#"{"type":"pong"}"#;

type Frames = BoxStream<'static, Result<String, Lost>>;

/// How frames come in.
#[derive(Clone, Copy, Debug)]
enum Receive {
    Events,
    /// How long each waits at the server, and how long between two, where that is not the server's to say.
    Polls {
        wait_s: u64,
        pause: Option<Duration>,
    },
}

/// A way to a server that needs nothing but HTTP.
pub struct OverHttp {
    http: Http,
    receive: Receive,
    /// Of a user whom a name was enough for: logged in once.
    login: Arc<Mutex<Option<Login>>>,
}

impl OverHttp {
    /// Frames come in as server-sent events.
    pub fn events(url: &str) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(url)?, receive: Receive::Events, login: Arc::default() })
    }

    /// Frames come in by polls that wait.
    pub fn polls(url: &str) -> Result<Self, ClientError> {
        let receive = Receive::Polls { wait_s: polls::WAIT_S, pause: None };
        Ok(Self { http: Http::new(url)?, receive, login: Arc::default() })
    }

    /// Frames come in by polls that are answered at once. `pause`: how long to wait when nothing was new, instead of what the server
    /// wants.
    pub fn plain_polls(url: &str, pause: Option<Duration>) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(url)?, receive: Receive::Polls { wait_s: 0, pause }, login: Arc::default() })
    }
}

#[async_trait]
impl Transport for OverHttp {
    async fn open(&self, _listens: bool) -> Result<Box<dyn Link>, Lost> {
        let way = Way { http: self.http.clone(), receive: self.receive, login: self.login.clone() };
        Ok(Box::new(HttpLink { state: State::Silent(Box::new(way)), calls: Calls::default() }))
    }
}

struct Way {
    http: Http,
    receive: Receive,
    login: Arc<Mutex<Option<Login>>>,
}

impl Way {
    async fn open(self, hello: Hello) -> Result<(Http, Frames), Lost> {
        let token = token(&self.http, &self.login, &hello).await?;
        let http = self.http.with_token(&token);
        let frames = match self.receive {
            Receive::Events => events::open(&http, &hello).await?,
            Receive::Polls { wait_s, pause } => polls::open(&http, &hello, wait_s, pause).await?,
        };
        Ok((http, frames))
    }
}

/// The token of who says `hello`.
pub(super) async fn token(http: &Http, login: &Mutex<Option<Login>>, hello: &Hello) -> Result<String, Lost> {
    if let Some(token) = &hello.token {
        return Ok(token.clone());
    }
    let mut login = login.lock().await;
    if let Some(login) = &*login {
        return Ok(login.token.clone());
    }
    let device = hello.device.as_ref().map(|device| device.as_str());
    let new = http.login(hello.username.as_deref().unwrap_or_default(), device).await.map_err(Lost::of_call)?;
    Ok(login.insert(new).token.clone())
}

enum State {
    /// Nobody said `hello` yet.
    Silent(Box<Way>),
    Opening(BoxFuture<'static, Result<(Http, Frames), Lost>>),
    Open(Frames),
    Ended,
}

struct HttpLink {
    state: State,
    calls: Calls,
}

impl Link for HttpLink {}

impl Stream for HttpLink {
    type Item = Result<String, Lost>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if let State::Opening(opening) = &mut self.state {
            match ready!(opening.as_mut().poll(context)) {
                Ok((http, frames)) => {
                    self.state = State::Open(frames);
                    self.calls.begin(http);
                }
                Err(lost) => {
                    self.state = State::Ended;
                    return Poll::Ready(Some(Err(lost)));
                }
            }
        }
        if let Poll::Ready(answer) = self.calls.poll_answer(context) {
            return Poll::Ready(Some(answer));
        }
        match &mut self.state {
            State::Open(frames) => frames.poll_next_unpin(context),
            State::Ended => Poll::Ready(None),
            State::Silent(_) | State::Opening(_) => Poll::Pending,
        }
    }
}

impl Sink<String> for HttpLink {
    type Error = Lost;

    fn poll_ready(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        // Whoever waits for room is woken by the answer that makes it: `poll_next` waits for that.
        if self.calls.has_room() { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn start_send(mut self: Pin<&mut Self>, text: String) -> Result<(), Lost> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Silent(way) => match Request::parse(&text) {
                Ok(Request { command: Command::Hello(hello), .. }) => {
                    self.state = State::Opening(Box::pin(way.open(hello)));
                    Ok(())
                }
                _ => Err(Lost::Broken("the first frame must be hello".to_owned())),
            },
            state => {
                self.state = state;
                self.calls.push(text);
                Ok(())
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        // What was taken leaves with the next look for answers.
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        while !self.calls.is_idle() {
            ready!(self.calls.poll_answer(context))?;
        }
        self.state = State::Ended;
        Poll::Ready(Ok(()))
    }
}
