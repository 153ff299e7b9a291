//! Who one is: login in open mode, and tickets for browsers.

use std::net::SocketAddr;

use axum::{
    extract::{ConnectInfo, State},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tidings_proto::{Code, DeviceId, UserId};

use crate::session::{
    auth::{Identity, TICKET_LIFE, device, log_in as admit, username},
    execute::Caller,
    reply::Answer,
};

use super::{super::Edge, json, problem};

#[derive(Deserialize)]
struct Login {
    username: String,
    device: Option<DeviceId>,
}

#[derive(Serialize)]
struct LoggedIn {
    token: String,
    user: UserId,
    device: DeviceId,
}

/// `POST /v1/login`.
pub async fn log_in(State(edge): State<Edge>, ConnectInfo(address): ConnectInfo<SocketAddr>, body: String) -> Response {
    if let Err(wait) = edge.admit(address.ip()) {
        return problem::rate_limited(wait);
    }
    let outcome = async {
        let login: Login = serde_json::from_str(&body).map_err(|error| {
            Answer::refused(Code::BadRequest, format!("send {{\"username\":\"…\",\"device\":\"…\"}}: {error}"))
        })?;
        let identity = Identity {
            user: username(&login.username)?,
            device: device(login.device),
            issued_ms: edge.host.clock.unix_ms(),
        };
        admit(&edge.host, &identity).await?;
        Ok(identity)
    };
    match outcome.await {
        Ok(identity) => {
            let token = edge.auth.token(&identity);
            let body = LoggedIn { token, user: identity.user, device: identity.device };
            json(serde_json::to_string(&body).expect("names are strings")).into_response()
        }
        Err(refusal) => problem::of(&refusal),
    }
}

#[derive(Serialize)]
struct Ticket {
    ticket: String,
    expires_in_s: u64,
}

/// `POST /v1/tickets`.
pub async fn ticket(State(edge): State<Edge>, caller: Caller) -> Response {
    let now_ms = edge.host.clock.unix_ms();
    let identity = Identity { user: caller.user, device: caller.device, issued_ms: now_ms };
    let body = Ticket { ticket: edge.auth.ticket(identity, now_ms), expires_in_s: TICKET_LIFE.as_secs() };
    json(serde_json::to_string(&body).expect("a ticket is a string")).into_response()
}
