//! Who one is: login in open mode, and tickets for browsers.

use axum::{
    body::Body,
    extract::{ConnectInfo, State},
    http::Request,
    response::Response,
};
use serde::{Deserialize, Serialize};
use tidings_proto::{Code, DeviceId, UserId};
use utoipa::ToSchema;

use crate::session::{
    auth::{Identity, TICKET_LIFE, device, log_in as admit, login_ms, username},
    execute::Caller,
    reply::Answer,
};

use super::{
    super::{Edge, addresses::Peer, relay::http::relay_read},
    documents::Calls,
    input::{Raw, parse},
    object, problem,
};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    calls
        .on("post", "/v1/login", "Logs in by a username, in open mode: a token")
        .takes::<Login>()
        .gives::<LoggedIn>(200, "Logged in")
        .refuses(&[Code::LoginIsElsewhere, Code::RateLimited, Code::Unavailable]);
    calls
        .on("post", "/v1/tickets", "A ticket, to open /v1/ws or /v1/events where no header can be sent")
        .of_users()
        .gives::<Ticket>(200, "The ticket");
}

#[derive(Deserialize, ToSchema)]
struct Login {
    username: String,
    device: Option<DeviceId>,
}

#[derive(Serialize, ToSchema)]
struct LoggedIn {
    token: String,
    user: UserId,
    device: DeviceId,
    /// In a fleet: where the user is best served, if that is not here.
    #[serde(skip_serializing_if = "Option::is_none")]
    prefer: Option<String>,
}

/// `POST /v1/login`.
pub async fn log_in(State(edge): State<Edge>, ConnectInfo(peer): ConnectInfo<Peer>, Raw(body): Raw) -> Response {
    if let Err(later) = edge.admit(peer.client.ip()) {
        return problem::of(&later.answer());
    }
    if !edge.auth.is_open() {
        return problem::of(&elsewhere(&edge));
    }
    let outcome = async {
        let login: Login = parse(&body).map_err(|error| Answer::refused(Code::BadRequest, error))?;
        let user = username(&login.username)?;
        let call = Request::post("/v1/login").body(Body::from(body)).expect("a path is a request");
        if let Some(answer) = relay_read(&edge, peer, user.shard(), call).await {
            return Ok(answer);
        }
        let (device, now_ms) = (device(login.device), edge.host.clock.unix_ms());
        let caller = admit(&edge.host, &Identity::new(user.clone(), device.clone(), u64::MAX)).await?;
        let issued_ms = login_ms(&caller, now_ms);
        let token = edge.auth.open_token(&user, &device, issued_ms).ok_or_else(|| elsewhere(&edge))?;
        let prefer = edge.host.config.node.public_url.clone().filter(|_| peer.is_relayed);
        Ok(object(&LoggedIn { token, user, device, prefer }))
    };
    match outcome.await {
        Ok(answer) => answer,
        Err(refusal) => {
            Answer::count(&refusal, &edge.host.metrics);
            problem::of(&refusal)
        }
    }
}

/// What a login by name is answered where a login service gives the tokens.
fn elsewhere(edge: &Edge) -> Answer {
    Answer::login_is_elsewhere(edge.auth.login_url())
}

#[derive(Serialize, ToSchema)]
struct Ticket {
    ticket: String,
    expires_in_s: u64,
}

/// `POST /v1/tickets`.
pub async fn ticket(State(edge): State<Edge>, caller: Caller) -> Response {
    let now_ms = edge.host.clock.unix_ms();
    let identity = Identity { expires_ms: caller.expires_ms, ..Identity::new(caller.user, caller.device, now_ms) };
    object(&Ticket { ticket: edge.auth.ticket(identity, now_ms), expires_in_s: TICKET_LIFE.as_secs() })
}
