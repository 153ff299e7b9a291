//! What operators do, with the admin token: import and export, users, sending as somebody.

use axum::{
    Extension, Router,
    extract::{ConnectInfo, FromRequestParts, State},
    http::{HeaderMap, Request, StatusCode, header::AUTHORIZATION, request::Parts},
    response::Response,
    routing::{get, post, put},
};
use serde::{Deserialize, Serialize};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        check::check,
        server::{Entry, UserProfile},
    },
    limits::CLIENT_MSG_ID_BYTES,
};
use utoipa::ToSchema;

use crate::{
    conversation::view,
    home::event::HomeChange,
    host::import::{Import, ImportedMessage, Outcome},
    session::{
        execute::{Caller, act},
        reply::{Answer, Reply},
    },
};

use super::{
    super::{Edge, addresses::Peer, relay::http::relay_read},
    archive, bearer, cluster,
    documents::Calls,
    input::{Asked, Body, BodyLimit, Named, Raw, RepeatId, parse},
    migration, object, problem,
    send::{self, SendBody},
    show,
};

/// What one call may bring.
const BODY_BYTES: usize = 1024 * 1024;
const USERS_MAX: usize = 1_000;
const MESSAGES_MAX: usize = 1_000;
const NAME_BYTES: usize = 512;
/// Conversations of one name that are told.
const CONVERSATIONS_MAX: usize = 1_000;
const EXPORT_MAX: usize = 1_000;

pub fn router() -> Router<Edge> {
    Router::new()
        .route("/v1/admin/import", post(import))
        .route("/v1/admin/users/resolve", post(resolve))
        .route("/v1/admin/users/{user}", put(put_user))
        .route("/v1/admin/send", post(send_as))
        .route("/v1/admin/archive", get(archive::status).post(archive::begin))
        .route("/v1/admin/cluster", get(cluster::status))
        .route("/v1/admin/cluster/drain", post(cluster::drain))
        .route("/v1/admin/cluster/remove", post(cluster::remove))
        .route("/v1/admin/migration", get(migration::status).post(migration::begin))
        .route("/v1/admin/migration/switch", post(migration::switch))
        .route("/v1/admin/conversations", get(find))
        .route("/v1/admin/conversations/{conversation}/entries", get(export))
        .layer(Extension(BodyLimit(BODY_BYTES)))
}

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    let import = calls.on("post", "/v1/admin/import", "Brings a part of a conversation's past").of_operators();
    let import = import.takes::<ImportBody>().gives::<Imported>(200, "It is durable");
    import.refuses(&[Code::LimitReached, Code::UnknownUser]);
    let resolve = calls.on("post", "/v1/admin/users/resolve", "Which users the names of an import are").of_operators();
    resolve.takes::<Names>().gives::<Users>(200, "The users, in the order of the names");
    let user = calls.on("put", "/v1/admin/users/{user}", "Makes a user known").of_operators();
    user.takes::<Profile>().gives::<UserProfile>(200, "The profile");
    calls
        .on("post", "/v1/admin/send", "Sends a message as somebody")
        .of_operators()
        .repeats()
        .takes::<SendAs>()
        .gives_frame(201, "sent", "It is durable")
        .gives_frame(200, "sent", "It was sent before")
        .refuses(send::REFUSALS);
    let find = calls.on("get", "/v1/admin/conversations", "The groups of a name").of_operators().asks::<ByName>();
    find.gives::<Conversations>(200, "Their ids, that of an import first");
    calls
        .on("get", "/v1/admin/conversations/{conversation}/entries", "A conversation's log, whoever sees it")
        .of_operators()
        .asks::<ExportPage>()
        .gives::<Exported<'_>>(200, "Entries, ascending")
        .refuses(&[Code::UnknownConversation]);
}

/// Shows that the caller knows the admin token.
pub struct Operator;

