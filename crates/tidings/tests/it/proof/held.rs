//! What a device holds over its connections, here and in the simulation.

use std::collections::BTreeMap;

use tidings_proto::{ConversationId, Seq, frames::server::Changes};

/// What a device holds over its connections.
#[derive(Default)]
pub struct Held {
    pub sync: Option<String>,
    /// How far each conversation is known to go.
    pub told: BTreeMap<ConversationId, Seq>,
    /// How far its entries are here.
    pub have: BTreeMap<ConversationId, Seq>,
}

impl Held {
    fn tell(&mut self, conversation: ConversationId, seq: Seq) {
        let told = self.told.entry(conversation).or_default();
        *told = (*told).max(seq);
    }

    pub fn have(&mut self, conversation: ConversationId, seq: Seq) {
        self.tell(conversation, seq);
        let have = self.have.entry(conversation).or_insert(seq);
        *have = (*have).max(seq);
    }

    pub fn changes(&mut self, changes: &Changes<'_>) {
        for item in &changes.items {
            self.tell(item.conversation, item.last_seq);
            self.have.entry(item.conversation).or_insert(item.last_seq);
        }
        for removed in &changes.removed {
            self.told.remove(removed);
            self.have.remove(removed);
        }
        self.sync = Some(changes.sync.clone());
    }

    /// Where there is more than this device has.
    pub fn missed(&self) -> Option<(ConversationId, Seq)> {
        self.have.iter().find_map(|(id, have)| self.told.get(id).filter(|told| *told > have).map(|_| (*id, *have)))
    }
}
