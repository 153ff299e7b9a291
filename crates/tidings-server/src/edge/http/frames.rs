//! Any frames in one call: what a socket would answer to each, in their order.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{json as value, value::RawValue};
use tidings_proto::{
    Code, UserId,
    frames::{
        FrameError, RequestId,
        check::check,
        client::{Command, Request},
        server::{Answers, Beat, ServerFrame},
    },
};
use tokio::sync::oneshot;

use crate::{
    host::{Host, act::ActError},
    session::{
        auth::renew,
        execute::{Caller, is_read, paced, read, take_request},
        outbox::SessionId,
        reply::{Answer, Reply},
    },
};

use super::{super::Edge, documents::Calls, input::Raw, json, problem, send::rated_act};

/// Frames of one call.
const FRAMES_MAX: usize = 100;
/// No session has this number.
const NO_SESSION: SessionId = SessionId(0);

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    let all = |name: &str, side: &str| {
        let items = value!({ "$ref": format!("#/components/schemas/{side}") });
        value!({
            "type": "object",
            "required": [name],
            "properties": { name: { "type": "array", "maxItems": FRAMES_MAX, "items": items } },
        })
    };
    let call = calls.on("post", "/v1/frames", "Any frames but hello; their answers in order").of_users();
    call.takes_schema(&all("frames", "ClientFrame")).gives_schema(200, &all("answers", "ServerFrame"), "The answers");
}

#[derive(Deserialize)]
struct Frames<'a> {
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// What a frame is answered, or when.
enum Asked {
    Answered(String),
    /// It was decided, and is not durable yet.
    Decided(Option<RequestId>, oneshot::Receiver<Answer>),
}

impl Asked {
    /// Waits until it is durable.
    async fn settle(&mut self) {
        if let Self::Decided(id, answer) = self {
            let answer = answer.await.unwrap_or_else(|_| Answer::unavailable());
            *self = Self::Answered(answer.into_frame(id.take()).to_json());
        }
    }
}

/// `POST /v1/frames`. All that makes something is decided one behind the other and becomes durable together.
pub async fn frames(State(edge): State<Edge>, caller: Caller, Raw(body): Raw) -> Response {
    let frames = match serde_json::from_slice::<Frames<'_>>(&body) {
        Ok(Frames { frames }) if frames.len() <= FRAMES_MAX => frames,
        Ok(_) => {
            let why = format!("frames: at most {FRAMES_MAX} are taken in one call");
            return problem::of(&Answer::refused(Code::BadRequest, why));
        }
        Err(error) => {
            return problem::of(&Answer::refused(Code::BadRequest, format!("send {{\"frames\":[…]}}: {error}")));
        }
    };
    let mut asked = Vec::with_capacity(frames.len());
    for (n, frame) in frames.into_iter().enumerate() {
        // The first one is the call itself.
        if n > 0
            && let Some(refused) = pace(&edge.host, &caller, frame.get()).await
        {
            asked.push(Asked::Answered(refused));
            continue;
        }
        let next = ask(&edge, &caller, frame.get(), &mut asked).await;
        asked.push(next);
    }
    let mut answers = Vec::with_capacity(asked.len());
    for mut asked in asked {
        asked.settle().await;
        let Asked::Answered(answer) = asked else { unreachable!("it was settled") };
        edge.host.metrics.sent(answer.as_bytes());
        answers.push(RawValue::from_string(answer).expect("a frame is JSON"));
    }
    json(serde_json::to_string(&Answers { answers }).expect("frames are JSON")).into_response()
}

/// Waits as long as the device's rate has it. `Some`: the refusal of a frame that is too much.
async fn pace(host: &Host, caller: &Caller, text: &str) -> Option<String> {
    let refusal = paced(take_request(host, caller)).await.err()?;
    refusal.count(&host.metrics);
    let id = Request::parse(text).map_or_else(|error| error.id, |request| request.id);
    Some(refusal.into_frame(id).to_json())
}

async fn ask(edge: &Edge, caller: &Caller, text: &str, before: &mut [Asked]) -> Asked {
    let checked = Request::parse(text).and_then(|request| match check(&request.command, &edge.host.rules.limits) {
        Ok(()) => Ok(request),
        Err(message) => Err(FrameError { id: request.id, code: Code::BadRequest, message }),
    });
    let Request { id, command } = match checked {
        Ok(request) => request,
        Err(error) => {
            edge.host.metrics.refused.of(error.code).inc();
            return Asked::Answered(Answer::refused(error.code, error.message).into_frame(error.id).to_json());
        }
    };
    edge.host.metrics.frames_in.of(command.kind()).inc();
    if is_read(&command) {
        // Who reads behind what was made in the same call finds it.
        for asked in before {
            asked.settle().await;
        }
        return Asked::Answered(match read(&edge.host, caller, id.clone(), command).await {
            Ok(frame) => frame,
            Err(refusal) => refusal.into_frame(id).to_json(),
        });
    }
    let outcome = match command {
        Command::Ping(_) => return Asked::Answered(ServerFrame::Pong(Beat { re: id }).to_json()),
        Command::Auth(auth) => {
            let renewed = renew_for_device(edge, caller, &auth.token).await;
            let answer = renewed.map_or_else(|refusal| refusal, |()| Answer::Done);
            answer.count(&edge.host.metrics);
            return Asked::Answered(answer.into_frame(id).to_json());
        }
        Command::Watch(watch) => watch_for_device(&edge.host, caller, &watch.users).await,
        Command::Typing(typing) => edge.host.typing(&caller.user, typing.conversation, NO_SESSION).await,
        command => {
            let (reply, answer) = Reply::to_call();
            rated_act(&edge.host, caller, command, reply).await;
            return Asked::Decided(id, answer);
        }
    };
    let answer = outcome.map_or_else(|error| edge.host.answer(error), |()| Answer::Done);
    Asked::Answered(answer.into_frame(id).to_json())
}

/// A new token for the connections that the device has, also for those that cannot say so themselves.
async fn renew_for_device(edge: &Edge, caller: &Caller, token: &str) -> Result<(), Answer> {
    let Some(expires_ms) = renew(&edge.auth, caller, token, edge.host.clock.unix_ms()).await? else { return Ok(()) };
    let sessions = caller.home.lock().sessions.clone();
    for session in sessions.iter().filter(|session| session.device == caller.device) {
        session.outbox.renew(expires_ms);
    }
    Ok(())
}

/// A call is no session: what is watched is told to those that the token's device has.
async fn watch_for_device(host: &Host, caller: &Caller, users: &[UserId]) -> Result<(), ActError> {
    let sessions = caller.home.lock().sessions.clone();
    for session in sessions.iter().filter(|session| session.device == caller.device) {
        host.watch(&caller.user, &session.outbox, users).await?;
    }
    Ok(())
}