impl FromRequestParts<Edge> for Operator {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, edge: &Edge) -> Result<Self, Response> {
        let shown = bearer(&parts.headers).unwrap_or_default();
        // Hashes are compared in the same time wherever they differ.
        if blake3::hash(shown.as_bytes()) == blake3::hash(edge.admin_token.as_bytes()) {
            return Ok(Self);
        }
        let why = "show the admin token: Authorization: Bearer …; it is in <data>/admin.token if none is set";
        Err(problem::of(&Answer::refused(Code::Unauthenticated, why)))
    }
}

#[derive(Deserialize, ToSchema)]
struct ImportBody {
    conversation: Group,
    #[serde(default)]
    users: Vec<NamedUser>,
    #[serde(default)]
    messages: Vec<MessageBody>,
}

#[derive(Deserialize, ToSchema)]
struct Group {
    name: String,
    owner: Option<UserId>,
}

#[derive(Serialize, Deserialize, ToSchema)]
struct NamedUser {
    user: UserId,
    name: String,
}

#[derive(Deserialize, ToSchema)]
struct MessageBody {
    client_msg_id: String,
    from: UserId,
    at: u64,
    text: String,
}

#[derive(Serialize, ToSchema)]
struct Imported {
    conversation: ConversationId,
    imported: usize,
    repeats: usize,
    last_seq: Seq,
}

/// `POST /v1/admin/import`: a part of a conversation's past. Durable when answered; a repeat doubles nothing. In a fleet the node of
/// the conversation does it, whichever was asked.
async fn import(
    State(edge): State<Edge>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    _: Operator,
    headers: HeaderMap,
    Raw(body): Raw,
) -> Response {
    let checked = parse::<ImportBody>(&body).and_then(|body| check_import(&edge, &body).map(|()| Import::from(body)));
    let import = match checked {
        Ok(import) => import,
        Err(message) => return problem::of(&Answer::refused(Code::BadRequest, message)),
    };
    let mut call = Request::post("/v1/admin/import").body(axum::body::Body::from(body)).expect("a path is a request");
    call.headers_mut().extend(headers.get(AUTHORIZATION).map(|token| (AUTHORIZATION, token.clone())));
    if let Some(answer) = relay_read(&edge, peer, import.conversation().shard(), call).await {
        return if answer.status() == StatusCode::UNAUTHORIZED { problem::of(&other_token()) } else { answer };
    }
    match edge.host.import(&import).await {
        Ok(outcome) => {
            let Outcome { conversation, imported, repeats, last_seq } = outcome;
            object(&Imported { conversation, imported, repeats, last_seq })
        }
        Err(refusal) => problem::of(&refusal),
    }
}

/// The token was right here.
fn other_token() -> Answer {
    let why = "the node that hosts this conversation has another admin token: set the same admin_token on all nodes";
    Answer::refused(Code::Unauthenticated, why)
}

impl From<ImportBody> for Import {
    fn from(body: ImportBody) -> Self {
        Self {
            name: body.conversation.name.into(),
            owner: body.conversation.owner,
            users: body.users.into_iter().map(|user| (user.user, user.name.into())).collect(),
            messages: body.messages.into_iter().map(ImportedMessage::from).collect(),
        }
    }
}

impl From<MessageBody> for ImportedMessage {
    fn from(message: MessageBody) -> Self {
        let MessageBody { client_msg_id, from, at, text } = message;
        Self { client_msg_id: client_msg_id.into(), from, at_ms: at, text: text.into() }
    }
}

