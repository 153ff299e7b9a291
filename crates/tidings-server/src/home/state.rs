//! A home's state, and how events change it. Every change raises the home's version, which the changed item then carries: so
//! "what is newer than this token" is a comparison.

use minicbor::{Decode, Encode};
use tidings_proto::{ConversationId, DeviceId, Seq, UserId};

use crate::{
    conversation::event::{Kind, ProfileOf},
    maps::HashMap,
};

use super::{
    event::{Audience, HomeChange, Tell, Told},
    item::Item,
    kept::Kept,
};

/// Bits of a home version that count changes; above them stands the epoch.
const COUNTER_BITS: u32 = 40;

/// Devices that a home knows; the one that was not seen for the longest time makes room.
const DEVICES_MAX: usize = 100;
/// People whom one user may block.
pub const BLOCKS_MAX: usize = 1_000;

/// The home's own row.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct HomeRow {
    /// The version of the newest change of anything in this home.
    #[n(0)]
    pub version: u64,
    /// Unix milliseconds of the first login; 0: the user is not known.
    #[n(1)]
    pub known_at_ms: u64,
    #[n(2)]
    pub profile: ProfileOf,
    #[n(3)]
    pub audience: Audience,
    #[n(4)]
    #[cbor(default)]
    pub devices: Vec<Device>,
    #[n(5)]
    #[cbor(default)]
    pub blocks: Vec<BlockedUser>,
    #[n(6)]
    #[cbor(default)]
    pub last_seen_ms: u64,
    /// The name that an import found; no other name gets this user id.
    #[n(7)]
    pub imported_as: Option<Box<str>>,
    /// Sessions of devices that outlive their connections.
    #[n(8)]
    #[cbor(default)]
    pub kept: Vec<Kept>,
    #[cfg(feature = "next-format")]
    #[n(60)]
    #[cbor(default)]
    pub next_at_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Device {
    #[n(0)]
    pub id: DeviceId,
    #[n(1)]
    pub seen_at_ms: u64,
    /// Tokens given up to this moment are void; 0: it was never revoked.
    #[n(2)]
    pub revoked_at_ms: u64,
    /// What the user calls it.
    #[n(3)]
    pub name: Option<Box<str>>,
    /// What it says that it is.
    #[n(4)]
    pub platform: Option<Box<str>>,
}

impl Device {
    fn new(id: DeviceId, seen_at_ms: u64) -> Self {
        Self { id, seen_at_ms, revoked_at_ms: 0, name: None, platform: None }
    }

