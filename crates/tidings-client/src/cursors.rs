//! How far each conversation was delivered, and what lies between. Pure.
//!
//! Entries may come live, from a page of history, as tails of changes, or as the answer to an own send: in whatever order
//! they come, they are handed on in order of seq, each once. A conversation with something missing is `behind` until a page fills it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tidings_proto::{
    ConversationId, Seq,
    frames::{
        client::{Page, Range},
        server::{EntriesPage, Entry, LiveEntry},
    },
};

/// Live entries kept per conversation while what lies before them is fetched. Beyond, they are fetched too.
const HELD_MAX: usize = 256;
/// The most a page of history holds.
const PAGE_ENTRIES: usize = 200;

#[derive(Debug, Default)]
struct Cursor {
    /// Delivered up to here.
    at: Seq,
    /// Known to exist up to here.
    wanted: Seq,
    /// Whether `at` is the seq of a delivered entry; otherwise it came from an inbox item.
    started: bool,
    held: BTreeMap<Seq, LiveEntry<'static>>,
}

#[derive(Debug, Default)]
pub(crate) struct Cursors {
    conversations: HashMap<ConversationId, Cursor>,
    behind: BTreeSet<ConversationId>,
}

impl Cursors {
    /// Where `conversation` stands, if it is known.
    pub fn at(&self, conversation: ConversationId) -> Option<Seq> {
        self.conversations.get(&conversation).map(|cursor| cursor.at)
    }

    /// From here on, unless it is known already.
    pub fn begin(&mut self, conversation: ConversationId, at: Seq) {
        self.conversations.entry(conversation).or_insert_with(|| Cursor { at, ..Cursor::default() });
    }

    /// The log is shorter than what was delivered: it was restored from a backup. Continue from its end.
    pub fn rewind(&mut self, conversation: ConversationId, at: Seq) {
        self.conversations.insert(conversation, Cursor { at, started: true, ..Cursor::default() });
        self.behind.remove(&conversation);
    }

    pub fn remove(&mut self, conversation: ConversationId) {
        self.conversations.remove(&conversation);
        self.behind.remove(&conversation);
    }

    /// There are entries up to `seq`, to be fetched if they were not delivered.
    pub fn want(&mut self, conversation: ConversationId, seq: Seq) {
        let cursor = self.conversations.entry(conversation).or_insert_with(|| Cursor {
            at: seq.previous(),
            started: true,
            ..Cursor::default()
        });
        cursor.wanted = cursor.wanted.max(seq);
        if cursor.at < cursor.wanted {
            self.behind.insert(conversation);
        }
    }

    /// An entry came. `deliver` hands on what is next; it answers `false` if there is no room.
    pub fn arrive(&mut self, live: LiveEntry<'static>, deliver: &mut dyn FnMut(LiveEntry<'static>) -> bool) {
        let (conversation, seq) = (live.conversation, live.entry.seq);
        let cursor = self.conversations.entry(conversation).or_insert_with(|| Cursor {
            at: seq.previous(),
            started: true,
            ..Cursor::default()
        });
        if !cursor.started && seq <= cursor.at {
            // Who is added gets the item before the first entry: the item may count that entry already.
            cursor.at = seq.previous();
        }
        cursor.started = true;
        if seq <= cursor.at {
            return;
        }
        if seq > cursor.at.next() {
            if cursor.held.len() < HELD_MAX {
                cursor.held.insert(seq, live);
            }
            return self.want(conversation, seq);
        }
        if !deliver(live) {
            return self.want(conversation, seq);
        }
        cursor.at = seq;
        self.deliver_held(conversation, deliver);
    }

    /// A page that was asked for with `ranges`. Answers `false` if there was no room for all of it.
    pub fn fill(&mut self, page: EntriesPage<'static>, deliver: &mut dyn FnMut(LiveEntry<'static>) -> bool) -> bool {
        let conversation = page.conversation;
        let Some(cursor) = self.conversations.get_mut(&conversation) else { return true };
        let before = cursor.at;
        // What the reader may not see is no gap.
        cursor.at = cursor.at.max(page.first_seq.previous());
        for entry in page.entries {
            if entry.seq != cursor.at.next() {
                continue;
            }
            let seq = entry.seq;
            if !deliver(LiveEntry { conversation, entry }) {
                return false;
            }
            (cursor.at, cursor.started) = (seq, true);
        }
        if cursor.at == before {
            // Asking again would bring the same; the next entry will show the gap again.
            tracing::warn!(%conversation, after = %before, wanted = %cursor.wanted, "the server has no entries there");
            cursor.wanted = cursor.at;
        }
        self.deliver_held(conversation, deliver)
    }

    /// What to fetch: one page for each conversation that is behind, at most `max` of them.
    pub fn ranges(&self, max: usize) -> Vec<Range> {
        let range = |conversation: &ConversationId| {
            let after = self.at(*conversation).unwrap_or_default();
            Range {
                conversation: *conversation,
                page: Page { after: Some(after), limit: Some(PAGE_ENTRIES), ..Page::default() },
            }
        };
        self.behind.iter().take(max).map(range).collect()
    }

    pub fn is_behind(&self) -> bool {
        !self.behind.is_empty()
    }

    /// Hands on what was held back and is next now; `false` if there was no room for all of it.
    fn deliver_held(
        &mut self,
        conversation: ConversationId,
        deliver: &mut dyn FnMut(LiveEntry<'static>) -> bool,
    ) -> bool {
        let Some(cursor) = self.conversations.get_mut(&conversation) else { return true };
        let mut room = true;
        while let Some(held) = cursor.held.first_entry() {
            let seq = *held.key();
            if seq > cursor.at.next() {
                break;
            }
            let live = held.remove();
            if seq == cursor.at.next() {
                room = deliver(live);
                if !room {
                    break;
                }
                cursor.at = seq;
            }
        }
        if cursor.at >= cursor.wanted {
            self.behind.remove(&conversation);
        }
        room
    }
}

