//! A server that keeps every promise, as small as can be: all in memory, one request at a time. What it answers is what
//! the checker must find right.

use std::collections::{BTreeMap, BTreeSet};

use tidings_checker::{Entry, Item, TextHash};
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{client::Page, server::Kind},
};

/// What a client wants to stand in a conversation.
#[derive(Clone)]
pub struct Draft {
    pub conversation: ConversationId,
    pub to: Option<UserId>,
    pub client_msg_id: String,
    pub kind: Kind,
    pub text: Option<String>,
    pub target: Option<Seq>,
    pub adds: Vec<UserId>,
    pub removes: Vec<UserId>,
}

struct Stored {
    from: UserId,
    draft: Draft,
    /// Sent while the other one of this direct conversation blocked the sender.
    void: bool,
}

pub struct Conversation {
    pub direct: bool,
    pub members: BTreeSet<UserId>,
    log: Vec<Stored>,
    repeats: BTreeMap<(UserId, String), Seq>,
    read: BTreeMap<UserId, Seq>,
}

#[derive(Default)]
pub struct Server {
    pub conversations: BTreeMap<ConversationId, Conversation>,
    blocks: BTreeSet<(UserId, UserId)>,
    /// When each user's item of a conversation last changed.
    versions: BTreeMap<(UserId, ConversationId), u64>,
    pub version: u64,
}

pub enum Decided {
    Committed(Seq),
    Repeat(Seq),
    Refused(Code),
}

pub struct InboxAnswer {
    pub items: Vec<Item>,
    pub removed: Vec<ConversationId>,
    pub full: bool,
    pub more: bool,
    pub version: u64,
}

impl Server {
    pub fn create(&mut self, id: ConversationId, direct: bool, members: &[UserId]) {
        let members = members.iter().cloned().collect();
        let (log, repeats, read) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        self.conversations.insert(id, Conversation { direct, members, log, repeats, read });
    }

    pub fn send(&mut self, from: &UserId, draft: &Draft) -> Decided {
        let conversation = self.conversations.get_mut(&draft.conversation).expect("clients name what exists");
        let key = (from.clone(), draft.client_msg_id.clone());
        if let Some(&seq) = conversation.repeats.get(&key) {
            return Decided::Repeat(seq);
        }
        if let Err(code) = allowed(conversation, from, draft) {
            return Decided::Refused(code);
        }
        let other = conversation.members.iter().find(|member| *member != from);
        let void =
            conversation.direct && other.is_some_and(|other| self.blocks.contains(&(other.clone(), from.clone())));
        conversation.log.push(Stored { from: from.clone(), draft: draft.clone(), void });
        let seq = conversation.last_seq();
        conversation.repeats.insert(key, seq);
        conversation.read.insert(from.clone(), seq);
        self.version += 1;
        for member in conversation.members.iter().chain(&draft.adds) {
            self.versions.insert((member.clone(), draft.conversation), self.version);
        }
        conversation.members.extend(draft.adds.iter().cloned());
        for user in &draft.removes {
            conversation.members.remove(user);
        }
        Decided::Committed(seq)
    }

    pub fn block(&mut self, blocker: &UserId, blocked: &UserId, on: bool) {
        let pair = (blocker.clone(), blocked.clone());
        if on {
            self.blocks.insert(pair)
        } else {
            self.blocks.remove(&pair)
        };
    }

    pub fn mark_read(&mut self, user: &UserId, id: ConversationId, seq: Seq) {
        let conversation = self.conversations.get_mut(&id).expect("clients name what exists");
        let seq = seq.min(conversation.last_seq());
        let read = conversation.read.entry(user.clone()).or_default();
        *read = seq.max(*read);
        self.version += 1;
        self.versions.insert((user.clone(), id), self.version);
    }

    pub fn read_seq(&self, user: &UserId, id: ConversationId) -> Seq {
        self.conversations[&id].read.get(user).copied().unwrap_or_default()
    }

    pub fn is_member(&self, user: &UserId, id: ConversationId) -> bool {
        self.conversations[&id].members.contains(user)
    }

    /// The newest changes first; a whole inbox by pages of `page` from `skip` on.
    pub fn sync(&self, user: &UserId, since: Option<u64>, skip: usize, page: usize, tail: usize) -> InboxAnswer {
        let since_version = since.unwrap_or(0);
        let mut changed: Vec<(u64, ConversationId)> = self
            .versions
            .iter()
            .filter(|((of, _), version)| of == user && **version > since_version)
            .map(|((_, id), &version)| (version, *id))
            .collect();
        changed.sort_unstable_by(|one, other| other.cmp(one));
        let (there, gone): (Vec<_>, Vec<_>) = changed.into_iter().partition(|(_, id)| self.is_member(user, *id));
        let full = since.is_none();
        let page = if full { page } else { usize::MAX };
        let more = there.len() > skip.saturating_add(page);
        let items = there.iter().skip(skip).take(page).map(|(_, id)| self.item(user, *id, tail)).collect();
        let removed = if full { Vec::new() } else { gone.into_iter().map(|(_, id)| id).collect() };
        InboxAnswer { items, removed, full, more, version: self.version }
    }