    /// Whether it may log in with tokens that it was given before.
    pub fn is_valid(&self) -> bool {
        self.revoked_at_ms < self.seen_at_ms
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct BlockedUser {
    #[n(0)]
    pub user: UserId,
    #[n(1)]
    pub on: bool,
    #[n(2)]
    pub home_version: u64,
}

impl HomeRow {
    pub fn is_known(&self) -> bool {
        self.known_at_ms > 0
    }

    pub fn blocks(&self, user: &UserId) -> bool {
        // Most people block nobody, and this is asked for every delivery.
        self.blocks.iter().any(|block| block.on && block.user == *user)
    }

    /// Begins a version that is higher than any other this home had in this epoch or an earlier one.
    pub fn raise(&mut self, epoch: u64) -> u64 {
        self.version = self.next_version(epoch);
        self.version
    }

    /// The version that the next change will carry: a block is decided with it.
    pub fn next_version(&self, epoch: u64) -> u64 {
        self.version.max(epoch << COUNTER_BITS) + 1
    }

    /// Applies a change that is not about an item.
    fn apply(&mut self, change: &HomeChange) {
        match change {
            HomeChange::Known { at_ms, name } => {
                if self.known_at_ms == 0 {
                    self.known_at_ms = *at_ms;
                }
                if self.imported_as.is_none() {
                    self.imported_as.clone_from(name);
                }
                if self.profile.name.is_none() {
                    self.profile.name.clone_from(name);
                }
            }
            HomeChange::Device { device, at_ms } => match self.devices.iter_mut().find(|known| known.id == *device) {
                Some(known) => known.seen_at_ms = *at_ms,
                None => {
                    if self.devices.len() >= DEVICES_MAX {
                        let longest =
                            (0..self.devices.len()).min_by_key(|at| self.devices[*at].seen_at_ms).unwrap_or(0);
                        self.devices.remove(longest);
                    }
                    self.devices.push(Device::new(device.clone(), *at_ms));
                }
            },
            HomeChange::DeviceRevoked { device, at_ms } => {
                if let Some(known) = self.devices.iter_mut().find(|known| known.id == *device) {
                    // Also where the clock was set back since it was seen.
                    known.revoked_at_ms = known.seen_at_ms.max(*at_ms);
                }
                self.keep_no_more(device);
            }
            HomeChange::DeviceNamed { device, name, platform } => {
                if let Some(known) = self.devices.iter_mut().find(|known| known.id == *device) {
                    name.iter().for_each(|name| known.name = given(name));
                    platform.iter().for_each(|platform| known.platform = given(platform));
                }
            }
            #[cfg(feature = "next-format")]
            HomeChange::Next { at_ms } => self.next_at_ms = *at_ms,
            HomeChange::Kept { device, session } => self.keep(device, session.clone()),
            HomeChange::Published { device, published } => self.remember_published(device, published),
            HomeChange::Profile { name, picture, audience } => {
                if let Some(name) = name {
                    self.profile.name = given(name);
                }
                if let Some(picture) = picture {
                    self.profile.picture = given(picture);
                }
                self.audience = audience.unwrap_or(self.audience);
            }
            HomeChange::Left { at_ms } => self.last_seen_ms = self.last_seen_ms.max(*at_ms),
            HomeChange::Read { .. }
            | HomeChange::Told(_)
            | HomeChange::Delivered { .. }
            | HomeChange::Set { .. }
            | HomeChange::Blocked { .. }
            | HomeChange::PeerProfile { .. } => {}
        }
    }

    /// Whether the block is newer than the last one about the same user.
    fn block(&mut self, user: &UserId, on: bool, home_version: u64) -> bool {
        let blocked = BlockedUser { user: user.clone(), on, home_version };
        match self.blocks.iter_mut().find(|block| block.user == *user) {
            Some(known) if known.home_version >= home_version => return false,
            Some(known) => *known = blocked,
            None => self.blocks.push(blocked),
        }
        self.version = self.version.max(home_version);
        true
    }
}

/// An empty string removes what it stands for.
fn given(value: &str) -> Option<Box<str>> {
    (!value.is_empty()).then(|| value.into())
}

/// A home with its items: all of them, or those that somebody asked for.
#[derive(Debug)]
pub struct HomeState {
    pub user: UserId,
    pub epoch: u64,
    pub row: HomeRow,
    pub items: HashMap<ConversationId, Item>,
}

/// What a change altered, and so which rows are to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Altered {
    Nothing,
    Row,
    /// This item, and with it the row's version.
    Item(ConversationId),
    /// A cursor in this item, which is nobody's business but the device's.
    Cursor(ConversationId),
}

/// Whether entries by `from` are hidden in conversations of this kind.
fn hides_in(row: &HomeRow, kind: Kind, from: &UserId) -> bool {
    kind != Kind::Direct && row.blocks(from)
}

impl HomeState {
    pub fn new(user: UserId, epoch: u64, row: HomeRow) -> Self {
        Self { user, epoch, row, items: HashMap::default() }
    }

    /// Whether an entry by `from` in this conversation is hidden from the user: in groups by the block list as it is now. In direct
    /// conversations the log itself says what is void.
    pub fn hides(&self, conversation: ConversationId, from: &UserId) -> bool {
        self.items.get(&conversation).map_or_else(|| self.row.blocks(from), |item| hides_in(&self.row, item.kind, from))
    }

    /// The version that a sync token of now carries.
    pub fn version(&self) -> u64 {
        self.row.version.max(self.epoch << COUNTER_BITS)
    }

