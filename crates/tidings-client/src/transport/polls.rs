//! News by asking: `GET /v1/sync`, each time with the token of the last answer, usually waiting at the server until there is something.
//! What came is told as `changes` with the newest entries of each conversation; the session fetches what lies before them.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::BoxStream};
use http::{Method, Response};
use tidings_proto::{
    Code, DeviceId, UserId,
    frames::{
        client::Hello,
        server::{Changes, ServerFrame, Welcome},
    },
    limits::Limits,
    percent,
};

use super::http::PONG;
use crate::{
    error::{ClientError, Lost},
    http::Http,
};

/// How long one question may wait at the server, in seconds.
pub(super) const WAIT_S: u64 = 30;
/// Nothing is heard for longer than this only if the line is broken.
const HEARTBEAT_S: u64 = 2 * WAIT_S;
/// Newest entries that come with each changed conversation.
const TAIL: usize = 20;
/// Between two questions, where the server names no time and does not wait.
const PAUSE: Duration = Duration::from_secs(5);

#[derive(serde::Deserialize)]
struct Me {
    user: UserId,
    device: DeviceId,
}

#[derive(serde::Deserialize)]
struct Page {
    sync: String,
}

struct Polls {
    http: Http,
    token: String,
    /// The first answer of a resumed session comes at once, and comes also if nothing differs.
    resumes: bool,
    wait_s: u64,
    /// Instead of what the server wants.
    pause: Option<Duration>,
    said: Option<String>,
}

/// Says who it is and where the account stands; `welcome` is made of that. Each question may wait at the server for `wait_s`; with 0 it does
/// not, and `pause` lies between two.
pub(super) async fn open(
    http: &Http,
    hello: &Hello,
    wait_s: u64,
    pause: Option<Duration>,
) -> Result<BoxStream<'static, Result<String, Lost>>, Lost> {
    let welcome = welcome(http, hello, HEARTBEAT_S).await?;
    let token = welcome.sync.clone();
    let said = Some(ServerFrame::Welcome(welcome).to_json());
    let polls = Polls { http: http.clone(), token, resumes: hello.sync.is_some(), wait_s, pause, said };
    Ok(stream::unfold(Some(polls), next_frame).boxed())
}

/// Who the token is of, and where the account stands, as a socket would say it.
pub(super) async fn welcome(http: &Http, hello: &Hello, heartbeat_s: u64) -> Result<Welcome, Lost> {
    let me: Me = http.call(Method::GET, "/v1/me", None::<&()>).await.map_err(Lost::of_call)?;
    let sync = match &hello.sync {
        Some(token) => token.clone(),
        None => {
            let page: Page =
                http.call(Method::GET, "/v1/conversations?limit=1", None::<&()>).await.map_err(Lost::of_call)?;
            page.sync
        }
    };
    Ok(Welcome {
        user: me.user,
        device: me.device,
        session: String::new(),
        sync,
        prefer: None,
        heartbeat_s,
        limits: Limits::default(),
        features: Vec::new(),
    })
}

/// What differs since a token: the first `changes` of a connection that resumes, which comes also if nothing does.
pub(super) async fn missed(http: &Http, token: &str, tail: usize) -> Result<Changes<'static>, Lost> {
    let answer = ask(http, token, 0, tail).await?;
    if answer.body().is_empty() { Ok(nothing(token)) } else { changes(&answer) }
}

/// Asks what differs since a token. An answer without a body: nothing.
async fn ask(http: &Http, token: &str, wait_s: u64, tail: usize) -> Result<Response<Bytes>, Lost> {
    let path = format!("/v1/sync?sync={}&wait={wait_s}&tail={tail}", percent::encoded(token));
    let answer = match http.exchange(Method::GET, &path, None::<&()>).await {
        // Whose token is worth nothing gets everything anew, as over a socket.
        Err(ClientError::Refused(refused)) if refused.code == Code::BadSync => {
            http.exchange(Method::GET, &format!("/v1/sync?tail={tail}"), None::<&()>).await
        }
        answer => answer,
    };
    answer.map_err(Lost::of_call)
}

fn changes(answer: &Response<Bytes>) -> Result<Changes<'static>, Lost> {
    let text = std::str::from_utf8(answer.body()).map_err(|error| Lost::Broken(error.to_string()))?;
    match ServerFrame::parse(text) {
        Ok(Some(ServerFrame::Changes(changes))) => Ok(changes),
        _ => Err(Lost::Broken("the server sent no changes".to_owned())),
    }
}

/// Nothing differs from what the client has.
fn nothing(token: &str) -> Changes<'static> {
    let (items, removed, sync) = (Vec::new(), Vec::new(), token.to_owned());
    Changes { re: None, items, removed, sync, more: false, full: false }
}

async fn next_frame(polls: Option<Polls>) -> Option<(Result<String, Lost>, Option<Polls>)> {
    let mut polls = polls?;
    if let Some(said) = polls.said.take() {
        return Some((Ok(said), Some(polls)));
    }
    match polls.ask().await {
        Ok(frame) => Some((Ok(frame), Some(polls))),
        Err(lost) => Some((Err(lost), None)),
    }
}

impl Polls {
    async fn ask(&mut self) -> Result<String, Lost> {
        let resumes = std::mem::take(&mut self.resumes);
        let wait_s = if resumes { 0 } else { self.wait_s };
        let answer = ask(&self.http, &self.token, wait_s, TAIL).await?;
        if answer.body().is_empty() {
            let nothing = || ServerFrame::Changes(nothing(&self.token)).to_json();
            return Ok(if resumes { nothing() } else { self.silence(answer.headers()).await });
        }
        let changes = changes(&answer)?;
        self.token.clone_from(&changes.sync);
        // The next page is the next answer: nobody needs to ask for it besides.
        Ok(ServerFrame::Changes(Changes { more: false, ..changes }).to_json())
    }

    /// Nothing was new: asks again when the server wants it.
    async fn silence(&self, headers: &http::HeaderMap) -> String {
        let after = headers.get("tidings-poll-after").and_then(|after| after.to_str().ok());
        let after = after.and_then(|after| after.parse().ok());
        let pause = self.pause.or(after.map(Duration::from_secs)).unwrap_or(PAUSE);
        tokio::time::sleep(pause.min(Duration::from_secs(WAIT_S))).await;
        PONG.to_owned()
    }
}
