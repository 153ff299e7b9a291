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
        let (mut frames, mut bytes) = (Vec::new(), 0);
        while let Some(next) = self.waiting.front() {
            if !frames.is_empty() && (frames.len() == BATCH_FRAMES || bytes + next.len() > BATCH_BYTES) {
                break;
            }
            bytes += next.len();
            let frame = self.waiting.pop_front().expect("it was looked at");
            frames.push(RawValue::from_string(frame).expect("the session's frames are JSON"));
        }
        Batch { frames }
    }
}

async fn post(http: Http, batch: Batch) -> Result<Vec<String>, Lost> {
    let answers: Answers = http.call(Method::POST, "/v1/frames", Some(&batch)).await.map_err(Lost::of_call)?;
    Ok(answers.answers.into_iter().map(|answer| Box::<str>::from(answer).into_string()).collect())
}