    pub fn apply(&mut self, change: &HomeChange) -> Altered {
        match change {
            HomeChange::Read { conversation, seq, ord } => self.alter(*conversation, |item| item.read_to(*seq, *ord)),
            HomeChange::Set { conversation, muted, pinned, archived } => self.alter(*conversation, |item| {
                let before = (item.muted, item.pinned, item.archived);
                item.muted = muted.unwrap_or(item.muted);
                item.pinned = pinned.unwrap_or(item.pinned);
                item.archived = archived.unwrap_or(item.archived);
                before != (item.muted, item.pinned, item.archived)
            }),
            HomeChange::Blocked { user, on, home_version } => {
                if !self.row.block(user, *on, *home_version) {
                    return Altered::Nothing;
                }
                let direct = ConversationId::direct(&self.user, user);
                match self.alter(direct, |_| true) {
                    Altered::Nothing => Altered::Row,
                    altered => altered,
                }
            }
            HomeChange::PeerProfile { conversation, profile } => {
                self.alter(*conversation, |item| match &mut item.with {
                    Some(with) if with.profile != *profile => {
                        with.profile = profile.clone();
                        true
                    }
                    _ => false,
                })
            }
            HomeChange::Delivered { cursors, conversation, seq } => self.delivered(*cursors, *conversation, *seq),
            HomeChange::Told(tell) => self.tell(tell),
            own => {
                self.row.apply(own);
                self.row.raise(self.epoch);
                Altered::Row
            }
        }
    }

    /// Applies what a conversation told.
    pub fn tell(&mut self, tell: &Tell) -> Altered {
        let sets = self.row.cursor_sets(tell.at_ms());
        let Some(item) = self.items.get_mut(&tell.conversation) else {
            let joined = match &tell.what {
                Told::Joined(joined) => joined,
                Told::Again(again) if again.is_member => &again.joined,
                _ => return Altered::Nothing,
            };
            let mut item = Item::joined(&self.user, tell.version, joined);
            item.begin_cursors(&sets, joined.before());
            if matches!(tell.what, Told::Again(_)) {
                let hides = |from: &UserId| hides_in(&self.row, joined.kind, from);
                item.apply(&self.user, tell.version, &tell.what, hides);
            }
            item.version = self.row.raise(self.epoch);
            self.items.insert(tell.conversation, item);
            return Altered::Item(tell.conversation);
        };
        if item.told >= tell.version {
            return Altered::Nothing;
        }
        let (before, joined) = (item.last_seq, item.begins_with(&tell.what));
        let kind = item.kind;
        item.apply(&self.user, tell.version, &tell.what, |from| hides_in(&self.row, kind, from));
        match joined {
            Some(joined) => item.begin_cursors(&sets, joined.before()),
            None if item.last_seq > before => item.fall_behind(&sets, before),
            None => {}
        }
        item.version = self.row.raise(self.epoch);
        Altered::Item(tell.conversation)
    }

    fn delivered(&mut self, cursors: u64, conversation: ConversationId, seq: Seq) -> Altered {
        if !self.row.has_cursors(cursors) {
            return Altered::Nothing;
        }
        let Some(item) = self.items.get_mut(&conversation) else { return Altered::Nothing };
        if !item.delivered(cursors, seq) {
            return Altered::Nothing;
        }
        item.cursors_version = self.row.raise(self.epoch);
        Altered::Cursor(conversation)
    }

    /// Changes an item, if there is one and `change` says that it did.
    pub fn alter(&mut self, conversation: ConversationId, change: impl FnOnce(&mut Item) -> bool) -> Altered {
        let Some(item) = self.items.get_mut(&conversation) else { return Altered::Nothing };
        if !change(item) {
            return Altered::Nothing;
        }
        item.version = self.row.raise(self.epoch);
        Altered::Item(conversation)
    }

    /// About how many bytes this takes in memory.
    pub fn weight(&self) -> usize {
        500 + self.items.values().map(Item::weight).sum::<usize>()
    }
}
