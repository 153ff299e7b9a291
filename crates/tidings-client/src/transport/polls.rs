//! News by asking: `GET /v1/sync`, each time with the token of the last answer, waiting at the server until there is something.
//! What came is told as `changes` with the newest entries of each conversation; the session fetches what lies before them.

use std::time::Duration;

use futures_util::{StreamExt, stream, stream::BoxStream};
use http::Method;
use tidings_proto::{
    Code, DeviceId, UserId,
    frames::{
        client::Hello,
        server::{Changes, ServerFrame, Welcome},
    },
    limits::Limits,
};

use super::http::PONG;
use crate::{
    error::{ClientError, Lost},
    http::{Http, percent_encoded},
};

/// How long one question may wait at the server, in seconds.
const WAIT_S: u64 = 30;
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
    said: Option<String>,
}

/// Says who it is and where the account stands; `welcome` is made of that.
pub(super) async fn open(http: &Http, hello: &Hello) -> Result<BoxStream<'static, Result<String, Lost>>, Lost> {
    let me: Me = http.call(Method::GET, "/v1/me", None::<&()>).await.map_err(Lost::of_call)?;
    let token = match &hello.sync {
        Some(token) => token.clone(),
        None => {
            let page: Page =
                http.call(Method::GET, "/v1/conversations?limit=1", None::<&()>).await.map_err(Lost::of_call)?;
            page.sync
        }
    };
    let welcome = Welcome {
        user: me.user,
        device: me.device,
        session: String::new(),
        sync: token.clone(),
        prefer: None,
        heartbeat_s: HEARTBEAT_S,
        limits: Limits::default(),
        features: Vec::new(),
    };
    let said = Some(ServerFrame::Welcome(welcome).to_json());
    let polls = Polls { http: http.clone(), token, resumes: hello.sync.is_some(), said };
    Ok(stream::unfold(Some(polls), next_frame).boxed())
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
        let wait_s = if resumes { 0 } else { WAIT_S };
        let token = percent_encoded(&self.token);
        let path = format!("/v1/sync?sync={token}&wait={wait_s}&tail={TAIL}");
        let answer = match self.http.exchange(Method::GET, &path, None::<&()>).await {
            // Whose token is worth nothing gets everything anew, as over a socket.
            Err(ClientError::Refused(refused)) if refused.code == Code::BadSync => {
                self.http.exchange(Method::GET, &format!("/v1/sync?tail={TAIL}"), None::<&()>).await
            }
            answer => answer,
        };
        let answer = answer.map_err(Lost::of_call)?;
        if answer.body().is_empty() {
            return Ok(if resumes { self.nothing() } else { self.silence(answer.headers()).await });
        }
        let text = std::str::from_utf8(answer.body()).map_err(|error| Lost::Broken(error.to_string()))?;
        match ServerFrame::parse(text) {
            Ok(Some(ServerFrame::Changes(changes))) => {
                self.token.clone_from(&changes.sync);
                // The next page is the next answer: nobody needs to ask for it besides.
                Ok(ServerFrame::Changes(Changes { more: false, ..changes }).to_json())
            }
            _ => Err(Lost::Broken("the server sent no changes".to_owned())),
        }
    }

    /// Nothing differs from what the client has.
    fn nothing(&self) -> String {
        let sync = self.token.clone();
        let nothing = Changes { re: None, items: Vec::new(), removed: Vec::new(), sync, more: false, full: false };
        ServerFrame::Changes(nothing).to_json()
    }

    /// Nothing was new: asks again when the server wants it.
    async fn silence(&self, headers: &http::HeaderMap) -> String {
        let after = headers.get("tidings-poll-after").and_then(|after| after.to_str().ok());
        let after = after.and_then(|after| after.parse().ok());
        let pause = after.map_or(PAUSE, Duration::from_secs);
        tokio::time::sleep(pause.min(Duration::from_secs(WAIT_S))).await;
        PONG.to_owned()
    }
}
