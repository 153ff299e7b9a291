//! Conversations: the inbox, groups and their members, and what oneself has set or read.

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{
        client::{Command, Create, History, Inbox, Leave, MarkRead, Members, Rename, Role, Set},
        server::{ConversationDetails, MembersPage},
    },
};
use utoipa::ToSchema;

use crate::session::{
    execute::Caller,
    inspect::{self, Page},
    reply::Answer,
};

use super::{
    super::Edge,
    change,
    documents::Calls,
    input::{Asked, Body, Named, OptionalBody, RepeatId},
    json, object, perform, problem,
};

/// Members of a page, unless the caller says.
const MEMBERS_LIMIT: usize = 100;

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    const ALL: &str = "/v1/conversations";
    const ONE: &str = "/v1/conversations/{conversation}";
    const MEMBERS: &str = "/v1/conversations/{conversation}/members";
    const MEMBER: &str = "/v1/conversations/{conversation}/members/{user}";
    let unknown = &[Code::UnknownConversation];
    let inbox = calls.on("get", ALL, "A page of the inbox").of_users().asks::<Inbox>();
    inbox.gives_frame(200, "inbox", "The items, latest activity first");
    calls
        .on("post", ALL, "Makes a group")
        .of_users()
        .repeats()
        .takes::<CreateBody>()
        .gives_frame(201, "created", "The group is there")
        .gives_frame(200, "created", "It was made before")
        .refuses(&[Code::UnknownUser, Code::LimitReached]);
    let details = calls.on("get", ONE, "A conversation's item, and up to 64 members").of_users();
    details.gives::<ConversationDetails<'_>>(200, "The conversation").refuses(unknown);
    let rename = calls.on("patch", ONE, "Renames a group").of_users().repeats().takes::<RenameBody>();
    rename.changes("renamed").refuses(unknown);
    let members = calls.on("get", MEMBERS, "Members, by user id").of_users().asks::<PageOfPeople>();
    members.gives::<MembersPage>(200, "A page of members").refuses(unknown);
    calls
        .on("put", MEMBER, "Adds a member, or sets a role")
        .of_users()
        .repeats()
        .may_take::<MemberBody>()
        .changes("a member")
        .refuses(&[Code::UnknownConversation, Code::UnknownUser, Code::LimitReached]);
    let remove = calls.on("delete", MEMBER, "Removes a member, or leaves").of_users().repeats();
    remove.changes("removed").refuses(&[Code::UnknownConversation, Code::UnknownUser]);
    calls
        .on("put", "/v1/conversations/{conversation}/read", "Marks everything up to an entry as read")
        .of_users()
        .takes::<ReadBody>()
        .gives_nothing(204, "It is read")
        .refuses(&[Code::UnknownConversation, Code::UnknownEntry]);
    calls
        .on("patch", "/v1/conversations/{conversation}/settings", "Sets one's own settings; what is absent stays")
        .of_users()
        .takes::<SettingsBody>()
        .gives_nothing(204, "It is set")
        .refuses(unknown);
}

#[derive(Deserialize)]
pub struct InPath {
    pub conversation: ConversationId,
}

/// `GET /v1/conversations`: a page of the inbox.
pub async fn inbox(State(edge): State<Edge>, caller: Caller, Asked(asked): Asked<Inbox>) -> Response {
    perform(&edge, &caller, Command::Inbox(asked)).await
}

#[derive(Deserialize, ToSchema)]
pub struct CreateBody {
    client_msg_id: Option<String>,
    name: String,
    #[serde(default)]
    members: Vec<UserId>,
    #[serde(default)]
    history: History,
}

/// `POST /v1/conversations`: makes a group.
pub async fn create(
    State(edge): State<Edge>,
    caller: Caller,
    repeat: RepeatId,
    Body(body): Body<CreateBody>,
) -> Response {
    let CreateBody { client_msg_id, name, members, history } = body;
    let client_msg_id = repeat.or_given(client_msg_id);
    perform(&edge, &caller, Command::Create(Create { client_msg_id, name, members, history })).await
}

