//! Rules 8, 12 and 13: the order in which a client is told.

use std::collections::BTreeMap;

use tidings_checker::{ConnectionId, Event, OperationId, Record, Rule, SendAsked};
use tidings_proto::{ConversationId, Seq, frames::server::Kind};

use super::{Facts, assert_red, assert_red_somewhere, open_histories, places};

/// Deliveries of each connection and conversation, by place, where nothing but deliveries came in between.
fn streams(records: &[Record]) -> Vec<Vec<usize>> {
    let mut streams: BTreeMap<(ConnectionId, ConversationId), Vec<usize>> = BTreeMap::new();
    for (place, record) in records.iter().enumerate() {
        if let Event::Delivered(delivered) = &record.event {
            streams.entry((delivered.connection, delivered.conversation)).or_default().push(place);
        }
    }
    let seq = |&place: &usize| match &records[place].event {
        Event::Delivered(delivered) => delivered.entry.seq,
        _ => Seq::NONE,
    };
    let mut dense: Vec<Vec<usize>> = streams
        .into_values()
        .filter(|stream| stream.len() > 2 && stream.windows(2).all(|pair| seq(&pair[0]).next() == seq(&pair[1])))
        .collect();
    dense.sort();
    dense
}

#[test]
fn rule_8_a_delivery_is_left_out_doubled_or_late() {
    for records in open_histories() {
        for stream in streams(&records).iter().take(4) {
            let mut mutated = records.clone();
            mutated.remove(stream[1]);
            assert_red(mutated, &[Rule::NoGaps]);

            let mut mutated = records.clone();
            mutated.push(records[stream[1]].clone());
            assert_red(mutated, &[Rule::NoGaps]);

            let mut mutated = records.clone();
            mutated[stream[0]].at = records[stream[1]].at + 1;
            assert_red(mutated, &[Rule::NoGaps]);
        }
    }
}

#[test]
fn rule_8_the_first_delivery_after_a_resume_is_left_out() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        let first_after_resume: Vec<usize> = streams(&records)
            .iter()
            .map(|stream| stream[0])
            .filter(|&place| match &records[place].event {
                Event::Delivered(first) => facts.connections[&first.connection].resumed,
                _ => false,
            })
            .collect();
        // Green where the session had not heard of the conversation before, or its own ack stands in the same stream.
        assert_red_somewhere(&records, &first_after_resume, Rule::NoGaps, |mutated, place| {
            mutated.remove(place);
        });
    }
}

#[test]
fn rule_12_pipelined_sends_overtake_each_other() {
    let mut tried = 0;
    for records in open_histories() {
        let facts = Facts::new(&records);
        let mut last: BTreeMap<(ConnectionId, ConversationId), (OperationId, Seq)> = BTreeMap::new();
        let mut acks: Vec<(OperationId, Seq)> = facts
            .acks(&records)
            .filter(|(_, operation, _, repeat)| {
                let asked = &facts.sends[operation].1;
                let same = |(_, other): &&(u64, SendAsked)| other.client_msg_id == asked.client_msg_id;
                let once = facts.sends.values().filter(same).count() == 1;
                let keeps_order = facts.transport(asked.connection).keeps_order();
                !repeat && once && keeps_order && asked.kind == Kind::Message
            })
            .map(|(_, operation, seq, _)| (operation, seq))
            .collect();
        acks.sort_by_key(|(operation, _)| facts.sends[operation].0);
        for (operation, seq) in acks {
            let (at, asked) = &facts.sends[&operation];
            let Some((earlier, before)) = last.insert((asked.connection, asked.conversation), (operation, seq)) else {
                continue;
            };
            // The later one left before anybody knew of the earlier one: they may as well have left the other way.
            if facts.known_before(asked.conversation, *at) >= before {
                continue;
            }
            let place_of = |wanted: OperationId| {
                places(&records, |event| matches!(event, Event::Send(send) if send.operation == wanted))[0]
            };
            let (one, other) = (place_of(earlier), place_of(operation));
            let mut mutated = records.clone();
            (mutated[one].at, mutated[other].at) = (mutated[other].at, mutated[one].at);
            assert_red(mutated, &[Rule::SendOrder]);
            tried += 1;
        }
    }
    assert!(tried > 3, "only {tried} pairs were pipelined");
}

#[test]
fn rule_13_a_receipt_goes_back_or_names_what_does_not_exist() {
    for records in open_histories() {
        let last = *places(&records, |event| matches!(event, Event::Receipt(_))).last().expect("somebody read");
        let Event::Receipt(receipt) = records[last].event.clone() else { panic!("a receipt stands there") };
        let with = |delivered_seq: Seq, read_seq: Seq| {
            let mut mutated = records.clone();
            let wrong = tidings_checker::ReceiptSeen { delivered_seq, read_seq, ..receipt.clone() };
            mutated.insert(last + 1, Record { at: records[last].at, event: Event::Receipt(wrong) });
            mutated
        };
        assert_red(with(receipt.delivered_seq.previous(), receipt.read_seq.previous()), &[Rule::ReceiptsForward]);
        assert_red(with(Seq(1_000_000), receipt.read_seq), &[Rule::ReceiptsForward]);
        assert_red(with(receipt.delivered_seq, receipt.delivered_seq.next()), &[Rule::ReceiptsForward]);
    }
}
