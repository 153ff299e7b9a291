//! Whom a committed event concerns, and what their homes are told. Pure: a replay tells the same again.

use std::sync::Arc;

use tidings_proto::{ConversationId, Seq, UserId};

use crate::{
    conversation::{
        entry::{Body, Entry, Role},
        event::{Change, ConversationEvent, Created, Kind, ProfileOf},
        fold,
        state::State,
    },
    home::event::{Joined, Tell, Told},
};

/// What to tell whom after `event`, in order. `after` is the state with the event; `was_small`: before it each home was told.
pub fn tells(event: &ConversationEvent, after: &State, was_small: bool) -> Vec<(UserId, Tell)> {
    let mut tells = Tells { conversation: event.conversation, version: event.version, all: Vec::new() };
    match &event.change {
        Change::Created(created) => tells.created(created, after),
        Change::Entry(entry) => tells.entry(entry, after, was_small),
        Change::Blocked { .. } => {}
        Change::Receipt { user, .. } => tells.receipt(user, after),
        Change::Imported { members, entries } => tells.imported(members, entries, after, was_small),
    }
    tells.all
}

struct Tells {
    conversation: ConversationId,
    version: u64,
    all: Vec<(UserId, Tell)>,
}

impl Tells {
    fn to(&mut self, user: &UserId, what: Told) {
        self.all.push((user.clone(), Tell { conversation: self.conversation, version: self.version, what }));
    }

    fn created(&mut self, created: &Created, after: &State) {
        let profile = |at: usize| created.profiles.get(at).cloned().unwrap_or_default();
        for (at, (user, role)) in created.members.iter().enumerate() {
            let other = created.members.iter().position(|(other, _)| other != user).unwrap_or(at);
            let with = (created.kind == Kind::Direct).then(|| (created.members[other].0.clone(), profile(other)));
            // It begins empty, whatever has come into it by now.
            let empty = Joined { last_seq: Seq::NONE, last_ord: 0, at_ms: created.at_ms, ..joined(after, *role, None) };
            self.to(user, Told::Joined(Box::new(Joined { with, ..empty })));
        }
    }

    fn entry(&mut self, entry: &Arc<Entry>, after: &State, was_small: bool) {
        let in_group = |entry: &Arc<Entry>| Told::Group {
            entry: entry.clone(),
            name: after.name.clone(),
            member_count: after.members.len() as u64,
            large: !after.members.is_small(),
        };
        let told = match &entry.body {
            Body::Members(_) | Body::Rename { .. } => in_group(entry),
            _ => Told::Entry(entry.clone()),
        };
        let mut added: &[(UserId, Role)] = &[];
        if let Body::Members(change) = &entry.body {
            added = &change.added;
            for user in &change.removed {
                self.to(user, told.clone());
            }
        }
        for (user, role) in added {
            self.to(user, Told::Joined(Box::new(joined(after, *role, Some(entry.clone())))));
        }
        let is_added = |user: &UserId| added.iter().any(|(other, _)| other == user);
        // A group that has just become large tells everybody for the last time.
        if was_small {
            for (user, _) in after.members.iter().filter(|(user, _)| !is_added(user)) {
                self.to(user, told.clone());
            }
            return;
        }
        for user in concerned(entry).filter(|user| after.members.get(user).is_some() && !is_added(user)) {
            self.to(&user, told.clone());
        }
    }

    /// Who comes with an import finds it as it is, and so does everybody else in a small conversation: all of it is read.
    fn imported(&mut self, members: &[UserId], entries: &[Arc<Entry>], after: &State, was_small: bool) {
        let mut last = after.preview.clone();
        entries.last().filter(|_| last.is_none()).into_iter().for_each(|entry| fold::preview(&mut last, entry));
        let mut tell = |user: &UserId, role| {
            let found = Joined { preview: last.clone(), ..joined(after, role, None) };
            self.to(user, Told::Joined(Box::new(found)));
        };
        if was_small {
            after.members.iter().for_each(|(user, member)| tell(user, member.role));
        } else {
            members.iter().for_each(|user| tell(user, Role::Member));
        }
    }

    fn receipt(&mut self, user: &UserId, after: &State) {
        if after.kind() != Some(Kind::Direct) {
            return;
        }
        let (Some(other), Some(member)) = (after.members.other_than(user), after.members.get(user)) else { return };
        // Who is blocked does not see what the blocker has read.
        if !after.is_blocked(other) {
            self.to(other, Told::Peer { delivered: member.delivered, read: member.read });
        }
    }
}

/// Of a large conversation: whose home is told all the same, because its item changes by more than a newer last entry.
fn concerned(entry: &Entry) -> impl Iterator<Item = UserId> {
    let (mentions, roles) = match &entry.body {
        Body::Message(message) => (message.mentions.as_slice(), &[][..]),
        Body::Members(change) => (&[][..], change.roles.as_slice()),
        _ => (&[][..], &[][..]),
    };
    let mentioned = mentions.iter().filter_map(|name| UserId::new(name).ok()).filter(|user| *user != entry.from);
    let with_role = roles.iter().map(|(user, _)| user.clone()).filter(|user| *user != entry.from);
    std::iter::once(entry.from.clone()).chain(mentioned).chain(with_role)
}

/// The conversation as `after` shows it to somebody with this role.
pub fn joined(after: &State, role: Role, entry: Option<Arc<Entry>>) -> Joined {
    Joined {
        kind: after.kind().unwrap_or(Kind::Group),
        with: None,
        name: after.name.clone(),
        member_count: after.members.len() as u64,
        role,
        history: after.history(),
        large: !after.members.is_small(),
        // The entry that adds somebody is told with the item: before it stands what was there.
        last_seq: entry.as_ref().map_or(after.last_seq, |entry| entry.seq.previous()),
        last_ord: entry.as_ref().map_or(after.last_ord, |entry| entry.ord),
        at_ms: after.last_at_ms,
        preview: None,
        entry,
    }
}

/// The other one of a direct conversation, as it began.
pub fn other_of(state: &State, user: &UserId) -> Option<(UserId, ProfileOf)> {
    let created = state.created.as_ref()?;
    let at = created.members.iter().position(|(other, _)| other != user).unwrap_or_default();
    let (other, _) = created.members.get(at)?;
    Some((other.clone(), created.profiles.get(at).cloned().unwrap_or_default()))
}

/// How a direct conversation is made: both people, in order, with what they are called.
pub fn direct(one: (&UserId, &ProfileOf), other: (&UserId, &ProfileOf), at_ms: u64) -> Created {
    let mut people = vec![one, other];
    people.sort_by_key(|(user, _)| *user);
    people.dedup_by_key(|(user, _)| *user);
    Created {
        kind: Kind::Direct,
        name: Box::default(),
        history: crate::conversation::event::History::All,
        members: people.iter().map(|(user, _)| ((*user).clone(), Role::Member)).collect(),
        at_ms,
        profiles: people.iter().map(|(_, profile)| (*profile).clone()).collect(),
    }
}