/// `GET /v1/conversations/{id}`: its item, and up to 64 members.
pub async fn details(State(edge): State<Edge>, caller: Caller, Named(path): Named<InPath>) -> Response {
    match inspect::conversation(&edge.host, &caller, path.conversation).await {
        Ok(details) => json(details).into_response(),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

#[derive(Deserialize, ToSchema)]
pub struct RenameBody {
    client_msg_id: Option<String>,
    name: String,
}

/// `PATCH /v1/conversations/{id}`: renames a group.
pub async fn rename(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<InPath>,
    repeat: RepeatId,
    Body(body): Body<RenameBody>,
) -> Response {
    let client_msg_id = repeat.or_given(body.client_msg_id);
    let rename = Rename { client_msg_id, conversation: path.conversation, name: body.name };
    change(&edge, &caller, Command::Rename(rename)).await
}

#[derive(Deserialize, ToSchema)]
pub struct PageOfPeople {
    cursor: Option<UserId>,
    limit: Option<usize>,
}

impl PageOfPeople {
    /// The page, if it is not too long.
    pub fn checked(self, edge: &Edge) -> Result<Page, Answer> {
        let (limit, max) = (self.limit.unwrap_or(MEMBERS_LIMIT), edge.host.rules.limits.members_a_call);
        if (1..=max).contains(&limit) {
            return Ok(Page { after: self.cursor, limit });
        }
        Err(Answer::refused(Code::BadRequest, format!("limit: give 1 to {max}")))
    }
}

/// `GET /v1/conversations/{id}/members`, in order of their ids.
pub async fn members(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<InPath>,
    Asked(asked): Asked<PageOfPeople>,
) -> Response {
    let page = match asked.checked(&edge) {
        Ok(page) => page,
        Err(refusal) => return problem::of(&refusal),
    };
    match inspect::members(&edge.host, &caller, path.conversation, page).await {
        Ok(page) => object(&page),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

#[derive(Deserialize)]
pub struct MemberInPath {
    conversation: ConversationId,
    user: UserId,
}

#[derive(Default, Deserialize, ToSchema)]
pub struct MemberBody {
    client_msg_id: Option<String>,
    role: Option<Role>,
}

/// `PUT /v1/conversations/{id}/members/{user}`: adds somebody, or sets a role.
pub async fn put_member(
    State(edge): State<Edge>,
    caller: Caller,
    Named(MemberInPath { conversation, user }): Named<MemberInPath>,
    repeat: RepeatId,
    OptionalBody(body): OptionalBody<MemberBody>,
) -> Response {
    let is_member = match edge.host.conversation(conversation).await {
        Ok(found) => found.state().members.get(&user).is_some(),
        Err(error) => return problem::of(&edge.host.answer(error.into())),
    };
    // Who is added is a member anyway: naming that role does not take the right to set roles.
    let role = body.role.filter(|role| is_member || *role != Role::Member);
    let members = Members {
        client_msg_id: repeat.or_given(body.client_msg_id),
        conversation,
        add: vec![user.clone()],
        remove: Vec::new(),
        roles: role.map(|role| (user, role)).into_iter().collect(),
    };
    change(&edge, &caller, Command::Members(members)).await
}

/// `DELETE /v1/conversations/{id}/members/{user}`: removes somebody, or leaves.
pub async fn remove_member(
    State(edge): State<Edge>,
    caller: Caller,
    Named(MemberInPath { conversation, user }): Named<MemberInPath>,
    repeat: RepeatId,
) -> Response {
    let client_msg_id = repeat.or_given(None);
    let command = if user == caller.user {
        Command::Leave(Leave { client_msg_id, conversation })
    } else {
        let (add, roles) = (Vec::new(), std::collections::BTreeMap::new());
        Command::Members(Members { client_msg_id, conversation, add, remove: vec![user], roles })
    };
    change(&edge, &caller, command).await
}

#[derive(Deserialize, ToSchema)]
pub struct ReadBody {
    seq: Seq,
}

/// `PUT /v1/conversations/{id}/read`.
pub async fn mark_read(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<InPath>,
    Body(body): Body<ReadBody>,
) -> Response {
    let read = MarkRead { conversation: path.conversation, seq: body.seq };
    perform(&edge, &caller, Command::MarkRead(read)).await
}

#[derive(Deserialize, ToSchema)]
pub struct SettingsBody {
    muted: Option<bool>,
    pinned: Option<bool>,
    archived: Option<bool>,
}

/// `PATCH /v1/conversations/{id}/settings`: what is absent stays.
pub async fn set(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<InPath>,
    Body(body): Body<SettingsBody>,
) -> Response {
    let SettingsBody { muted, pinned, archived } = body;
    let set = Set { conversation: path.conversation, muted, pinned, archived };
    perform(&edge, &caller, Command::Set(set)).await
}
