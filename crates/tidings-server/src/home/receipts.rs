//! Live receipts of groups, coalesced: at most one frame a second for each member. Those of direct conversations go at once.
//! Between nodes they are notices, which may be late: what was shown never goes back.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Receipt};
use tokio::time::Instant;

use crate::{conversation::actor::Conversation, maps::HashMap};

#[derive(Default)]
pub struct Pending {
    /// Bounded by the members of the small groups in which somebody read within the last second.
    receipts: Mutex<HashMap<(ConversationId, UserId), Register>>,
}

/// How far a member is.
struct Register {
    conversation: Arc<Conversation>,
    delivered: Seq,
    read: Seq,
}

impl Pending {
    pub fn put(&self, conversation: &Arc<Conversation>, user: &UserId, delivered: Seq, read: Seq) {
        let mut receipts = self.receipts.lock();
        let register = Register { conversation: conversation.clone(), delivered, read };
        receipts.insert((conversation.id, user.clone()), register);
    }

    /// What is to be told now.
    pub fn take(&self) -> Vec<(Arc<Conversation>, Receipt)> {
        let receipts = std::mem::take(&mut *self.receipts.lock());
        let told = receipts.into_iter().map(|((id, user), register)| {
            let Register { conversation, delivered, read } = register;
            (conversation, Receipt { conversation: id, user, delivered_seq: delivered, read_seq: read })
        });
        told.collect()
    }
}

/// No receipt is late by more than this.
const LATE: Duration = Duration::from_secs(60);

/// How far members of groups were shown to be by this node, within the last minutes.
#[derive(Default)]
pub struct Shown {
    marks: Mutex<Marks>,
}

/// By what was received within twice `LATE`.
#[derive(Default)]
struct Marks {
    began: Option<Instant>,
    now: HashMap<(ConversationId, UserId), (Seq, Seq)>,
    before: HashMap<(ConversationId, UserId), (Seq, Seq)>,
}

impl Shown {
    /// Has `show` tell how far the member is, if it is further than it was shown to be. One at a time: in the order of the calls.
    pub fn pass(&self, receipt: Receipt, now: Instant, show: impl FnOnce(Receipt)) {
        let mut marks = self.marks.lock();
        let began = *marks.began.get_or_insert(now);
        if now.duration_since(began) >= LATE {
            marks.before = std::mem::take(&mut marks.now);
            marks.began = Some(now);
        }
        let key = (receipt.conversation, receipt.user.clone());
        let shown = marks.now.get(&key).or_else(|| marks.before.get(&key)).copied().unwrap_or_default();
        let (delivered_seq, read_seq) = (receipt.delivered_seq.max(shown.0), receipt.read_seq.max(shown.1));
        if (delivered_seq, read_seq) != shown {
            marks.now.insert(key, (delivered_seq, read_seq));
            show(Receipt { delivered_seq, read_seq, ..receipt });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn receipt(user: &str, delivered: u64, read: u64) -> Receipt {
        let (user, other) = (UserId::new(user).expect("a name"), UserId::new("eve").expect("a name"));
        let conversation = ConversationId::group(&other, "team");
        Receipt { conversation, user, delivered_seq: Seq(delivered), read_seq: Seq(read) }
    }

    fn pass(shown: &Shown, now: Instant, receipt: Receipt) -> Option<(u64, u64)> {
        let mut told = None;
        shown.pass(receipt, now, |receipt| told = Some((receipt.delivered_seq.0, receipt.read_seq.0)));
        told
    }

    #[test]
    fn a_receipt_that_was_overtaken_takes_nothing_back() {
        let (shown, now) = (Shown::default(), Instant::now());
        assert_eq!(pass(&shown, now, receipt("ada", 5, 3)), Some((5, 3)));
        assert_eq!(pass(&shown, now, receipt("ada", 4, 3)), None);
        assert_eq!(pass(&shown, now, receipt("bob", 4, 3)), Some((4, 3)));
        assert_eq!(pass(&shown, now, receipt("ada", 5, 3)), None, "it came twice");
        assert_eq!(pass(&shown, now, receipt("ada", 4, 4)), Some((5, 4)), "each of both moves for itself");
        // It is remembered as long as an older one may come.
        assert_eq!(pass(&shown, now + LATE, receipt("bob", 5, 5)), Some((5, 5)));
        assert_eq!(pass(&shown, now + LATE * 2 - Duration::from_secs(1), receipt("ada", 5, 3)), None);
    }
}
