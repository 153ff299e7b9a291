//! Rule 10: blocks.

use tidings_checker::{Entry, Event, Record, Rule, check};
use tidings_proto::{ConversationId, Seq, UserId, frames::server::Kind};

use super::{Facts, assert_red, fetched, fetched_mut, histories_with_blocks, is_plain, open_histories, places};

/// The entry as somebody else was shown it in a final read.
fn content(records: &[Record], conversation: ConversationId, seq: Seq) -> Option<Entry> {
    let pages = records.iter().filter_map(|record| fetched(&record.event));
    let mut entries = pages.filter(|page| page.conversation == conversation).flat_map(|page| &page.entries);
    entries.find(|entry| entry.seq == seq && is_plain(entry)).cloned()
}

fn is_direct(records: &[Record], conversation: ConversationId) -> bool {
    records.iter().any(|record| {
        matches!(&record.event, Event::Send(asked) if asked.conversation == conversation && asked.to.is_some())
    })
}

/// Shows the blockers what was void for them. Where it is certain that the block stood, that must be red.
fn reveal(direct: bool) {
    let mut reds = 0;
    for records in histories_with_blocks() {
        let void = |event: &Event| fetched(event).is_some_and(|page| page.entries.iter().any(Entry::is_void));
        for place in places(&records, void) {
            let page = fetched(&records[place].event).expect("a page stands there");
            if is_direct(&records, page.conversation) != direct {
                continue;
            }
            let Some(entry) = page.entries.iter().position(Entry::is_void) else { continue };
            let Some(shown) = content(&records, page.conversation, page.entries[entry].seq) else { continue };
            let mut mutated = records.clone();
            fetched_mut(&mut mutated[place]).entries[entry] = shown;
            let report = check(&tidings_checker::History::new(mutated)).expect("a mutation leaves a history");
            assert!(report.is_green() || report.red() == [Rule::Blocks], "{report}");
            reds += usize::from(!report.is_green());
        }
    }
    assert!(reds > 3, "only {reds} revelations were certain");
}

#[test]
fn rule_10_a_blocked_message_is_revealed() {
    reveal(true);
}

#[test]
fn rule_10_a_blocked_author_is_shown_in_a_group() {
    reveal(false);
}

#[test]
fn rule_10_a_message_is_void_though_nobody_was_blocked() {
    for records in open_histories() {
        let page = |event: &Event| fetched(event).is_some_and(|page| !page.is_final && !page.entries.is_empty());
        for place in places(&records, page).into_iter().take(5) {
            let mut mutated = records.clone();
            let shown = &mut fetched_mut(&mut mutated[place]).entries[0];
            let void = Entry {
                seq: shown.seq,
                kind: Kind::Void,
                from: None,
                client_msg_id: None,
                text: None,
                target: None,
                edited_seq: None,
                redacted: false,
            };
            *shown = void;
            assert_red(mutated, &[Rule::Blocks]);
        }
    }
}

#[test]
fn rule_10_a_delivery_is_revealed() {
    let mut reds = 0;
    for records in histories_with_blocks() {
        let facts = Facts::new(&records);
        let void = |event: &Event| matches!(event, Event::Delivered(delivered) if delivered.entry.is_void());
        for place in places(&records, void).into_iter().take(20) {
            let Event::Delivered(delivered) = &records[place].event else { continue };
            let Some(shown) = content(&records, delivered.conversation, delivered.entry.seq) else { continue };
            assert_ne!(shown.from.as_ref(), Some::<&UserId>(facts.user(delivered.connection)));
            let mut mutated = records.clone();
            if let Event::Delivered(delivered) = &mut mutated[place].event {
                delivered.entry = shown;
            }
            let report = check(&tidings_checker::History::new(mutated)).expect("a mutation leaves a history");
            assert!(report.is_green() || report.red() == [Rule::Blocks], "{report}");
            reds += usize::from(!report.is_green());
        }
    }
    assert!(reds > 3, "only {reds} revelations were certain");
}