fn check_import(edge: &Edge, body: &ImportBody) -> Result<(), String> {
    let name = &body.conversation.name;
    let name_chars = edge.host.rules.limits.name_chars;
    if name.trim().is_empty() || name.chars().count() > name_chars {
        return Err(format!("conversation.name: give 1 to {name_chars} characters"));
    }
    at_most("users", body.users.len(), USERS_MAX)?;
    at_most("messages", body.messages.len(), MESSAGES_MAX)?;
    for (at, user) in body.users.iter().enumerate() {
        check_name(&user.name).map_err(|why| format!("users[{at}].name: {why}"))?;
    }
    for (at, message) in body.messages.iter().enumerate() {
        if !(1..=CLIENT_MSG_ID_BYTES).contains(&message.client_msg_id.len()) {
            return Err(format!("messages[{at}].client_msg_id: give 1 to {CLIENT_MSG_ID_BYTES} bytes"));
        }
        if message.text.contains('\0') {
            return Err(format!("messages[{at}].text: it may not contain NUL"));
        }
        // Clients read numbers as doubles.
        if message.at >= 1 << 53 {
            return Err(format!("messages[{at}].at: it is no time in milliseconds"));
        }
    }
    Ok(())
}

fn at_most(field: &str, count: usize, max: usize) -> Result<(), String> {
    if count <= max { Ok(()) } else { Err(format!("{field}: {count} is above the maximum of {max}")) }
}

fn check_name(name: &str) -> Result<(), String> {
    if (1..=NAME_BYTES).contains(&name.len()) && !name.contains('\0') {
        return Ok(());
    }
    Err(format!("give 1 to {NAME_BYTES} bytes without NUL"))
}

