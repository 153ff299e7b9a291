//! Poll and long-poll: what changed since a token, at once or as soon as something does.

use std::{str::FromStr, time::Duration};

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, StatusCode, Uri},
    response::{IntoResponse, Response},
};
use tidings_proto::{CloseCode, Code, limits::TAIL_MAX};
use tokio::time::Instant;
use utoipa::ToSchema;

use crate::{
    home::{
        inbox::{self, Differences},
        sync::Token,
    },
    metrics::Transport,
    session::{
        attachment::Attachment,
        execute::{Caller, bad_sync},
        outbox::Next,
        reply::Answer,
    },
};

use super::{
    Edge, expiry,
    http::{Poller, documents::Calls, input::parameters, json, problem},
};

const POLL_AFTER: HeaderName = HeaderName::from_static("tidings-poll-after");
const WAIT_MAX_S: u64 = 60;
/// When to ask again where nothing was new, in seconds: after a plain poll, after a wait, and of a server that stops.
const AFTER_POLL_S: u64 = 5;
const AFTER_WAIT_S: u64 = 0;
const AFTER_STOP_S: u64 = 1;

#[derive(Default, ToSchema)]
pub struct Params {
    sync: Option<String>,
    wait: Option<u64>,
    tail: Option<usize>,
}

impl Params {
    /// `Err` says what is wrong.
    fn read(query: &str) -> Result<Self, String> {
        fn number<T: FromStr>(name: &str, text: &str) -> Result<Option<T>, String> {
            text.parse().map(Some).map_err(|_| format!("{name}: {text:?} is no number"))
        }
        let mut params = Self::default();
        for (name, value) in parameters(query) {
            match name {
                "sync" => params.sync = Some(value.into_owned()),
                "wait" => params.wait = number(name, &value)?,
                "tail" => params.tail = number(name, &value)?,
                _ => {}
            }
        }
        Ok(params)
    }
}

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    calls
        .on("get", "/v1/sync", "What changed since a token, at once or as soon as something does")
        .of_users()
        .asks::<Params>()
        .gives_frame(200, "changes", "What differs")
        .gives_nothing(204, "Nothing is new: keep the token")
        .with_header(204, "Tidings-Poll-After", "In how many seconds to ask again.")
        .refuses(&[Code::BadSync]);
}

/// `GET /v1/sync`.
pub async fn sync(State(edge): State<Edge>, Poller(caller): Poller, uri: Uri) -> Response {
    let params = match Params::read(uri.query().unwrap_or_default()) {
        Ok(params) => params,
        Err(why) => return problem::of(&Answer::refused(Code::BadRequest, why)),
    };
    let (wait_s, tail) = (params.wait.unwrap_or(0), params.tail.unwrap_or(0));
    let too_much = |name: &str, value: u64, max: u64| {
        problem::of(&Answer::refused(Code::BadRequest, format!("{name}: {value} is above the maximum of {max}")))
    };
    if wait_s > WAIT_MAX_S {
        return too_much("wait", wait_s, WAIT_MAX_S);
    }
    if tail > TAIL_MAX {
        return too_much("tail", tail as u64, TAIL_MAX as u64);
    }
    let Ok(since) = edge.host.read_token(&caller.home, params.sync.as_deref()) else {
        return problem::of(&bad_sync());
    };
    let found = if wait_s > 0 && since.is_some() {
        wait(&edge, &caller, since, Duration::from_secs(wait_s)).await
    } else {
        look(&edge, &caller, since).await
    };
    match found {
        Ok(Found::Changes(differences)) => match edge.host.changes(&caller.home, None, differences, tail).await {
            Ok(changes) => {
                edge.host.metrics.sent(changes.as_bytes());
                ([("cache-control", "no-store")], json(changes)).into_response()
            }
            Err(error) => problem::of(&edge.host.answer(error)),
        },
        Ok(Found::Nothing { again_s }) => {
            (StatusCode::NO_CONTENT, [(POLL_AFTER, HeaderValue::from(again_s))]).into_response()
        }
        Err(refusal) => problem::of(&refusal),
    }
}

enum Found {
    Changes(Differences),
    Nothing { again_s: u64 },
}

impl Found {
    fn new(differences: Differences, since: Option<Token>, again_s: u64) -> Self {
        // In the middle of a long answer also its empty end moves the client's token on.
        let is_page = matches!(since, Some(Token::More(_)));
        let is_empty = differences.items.is_empty() && differences.removed.is_empty();
        if is_empty && !differences.full && !is_page { Self::Nothing { again_s } } else { Self::Changes(differences) }
    }
}

/// What is new now. Nobody is attached: it costs a look into memory.
async fn look(edge: &Edge, caller: &Caller, since: Option<Token>) -> Result<Found, Answer> {
    edge.host.ask_large(&caller.home).await.map_err(|error| edge.host.answer(error))?;
    let differences = inbox::differences(&caller.home.lock().state, since);
    Ok(Found::new(differences, since, AFTER_POLL_S))
}

/// What is new now, or as soon as something is.
async fn wait(edge: &Edge, caller: &Caller, since: Option<Token>, wait: Duration) -> Result<Found, Answer> {
    let _connected = edge.host.metrics.connected(Transport::LongPoll);
    let (until, mut expiry) = (Instant::now() + wait, expiry::of(edge, caller));
    let (attachment, mut attached) = Attachment::begin(&edge.host, caller, Some(since)).await?;
    let mut differences = attached.differences.take().expect("a session that shows a token is told what differs");
    loop {
        match Found::new(differences, since, AFTER_WAIT_S) {
            Found::Nothing { .. } => {}
            found => return Ok(found),
        }
        loop {
            // A stop first: it wakes the outbox, too, and is no news.
            tokio::select! {
                biased;
                () = edge.shutdown.begun() => return Ok(Found::Nothing { again_s: AFTER_STOP_S }),
                () = attachment.outbox.changed() => {}
                () = tokio::time::sleep_until(until) => return Ok(Found::Nothing { again_s: AFTER_WAIT_S }),
                () = expiry::at(edge, expiry.end_ms()) => return Err(edge.auth.refuse("the token has expired; log in again")),
            }
            if let Some(expires_ms) = expiry::renewed(edge, &attachment.outbox) {
                expiry.extend(expires_ms);
            }
            match attachment.outbox.wake() {
                Next::Empty => {}
                Next::Frames => break,
                Next::Close(CloseCode::Revoked) => {
                    return Err(edge.auth.refuse("this device was signed out; log in again"));
                }
                Next::Close(_) => return Ok(Found::Nothing { again_s: AFTER_WAIT_S }),
            }
        }
        differences = attachment.changes_since(since).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_read_as_it_is_meant() {
        let read = |query: &str| Params::read(query).map(|Params { sync, wait, tail }| (sync, wait, tail));
        let sync = |text: &str| Some(text.to_owned());
        assert_eq!(read(""), Ok((None, None, None)));
        assert_eq!(read("sync=AQ-_&wait=30&tail=5&more=1"), Ok((sync("AQ-_"), Some(30), Some(5))));
        assert_eq!(read("tail=0&sync=a%2Fb+c"), Ok((sync("a/b c"), None, Some(0))));
        assert_eq!(read("sync=%f&&x"), Ok((sync("%f"), None, None)));
        for wrong in ["wait=x", "wait=", "wait", "tail=-1", "wait=99999999999999999999"] {
            let name = wrong.split('=').next().unwrap();
            assert!(read(wrong).unwrap_err().starts_with(name), "{wrong}");
        }
    }
}
