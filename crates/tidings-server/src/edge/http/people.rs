//! People: profiles, oneself and one's devices, and whom one blocks.

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tidings_proto::{
    Code, DeviceId, UserId,
    frames::{
        client::{self, Block, Command, Profile, Unblock},
        server::{Device, UserProfile},
    },
    percent,
};
use utoipa::ToSchema;

use crate::{
    home::event::HomeChange,
    session::{
        execute::Caller,
        inspect,
        reply::{Answer, Reply},
    },
};

use super::{
    super::Edge,
    documents::Calls,
    input::{Body, Named},
    object, perform, problem,
};

/// Profiles of one call.
const USERS_MAX: usize = 100;

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let ids = json!({ "type": "string" });
    calls
        .on("get", "/v1/users", "Up to 100 profiles; unknown users are left out")
        .of_users()
        .asks_for("ids", &ids, "User ids with commas between them; a comma within one is %2C.")
        .gives::<Users>(200, "The profiles");
    let user = calls.on("get", "/v1/users/{user}", "A profile, with presence as the caller may know it").of_users();
    user.gives::<UserProfile>(200, "The profile").refuses(&[Code::UnknownUser]);
    calls.on("get", "/v1/me", "Oneself").of_users().gives::<inspect::Me>(200, "Oneself");
    let change = calls.on("patch", "/v1/me", "Changes one's profile; what is absent stays").of_users();
    change.takes::<Profile>().gives::<inspect::Me>(200, "Oneself");
    calls.on("get", "/v1/me/devices", "One's devices").of_users().gives::<Devices>(200, "The devices");
    let name = calls.on("patch", "/v1/me/devices/{device}", "Says how a device is shown").of_users();
    name.takes::<DeviceShown>().gives::<Device>(200, "The device").refuses(&[Code::NotFound]);
    let revoke = calls.on("delete", "/v1/me/devices/{device}", "Signs a device out").of_users();
    revoke.gives_nothing(204, "Its tokens are void, its connections end").refuses(&[Code::NotFound]);
    calls.on("get", "/v1/blocks", "Whom one blocks").of_users().gives::<Blocks>(200, "Their user ids");
    let block = calls.on("put", "/v1/blocks/{user}", "Blocks somebody").of_users();
    block.gives_nothing(204, "It is so").refuses(&[Code::UnknownUser, Code::LimitReached]);
    let unblock = calls.on("delete", "/v1/blocks/{user}", "Blocks somebody no more").of_users();
    unblock.gives_nothing(204, "It is so").refuses(&[Code::UnknownUser]);
}

#[derive(Deserialize)]
pub struct UserInPath {
    user: UserId,
}

#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<UserProfile>,
}

/// `GET /v1/users/{user}`: a profile, with presence as the caller may know it.
pub async fn user(State(edge): State<Edge>, caller: Caller, Named(path): Named<UserInPath>) -> Response {
    match inspect::profiles(&edge.host, &caller, std::slice::from_ref(&path.user)).await {
        Ok(profiles) => match profiles.first() {
            Some(profile) => object(profile),
            None => problem::of(&Answer::unknown_users(vec![path.user])),
        },
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

/// `GET /v1/users?ids=`: up to 100 profiles; unknown users are left out.
pub async fn users(State(edge): State<Edge>, caller: Caller, RawQuery(query): RawQuery) -> Response {
    let users = match ids(query.as_deref().unwrap_or_default()) {
        Ok(users) => users,
        Err(message) => return problem::of(&Answer::refused(Code::BadRequest, message)),
    };
    match inspect::profiles(&edge.host, &caller, &users).await {
        Ok(users) => object(&Users { users }),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

/// The ids of a query, split at its commas before they are decoded: a name may hold one.
fn ids(query: &str) -> Result<Vec<UserId>, String> {
    let value = query.split('&').find_map(|pair| pair.strip_prefix("ids=")).unwrap_or_default();
    let parts: Vec<&str> = value.split(',').filter(|part| !part.is_empty()).collect();
    if !(1..=USERS_MAX).contains(&parts.len()) {
        return Err(format!("ids: give 1 to {USERS_MAX} users, with commas between them"));
    }
    let read = |part: &str| {
        let name = percent::decoded(part).ok_or_else(|| format!("ids: {part} is no percent-encoded UTF-8"))?;
        UserId::new(&name).map_err(|error| format!("ids: {name:?}: {error}"))
    };
    parts.into_iter().map(read).collect()
}

/// `GET /v1/me`.
pub async fn me(caller: Caller) -> Response {
    object(&inspect::me(&caller))
}

/// `PATCH /v1/me`: what is absent stays, an empty string removes.
pub async fn change_me(State(edge): State<Edge>, caller: Caller, Body(profile): Body<Profile>) -> Response {
    let response = perform(&edge, &caller, Command::Profile(profile)).await;
    if response.status() == StatusCode::NO_CONTENT { me(caller).await } else { response }
}

#[derive(Serialize, ToSchema)]
struct Devices {
    devices: Vec<Device>,
}

/// `GET /v1/me/devices`.
pub async fn devices(caller: Caller) -> Response {
    object(&Devices { devices: inspect::devices(&caller) })
}

#[derive(Deserialize)]
pub struct DeviceInPath {
    device: DeviceId,
}

#[derive(Deserialize, ToSchema)]
pub struct DeviceShown {
    name: Option<String>,
    platform: Option<String>,
}

/// `PATCH /v1/me/devices/{device}`: what is absent stays, an empty string removes.
pub async fn name_device(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<DeviceInPath>,
    Body(shown): Body<DeviceShown>,
) -> Response {
    let DeviceShown { name, platform } = shown;
    let command = Command::Device(client::Device { device: Some(path.device.clone()), name, platform });
    let response = perform(&edge, &caller, command).await;
    if response.status() != StatusCode::NO_CONTENT {
        return response;
    }
    inspect::device(&caller, &path.device).map_or_else(|refusal| problem::of(&refusal), |device| object(&device))
}

/// `DELETE /v1/me/devices/{device}`: its tokens are void, its connections end.
pub async fn revoke(State(edge): State<Edge>, caller: Caller, Named(path): Named<DeviceInPath>) -> Response {
    if let Err(refusal) = inspect::device(&caller, &path.device) {
        return problem::of(&refusal);
    }
    let (reply, answer) = Reply::to_call();
    let change = HomeChange::DeviceRevoked { device: path.device, at_ms: edge.host.clock.unix_ms() };
    edge.host.change_home(&caller.user, change, reply).await;
    super::show(answer.await.unwrap_or_else(|_| Answer::unavailable()))
}

#[derive(Serialize, ToSchema)]
struct Blocks {
    blocks: Vec<UserId>,
}

/// `GET /v1/blocks`.
pub async fn blocks(caller: Caller) -> Response {
    object(&Blocks { blocks: inspect::blocks(&caller) }).into_response()
}

/// `PUT /v1/blocks/{user}`.
pub async fn block(State(edge): State<Edge>, caller: Caller, Named(path): Named<UserInPath>) -> Response {
    perform(&edge, &caller, Command::Block(Block { user: path.user })).await
}

/// `DELETE /v1/blocks/{user}`.
pub async fn unblock(State(edge): State<Edge>, caller: Caller, Named(path): Named<UserInPath>) -> Response {
    perform(&edge, &caller, Command::Unblock(Unblock { user: path.user })).await
}
