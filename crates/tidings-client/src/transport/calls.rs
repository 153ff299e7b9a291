//! The way out where there is no socket: frames leave in batches, one `POST /v1/frames` after the other, and their answers come
//! back in order.

use std::{
    collections::VecDeque,
    task::{Context, Poll, ready},
};

use futures_util::future::BoxFuture;
use http::Method;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tidings_proto::frames::{
    client::{Command, Request},
    server::ServerFrame,
};

use crate::{error::Lost, http::Http};

/// What one call takes.
const BATCH_FRAMES: usize = 100;
/// The whole body may be as large as one frame of a socket: 64 KiB, some of it for what surrounds the frames.
const BATCH_BYTES: usize = 60 * 1024;

#[derive(Default)]
pub(super) struct Calls {
    /// Who to call; until then frames wait.
    http: Option<Http>,
    waiting: VecDeque<String>,
    under_way: Option<BoxFuture<'static, Result<Vec<String>, Lost>>>,
    answers: VecDeque<String>,
}

#[derive(Serialize)]
struct Batch {
    frames: Vec<Box<RawValue>>,
    /// New tokens among them: the place of the frame, and the token that counts when it is answered well.
    #[serde(skip)]
    renewals: Vec<(usize, String)>,
}

#[derive(Deserialize)]
struct Answers {
    answers: Vec<Box<RawValue>>,
}

impl Calls {
    pub fn begin(&mut self, http: Http) {
        self.http = Some(http);
    }

    pub fn has_room(&self) -> bool {
        self.waiting.len() < BATCH_FRAMES
    }

    pub fn push(&mut self, frame: String) {
        self.waiting.push_back(frame);
    }

    /// Nothing waits to be sent or answered.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Sends what waits, and tells the next answer.
    pub fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<Result<String, Lost>> {
        loop {
            if let Some(answer) = self.answers.pop_front() {
                return Poll::Ready(Ok(answer));
            }
            if self.under_way.is_none() {
                let Some(http) = self.http.clone().filter(|_| !self.waiting.is_empty()) else { return Poll::Pending };
                let batch = self.next_batch();
                self.under_way = Some(Box::pin(post(http, batch)));
            }
            let call = self.under_way.as_mut().expect("it was begun above");
            let answers = ready!(call.as_mut().poll(context));
            self.under_way = None;
            self.answers.extend(answers?);
        }
    }

    fn next_batch(&mut self) -> Batch {
        let (mut frames, mut renewals, mut bytes) = (Vec::new(), Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            if !frames.is_empty() && (frames.len() == BATCH_FRAMES || bytes + next.len() > BATCH_BYTES) {
                break;
            }
            bytes += next.len();
            let frame = self.waiting.pop_front().expect("it was looked at");
            renewals.extend(renewal(&frame).map(|token| (frames.len(), token)));
            frames.push(RawValue::from_string(frame).expect("the session's frames are JSON"));
        }
        Batch { frames, renewals }
    }
}

async fn post(http: Http, batch: Batch) -> Result<Vec<String>, Lost> {
    let answers: Answers = http.call(Method::POST, "/v1/frames", Some(&batch)).await.map_err(Lost::of_call)?;
    let answers: Vec<String> =
        answers.answers.into_iter().map(|answer| Box::<str>::from(answer).into_string()).collect();
    for (place, token) in batch.renewals {
        if matches!(answers.get(place).map(|answer| ServerFrame::parse(answer)), Some(Ok(Some(ServerFrame::Ok(_))))) {
            http.renew(&token);
        }
    }
    Ok(answers)
}

/// The new token that a frame shows, if it is one that does.
fn renewal(frame: &str) -> Option<String> {
    // Few frames are: most need not be read.
    if !frame.contains(r#""auth""#) {
        return None;
    }
    match Request::parse(frame) {
        Ok(Request { command: Command::Auth(auth), .. }) => Some(auth.token),
        _ => None,
    }
}
