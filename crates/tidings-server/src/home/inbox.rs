//! The inbox on the wire: items, pages of it by last activity, and what changed since a token.

use std::cmp::Reverse;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_proto::{
    ConversationId, UserId,
    frames::server::{self, ConversationKind, Peer, Who},
};

use crate::conversation::{
    event::Kind,
    view::{self, Viewer, wire_role},
};

use super::{
    item::Item,
    state::HomeState,
    sync::{More, Token},
};

/// Items of one answer to a sync.
pub const CHANGES_MAX: usize = 1_000;

/// One item as its user sees it.
pub fn item<'a>(state: &'a HomeState, conversation: ConversationId, item: &'a Item) -> server::Item<'a> {
    let hides = |user: &UserId| state.hides(conversation, user);
    let viewer = Viewer { user: &state.user, hides: &hides };
    let with = item.with.as_deref();
    let who = match (with, item.group.as_deref()) {
        (Some(with), _) => Who::Direct {
            with: with.user.clone(),
            with_name: with.profile.name.as_deref().map(str::to_owned),
            with_picture: with.profile.picture.as_deref().map(str::to_owned),
            peer: Peer { delivered_seq: with.delivered, read_seq: with.read },
        },
        (None, Some(group)) => Who::Group {
            name: group.name.as_ref().to_owned(),
            picture: None,
            member_count: group.member_count,
            role: wire_role(group.role),
        },
        (None, None) => unreachable!("an item is with somebody or in a group"),
    };
    server::Item {
        conversation,
        kind: match item.kind {
            Kind::Direct => ConversationKind::Direct,
            Kind::Group => ConversationKind::Group,
            Kind::List => ConversationKind::List,
            Kind::System => ConversationKind::System,
        },
        who,
        last: item.preview.as_deref().and_then(|preview| view::preview(preview, viewer)),
        first_seq: (item.first_seq > tidings_proto::Seq::FIRST).then_some(item.first_seq),
        last_seq: item.last_seq,
        read_seq: item.read_seq,
        unread: item.unread(),
        mentions: item.mentions.len() as u64,
        muted: item.muted,
        pinned: item.pinned,
        archived: item.archived,
        blocked: with.is_some_and(|with| state.row.blocks(&with.user)),
        tail: None,
    }
}

/// What is told: the items that are the user's, and those that no longer are.
#[derive(Debug)]
pub struct Differences {
    pub items: Vec<ConversationId>,
    pub removed: Vec<ConversationId>,
    pub next: Token,
    pub more: bool,
    pub full: bool,
}

/// What changed after `since`, the latest activity first; `None`: everything there is.
pub fn differences(state: &HomeState, since: Option<Token>) -> Differences {
    let now = state.version();
    let page = match since {
        None => More { since: 0, below: u64::MAX, to: now, full: true },
        Some(Token::Home(since)) => More { since, below: u64::MAX, to: now, full: false },
        Some(Token::More(more)) => more,
    };
    let is_told = |item: &Item| item.version > page.since && item.version < page.below && !(page.full && item.gone);
    // An item that changed meanwhile has a version above `to`: it is told now, or after `to` is reached.
    let mut changed: Vec<_> =
        state.items.iter().filter(|(_, item)| is_told(item)).map(|(id, item)| (item.version, *id)).collect();
    changed.sort_unstable_by_key(|change| Reverse(*change));
    let more = changed.len() > CHANGES_MAX;
    changed.truncate(CHANGES_MAX);
    let next = match changed.last() {
        Some((lowest, _)) if more => Token::More(More { below: *lowest, ..page }),
        _ => Token::Home(page.to),
    };
    let (removed, items) = changed.into_iter().map(|(_, id)| id).partition(|id| state.items[id].gone);
    Differences { items, removed, next, more, full: page.full }
}

/// A page of the inbox by last activity, the latest first, and the cursor of the next.
pub fn page(state: &HomeState, cursor: Option<Cursor>, limit: usize) -> (Vec<ConversationId>, Option<Cursor>) {
    let mut all: Vec<_> = state
        .items
        .iter()
        .filter(|(_, item)| !item.gone)
        .map(|(id, item)| Cursor { at_ms: item.last_at_ms, conversation: *id })
        .filter(|place| cursor.is_none_or(|cursor| *place < cursor))
        .collect();
    all.sort_unstable_by_key(|place| Reverse(*place));
    let next = (all.len() > limit).then(|| all[limit - 1]);
    all.truncate(limit);
    (all.into_iter().map(|place| place.conversation).collect(), next)
}

/// A place in the inbox: behind it come conversations that were last active earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    at_ms: u64,
    conversation: ConversationId,
}

impl Cursor {
    pub fn write(self) -> String {
        let mut bytes = self.at_ms.to_be_bytes().to_vec();
        bytes.extend(self.conversation.as_bytes());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    pub fn read(text: &str) -> Option<Self> {
        let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (at_ms, conversation) = bytes.split_at(8);
        Some(Self {
            at_ms: u64::from_be_bytes(at_ms.try_into().ok()?),
            conversation: ConversationId::from_bytes(conversation.try_into().ok()?),
        })
    }
}
