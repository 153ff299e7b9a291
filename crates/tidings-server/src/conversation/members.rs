//! Who belongs to a conversation. Cheap to clone, so that the decided and the committed state can differ.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;
use minicbor::{Decode, Encode};
use tidings_proto::{Seq, UserId, limits::SMALL_CONVERSATION_MEMBERS};

use crate::conversation::entry::Role;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Member {
    #[n(0)]
    pub role: Role,
    /// The entry that made this user a member; `NONE`: from the beginning.
    #[n(1)]
    pub joined: Seq,
    #[n(2)]
    pub delivered: Seq,
    #[n(3)]
    pub read: Seq,
}

/// In order of user id. Up to 64 in one shared vector; above, in a tree that shares what two versions have in common.
#[derive(Clone, Debug)]
pub enum Members {
    Few(Arc<Vec<(UserId, Member)>>),
    Many(OrdMap<UserId, Member>),
}

impl Default for Members {
    fn default() -> Self {
        Self::Few(Arc::default())
    }
}

impl Members {
    pub fn len(&self) -> usize {
        match self {
            Self::Few(few) => few.len(),
            Self::Many(many) => many.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether each member's home is told of every entry; else homes ask.
    pub fn is_small(&self) -> bool {
        matches!(self, Self::Few(_))
    }

    pub fn get(&self, user: &UserId) -> Option<&Member> {
        match self {
            Self::Few(few) => few.binary_search_by(|(id, _)| id.cmp(user)).ok().map(|at| &few[at].1),
            Self::Many(many) => many.get(user),
        }
    }

    pub fn insert(&mut self, user: UserId, member: Member) {
        match self {
            Self::Few(few) => {
                let few = Arc::make_mut(few);
                match few.binary_search_by(|(id, _)| id.cmp(&user)) {
                    Ok(at) => few[at].1 = member,
                    Err(at) => few.insert(at, (user, member)),
                }
                if few.len() > SMALL_CONVERSATION_MEMBERS {
                    *self = Self::Many(few.drain(..).collect());
                }
            }
            Self::Many(many) => {
                many.insert(user, member);
            }
        }
    }

    pub fn remove(&mut self, user: &UserId) {
        match self {
            Self::Few(few) => {
                if let Ok(at) = few.binary_search_by(|(id, _)| id.cmp(user)) {
                    Arc::make_mut(few).remove(at);
                }
            }
            // It stays a tree: a conversation that was large is told apart from a small one only once.
            Self::Many(many) => {
                many.remove(user);
            }
        }
    }

    /// Members behind `after`, in order of user id.
    pub fn after<'a>(&'a self, after: Option<&UserId>) -> Box<dyn Iterator<Item = (&'a UserId, &'a Member)> + 'a> {
        match self {
            Self::Few(few) => {
                let from = after.map_or(0, |after| few.partition_point(|(id, _)| id <= after));
                Box::new(few[from..].iter().map(|(id, member)| (id, member)))
            }
            Self::Many(many) => {
                let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
                Box::new(many.range((from, Bound::Unbounded)))
            }
        }
    }

    pub fn iter(&self) -> Box<dyn Iterator<Item = (&UserId, &Member)> + '_> {
        self.after(None)
    }

    /// The other one of a direct conversation.
    pub fn other_than(&self, user: &UserId) -> Option<&UserId> {
        self.iter().map(|(id, _)| id).find(|id| *id != user)
    }

    /// About how many bytes this takes in memory.
    pub fn weight(&self) -> usize {
        self.len() * 96
    }
}

impl FromIterator<(UserId, Member)> for Members {
    fn from_iter<I: IntoIterator<Item = (UserId, Member)>>(members: I) -> Self {
        let mut all = Self::default();
        for (user, member) in members {
            all.insert(user, member);
        }
        all
    }
}
