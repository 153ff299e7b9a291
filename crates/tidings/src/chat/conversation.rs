//! One conversation as the chat knows it: its inbox item kept up with what comes, its log, and what is being written in it. Pure.

use std::{collections::HashMap, time::Instant};

use tidings_client::{ConversationId, Seq, UserId};
use tidings_proto::frames::server::{ConversationKind, Entry, Item, Kind, Peer, Who};
use tui_input::Input;

use super::log::Log;

/// What is being written in a conversation.
#[derive(Debug, Default)]
pub struct Draft {
    pub input: Input,
    pub reply_to: Option<Seq>,
    pub editing: Option<Seq>,
}

#[derive(Debug)]
pub struct Conversation {
    pub item: Item<'static>,
    pub log: Log,
    pub draft: Draft,
    /// Where the unread ones began when it was opened.
    pub unread_from: Option<Seq>,
    pub typing: HashMap<UserId, Instant>,
}

impl Conversation {
    pub fn new(item: Item<'static>) -> Self {
        Self { item, log: Log::default(), draft: Draft::default(), unread_from: None, typing: HashMap::new() }
    }

    /// A direct one in which nobody said anything yet.
    pub fn with_nothing(conversation: ConversationId, with: UserId) -> Self {
        Self::new(Item {
            conversation,
            kind: ConversationKind::Direct,
            who: Who::Direct { with, with_name: None, with_picture: None, peer: Peer::default() },
            last: None,
            first_seq: None,
            last_seq: Seq::NONE,
            read_seq: Seq::NONE,
            unread: 0,
            mentions: 0,
            muted: false,
            pinned: false,
            archived: false,
            blocked: false,
            tail: None,
        })
    }

    /// The other one of a direct conversation.
    pub fn with(&self) -> Option<&UserId> {
        match &self.item.who {
            Who::Direct { with, .. } => Some(with),
            Who::Group { .. } => None,
        }
    }

    pub fn matches(&self, words: &str) -> bool {
        let id = self.with().map_or("", AsRef::as_ref);
        crate::names::title(&self.item).to_lowercase().contains(words) || id.to_lowercase().contains(words)
    }

    /// What a live entry makes of the inbox item.
    pub fn take(&mut self, entry: &Entry<'static>, me: &UserId) {
        let item = &mut self.item;
        if entry.seq <= item.last_seq && item.last.as_ref().is_some_and(|last| last.seq >= entry.seq) {
            return;
        }
        let is_new = entry.seq > item.last_seq;
        item.last_seq = item.last_seq.max(entry.seq);
        let is_mine = entry.from.as_ref() == Some(me);
        match entry.kind {
            Kind::Message | Kind::Tip => {
                item.last = Some(entry.clone());
                if is_mine {
                    (item.read_seq, item.unread, item.mentions) = (entry.seq, 0, 0);
                } else if is_new {
                    item.unread += 1;
                    let mentions = entry.more.as_ref().map(|more| more.mentions.as_slice()).unwrap_or_default();
                    item.mentions += u64::from(mentions.iter().any(|user| user == me.as_str() || user == "@all"));
                }
            }
            Kind::Members => {
                if let (Who::Group { member_count, .. }, Some(more), true) = (&mut item.who, &entry.more, is_new) {
                    *member_count = (*member_count + more.add.len() as u64).saturating_sub(more.remove.len() as u64);
                }
                item.last = Some(entry.clone());
            }
            Kind::Rename => {
                let renamed = entry.more.as_ref().and_then(|more| more.name.clone());
                if let (Who::Group { name, .. }, Some(renamed)) = (&mut item.who, renamed) {
                    *name = renamed;
                }
                item.last = Some(entry.clone());
            }
            Kind::Edit | Kind::Redaction | Kind::Reaction => {
                let target = entry.more.as_ref().and_then(|more| more.target);
                if let Some(last) = item.last.as_mut().filter(|last| Some(last.seq) == target) {
                    super::log::fold(last, entry, me);
                }
            }
            Kind::Void | Kind::Unknown => {}
        }
    }
}
