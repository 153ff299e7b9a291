//! Rules 6, 7 and 11: what was known before must show.

use tidings_checker::{Event, OperationId, Record, Rule, SendAsked, Transport};
use tidings_proto::Seq;

use super::{Facts, assert_red, assert_red_somewhere, fetched, fetched_mut, open_histories, places};

#[test]
fn rule_6_a_send_after_an_ack_comes_to_stand_before_it() {
    let mut tried = 0;
    for records in open_histories() {
        let facts = Facts::new(&records);
        // Sends whose entry came to light only after one behind it did: sent in between, they would be out of order.
        let acks: Vec<(OperationId, Seq)> = facts
            .acks(&records)
            .filter(|(_, _, _, repeat)| !repeat)
            .map(|(_, operation, seq, _)| (operation, seq))
            .collect();
        for (operation, seq) in acks {
            let (_, asked) = &facts.sends[&operation];
            let seen = facts.first_seen[&(asked.conversation, seq)];
            let attempts = |(_, other): &&(u64, SendAsked)| other.client_msg_id == asked.client_msg_id;
            let is_http = facts.transport(asked.connection) == Transport::Http;
            if !is_http
                || facts.sends.values().filter(attempts).count() > 1
                || facts.known_before(asked.conversation, seen) < seq
            {
                continue;
            }
            let mut mutated = records.clone();
            let place = places(&mutated, |event| matches!(event, Event::Send(send) if send.operation == operation))[0];
            mutated[place].at = seen - 1;
            assert_red(mutated, &[Rule::RealTimeOrder]);
            tried += 1;
        }
    }
    assert!(tried > 3, "only {tried} sends came to light behind later ones");
}

#[test]
fn rule_7_a_read_does_not_show_what_was_known() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        let stale: Vec<usize> = places(&records, |event| {
            fetched(event).is_some_and(|page| {
                let known = facts.known_before(page.conversation, page.asked);
                // Over HTTP: on a live connection the entries that follow would show it too.
                let is_http = facts.transport(page.connection) == Transport::Http;
                is_http && !page.is_final && page.entries.last().is_some_and(|last| last.seq <= known)
            })
        });
        for place in stale.into_iter().take(8) {
            let mut mutated = records.clone();
            let page = fetched_mut(&mut mutated[place]);
            page.entries.pop();
            page.last_seq = page.entries.last().map_or(Seq::NONE, |last| last.seq);
            assert_red(mutated, &[Rule::FreshReads]);
        }
    }
}

#[test]
fn rule_7_a_page_is_short_begins_late_or_leaves_the_range() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        let long = places(&records, |event| {
            fetched(event).is_some_and(|page| {
                let known = facts.known_before(page.conversation, page.asked);
                let first = page.entries.first().map_or(Seq(u64::MAX), |first| first.seq);
                !page.is_final && page.entries.len() > 2 && page.range.around.is_none() && first <= known
            })
        });
        for &place in long.iter().take(4) {
            let mut mutated = records.clone();
            fetched_mut(&mut mutated[place]).entries.remove(0);
            assert_red(mutated, &[Rule::FreshReads]);

            let mut mutated = records.clone();
            let page = fetched_mut(&mut mutated[place]);
            page.range.after = Some(page.entries[0].seq);
            assert_red(mutated, &[Rule::FreshReads]);
        }
        // Where the reader had seen the entry that is hidden.
        assert_red_somewhere(&records, &long, Rule::FreshReads, |mutated, place| {
            let page = fetched_mut(&mut mutated[place]);
            page.first_seq = page.entries[1].seq;
            page.entries.remove(0);
        });
    }
}

/// Synced answers over HTTP, where nothing else hangs on them.
fn answers(facts: &Facts, records: &[Record], wanted: impl Fn(&tidings_checker::Synced) -> bool) -> Vec<usize> {
    places(records, |event| {
        matches!(event, Event::Synced(synced)
            if facts.transport(synced.connection) == Transport::Http && !synced.items.is_empty() && wanted(synced))
    })
}

fn mutate_item(records: &mut [Record], place: usize, mutate: impl FnOnce(&mut tidings_checker::Item)) {
    let Event::Synced(synced) = &mut records[place].event else { panic!("no answer stands there") };
    mutate(&mut synced.items[0]);
}

#[test]
fn rule_11_an_item_is_too_old() {
    let mut reds = 0;
    for records in open_histories() {
        let facts = Facts::new(&records);
        let is_asked =
            |synced: &tidings_checker::Synced| synced.asked.is_some() && synced.items[0].last_seq > Seq::FIRST;
        for place in answers(&facts, &records, is_asked).into_iter().take(40) {
            let mut mutated = records.clone();
            mutate_item(&mut mutated, place, |item| {
                item.last_seq = item.last_seq.previous();
                item.tail.clear();
                item.last = None;
            });
            let report = tidings_checker::check(&tidings_checker::History::new(mutated)).unwrap();
            assert!(report.is_green() || report.red() == [Rule::FreshInbox], "{report}");
            let violations = &report.outcome(Rule::FreshInbox).violations;
            reds += violations.iter().filter(|violation| violation.what.contains("says last_seq")).count();
        }
    }
    assert!(reds > 0, "no answer was asked after its last entry was known");
}

#[test]
fn rule_11_a_saved_read_seq_is_forgotten() {
    let mut reds = 0;
    for records in open_histories() {
        let facts = Facts::new(&records);
        for place in answers(&facts, &records, |synced| synced.asked.is_some()) {
            let mut mutated = records.clone();
            mutate_item(&mut mutated, place, |item| item.read_seq = Seq::NONE);
            let report = tidings_checker::check(&tidings_checker::History::new(mutated)).unwrap();
            assert!(report.is_green() || report.red() == [Rule::FreshInbox], "{report}");
            let violations = &report.outcome(Rule::FreshInbox).violations;
            reds += violations.iter().filter(|violation| violation.what.contains("says read_seq")).count();
        }
    }
    assert!(reds > 0, "no answer was asked after a mark_read was answered");
}

#[test]
fn rule_11_unread_is_miscounted() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        for place in answers(&facts, &records, |_| true).into_iter().take(5) {
            let mut mutated = records.clone();
            mutate_item(&mut mutated, place, |item| item.unread += 1);
            assert_red(mutated, &[Rule::FreshInbox]);
        }
    }
}

#[test]
fn rule_11_an_answer_leaves_a_conversation_out() {
    for full in [true, false] {
        let mut tried = 0;
        for records in open_histories() {
            let facts = Facts::new(&records);
            let is_whole = |synced: &tidings_checker::Synced| synced.full == full && !synced.more && !synced.continued;
            let places = answers(&facts, &records, is_whole);
            for &place in places.iter().take(6) {
                let mut mutated = records.clone();
                if let Event::Synced(synced) = &mut mutated[place].event {
                    synced.items.clear();
                }
                let report = tidings_checker::check(&tidings_checker::History::new(mutated)).unwrap();
                assert!(report.is_green() || report.red() == [Rule::FreshInbox], "{report}");
                tried += usize::from(!report.is_green());
            }
        }
        assert!(tried > 0, "leaving out was never noticed (full: {full})");
    }
}
