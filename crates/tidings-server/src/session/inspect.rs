//! What one may look at beside history and inbox: who is in a conversation and how far they are, profiles, one's own devices
//! and blocks. Only what is committed, and only what is the caller's to see.

use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        client::{self, PresenceAudience},
        server::{self, ConversationDetails, MembersPage, UserProfile},
    },
};

use crate::{
    conversation::{
        decide::Refusal,
        event::{History, Kind},
        members::Member,
        state::State,
        view::wire_role,
    },
    home::{event::Audience, inbox},
    host::{Host, act::ActError},
    maps::HashSet,
};

use super::{execute::Caller, reply::Answer};

/// More than a conversation may have.
const MEMBERS: usize = usize::MAX;

/// A page of people.
#[derive(Clone, Debug)]
pub struct Page {
    /// The last user of the page before.
    pub after: Option<UserId>,
    pub limit: usize,
}

/// Oneself.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Me {
    pub user: UserId,
    pub device: DeviceId,
    #[schema(required)]
    pub name: Option<String>,
    #[schema(required)]
    pub picture: Option<String>,
    /// Who may see whether one is online.
    pub presence: PresenceAudience,
}

/// A conversation's item, with its members if they are few; as JSON.
pub async fn conversation(host: &Host, caller: &Caller, id: ConversationId) -> Result<String, ActError> {
    host.ask_large(&caller.home).await?;
    let state = host.state_for(id, &caller.user, None, 0).await?.state;
    state.members.get(&caller.user).ok_or_else(Refusal::unknown_conversation)?;
    let few: Vec<(UserId, Member)> = if state.members.is_small() {
        state.members.iter().map(|(user, member)| (user.clone(), state.with_imported(member))).collect()
    } else {
        Vec::new()
    };
    let members = shown(host, caller, id, &state, few).await?;
    let home = caller.home.lock();
    let item = home.state.items.get(&id).filter(|item| !item.gone).ok_or_else(Refusal::unknown_conversation)?;
    let history = match state.history() {
        History::All => client::History::All,
        History::Joined => client::History::Joined,
    };
    let details = ConversationDetails { item: inbox::item(&home.state, id, item), history, members };
    Ok(serde_json::to_string(&details).expect("frames have string keys and no failing values"))
}

/// Members in order of their ids, with their roles.
pub async fn members(host: &Host, caller: &Caller, id: ConversationId, page: Page) -> Result<MembersPage, ActError> {
    let state = host.state_for(id, &caller.user, page.after.as_ref(), page.limit + 1).await?.state;
    state.members.get(&caller.user).ok_or_else(Refusal::unknown_conversation)?;
    let mut members: Vec<server::Member> = state
        .members
        .after(page.after.as_ref())
        .take(page.limit + 1)
        .map(|(user, member)| server::Member {
            user: user.clone(),
            role: wire_role(member.role),
            delivered_seq: None,
            read_seq: None,
        })
        .collect();
    let next = cut(&mut members, page.limit);
    Ok(MembersPage { members, next })
}

/// Members to whom an entry was delivered, in order of their ids, with how far each is.
pub async fn receipts(
    host: &Host,
    caller: &Caller,
    id: ConversationId,
    seq: Seq,
    page: Page,
) -> Result<MembersPage, ActError> {
    let state = host.state_for(id, &caller.user, None, MEMBERS).await?.state;
    let me = state.members.get(&caller.user).ok_or_else(Refusal::unknown_conversation)?;
    if seq == Seq::NONE || seq < state.first_seq(me) || seq > state.last_seq {
        return Err(Refusal::new(Code::UnknownEntry, format!("seq: there is no entry {seq} that you could see")).into());
    }
    let mut found: Vec<server::Member> = Vec::new();
    let mut after = page.after;
    // Who blocks the caller is told apart only with their homes: some of what is read may not be told.
    while found.len() <= page.limit {
        let reached: Vec<(UserId, Member)> = state
            .members
            .after(after.as_ref())
            .map(|(user, member)| (user.clone(), state.with_imported(member)))
            .filter(|(_, member)| member.delivered >= seq)
            .take(page.limit + 1)
            .collect();
        let is_last = reached.len() <= page.limit;
        after = reached.last().map(|(user, _)| user.clone());
        let told = shown(host, caller, id, &state, reached).await?;
        found.extend(told.into_iter().filter(|member| member.delivered_seq.is_some_and(|delivered| delivered >= seq)));
        if is_last {
            break;
        }
    }
    let next = cut(&mut found, page.limit);
    Ok(MembersPage { members: found, next })
}

