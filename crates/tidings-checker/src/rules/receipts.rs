//! Rule 13: receipts are registers that only move forward.

use hashbrown::HashMap;
use tidings_proto::Seq;

use crate::{
    event::{Event, ReceiptSeen},
    index::{EventNumber, Index},
    report::Outcome,
};

/// Rule 13. On one connection a member's `delivered_seq` and `read_seq` never go back; `read_seq` is at most
/// `delivered_seq`; and neither names a seq that nobody was ever told of by other means.
pub(super) fn receipts_forward(index: &Index<'_>, outcome: &mut Outcome) {
    let mut last = HashMap::new();
    for (place, record) in index.history.records().enumerate() {
        let Event::Receipt(receipt) = &record.event else { continue };
        outcome.judge();
        let event = EventNumber::from(place);
        let before = last.insert((receipt.connection, receipt.conversation, &receipt.user), (receipt, event));
        if let Some((what, events)) = wrong(index, receipt, event, before) {
            outcome.violate(|| {
                let what = format!("a receipt of {} in {} {what}", receipt.user, receipt.conversation);
                (what, events.iter().map(|&event| index.evidence(event)).collect())
            });
        }
    }
}

fn wrong(
    index: &Index<'_>,
    receipt: &ReceiptSeen,
    event: EventNumber,
    before: Option<(&ReceiptSeen, EventNumber)>,
) -> Option<(&'static str, Vec<EventNumber>)> {
    if let Some((before, earlier)) = before
        && (before.delivered_seq > receipt.delivered_seq || before.read_seq > receipt.read_seq)
    {
        return Some(("goes back", vec![earlier, event]));
    }
    if receipt.read_seq > receipt.delivered_seq {
        return Some(("says read, but not delivered", vec![event]));
    }
    let conversation = index.conversation_number(&receipt.conversation);
    let known = index.known(conversation).at_last().map_or(Seq::NONE, |step| step.seq);
    (receipt.delivered_seq > known).then(|| ("names what does not exist", vec![event]))
}
