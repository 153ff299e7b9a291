//! Live receipts of groups, coalesced: at most one frame a second for each member. Those of direct conversations go at once.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Receipt};

use crate::conversation::actor::Conversation;

#[derive(Default)]
pub struct Pending {
    /// Bounded by the members of the small groups in which somebody read within the last second.
    receipts: Mutex<HashMap<(ConversationId, UserId), (Arc<Conversation>, Seq, Seq)>>,
}

impl Pending {
    pub fn put(&self, conversation: &Arc<Conversation>, user: &UserId, delivered: Seq, read: Seq) {
        let mut receipts = self.receipts.lock();
        receipts.insert((conversation.id, user.clone()), (conversation.clone(), delivered, read));
    }

    /// What is to be told now.
    pub fn take(&self) -> Vec<(Arc<Conversation>, Receipt)> {
        let receipts = std::mem::take(&mut *self.receipts.lock());
        let told = receipts.into_iter().map(|((id, user), (conversation, delivered_seq, read_seq))| {
            (conversation, Receipt { conversation: id, user, delivered_seq, read_seq })
        });
        told.collect()
    }
}
