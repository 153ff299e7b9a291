//! What a home keeps for devices that ask it to (MQTT): their sessions, how far each is in each conversation, and their last
//! publishes that had no `client_msg_id`.
//!
//! There is no queue. A device that has everything of a conversation has no cursor there; the first entry that is told
//! while it has none sets one, in the same row of the inbox, to what was there before. So what is stored is bounded by the
//! conversations in which something is not delivered yet, and an entry and the note that it is missing never part.

use minicbor::{Decode, Encode};
use smallvec::SmallVec;
use tidings_proto::{ConversationId, DeviceId, Seq};

use super::{item::Item, state::HomeRow};

/// Devices of one user for which something is kept; the one that has used it least lately makes room.
pub const KEPT_MAX: usize = 16;
/// Publishes that are remembered of a device: as many as it may have under way at once.
pub const PUBLISHED_MAX: usize = 64;
/// A session that does not end by itself.
pub const NEVER_S: u32 = u32::MAX;

/// What is kept for one device.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Kept {
    #[n(0)]
    pub device: DeviceId,
    #[n(1)]
    pub session: Option<KeptSession>,
    /// The oldest first.
    #[n(2)]
    #[cbor(default)]
    pub published: Vec<Published>,
}

/// A session that outlives its connections.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct KeptSession {
    #[n(0)]
    pub inbox: Option<InboxSubscription>,
    #[n(1)]
    pub live: bool,
    #[n(2)]
    pub answer: bool,
    /// How long it stays after its connection has ended; [`NEVER_S`]: for ever.
    #[n(3)]
    pub expiry_s: u32,
    /// Unix milliseconds of the end of its last connection; 0: it is connected, or was when the server died.
    #[n(4)]
    pub left_at_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct InboxSubscription {
    /// Names the cursors of this subscription: those of an earlier one mean nothing.
    #[n(0)]
    pub cursors: u64,
    /// Quality of service.
    #[n(1)]
    pub qos: u8,
    #[n(2)]
    pub no_local: bool,
}

impl KeptSession {
    pub fn is_over(&self, now_ms: u64) -> bool {
        let stays_ms = u64::from(self.expiry_s) * 1_000;
        self.expiry_s != NEVER_S && self.left_at_ms > 0 && now_ms >= self.left_at_ms + stays_ms
    }
}

/// A publish that had no `client_msg_id`, and the one it was given. It is stored with the entry, in one commit: if the
/// entry is there, a repeat of the publish finds it by this.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Published {
    #[n(0)]
    pub packet_id: u16,
    /// Of topic and payload.
    #[n(1)]
    pub hash: u64,
    #[n(2)]
    pub client_msg_id: Box<str>,
}

/// Of one device in one conversation: up to which entry it has everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub struct DeviceCursor {
    /// [`InboxSubscription::cursors`].
    #[n(0)]
    pub of: u64,
    #[n(1)]
    pub seq: Seq,
}

/// Which cursors an entry concerns.
pub type CursorSets = SmallVec<[u64; 2]>;

impl HomeRow {
    pub fn kept(&self, device: &DeviceId) -> Option<&Kept> {
        self.kept.iter().find(|kept| kept.device == *device)
    }

    /// The subscriptions that go on at this time. Empty for nearly everybody.
    pub fn cursor_sets(&self, now_ms: u64) -> CursorSets {
        let sessions = self.kept.iter().filter_map(|kept| kept.session.as_ref());
        let lasting = sessions.filter(|session| !session.is_over(now_ms));
        lasting.filter_map(|session| Some(session.inbox?.cursors)).collect()
    }

    pub fn has_cursors(&self, set: u64) -> bool {
        self.kept.iter().any(|kept| {
            kept.session.as_ref().and_then(|session| session.inbox).is_some_and(|inbox| inbox.cursors == set)
        })
    }

    pub(super) fn keep(&mut self, device: &DeviceId, session: Option<KeptSession>) {
        self.kept_entry(device).session = session;
    }

    pub(super) fn remember_published(&mut self, device: &DeviceId, published: &Published) {
        let known = &mut self.kept_entry(device).published;
        if known.contains(published) {
            return;
        }
        known.retain(|other| other.packet_id != published.packet_id);
        if known.len() >= PUBLISHED_MAX {
            known.remove(0);
        }
        known.push(published.clone());
    }

