//! A conversation's state, and `apply`: state is a function of the events.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{Seq, UserId};

use crate::conversation::{
    entry::{Body, Entry, MembersChange, Role},
    event::{Change, Created, History, Kind},
    fold,
    members::{Member, Members},
    newest::remember,
};

/// Everything `decide` needs but single entries. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// `None`: it does not exist yet.
    pub created: Option<Arc<Created>>,
    /// How many events made this state.
    pub version: u64,
    pub name: Arc<str>,
    pub last_seq: Seq,
    /// Counting messages so far: see `Entry::ord`.
    pub last_ord: u64,
    pub last_at_ms: u64,
    pub members: Members,
    /// Every member has read up to here, whatever their own registers say: an import ended here.
    pub imported: Imported,
    /// Of a direct conversation: who blocks the other one.
    pub blocks: Vec<Block>,
    /// Of a large conversation: the newest entry a home may show, folded.
    pub preview: Option<Arc<Entry>>,
    /// Of a large conversation: the newest mentions of all, ascending.
    pub mentions_of_all: Vec<Seq>,
    /// Of a large conversation: which messages were deleted last, in the order of their deletion.
    pub redacted: Vec<Seq>,
}

/// The last entry of the last import.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct Imported {
    #[n(0)]
    pub seq: Seq,
    /// `Entry::ord` of it.
    #[n(1)]
    pub ord: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Block {
    #[n(0)]
    pub by: UserId,
    #[n(1)]
    pub on: bool,
    #[n(2)]
    pub home_version: u64,
}

impl State {
    pub fn kind(&self) -> Option<Kind> {
        self.created.as_ref().map(|created| created.kind)
    }

    pub fn history(&self) -> History {
        self.created.as_ref().map_or(History::All, |created| created.history)
    }

    /// Whether `user` is blocked by another member.
    pub fn is_blocked(&self, user: &UserId) -> bool {
        self.blocks.iter().any(|block| block.on && block.by != *user)
    }

    /// The first entry that this member may see.
    pub fn first_seq(&self, member: &Member) -> Seq {
        match self.history() {
            History::All => Seq::FIRST,
            History::Joined => member.joined.max(Seq::FIRST),
        }
    }

    /// Makes `change` part of the state as event number `version`. One that is part of it already is ignored.
    pub fn apply(&mut self, version: u64, change: &Change) {
        if version <= self.version {
            return;
        }
        debug_assert_eq!(version, self.version + 1, "events of a conversation are dense");
        self.version = version;
        match change {
            Change::Created(created) => self.apply_created(created),
            Change::Entry(entry) => self.apply_entry(entry),
            Change::Blocked { by, on, home_version } => self.apply_block(by, *on, *home_version),
            Change::Receipt { user, delivered, read } => self.apply_receipt(user, *delivered, *read),
            Change::Imported { members, entries } => self.apply_imported(members, entries),
        }
    }

    /// What a user is here, with how far everybody is.
    pub fn member(&self, user: &UserId) -> Option<Member> {
        self.members.get(user).map(|member| self.with_imported(member))
    }

    /// A member's registers, with how far everybody is.
    pub fn with_imported(&self, member: &Member) -> Member {
        let seq = self.imported.seq;
        Member { delivered: member.delivered.max(seq), read: member.read.max(seq), ..*member }
    }

    fn apply_imported(&mut self, members: &[UserId], entries: &[Arc<Entry>]) {
        for user in members {
            if self.members.get(user).is_none() {
                self.join(user, Role::Member, Seq::NONE);
            }
        }
        for entry in entries {
            self.last_seq = entry.seq;
            self.last_ord = entry.ord;
            self.last_at_ms = self.last_at_ms.max(entry.at_ms);
        }
        if let Some(last) = entries.last() {
            self.imported = Imported { seq: last.seq, ord: last.ord };
            if !self.members.is_small() {
                fold::preview(&mut self.preview, last);
            }
        }
    }

    fn apply_created(&mut self, created: &Created) {
        self.name = created.name.as_ref().into();
        self.last_at_ms = created.at_ms;
        for (user, role) in &created.members {
            self.join(user, *role, Seq::NONE);
        }
        self.created = Some(Arc::new(created.clone()));
    }

    fn join(&mut self, user: &UserId, role: Role, joined: Seq) {
        let seen = joined.max(self.last_seq);
        self.members.insert(user.clone(), Member { role, joined, delivered: seen, read: seen });
    }

    fn apply_entry(&mut self, entry: &Arc<Entry>) {
        self.last_seq = entry.seq;
        self.last_ord = entry.ord;
        self.last_at_ms = self.last_at_ms.max(entry.at_ms);
        match &entry.body {
            Body::Members(change) => self.apply_members(entry.seq, change),
            Body::Rename { name } => self.name = name.as_ref().into(),
            Body::Message(message) => {
                if message.mentions.iter().any(|name| name.as_ref() == "@all") {
                    remember(&mut self.mentions_of_all, entry.seq);
                }
            }
            Body::Redaction { target, .. } => {
                self.mentions_of_all.retain(|mention| mention != target);
                if !self.members.is_small() {
                    remember(&mut self.redacted, *target);
                }
            }
            Body::Edit { .. } | Body::Reaction { .. } => {}
        }
        // Who sends has seen what is there.
        self.apply_receipt(&entry.from, entry.seq, entry.seq);
        if !self.members.is_small() {
            fold::preview(&mut self.preview, entry);
        }
    }

    fn apply_members(&mut self, seq: Seq, change: &MembersChange) {
        for (user, role) in &change.added {
            self.join(user, *role, seq);
        }
        for user in &change.removed {
            self.members.remove(user);
        }
        for (user, role) in &change.roles {
            if let Some(member) = self.members.get(user) {
                let member = Member { role: *role, ..*member };
                self.members.insert(user.clone(), member);
            }
        }
    }

    fn apply_block(&mut self, by: &UserId, on: bool, home_version: u64) {
        match self.blocks.iter_mut().find(|block| block.by == *by) {
            Some(block) if block.home_version >= home_version => {}
            Some(block) => *block = Block { by: by.clone(), on, home_version },
            None => self.blocks.push(Block { by: by.clone(), on, home_version }),
        }
    }

    fn apply_receipt(&mut self, user: &UserId, delivered: Seq, read: Seq) {
        let Some(member) = self.members.get(user) else { return };
        let moved =
            Member { delivered: member.delivered.max(delivered).max(read), read: member.read.max(read), ..*member };
        if moved != *member {
            self.members.insert(user.clone(), moved);
        }
    }
}
