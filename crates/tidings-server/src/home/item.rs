//! One item of a user's inbox: what a conversation told, and what the user set. Unread counts come from `ord`, without
//! reading logs.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use tidings_proto::{Seq, UserId, limits::UNREAD_MAX};

use crate::{
    cbor,
    conversation::{
        entry::{Body, Entry, MembersChange, Role},
        event::{History, Kind, ProfileOf},
        fold,
        newest::remember,
        state::State,
    },
};

use super::{
    event::{Again, Joined, Told},
    kept::DeviceCursor,
};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Item {
    /// Home version at the last change.
    #[n(0)]
    pub version: u64,
    /// Event count of the conversation at the last tell.
    #[n(1)]
    pub told: u64,
    #[n(2)]
    pub kind: Kind,
    /// The other one of a direct conversation.
    #[n(3)]
    pub with: Option<Box<With>>,
    #[n(4)]
    pub group: Option<Box<Group>>,
    /// The first entry that the user may see.
    #[n(5)]
    pub first_seq: Seq,
    #[n(6)]
    pub last_seq: Seq,
    #[n(7)]
    pub last_ord: u64,
    #[n(8)]
    pub last_at_ms: u64,
    #[cbor(n(9), with = "cbor::optional_shared")]
    pub preview: Option<Arc<Entry>>,
    #[n(10)]
    pub read_seq: Seq,
    #[n(11)]
    pub read_ord: u64,
    /// Entries above `read_seq` that mention the user, ascending.
    #[n(12)]
    #[cbor(default)]
    pub mentions: Vec<Seq>,
    /// Entries above `read_seq` that `ord` counts, but that do not count for this user: deleted, or of somebody blocked.
    #[n(13)]
    #[cbor(default)]
    pub uncounted: Vec<Seq>,
    #[n(14)]
    pub muted: bool,
    #[n(15)]
    pub pinned: bool,
    #[n(16)]
    pub archived: bool,
    /// No longer a member: kept so that a sync can tell.
    #[n(17)]
    pub gone: bool,
    /// Of devices that lack something of it.
    #[n(18)]
    #[cbor(default)]
    pub cursors: Vec<DeviceCursor>,
    /// Home version at the last move of a cursor: it makes a newer row, but nothing that a sync would tell.
    #[n(19)]
    #[cbor(default)]
    pub cursors_version: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct With {
    #[n(0)]
    pub user: UserId,
    #[n(1)]
    pub profile: ProfileOf,
    #[n(2)]
    pub delivered: Seq,
    #[n(3)]
    pub read: Seq,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Group {
    #[n(0)]
    pub name: Box<str>,
    #[n(1)]
    pub member_count: u64,
    #[n(2)]
    pub role: Role,
    /// Above 64 members: the home is not told of entries, it asks.
    #[n(3)]
    pub large: bool,
}

impl Item {
    pub fn joined(user: &UserId, version: u64, joined: &Joined) -> Self {
        let first_seq = match (joined.history, &joined.entry) {
            (History::Joined, Some(entry)) => entry.seq,
            _ => Seq::FIRST,
        };
        let group = (joined.kind != Kind::Direct).then(|| {
            let (name, member_count) = (joined.name.as_ref().into(), joined.member_count);
            Box::new(Group { name, member_count, role: joined.role, large: joined.large })
        });
        let with = joined.with.as_ref().map(|(other, profile)| {
            Box::new(With { user: other.clone(), profile: profile.clone(), delivered: Seq::NONE, read: Seq::NONE })
        });
        let mut item = Self {
            version: 0,
            told: version,
            kind: joined.kind,
            with,
            group,
            first_seq,
            last_seq: joined.last_seq,
            last_ord: joined.last_ord,
            last_at_ms: joined.at_ms,
            preview: joined.preview.clone(),
            read_seq: joined.last_seq,
            read_ord: joined.last_ord,
            mentions: Vec::new(),
            uncounted: Vec::new(),
            muted: false,
            pinned: false,
            archived: false,
            gone: false,
            cursors: Vec::new(),
            cursors_version: 0,
        };
        if let Some(entry) = &joined.entry {
            item.told_entry(user, entry, false);
            item.read_to(entry.seq, entry.ord);
        }
        item
    }

    pub fn unread(&self) -> u64 {
        self.last_ord.saturating_sub(self.read_ord).saturating_sub(self.uncounted.len() as u64).min(UNREAD_MAX)
    }

    /// The version of its row.
    pub fn row_version(&self) -> u64 {
        self.version.max(self.cursors_version)
    }

    pub fn is_large(&self) -> bool {
        self.group.as_ref().is_some_and(|group| group.large)
    }

    /// Moves what is read forward; says whether anything moved.
    pub fn read_to(&mut self, seq: Seq, ord: u64) -> bool {
        if seq <= self.read_seq {
            return false;
        }
        self.read_seq = seq;
        self.read_ord = self.read_ord.max(ord);
        self.mentions.retain(|mention| *mention > seq);
        self.uncounted.retain(|uncounted| *uncounted > seq);
        true
    }

    /// Applies what a conversation tells the home of `user`, who hides entries by these.
    pub fn apply(&mut self, user: &UserId, version: u64, told: &Told, hides: impl Fn(&UserId) -> bool) {
        match told {
            Told::Joined(joined) => self.begin(user, version, joined),
            Told::Entry(entry) => self.told_entry(user, entry, hides(&entry.from)),
            Told::Group { entry, name, member_count, large } => {
                if let Some(group) = &mut self.group {
                    group.name = name.as_ref().into();
                    group.member_count = *member_count;
                    group.large = *large;
                }
                self.told_entry(user, entry, hides(&entry.from));
            }
            Told::Peer { delivered, read } => self.told_peer(*delivered, *read),
            Told::Again(again) => {
                if let Some(joined) = self.begins_with(told) {
                    self.begin(user, version, joined);
                }
                self.told_again(user, again, hides);
            }
        }
        self.told = version;
    }

    /// With what this makes the item begin anew: the user came, or came back, and the item does not know it yet.
    pub fn begins_with<'t>(&self, told: &'t Told) -> Option<&'t Joined> {
        match told {
            Told::Joined(joined) => Some(joined),
            Told::Again(again) => {
                let added = again.joined.entry.as_ref()?;
                (added.seq > self.last_seq).then_some(&again.joined)
            }
            Told::Entry(_) | Told::Group { .. } | Told::Peer { .. } => None,
        }
    }

    fn begin(&mut self, user: &UserId, version: u64, joined: &Joined) {
        let kept = (self.muted, self.pinned, self.archived, self.cursors_version);
        *self = Self::joined(user, version, joined);
        (self.muted, self.pinned, self.archived, self.cursors_version) = kept;
    }

    fn told_peer(&mut self, delivered: Seq, read: Seq) {
        if let Some(with) = &mut self.with {
            with.delivered = with.delivered.max(delivered);
            with.read = with.read.max(read);
        }
    }

    fn told_again(&mut self, user: &UserId, again: &Again, hides: impl Fn(&UserId) -> bool) {
        let had = self.last_seq;
        for entry in &again.slim {
            self.told_slim(user, entry, hides(&entry.from));
        }
        if let Some(preview) = again.preview.as_ref().filter(|preview| preview.seq > had && !hides(&preview.from)) {
            fold::preview(&mut self.preview, preview);
        }
        for entry in &again.entries {
            self.told_entry(user, entry, hides(&entry.from));
        }
        if let Some(group) = &mut self.group {
            group.name = again.joined.name.as_ref().into();
            group.member_count = again.joined.member_count;
            group.large = again.joined.large;
            group.role = again.joined.role;
        }
        if let Some((delivered, read)) = again.peer {
            self.told_peer(delivered, read);
        }
        self.gone = !again.is_member;
    }

    fn told_entry(&mut self, user: &UserId, entry: &Arc<Entry>, from_blocked: bool) {
        // What somebody blocked writes is not shown; what they change of what is shown, is.
        if self.told_slim(user, entry, from_blocked) && !(from_blocked && fold::is_previewed(entry)) {
            fold::preview(&mut self.preview, entry);
        }
    }

    /// All but the preview. Says whether the entry is news that may be shown.
    fn told_slim(&mut self, user: &UserId, entry: &Entry, from_blocked: bool) -> bool {
        let mine = entry.from == *user;
        if entry.seq <= self.last_seq {
            // A large conversation was asked in the moment before it told of a mention.
            let is_known = self.mentions.contains(&entry.seq) || self.uncounted.contains(&entry.seq) || from_blocked;
            if !mine && entry.seq > self.read_seq && !is_known && mentions(entry, user) {
                remember(&mut self.mentions, entry.seq);
                self.mentions.sort_unstable();
            }
            return false;
        }
        self.last_seq = entry.seq;
        self.last_ord = entry.ord;
        if mine {
            self.read_to(entry.seq, entry.ord);
        } else if entry.void {
            // Whoever blocked its sender learns nothing of it, and shows nothing.
            return false;
        } else if let Some(with) = &mut self.with {
            // Who writes has seen what is there.
            (with.delivered, with.read) = (with.delivered.max(entry.seq), with.read.max(entry.seq));
        }
        self.count(user, entry, mine, from_blocked);
        true
    }

    fn count(&mut self, user: &UserId, entry: &Entry, mine: bool, from_blocked: bool) {
        match &entry.body {
            Body::Message(_) => {
                self.last_at_ms = entry.at_ms;
                if from_blocked {
                    remember(&mut self.uncounted, entry.seq);
                } else if !mine && mentions(entry, user) {
                    remember(&mut self.mentions, entry.seq);
                }
            }
            Body::Redaction { target, .. } if *target > self.read_seq => self.take_back(*target),
            Body::Members(change) => {
                self.last_at_ms = entry.at_ms;
                self.told_members(user, change);
            }
            Body::Rename { .. } => self.last_at_ms = entry.at_ms,
            Body::Edit { .. } | Body::Redaction { .. } | Body::Reaction { .. } => {}
        }
    }

    fn told_members(&mut self, user: &UserId, change: &MembersChange) {
        self.gone = change.removed.contains(user);
        let role = change.roles.iter().chain(&change.added).find(|(other, _)| other == user);
        if let (Some(group), Some((_, role))) = (&mut self.group, role) {
            group.role = *role;
        }
    }

    /// Takes what a large conversation did not tell. True: the item is another now.
    pub fn ask(&mut self, user: &UserId, state: &State, member_count: u64) -> bool {
        let before = self.clone();
        self.read_to(state.imported.seq, state.imported.ord);
        let read_seq = self.read_seq;
        // Told of a mention of its user alone it may have passed over one of all.
        for mention in state.mentions_of_all.iter().filter(|mention| **mention > read_seq) {
            if !before.mentions.contains(mention) {
                remember(&mut self.mentions, *mention);
            }
        }
        self.mentions.sort_unstable();
        for redacted in state.redacted.iter().filter(|redacted| **redacted > read_seq) {
            self.take_back(*redacted);
        }
        self.last_seq = state.last_seq;
        self.last_ord = state.last_ord;
        self.last_at_ms = state.last_at_ms;
        self.preview.clone_from(&state.preview);
        if let Some(group) = &mut self.group {
            group.name = state.name.as_ref().into();
            group.member_count = member_count;
            if let Some(member) = state.members.get(user) {
                group.role = member.role;
            }
        }
        *self != before
    }

    /// A message that is not read yet was deleted: it counts no more.
    fn take_back(&mut self, target: Seq) {
        self.mentions.retain(|mention| *mention != target);
        if !self.uncounted.contains(&target) {
            remember(&mut self.uncounted, target);
        }
    }

    /// About how many bytes this takes in memory.
    pub fn weight(&self) -> usize {
        300 + self.preview.as_ref().map_or(0, |_| 300)
    }
}