/// An entry of a conversation.
pub(crate) fn live(conversation: ConversationId, entry: Entry<'static>) -> LiveEntry<'static> {
    LiveEntry { conversation, entry }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tidings_proto::frames::server::Kind;

    use super::*;

    fn conversation() -> ConversationId {
        ConversationId::from_bytes([7; 16])
    }

    fn entry(seq: u64) -> Entry<'static> {
        Entry { seq: Seq(seq), kind: Kind::Message, from: None, at: None, client_msg_id: None, text: None, more: None }
    }

    fn page(after: u64, last: u64) -> EntriesPage<'static> {
        let entries = (after + 1..=last).take(3).map(entry).collect();
        EntriesPage { conversation: conversation(), entries, first_seq: Seq(1), last_seq: Seq(last) }
    }

    proptest! {
        /// Entries lost, doubled and late, a reader that has no room now and then: what is delivered is 1, 2, 3 … to the last.
        #[test]
        fn what_comes_in_any_order_is_delivered_in_order_and_whole(
            arrivals in proptest::collection::vec(1u64..30, 1..60),
            refusals in proptest::collection::vec(any::<bool>(), 200),
        ) {
            let mut cursors = Cursors::default();
            cursors.begin(conversation(), Seq::NONE);
            let mut delivered = Vec::new();
            let mut refusals = refusals.into_iter();
            let mut deliver = |live: LiveEntry<'static>| {
                let room = !refusals.next().unwrap_or(false);
                if room {
                    delivered.push(live.entry.seq.0);
                }
                room
            };
            for seq in &arrivals {
                cursors.arrive(live(conversation(), entry(*seq)), &mut deliver);
            }
            let last = arrivals.iter().copied().max().unwrap_or(0);
            for _ in 0..1_000 {
                let Some(range) = cursors.ranges(10).pop() else { break };
                cursors.fill(page(range.page.after.unwrap().0, last), &mut deliver);
            }
            prop_assert!(!cursors.is_behind());
            prop_assert_eq!(delivered, (1..=last).collect::<Vec<_>>());
        }
    }

    fn arrive(cursors: &mut Cursors, seq: u64) -> Vec<u64> {
        let mut delivered = Vec::new();
        cursors.arrive(live(conversation(), entry(seq)), &mut |live| {
            delivered.push(live.entry.seq.0);
            true
        });
        delivered
    }

    #[test]
    fn the_entry_that_adds_somebody_is_delivered_though_the_item_counts_it() {
        let mut cursors = Cursors::default();
        cursors.begin(conversation(), Seq(5));
        assert_eq!(arrive(&mut cursors, 5), [5]);
        assert_eq!(arrive(&mut cursors, 5), [0; 0], "but once");
        assert_eq!(arrive(&mut cursors, 6), [6]);
    }

    #[test]
    fn a_hole_that_the_server_cannot_fill_is_given_up_not_asked_for_ever() {
        let mut cursors = Cursors::default();
        cursors.begin(conversation(), Seq(5));
        cursors.want(conversation(), Seq(9));
        assert!(cursors.is_behind());
        cursors.fill(page(5, 5), &mut |_| true);
        assert!(!cursors.is_behind());
    }

    #[test]
    fn what_may_not_be_seen_is_no_gap() {
        let mut cursors = Cursors::default();
        cursors.begin(conversation(), Seq(5));
        cursors.want(conversation(), Seq(12));
        let entries = (10..=12).map(entry).collect();
        let page = EntriesPage { conversation: conversation(), entries, first_seq: Seq(10), last_seq: Seq(12) };
        assert!(cursors.fill(page, &mut |_| true));
        assert_eq!((cursors.at(conversation()), cursors.is_behind()), (Some(Seq(12)), false));
    }
}
