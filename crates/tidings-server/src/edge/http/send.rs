//! Sending over HTTP.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use serde_json::value::RawValue;
use tidings_proto::{
    Code, Seq,
    frames::client::{Command, Send, To},
};
use utoipa::ToSchema;

use crate::{
    host::Host,
    session::{
        execute::{Caller, act, is_rated, paced, take_send},
        reply::Reply,
    },
};

use super::{
    super::Edge,
    documents::Calls,
    input::{Body, RepeatId},
    perform,
};

/// What may go wrong with a send.
pub const REFUSALS: &[Code] =
    &[Code::Blocked, Code::NotFound, Code::UnknownUser, Code::UnknownConversation, Code::UnknownEntry];

/// The call of this file.
pub fn describe(calls: &mut Calls) {
    calls
        .on("post", "/v1/messages", "Sends a message")
        .of_users()
        .repeats()
        .takes::<SendBody>()
        .gives_frame(201, "sent", "It is durable")
        .gives_frame(200, "sent", "It was sent before")
        .refuses(REFUSALS);
}

// `T`: where it goes, or `Option` of it where that is said elsewhere, as in a topic of MQTT.
/// A `send`, whose `type` and `client_msg_id` may be left out.
#[derive(Deserialize, ToSchema)]
pub struct SendBody<T = To> {
    pub to: T,
    client_msg_id: Option<String>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    mentions: Vec<String>,
    reply_to: Option<Seq>,
    #[serde(default)]
    attachments: Vec<String>,
    #[schema(value_type = Option<Object>)]
    data: Option<Box<RawValue>>,
}

impl<T> SendBody<T> {
    /// The whole `send`. `to` says where it goes, `name` gives the `client_msg_id`, each from what the body has.
    pub fn into_send(self, to: impl FnOnce(T) -> To, name: impl FnOnce(Option<String>) -> String) -> Send {
        let Self { to: given, client_msg_id, text, mentions, reply_to, attachments, data } = self;
        Send { to: to(given), client_msg_id: name(client_msg_id), text, mentions, reply_to, attachments, data }
    }
}

impl SendBody {
    pub fn into_command(self, repeat: RepeatId) -> Command {
        Command::Send(self.into_send(|to| to, |given| repeat.or_given(given)))
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
    if is_rated(&command)
        && let Err(refusal) = paced(take_send(host, caller)).await
    {
        return reply.answer(refusal);
    }
    act(host, caller, command, reply).await;
}
