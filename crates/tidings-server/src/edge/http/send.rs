//! Sending over HTTP.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_proto::{
    Seq,
    frames::client::{Command, Send, To},
};

use crate::{
    host::Host,
    session::{
        execute::{Caller, act, is_rated, take_send},
        reply::Reply,
    },
};

use super::{
    super::Edge,
    input::{Body, RepeatId},
    perform,
};

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

/// Acts at the user's rate: a caller that is a little too fast waits, one that is much too fast is refused.
pub async fn rated_act(host: &Host, caller: &Caller, command: Command, reply: Reply) {
    let reply = reply.counted(&host.metrics);
    if is_rated(&command) {
        match take_send(host, caller) {
            Ok(wait) if wait.is_zero() => {}
            Ok(wait) => tokio::time::sleep(wait).await,
            Err(refusal) => return reply.answer(refusal),
        }
    }
    act(host, caller, command, reply).await;
}
