//! History: pages of a log by keyset, with `ETag`; receipts of an entry; editing, deleting and reacting to one.

use axum::{
    extract::State,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use tidings_proto::{
    Code, ConversationId, Seq,
    frames::{
        client::{Command, Edit, Fetch, Page, React, Redact},
        server::MembersPage,
    },
};
use utoipa::ToSchema;

use crate::session::{execute::Caller, inspect};

use super::{
    super::Edge,
    change,
    conversations::{InPath, PageOfPeople},
    documents::Calls,
    input::{Asked, Body, Named, RepeatId},
    object, perform, problem,
};

/// The calls of this file.
pub fn describe(calls: &mut Calls) {
    const ENTRIES: &str = "/v1/conversations/{conversation}/entries";
    const ENTRY: &str = "/v1/conversations/{conversation}/entries/{seq}";
    const REACTION: &str = "/v1/conversations/{conversation}/entries/{seq}/reactions/{emoji}";
    let unknown = &[Code::UnknownConversation, Code::UnknownEntry];
    let fetch = calls.on("post", "/v1/fetch", "Pages of the history of many conversations").of_users();
    let fetch = fetch.takes::<Fetch>().gives_frame(200, "entries", "The pages, in the order asked");
    fetch.refuses(&[Code::UnknownConversation]);
    calls
        .on("get", ENTRIES, "A page of history; the newest, unless a place is named")
        .of_users()
        .asks::<AskedPage>()
        .hears("If-None-Match", "The ETag of what the client has.")
        .gives_frame(200, "entries", "The page, ascending")
        .with_header(200, "ETag", "Of this page as it is now.")
        .gives_nothing(304, "The client has it")
        .refuses(&[Code::UnknownConversation]);
    let receipts =
        calls.on("get", "/v1/conversations/{conversation}/entries/{seq}/receipts", "To whom it was delivered");
    receipts.of_users().asks::<PageOfPeople>().gives::<MembersPage>(200, "A page of members").refuses(unknown);
    let edit = calls.on("patch", ENTRY, "Edits one's message").of_users().repeats().takes::<EditBody>();
    edit.changes("edited").refuses(unknown).refuses(&[Code::LimitReached]);
    let redact = calls.on("delete", ENTRY, "Deletes one's message, or as an admin anybody's").of_users().repeats();
    redact.changes("deleted").refuses(unknown);
    for (method, what) in [("put", "Reacts"), ("delete", "Takes a reaction back")] {
        let react = calls.on(method, REACTION, what).of_users().repeats();
        react.changes("so").refuses(unknown).refuses(&[Code::LimitReached]);
    }
}

/// `POST /v1/fetch`: pages of many conversations at once.
pub async fn fetch(State(edge): State<Edge>, caller: Caller, Body(fetch): Body<Fetch>) -> Response {
    perform(&edge, &caller, Command::Fetch(fetch)).await
}

/// A query cannot hold a page within another object.
#[derive(Deserialize, ToSchema)]
pub struct AskedPage {
    before: Option<Seq>,
    after: Option<Seq>,
    around: Option<Seq>,
    limit: Option<usize>,
}

/// `GET /v1/conversations/{id}/entries`.
pub async fn entries(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<InPath>,
    Asked(asked): Asked<AskedPage>,
    headers: HeaderMap,
) -> Response {
    let AskedPage { before, after, around, limit } = asked;
    let page = Page { before, after, around, limit };
    let fetch = Fetch { conversation: Some(path.conversation), page, ranges: None };
    let response = perform(&edge, &caller, Command::Fetch(fetch)).await;
    if response.status() == StatusCode::OK { with_tag(response, &headers).await } else { response }
}

/// Adds the `ETag` (RFC 9110 section 8.8.3); what the client has already is not sent again.
async fn with_tag(response: Response, asked: &HeaderMap) -> Response {
    let (mut parts, body) = response.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("the body is in memory");
    let tag = format!("\"{}\"", &blake3::hash(&body).to_hex()[..32]);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let is_known = known.flat_map(|value| value.split(',')).any(|one| {
        let one = one.trim();
        one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag
    });
    parts.headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
    if is_known {
        parts.status = StatusCode::NOT_MODIFIED;
        parts.headers.remove(header::CONTENT_TYPE);
        parts.headers.remove(header::CONTENT_LENGTH);
        return parts.into_response();
    }
    (parts, body).into_response()
}

#[derive(Deserialize)]
pub struct EntryInPath {
    conversation: ConversationId,
    seq: Seq,
}

/// `GET /v1/conversations/{id}/entries/{seq}/receipts`: to whom it was delivered, and how far each of them is.
pub async fn receipts(
    State(edge): State<Edge>,
    caller: Caller,
    Named(EntryInPath { conversation, seq }): Named<EntryInPath>,
    Asked(asked): Asked<PageOfPeople>,
) -> Response {
    let page = match asked.checked(&edge) {
        Ok(page) => page,
        Err(refusal) => return problem::of(&refusal),
    };
    match inspect::receipts(&edge.host, &caller, conversation, seq, page).await {
        Ok(page) => object(&page),
        Err(error) => problem::of(&edge.host.answer(error)),
    }
}

#[derive(Deserialize, ToSchema)]
pub struct EditBody {
    client_msg_id: Option<String>,
    text: String,
}

/// `PATCH /v1/conversations/{id}/entries/{seq}`: edits one's message.
pub async fn edit(
    State(edge): State<Edge>,
    caller: Caller,
    Named(EntryInPath { conversation, seq }): Named<EntryInPath>,
    repeat: RepeatId,
    Body(body): Body<EditBody>,
) -> Response {
    let client_msg_id = repeat.or_given(body.client_msg_id);
    change(&edge, &caller, Command::Edit(Edit { client_msg_id, conversation, seq, text: body.text })).await
}

/// `DELETE /v1/conversations/{id}/entries/{seq}`: deletes one's message, or as an admin anybody's.
pub async fn redact(
    State(edge): State<Edge>,
    caller: Caller,
    Named(EntryInPath { conversation, seq }): Named<EntryInPath>,
    repeat: RepeatId,
) -> Response {
    let client_msg_id = repeat.or_given(None);
    change(&edge, &caller, Command::Redact(Redact { client_msg_id, conversation, seq })).await
}

#[derive(Deserialize)]
pub struct ReactionInPath {
    conversation: ConversationId,
    seq: Seq,
    emoji: String,
}

/// `PUT /v1/conversations/{id}/entries/{seq}/reactions/{emoji}`.
pub async fn react(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<ReactionInPath>,
    repeat: RepeatId,
) -> Response {
    set_reaction(&edge, &caller, path, repeat, true).await
}

/// `DELETE /v1/conversations/{id}/entries/{seq}/reactions/{emoji}`.
pub async fn react_no_more(
    State(edge): State<Edge>,
    caller: Caller,
    Named(path): Named<ReactionInPath>,
    repeat: RepeatId,
) -> Response {
    set_reaction(&edge, &caller, path, repeat, false).await
}

async fn set_reaction(edge: &Edge, caller: &Caller, path: ReactionInPath, repeat: RepeatId, on: bool) -> Response {
    let ReactionInPath { conversation, seq, emoji } = path;
    let react = React { client_msg_id: repeat.or_given(None), conversation, seq, emoji, on };
    change(edge, caller, Command::React(react)).await
}