    pub(super) fn keep_no_more(&mut self, device: &DeviceId) {
        self.kept.retain(|kept| kept.device != *device);
    }

    /// The device's entry, as the one used last.
    fn kept_entry(&mut self, device: &DeviceId) -> &mut Kept {
        let kept = match self.kept.iter().position(|kept| kept.device == *device) {
            Some(at) => self.kept.remove(at),
            None => {
                if self.kept.len() >= KEPT_MAX {
                    // Who has no session loses least.
                    let at = self.kept.iter().position(|kept| kept.session.is_none()).unwrap_or(0);
                    self.kept.remove(at);
                }
                Kept { device: device.clone(), session: None, published: Vec::new() }
            }
        };
        self.kept.push(kept);
        self.kept.last_mut().expect("it was just put there")
    }
}

impl Item {
    /// The cursor among these; `None`: everything that was told is delivered.
    pub fn cursor(&self, set: u64) -> Option<Seq> {
        self.cursors.iter().find(|cursor| cursor.of == set).map(|cursor| cursor.seq)
    }

    /// Entries behind `before` were told: whoever has no cursor yet lacks them.
    pub(super) fn fall_behind(&mut self, sets: &CursorSets, before: Seq) {
        self.cursors.retain(|cursor| sets.contains(&cursor.of));
        for set in sets {
            if self.cursor(*set).is_none() {
                self.cursors.push(DeviceCursor { of: *set, seq: before });
            }
        }
    }

    /// Who belongs to it from now on is owed what comes from now on, not what was there before.
    pub(super) fn begin_cursors(&mut self, sets: &CursorSets, before: Seq) {
        self.cursors.clear();
        // What is not told must be remembered from the beginning.
        if before < self.last_seq || self.is_large() {
            self.fall_behind(sets, before);
        }
    }

    /// A device has everything up to `seq`. True: its cursor moved.
    pub(super) fn delivered(&mut self, set: u64, seq: Seq) -> bool {
        let is_large = self.is_large();
        match self.cursors.iter().position(|cursor| cursor.of == set) {
            Some(at) if seq <= self.cursors[at].seq => false,
            // Of a large conversation the home does not know its last entry.
            Some(at) if seq >= self.last_seq && !is_large => {
                self.cursors.remove(at);
                true
            }
            Some(at) => {
                self.cursors[at].seq = seq;
                true
            }
            None if is_large => {
                self.cursors.push(DeviceCursor { of: set, seq });
                true
            }
            None => false,
        }
    }
}

/// How far a device is, as an event says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub conversation: ConversationId,
    pub seq: Seq,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    #[test]
    fn a_session_is_over_when_its_time_has_passed_since_it_was_left() {
        let session = KeptSession { expiry_s: 10, left_at_ms: 5_000, ..KeptSession::default() };
        assert!(!session.is_over(14_999) && session.is_over(15_000));
        assert!(!KeptSession { left_at_ms: 0, ..session.clone() }.is_over(u64::MAX), "it is connected");
        assert!(!KeptSession { expiry_s: NEVER_S, ..session }.is_over(u64::MAX));
    }

    #[test]
    fn who_has_a_session_makes_room_last() {
        let mut row = HomeRow::default();
        row.keep(&device("phone"), Some(KeptSession::default()));
        for n in 0..KEPT_MAX * 2 {
            let published = Published { packet_id: 1, hash: n as u64, client_msg_id: "c".into() };
            row.remember_published(&device(&format!("once-{n}")), &published);
        }
        assert_eq!(row.kept.len(), KEPT_MAX);
        assert!(row.kept(&device("phone")).is_some() && row.kept(&device("once-0")).is_none());
    }

    #[test]
    fn the_last_publishes_are_remembered_one_a_packet_id() {
        let mut row = HomeRow::default();
        let published = |packet_id: u16, hash| Published { packet_id, hash, client_msg_id: "c".into() };
        for n in 0..200 {
            row.remember_published(&device("phone"), &published(n, 1));
        }
        row.remember_published(&device("phone"), &published(199, 2));
        let known = &row.kept(&device("phone")).unwrap().published;
        assert_eq!((known.len(), known.first().unwrap().packet_id), (PUBLISHED_MAX, 136));
        assert_eq!(known.last(), Some(&published(199, 2)));
    }
}