#[derive(Deserialize, ToSchema)]
struct Names {
    names: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct Users {
    users: Vec<NamedUser>,
}

/// `POST /v1/admin/users/resolve`: which user a name of an import is, the same one for ever.
async fn resolve(State(edge): State<Edge>, _: Operator, Body(Names { names }): Body<Names>) -> Response {
    let checked = at_most("names", names.len(), USERS_MAX).and_then(|()| {
        let wrong = names
            .iter()
            .enumerate()
            .find_map(|(at, name)| check_name(name).err().map(|why| format!("names[{at}]: {why}")));
        wrong.map_or(Ok(()), Err)
    });
    if let Err(message) = checked {
        return problem::of(&Answer::refused(Code::BadRequest, message));
    }
    match edge.host.resolve(&names).await {
        Ok(users) => {
            let users = users.into_iter().zip(names).map(|(user, name)| NamedUser { user, name });
            object(&Users { users: users.collect() })
        }
        Err(refusal) => problem::of(&refusal),
    }
}

#[derive(Deserialize)]
struct OneUser {
    user: UserId,
}

#[derive(Deserialize, ToSchema)]
struct Profile {
    name: Option<String>,
    picture: Option<String>,
}

/// `PUT /v1/admin/users/{user}`: the user is known from now on.
async fn put_user(
    State(edge): State<Edge>,
    _: Operator,
    Named(OneUser { user }): Named<OneUser>,
    Body(profile): Body<Profile>,
) -> Response {
    let limits = &edge.host.rules.limits;
    if profile.name.as_ref().is_some_and(|name| name.chars().count() > limits.name_chars) {
        return problem::of(&Answer::refused(
            Code::BadRequest,
            format!("name: at most {} characters", limits.name_chars),
        ));
    }
    let (reply, known) = Reply::to_call();
    let change = HomeChange::Known { at_ms: edge.host.clock.unix_ms(), name: None };
    edge.host.change_home(&user, change, reply).await;
    let (reply, changed) = Reply::to_call();
    let change = HomeChange::Profile {
        name: profile.name.map(Into::into),
        picture: profile.picture.map(Into::into),
        audience: None,
    };
    edge.host.change_profile(&user, change, reply).await;
    for answer in [known.await, changed.await] {
        match answer.unwrap_or_else(|_| Answer::unavailable()) {
            Answer::Done => {}
            refused => return problem::of(&refused),
        }
    }
    match edge.host.profile(&user).await {
        Ok(profile) => object(&UserProfile {
            user,
            name: profile.name.map(Into::into),
            picture: profile.picture.map(Into::into),
            presence: None,
            last_seen: None,
        }),
        Err(error) => problem::of(&edge.host.answer(error.into())),
    }
}

#[derive(Deserialize, ToSchema)]
struct ByName {
    name: String,
}

#[derive(Serialize, ToSchema)]
struct Conversations {
    conversations: Vec<ConversationId>,
}

/// `GET /v1/admin/conversations?name=`: the groups of a name, that of an import first.
async fn find(State(edge): State<Edge>, _: Operator, Asked(ByName { name }): Asked<ByName>) -> Response {
    match edge.host.groups_named(&name, CONVERSATIONS_MAX).await {
        Ok(conversations) => object(&Conversations { conversations }),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

#[derive(Deserialize)]
struct OneConversation {
    conversation: ConversationId,
}

#[derive(Deserialize, ToSchema)]
struct ExportPage {
    after: Option<Seq>,
    limit: Option<usize>,
}

#[derive(Serialize, ToSchema)]
struct Exported<'a> {
    entries: Vec<ExportedEntry<'a>>,
    first_seq: Seq,
    last_seq: Seq,
}

#[derive(Serialize, ToSchema)]
struct ExportedEntry<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    from_name: Option<&'a str>,
    /// Nobody but its sender sees it: a block.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    void: bool,
    #[serde(flatten)]
    entry: Entry<'a>,
}

/// `GET /v1/admin/conversations/{id}/entries`: the log as it is, whoever sees it.
async fn export(
    State(edge): State<Edge>,
    _: Operator,
    Named(OneConversation { conversation }): Named<OneConversation>,
    Asked(page): Asked<ExportPage>,
) -> Response {
    let limit = page.limit.unwrap_or(EXPORT_MAX);
    if !(1..=EXPORT_MAX).contains(&limit) {
        return problem::of(&Answer::refused(Code::BadRequest, format!("limit: give 1 to {EXPORT_MAX}")));
    }
    match edge.host.export(conversation, page.after.unwrap_or(Seq::NONE), limit).await {
        Ok(export) => {
            let entries = export.entries.iter().map(|entry| exported(&export.names, entry)).collect();
            object(&Exported { entries, first_seq: Seq::FIRST.min(export.last_seq), last_seq: export.last_seq })
        }
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

fn exported<'a>(
    names: &'a crate::maps::HashMap<UserId, Box<str>>,
    entry: &'a crate::conversation::entry::Entry,
) -> ExportedEntry<'a> {
    ExportedEntry { from_name: names.get(&entry.from).map(|name| &**name), void: entry.void, entry: view::live(entry) }
}

/// The body of `POST /v1/admin/send`; it is read in two steps.
#[derive(ToSchema)]
#[expect(dead_code, reason = "it is only described")]
struct SendAs {
    #[serde(flatten)]
    who: As,
    #[serde(flatten)]
    send: SendBody,
}

#[derive(Deserialize, ToSchema)]
struct As {
    #[serde(rename = "as")]
    user: UserId,
}

/// `POST /v1/admin/send`: a `send` with `as`, the user who shall have sent it.
async fn send_as(State(edge): State<Edge>, _: Operator, repeat: RepeatId, Raw(body): Raw) -> Response {
    let refused = |message: String| problem::of(&Answer::refused(Code::BadRequest, message));
    let (user, command) = match (parse::<As>(&body), parse::<SendBody>(&body)) {
        (Ok(As { user }), Ok(send)) => (user, send.into_command(repeat)),
        (Err(message), _) | (_, Err(message)) => return refused(message),
    };
    if let Err(message) = check(&command, &edge.host.rules.limits) {
        return refused(message);
    }
    let home = match edge.host.home(&user).await {
        Ok(home) => home,
        Err(error) => return problem::of(&edge.host.answer(error.into())),
    };
    if !home.lock().state.row.is_known() {
        return problem::of(&Answer::unknown_users(vec![user]));
    }
    let device = DeviceId::new("admin").expect("five letters are a name");
    let (reply, answer) = Reply::to_call();
    act(&edge.host, &Caller { user, device, home, expires_ms: None }, command, reply.counted(&edge.host.metrics)).await;
    show(answer.await.unwrap_or_else(|_| Answer::unavailable()))
}
