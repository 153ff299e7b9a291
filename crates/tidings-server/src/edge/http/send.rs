//! Sending over HTTP, and any frames in one call.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_proto::{
    Code,
    frames::{
        FrameError,
        check::check,
        client::{Command, Request},
        server::Answers,
    },
};

use crate::{
    host::Host,
    session::{
        execute::{Caller, act, is_rated, is_read, read, take_rate},
        reply::{Answer, Reply},
    },
};

use super::{super::Edge, answered, json, problem};

/// Frames of one call.
const FRAMES_MAX: usize = 100;

/// `POST /v1/messages`: the body is a `send`, its `type` may be left out.
pub async fn message(State(edge): State<Edge>, caller: Caller, body: String) -> Response {
    edge.host.metrics.received_bytes.inc_by(body.len() as u64);
    let send = match serde_json::from_str(&body) {
        Ok(send) => Command::Send(send),
        Err(error) => return problem::of(&Answer::refused(Code::BadRequest, error.to_string())),
    };
    if let Err(message) = check(&send, &edge.host.rules.limits) {
        return problem::of(&Answer::refused(Code::BadRequest, message));
    }
    answered(async |reply| rated_act(&edge.host, &caller, send, reply).await).await
}

#[derive(Deserialize)]
struct Frames<'a> {
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// `POST /v1/frames`: what each frame would be answered over WebSocket, in order.
pub async fn frames(State(edge): State<Edge>, caller: Caller, body: String) -> Response {
    edge.host.metrics.received_bytes.inc_by(body.len() as u64);
    let frames = match serde_json::from_str::<Frames<'_>>(&body) {
        Ok(Frames { frames }) if frames.len() <= FRAMES_MAX => frames,
        Ok(_) => {
            let why = format!("frames: at most {FRAMES_MAX} are taken in one call");
            return problem::of(&Answer::refused(Code::BadRequest, why));
        }
        Err(error) => {
            return problem::of(&Answer::refused(Code::BadRequest, format!("send {{\"frames\":[…]}}: {error}")));
        }
    };
    let mut answers = Vec::with_capacity(frames.len());
    for frame in frames {
        let answer = one_frame(&edge, &caller, frame.get()).await;
        edge.host.metrics.sent(std::slice::from_ref(&answer));
        answers.push(RawValue::from_string(answer).expect("a frame is JSON"));
    }
    json(serde_json::to_string(&Answers { answers }).expect("frames are JSON")).into_response()
}

async fn one_frame(edge: &Edge, caller: &Caller, text: &str) -> String {
    let checked = Request::parse(text).and_then(|request| match check(&request.command, &edge.host.rules.limits) {
        Ok(()) => Ok(request),
        Err(message) => Err(FrameError { id: request.id, code: Code::BadRequest, message }),
    });
    let Request { id, command } = match checked {
        Ok(request) => request,
        Err(error) => {
            edge.host.metrics.refused.of(error.code).inc();
            return Answer::refused(error.code, error.message).into_frame(error.id).to_json();
        }
    };
    edge.host.metrics.frames_in.of(command.kind()).inc();
    if is_read(&command) {
        return match read(&edge.host, caller, id.clone(), command).await {
            Ok(frame) => frame,
            Err(refusal) => refusal.into_frame(id).to_json(),
        };
    }
    let (reply, answer) = Reply::to_call();
    rated_act(&edge.host, caller, command, reply).await;
    answer.await.unwrap_or_else(|_| Answer::unavailable()).into_frame(id).to_json()
}

/// Acts at the user's rate: a caller that is a little too fast waits, one that is much too fast is refused.
pub async fn rated_act(host: &Host, caller: &Caller, command: Command, reply: Reply) {
    let reply = reply.counted(&host.metrics);
    if is_rated(&command) {
        match take_rate(host, caller) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(refusal) => return reply.answer(refusal),
        }
    }
    act(host, caller, command, reply).await;
}
