//! Who somebody is: profiles, with presence as far as the asker may know; and who belongs to a conversation.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tidings_proto::{
    Code, ConversationId, UserId,
    frames::server::{Member, MembersPage, UserProfile},
};

use crate::{
    conversation::{decide::Refusal, view::wire_role},
    host::act::ActError,
    session::{execute::Caller, reply::Answer},
};

use super::{
    super::Edge,
    input::{Asked, Named},
    json, problem,
};

/// People of one call.
const USERS_MAX: usize = 100;
/// Members of a page, unless the caller says; and at the most.
const MEMBERS_LIMIT: usize = 100;
const MEMBERS_MAX: usize = 1_000;

/// `GET /v1/users/{user}`.
pub async fn user(State(edge): State<Edge>, caller: Caller, Named(user): Named<UserId>) -> Response {
    match profiles(&edge, &caller, std::slice::from_ref(&user)).await {
        Ok(profiles) => match profiles.into_iter().next() {
            Some(profile) => show(&profile),
            None => problem::of(&Answer::unknown_users(vec![user])),
        },
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

#[derive(Deserialize)]
pub struct Ids {
    ids: String,
}

#[derive(Serialize)]
struct Users {
    users: Vec<UserProfile>,
}

/// `GET /v1/users?ids=ada,bob`: those of them who are known.
pub async fn users(State(edge): State<Edge>, caller: Caller, Asked(Ids { ids }): Asked<Ids>) -> Response {
    let ids: Result<Vec<UserId>, _> = ids.split(',').filter(|id| !id.is_empty()).map(UserId::new).collect();
    let ids = match ids {
        Ok(ids) if ids.len() <= USERS_MAX => ids,
        Ok(_) => return wrong(format!("ids: at most {USERS_MAX} are taken in one call")),
        Err(error) => return wrong(format!("ids: {error}")),
    };
    match profiles(&edge, &caller, &ids).await {
        Ok(users) => show(&Users { users }),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

async fn profiles(edge: &Edge, caller: &Caller, users: &[UserId]) -> Result<Vec<UserProfile>, ActError> {
    let unknown = edge.host.unknown_among(users).await?;
    let mut profiles = Vec::with_capacity(users.len());
    for user in users.iter().filter(|user| !unknown.contains(user)) {
        let shown = edge.host.profile(user).await?;
        let presence = edge.host.presence_of(user, &caller.user).await?;
        profiles.push(UserProfile {
            user: user.clone(),
            name: shown.name.map(Into::into),
            picture: shown.picture.map(Into::into),
            presence: Some(presence.state),
            last_seen: presence.last_seen,
        });
    }
    Ok(profiles)
}

#[derive(Deserialize)]
pub struct MembersAsked {
    /// The last user of the page before.
    cursor: Option<UserId>,
    limit: Option<usize>,
}

/// `GET /v1/conversations/{id}/members?cursor=&limit=`, in the order of user ids.
pub async fn members(
    State(edge): State<Edge>,
    caller: Caller,
    Named(id): Named<ConversationId>,
    Asked(asked): Asked<MembersAsked>,
) -> Response {
    let limit = asked.limit.unwrap_or(MEMBERS_LIMIT);
    if limit == 0 || limit > MEMBERS_MAX {
        return wrong(format!("limit: give a number from 1 to {MEMBERS_MAX}"));
    }
    let state = match edge.host.conversation(id).await {
        Ok(conversation) => conversation.state(),
        Err(error) => return problem::of(&edge.host.answer(error.into())),
    };
    if state.members.get(&caller.user).is_none() {
        return problem::of(&Refusal::unknown_conversation().into());
    }
    let members: Vec<_> = state
        .members
        .after(asked.cursor.as_ref())
        .take(limit)
        .map(|(user, member)| Member {
            user: user.clone(),
            role: wire_role(member.role),
            delivered_seq: Some(member.delivered),
            read_seq: Some(member.read),
        })
        .collect();
    let is_full = members.len() == limit;
    let next = members.last().filter(|_| is_full).map(|last| last.user.to_string());
    show(&MembersPage { members, next })
}

fn show(body: &impl Serialize) -> Response {
    json(serde_json::to_string(body).expect("names and numbers are JSON")).into_response()
}

fn wrong(why: String) -> Response {
    problem::of(&Answer::refused(Code::BadRequest, why))
}