    pub fn item(&self, user: &UserId, id: ConversationId, tail: usize) -> Item {
        let conversation = &self.conversations[&id];
        let last_seq = conversation.last_seq();
        let read_seq = self.read_seq(user, id);
        let views: Vec<Entry> = conversation.seqs().map(|seq| self.view(user, id, seq)).collect();
        let is_unread = |view: &&Entry| {
            view.kind == Kind::Message && view.from.as_ref() != Some(user) && view.seq > read_seq && !view.redacted
        };
        let unread = views.iter().filter(is_unread).count() as u64;
        let last = views.iter().rev().find(|view| view.kind == Kind::Message).cloned();
        let tail = views[views.len().saturating_sub(tail)..].to_vec();
        Item { conversation: id, last_seq, read_seq, unread, last, tail }
    }

    pub fn fetch(&self, user: &UserId, id: ConversationId, range: Page) -> (Vec<Entry>, Seq) {
        let last = self.conversations[&id].last_seq();
        let limit = range.limit.unwrap_or(50) as u64;
        let (from, to) = match range {
            Page { after: Some(after), .. } => (after.0 + 1, (after.0 + limit).min(last.0)),
            Page { before: Some(before), .. } => {
                let to = before.previous().min(last).0;
                ((to + 1).saturating_sub(limit), to)
            }
            Page { around: Some(around), .. } => {
                let from = around.0.saturating_sub(limit / 2).min((last.0 + 1).saturating_sub(limit)).max(1);
                (from, (from + limit - 1).min(last.0))
            }
            _ => ((last.0 + 1).saturating_sub(limit), last.0),
        };
        ((from.max(1)..=to).map(|seq| self.view(user, id, Seq(seq))).collect(), last)
    }

    /// An entry as `user` sees it now.
    pub fn view(&self, user: &UserId, id: ConversationId, seq: Seq) -> Entry {
        let conversation = &self.conversations[&id];
        let stored = conversation.stored(seq);
        if self.is_void(user, conversation, stored) {
            return Entry {
                seq,
                kind: Kind::Void,
                from: None,
                client_msg_id: None,
                text: None,
                target: None,
                edited_seq: None,
                redacted: false,
            };
        }
        let later = conversation.seqs().filter(|&later| later > seq);
        let about_it = later.filter(|&later| {
            let other = conversation.stored(later);
            other.draft.target == Some(seq) && !self.is_void(user, conversation, other)
        });
        let (mut text, mut edited_seq, mut redacted) = (stored.draft.text.as_deref(), None, false);
        for later in about_it {
            match conversation.stored(later).draft.kind {
                Kind::Edit => (text, edited_seq) = (conversation.stored(later).draft.text.as_deref(), Some(later)),
                Kind::Redaction => (text, edited_seq, redacted) = (None, None, true),
                _ => {}
            }
        }
        Entry {
            seq,
            kind: stored.draft.kind,
            from: Some(stored.from.clone()),
            client_msg_id: Some(stored.draft.client_msg_id.as_str().into()),
            text: text.map(TextHash::of),
            target: stored.draft.target,
            edited_seq,
            redacted,
        }
    }

    fn is_void(&self, user: &UserId, conversation: &Conversation, stored: &Stored) -> bool {
        let blocked_now = || self.blocks.contains(&(user.clone(), stored.from.clone()));
        user != &stored.from && if conversation.direct { stored.void } else { blocked_now() }
    }
}

impl Conversation {
    pub fn last_seq(&self) -> Seq {
        Seq(self.log.len() as u64)
    }

    fn seqs(&self) -> impl Iterator<Item = Seq> {
        (1..=self.last_seq().0).map(Seq)
    }

    fn stored(&self, seq: Seq) -> &Stored {
        &self.log[usize::try_from(seq.0 - 1).expect("a seq of this log")]
    }
}

fn allowed(conversation: &Conversation, from: &UserId, draft: &Draft) -> Result<(), Code> {
    if !conversation.members.contains(from) {
        return Err(Code::UnknownConversation);
    }
    let is_in = |user: &UserId| conversation.members.contains(user);
    if draft.adds.iter().any(is_in) || !draft.removes.iter().all(is_in) {
        return Err(Code::Conflict);
    }
    let Some(target) = draft.target else { return Ok(()) };
    let redacted = conversation
        .log
        .iter()
        .any(|stored| stored.draft.kind == Kind::Redaction && stored.draft.target == Some(target));
    let own = target <= conversation.last_seq() && &conversation.stored(target).from == from;
    if own && !redacted { Ok(()) } else { Err(Code::Conflict) }
}
