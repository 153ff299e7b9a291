//! What a fleet promises less, and what it promises all the same.

use tidings_checker::{Event, History, Record, Rule, Server, Transport, check_of};

use tidings_proto::Seq;

use super::{Facts, open_histories, places};

fn is_red(server: Server, records: &[Record], rule: Rule) -> bool {
    let report = check_of(server, &History::new(records.to_vec())).expect("a mutation leaves a history");
    assert!(report.is_green() || report.red() == [rule], "{report}");
    !report.is_green()
}

#[test]
fn rule_11_an_item_is_too_old_for_who_was_told_but_not_for_who_was_not() {
    let is_too_old = |server, records: &[Record]| {
        let report = check_of(server, &History::new(records.to_vec())).expect("a mutation leaves a history");
        report.outcome(Rule::FreshInbox).violations.iter().any(|violation| violation.what.contains("says last_seq"))
    };
    let (mut too_old, mut excused) = (0, 0);
    for records in open_histories() {
        let facts = Facts::new(&records);
        let answers = places(&records, |event| {
            matches!(event, Event::Synced(synced) if facts.transport(synced.connection) == Transport::Http
                && synced.asked.is_some() && synced.items.first().is_some_and(|item| item.last_seq > Seq::FIRST))
        });
        for place in answers.into_iter().take(40) {
            let mut mutated = records.clone();
            let Event::Synced(synced) = &mut mutated[place].event else { panic!("an answer stands there") };
            let item = &mut synced.items[0];
            (item.last_seq, item.last) = (item.last_seq.previous(), None);
            item.tail.clear();
            let for_who_was_told = is_too_old(Server::Fleet, &mutated);
            too_old += usize::from(for_who_was_told);
            excused += usize::from(!for_who_was_told && is_too_old(Server::Alone, &mutated));
        }
    }
    assert!(too_old > 0 && excused > 0, "{too_old} were too old, {excused} excused");
}

#[test]
fn rule_9_a_repeat_may_repeat_its_own_attempt() {
    let (mut excused, mut wrong) = (0, 0);
    for records in open_histories() {
        let facts = Facts::new(&records);
        let acks: Vec<_> =
            facts.acks(&records).map(|(place, operation, _, repeat)| (place, operation, repeat)).collect();
        let over_http = |operation| facts.transport(facts.sends[operation].1.connection) == Transport::Http;
        for (place, _, was_repeat) in acks.iter().filter(|(_, operation, _)| over_http(operation)).take(200) {
            let mut mutated = records.clone();
            let Event::Sent { repeat, .. } = &mut mutated[*place].event else { panic!("an ack stands there") };
            *repeat = !*repeat;
            match (was_repeat, is_red(Server::Fleet, &mutated, Rule::RepeatsAgree)) {
                (true, true) => wrong += 1,
                (false, false) => excused += usize::from(is_red(Server::Alone, &mutated, Rule::RepeatsAgree)),
                _ => {}
            }
        }
    }
    assert!(excused > 0 && wrong > 0, "{excused} were excused, {wrong} wrong");
}