fn mentions(entry: &Entry, user: &UserId) -> bool {
    let Body::Message(message) = &entry.body else { return false };
    message.mentions.iter().any(|name| **name == *user.as_str() || &**name == "@all")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conversation::{entry::Message, state::State, tell};

    fn name(name: &str) -> UserId {
        UserId::new(name).expect("a name")
    }

    fn entry(seq: u64, ord: u64, from: &UserId, body: Body) -> Arc<Entry> {
        let (from, client_msg_id) = (from.clone(), Some(seq.to_string().into()));
        Arc::new(Entry { seq: Seq(seq), at_ms: seq, from, ord, client_msg_id, body, void: false, fold: None })
    }

    fn message(bytes: usize) -> Body {
        Body::Message(Message { text: "x".repeat(bytes).into(), ..Message::default() })
    }

    /// Long messages of two others, one of one's own, and a redaction of an unread one.
    fn log() -> Vec<Arc<Entry>> {
        let (user, bob, eve) = (name("ada"), name("bob"), name("eve"));
        let mut ord = 0;
        let entries = (1..=40).map(|seq| {
            ord += u64::from(seq != 30);
            match seq {
                10 => entry(seq, ord, &user, message(16_000)),
                30 => entry(seq, ord, &bob, Body::Redaction { target: Seq(12), edits: Vec::new() }),
                _ if seq % 5 == 0 => entry(seq, ord, &eve, message(16_000)),
                _ => entry(seq, ord, &bob, message(16_000)),
            }
        });
        entries.collect()
    }

    #[test]
    fn what_is_told_again_at_once_comes_to_the_same_as_one_by_one_and_fits_into_a_frame() {
        let (user, entries) = (name("ada"), log());
        let joined = tell::joined(&State::default(), Role::Member, None);
        let again = Again::new(joined.clone(), true, None, &entries);
        assert!(!again.slim.is_empty() && again.slim.len() + again.entries.len() == entries.len());
        let told = Told::Again(Box::new(again));
        assert!(minicbor::to_vec(&told).expect("a vector takes all bytes").len() < 256 << 10);
        for (blocked, unread) in [(None, 28), (Some(name("eve")), 23)] {
            let hides = |from: &UserId| blocked.as_ref() == Some(from);
            let mut one_by_one = Item::joined(&user, 1, &joined);
            entries
                .iter()
                .for_each(|entry| one_by_one.apply(&user, entry.seq.0 + 1, &Told::Entry(entry.clone()), hides));
            let mut at_once = Item::joined(&user, 1, &joined);
            at_once.apply(&user, 41, &told, hides);
            assert_eq!(at_once, one_by_one);
            assert_eq!((at_once.read_seq, at_once.unread()), (Seq(10), unread));
        }
    }

    /// Away between an entry that the item has and the next that it is told of.
    #[test]
    fn who_came_back_meanwhile_begins_with_the_entry_that_added_them() {
        let (user, bob) = (name("ada"), name("bob"));
        let members = |added: &[&UserId], removed: &[&UserId]| {
            let added = added.iter().map(|user| ((*user).clone(), Role::Member)).collect();
            let removed = removed.iter().map(|user| (*user).clone()).collect();
            Body::Members(MembersChange { added, removed, roles: Vec::new() })
        };
        let first = tell::joined(&State::default(), Role::Member, None);
        let mut item = Item::joined(&user, 1, &first);
        let log = [
            entry(1, 1, &bob, message(10)),
            entry(2, 1, &bob, members(&[], &[&user])),
            entry(3, 2, &bob, message(10)),
            entry(4, 2, &bob, members(&[&user], &[])),
            entry(5, 3, &bob, message(10)),
        ];
        item.apply(&user, 2, &Told::Entry(log[0].clone()), |_| false);
        let after = State { last_seq: Seq(4), last_ord: 2, ..State::default() };
        let joined = tell::joined(&after, Role::Member, Some(log[3].clone()));
        let mut one_by_one = item.clone();
        for told in [Told::Entry(log[1].clone()), Told::Joined(Box::new(joined.clone())), Told::Entry(log[4].clone())] {
            one_by_one.apply(&user, 6, &told, |_| false);
        }
        let again = Told::Again(Box::new(Again::new(joined, true, None, &log[1..])));
        item.apply(&user, 6, &again, |_| false);
        assert_eq!(item, one_by_one);
        assert_eq!((item.read_seq, item.unread(), item.gone), (Seq(4), 1, false));
        // Whoever knows of it already has read what they have read.
        item.read_to(Seq(5), 3);
        item.apply(&user, 7, &again, |_| false);
        assert_eq!((item.read_seq, item.unread()), (Seq(5), 0));
    }
}