/// Leaves the first `limit`, and tells where the next page begins.
fn cut(members: &mut Vec<server::Member>, limit: usize) -> Option<String> {
    let is_more = members.len() > limit;
    members.truncate(limit);
    if is_more { members.last().map(|member| member.user.as_str().to_owned()) } else { None }
}

/// Members with their registers, as the caller may know them: of who blocks the caller no more than when they came.
async fn shown(
    host: &Host,
    caller: &Caller,
    id: ConversationId,
    state: &State,
    members: Vec<(UserId, Member)>,
) -> Result<Vec<server::Member>, ActError> {
    let peer = if state.kind() == Some(Kind::Direct) {
        // The inbox item was told what the caller may know, and nothing since a block.
        let home = caller.home.lock();
        let with = home.state.items.get(&id).and_then(|item| item.with.as_deref());
        with.map(|with| (with.user.clone(), with.delivered, with.read))
    } else {
        None
    };
    let blockers = if peer.is_some() { HashSet::default() } else { blockers(host, caller, &members).await? };
    let shown = members.into_iter().map(|(user, member)| {
        let (delivered, read) = match &peer {
            Some((other, delivered, read)) if *other == user => (*delivered, *read),
            _ if blockers.contains(&user) => (member.joined, member.joined),
            _ => (member.delivered, member.read),
        };
        server::Member { user, role: wire_role(member.role), delivered_seq: Some(delivered), read_seq: Some(read) }
    });
    Ok(shown.collect())
}

async fn blockers(host: &Host, caller: &Caller, members: &[(UserId, Member)]) -> Result<HashSet<UserId>, ActError> {
    let users: Vec<UserId> = members.iter().map(|(user, _)| user.clone()).collect();
    let rows = host.home_rows_anywhere(&users).await?;
    Ok(users.into_iter().zip(rows).filter(|(_, row)| row.blocks(&caller.user)).map(|(user, _)| user).collect())
}

/// How users are shown to the caller; unknown ones are left out.
pub async fn profiles(host: &Host, caller: &Caller, users: &[UserId]) -> Result<Vec<UserProfile>, ActError> {
    let mut profiles = Vec::with_capacity(users.len());
    for (user, row) in users.iter().zip(host.home_rows_anywhere(users).await?) {
        if !row.is_known() {
            continue;
        }
        let presence = host.presence_of(user, &caller.user).await?;
        profiles.push(UserProfile {
            user: user.clone(),
            name: row.profile.name.map(Into::into),
            picture: row.profile.picture.map(Into::into),
            presence: Some(presence.state),
            last_seen: presence.last_seen,
        });
    }
    Ok(profiles)
}

pub fn me(caller: &Caller) -> Me {
    let home = caller.home.lock();
    let row = &home.state.row;
    Me {
        user: caller.user.clone(),
        device: caller.device.clone(),
        name: row.profile.name.as_deref().map(str::to_owned),
        picture: row.profile.picture.as_deref().map(str::to_owned),
        presence: match row.audience {
            Audience::Everyone => PresenceAudience::Everyone,
            Audience::Contacts => PresenceAudience::Contacts,
            Audience::Nobody => PresenceAudience::Nobody,
        },
    }
}

/// The caller's devices that may log in with the tokens they have.
pub fn devices(caller: &Caller) -> Vec<server::Device> {
    let home = caller.home.lock();
    let valid = home.state.row.devices.iter().filter(|device| device.is_valid());
    let shown = valid.map(|device| server::Device {
        device: device.id.clone(),
        name: device.name.as_deref().map(str::to_owned),
        platform: device.platform.as_deref().map(str::to_owned),
        last_seen: Some(device.seen_at_ms),
        connected: home.sessions.iter().any(|session| session.device == device.id),
    });
    shown.collect()
}

/// One of the caller's devices; refused, if there is none of this name.
pub fn device(caller: &Caller, device: &DeviceId) -> Result<server::Device, Answer> {
    let known = devices(caller).into_iter().find(|known| known.device == *device);
    known.ok_or_else(|| {
        Answer::refused(Code::NotFound, "device: you have no such device; GET /v1/me/devices lists them")
    })
}

/// Whom the caller blocks.
pub fn blocks(caller: &Caller) -> Vec<UserId> {
    let home = caller.home.lock();
    home.state.row.blocks.iter().filter(|block| block.on).map(|block| block.user.clone()).collect()
}
