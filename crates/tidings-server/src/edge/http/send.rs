//! Sending over HTTP, and any frames in one call.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_proto::{
    Code, Seq, UserId,
    frames::{
        FrameError,
        check::check,
        client::{Command, Request, Send, To},
        server::{Answers, Beat, ServerFrame},
    },
};

use crate::{
    host::{Host, act::ActError},
    session::{
        execute::{Caller, act, is_rated, is_read, read, take_rate},
        outbox::SessionId,
        reply::{Answer, Reply},
    },
};

use super::{
    super::Edge,
    input::{Body, Raw, RepeatId},
    json, perform, problem,
};

/// Frames of one call.
const FRAMES_MAX: usize = 100;
/// No session has this number.
const NO_SESSION: SessionId = SessionId(0);

/// A `send`, whose `type` and `client_msg_id` may be left out.
#[derive(Deserialize)]
pub struct SendBody {
    to: To,
    client_msg_id: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    mentions: Vec<String>,
    reply_to: Option<Seq>,
    #[serde(default)]
    attachments: Vec<String>,
    data: Option<Box<RawValue>>,
}

impl SendBody {
    pub fn into_command(self, repeat: RepeatId) -> Command {
        let Self { to, client_msg_id, text, mentions, reply_to, attachments, data } = self;
        let client_msg_id = repeat.or_given(client_msg_id);
        Command::Send(Send { to, client_msg_id, text, mentions, reply_to, attachments, data })
    }
}

/// `POST /v1/messages`.
pub async fn message(
    State(edge): State<Edge>,
    caller: Caller,
    repeat: RepeatId,
    Body(body): Body<SendBody>,
) -> Response {
    perform(&edge, &caller, body.into_command(repeat)).await
}

#[derive(Deserialize)]
struct Frames<'a> {
    #[serde(borrow)]
    frames: Vec<&'a RawValue>,
}

/// `POST /v1/frames`: what each frame would be answered over WebSocket, in order.
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
    let mut answers = Vec::with_capacity(frames.len());
    for frame in frames {
        let answer = one_frame(&edge, &caller, frame.get()).await;
        edge.host.metrics.sent(answer.as_bytes());
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
    let outcome = match command {
        Command::Ping(_) => return ServerFrame::Pong(Beat { re: id }).to_json(),
        Command::Watch(watch) => watch_for_device(&edge.host, caller, &watch.users).await,
        Command::Typing(typing) => edge.host.typing(&caller.user, typing.conversation, NO_SESSION).await,
        command => {
            let (reply, answer) = Reply::to_call();
            rated_act(&edge.host, caller, command, reply).await;
            return answer.await.unwrap_or_else(|_| Answer::unavailable()).into_frame(id).to_json();
        }
    };
    outcome.map_or_else(|error| edge.host.answer(error), |()| Answer::Done).into_frame(id).to_json()
}

/// A call is no session: what is watched is told to those that the token's device has.
async fn watch_for_device(host: &Host, caller: &Caller, users: &[UserId]) -> Result<(), ActError> {
    let sessions = caller.home.lock().sessions.clone();
    for session in sessions.iter().filter(|session| session.device == caller.device) {
        host.watch(&caller.user, &session.outbox, users).await?;
    }
    Ok(())
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
