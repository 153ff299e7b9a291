//! Live receipts of groups, coalesced: at most one frame a second for each member. Those of direct conversations go at once.

use std::sync::Arc;

use parking_lot::Mutex;
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Receipt};

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
