//! Rules 1 to 5, and 9: what stands in the log.

use std::collections::HashSet;

use tidings_checker::{ClientMsgId, Entry, Event, OperationId, Record, Rule, SendAsked, TextHash, Transport};
use tidings_proto::{ConversationId, Seq, UserId};

use super::{
    Facts, append_to_final_reads, assert_red, assert_red_somewhere, fetched, fetched_mut, is_plain, open_histories,
    places,
};

/// Some plain message of the final reads whose first ack came, and where it stands.
fn plain_message(records: &[Record]) -> (ConversationId, Entry) {
    let facts = Facts::new(records);
    let originals = facts.acks(records).filter(|(_, _, _, repeat)| !repeat);
    let acked: HashSet<_> =
        originals.map(|(_, operation, seq, _)| (facts.sends[&operation].1.conversation, seq)).collect();
    let pages = records.iter().filter_map(|record| fetched(&record.event)).filter(|page| page.is_final);
    let mut found = pages.flat_map(|page| page.entries.iter().map(move |entry| (page.conversation, entry)));
    let (conversation, entry) = found
        .find(|(conversation, entry)| is_plain(entry) && acked.contains(&(*conversation, entry.seq)))
        .expect("there is a plain message");
    (conversation, entry.clone())
}

fn entry_of(user: &UserId, asked: &SendAsked, seq: Seq) -> Entry {
    let (from, client_msg_id) = (Some(user.clone()), Some(ClientMsgId::clone(&asked.client_msg_id)));
    Entry {
        seq,
        kind: asked.kind,
        from,
        client_msg_id,
        text: asked.text,
        target: None,
        edited_seq: None,
        redacted: false,
    }
}

#[test]
fn rule_1_two_observers_see_two_entries_at_one_seq() {
    for mut records in open_histories() {
        let facts = Facts::new(&records);
        let unseen = facts.unseen(&records, false);
        let (place, other) = places(&records, |event| matches!(event, Event::Delivered(_)))
            .into_iter()
            .find_map(|place| {
                let Event::Delivered(delivered) = &records[place].event else { return None };
                let seen = facts.first_seen[&(delivered.conversation, delivered.entry.seq)];
                let from = delivered.entry.from.clone();
                let mut candidates = unseen.iter().filter(|(at, user, asked)| {
                    *at < seen && asked.conversation == delivered.conversation && Some(user) == from.as_ref()
                });
                let (_, user, asked) = candidates.next()?;
                is_plain(&delivered.entry).then(|| (place, entry_of(user, asked, delivered.entry.seq)))
            })
            .expect("a send was lost before a delivery of the same sender");
        if let Event::Delivered(delivered) = &mut records[place].event {
            delivered.entry = other;
        }
        assert_red(records, &[Rule::OneEntryPerSeq]);
    }
}

#[test]
fn rule_2_a_message_stands_twice_in_the_log() {
    for mut records in open_histories() {
        let (conversation, entry) = plain_message(&records);
        let last_seq = Facts::new(&records).last_seqs[&conversation];
        append_to_final_reads(&mut records, conversation, &Entry { seq: last_seq.next(), ..entry });
        assert_red(records, &[Rule::OneSeqPerMessage]);
    }
}

#[test]
fn rule_3_a_page_has_a_hole() {
    for records in open_histories() {
        let long =
            places(&records, |event| fetched(event).is_some_and(|page| !page.is_final && page.entries.len() > 2));
        for place in long.into_iter().take(5) {
            let mut mutated = records.clone();
            fetched_mut(&mut mutated[place]).entries.remove(1);
            assert_red(mutated, &[Rule::Dense]);
        }
    }
}

#[test]
fn rule_3_and_4_an_acked_entry_is_missing_in_the_middle_of_a_final_read() {
    for mut records in open_histories() {
        let long = places(&records, |event| fetched(event).is_some_and(|page| page.is_final && page.entries.len() > 2));
        fetched_mut(&mut records[long[0]]).entries.remove(1);
        assert_red(records, &[Rule::Dense, Rule::Durable]);
    }
}

#[test]
fn rule_3_nobody_may_see_the_beginning() {
    for mut records in open_histories() {
        let (conversation, _) = plain_message(&records);
        // Rule 4 stays green: it believes first_seq. That is why rule 3 does not.
        for record in &mut records {
            if let Event::Fetched(page) = &mut record.event
                && page.is_final
                && page.conversation == conversation
            {
                page.first_seq = Seq(3);
                page.entries.retain(|entry| entry.seq >= Seq(3));
            }
        }
        assert_red(records, &[Rule::Dense]);
    }
}

#[test]
fn rule_4_an_acked_entry_is_lost_at_the_end() {
    for mut records in open_histories() {
        let facts = Facts::new(&records);
        let is_last = |(_, operation, seq, _): &(usize, OperationId, Seq, bool)| {
            facts.last_seqs[&facts.sends[operation].1.conversation] == *seq
        };
        let (_, operation, seq, _) = facts.acks(&records).find(is_last).expect("the last entry of some log was acked");
        let conversation = facts.sends[&operation].1.conversation;
        for record in &mut records {
            if let Event::Fetched(page) = &mut record.event
                && page.is_final
                && page.conversation == conversation
            {
                page.last_seq = seq.previous();
                page.entries.retain(|entry| entry.seq < seq);
            }
        }
        assert_red(records, &[Rule::Durable]);
    }
}

#[test]
fn rule_4_an_acked_entry_has_another_content_at_the_end() {
    for mut records in open_histories() {
        let facts = Facts::new(&records);
        let acked: Vec<_> =
            facts.acks(&records).map(|(_, operation, seq, _)| (facts.sends[&operation].1.conversation, seq)).collect();
        let text_of_an_acked = records
            .iter_mut()
            .filter_map(|record| match &mut record.event {
                Event::Fetched(page) if page.is_final => Some(page),
                _ => None,
            })
            .flat_map(|page| page.entries.iter_mut().map(|entry| (page.conversation, entry)))
            .find(|(conversation, entry)| is_plain(entry) && acked.contains(&(*conversation, entry.seq)));
        text_of_an_acked.expect("a plain message was acked").1.text = Some(TextHash::of("something else"));
        assert_red(records, &[Rule::Durable]);
    }
}

#[test]
fn rule_4_a_last_seq_was_told_that_never_came_to_be() {
    for mut records in open_histories() {
        let facts = Facts::new(&records);
        let last = places(&records, |event| matches!(event, Event::Synced(synced) if !synced.items.is_empty()));
        let place = *last.last().expect("somebody synced");
        if let Event::Synced(synced) = &mut records[place].event {
            synced.items[0].last_seq = facts.last_seqs[&synced.items[0].conversation].next();
        }
        // Whoever asked later had to be told of it too: so nobody does.
        let told_at = records[place].at;
        records.retain(|record| match &record.event {
            Event::Synced(synced) => synced.asked.is_none_or(|asked| asked <= told_at),
            Event::Fetched(page) => page.is_final || page.asked <= told_at,
            _ => true,
        });
        assert_red(records, &[Rule::Durable]);
    }
}

#[test]
fn rule_5_an_entry_that_nobody_sent_or_that_was_refused_is_read() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        let (conversation, entry) = plain_message(&records);
        let seq = facts.last_seqs[&conversation].next();
        let mut mutated = records.clone();
        let phantom = Entry { seq, client_msg_id: Some("phantom".into()), ..entry };
        append_to_final_reads(&mut mutated, conversation, &phantom);
        assert_red(mutated, &[Rule::OnlyWhatWasSent]);

        let mut mutated = records;
        let refused = facts.unseen(&mutated, true);
        let (_, user, asked) = refused.first().expect("a send was refused");
        let seq = facts.last_seqs[&asked.conversation].next();
        append_to_final_reads(&mut mutated, asked.conversation, &entry_of(user, asked, seq));
        assert_red(mutated, &[Rule::OnlyWhatWasSent]);
    }
}

#[test]
fn rule_5_a_read_shows_another_text() {
    for mut records in open_histories() {
        let entry = records
            .iter_mut()
            .filter_map(|record| match &mut record.event {
                Event::Fetched(page) if !page.is_final => page.entries.iter_mut().find(|entry| is_plain(entry)),
                _ => None,
            })
            .next();
        entry.expect("a plain message was read").text = Some(TextHash::of("something else"));
        assert_red(records, &[Rule::OnlyWhatWasSent]);
    }
}

#[test]
fn rule_5_an_edited_text_is_of_another_edit() {
    for mut records in open_histories() {
        let entry = records
            .iter_mut()
            .filter_map(|record| match &mut record.event {
                Event::Fetched(page) => page.entries.iter_mut().find(|entry| entry.edited_seq.is_some()),
                _ => None,
            })
            .next()
            .expect("an edited message was read");
        entry.text = Some(TextHash::of("something else"));
        let report = tidings_checker::check(&tidings_checker::History::new(records)).unwrap();
        assert!(matches!(report.red()[..], [Rule::OnlyWhatWasSent | Rule::Durable]), "{report}");
    }
}

#[test]
fn rule_5_an_entry_is_delivered_before_it_was_sent() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        let sends = places(&records, |event| match event {
            Event::Send(asked) => {
                // Nobody retries it, and the sender sends nothing else.
                let same = |(_, other): &&(u64, SendAsked)| other.client_msg_id == asked.client_msg_id;
                facts.transport(asked.connection) == Transport::Http && facts.sends.values().filter(same).count() == 1
            }
            _ => false,
        });
        let early: Vec<usize> = sends
            .into_iter()
            .filter(|&place| {
                let Event::Send(asked) = &records[place].event else { return false };
                let acked = facts.acks(&records).find(|(_, operation, ..)| *operation == asked.operation);
                acked.is_some_and(|(ack, _, seq, _)| facts.first_seen[&(asked.conversation, seq)] < records[ack].at)
            })
            .collect();
        assert_red_somewhere(&records, &early, Rule::OnlyWhatWasSent, |mutated, place| {
            let Event::Send(asked) = &mutated[place].event else { return };
            let ack = facts.acks(mutated).find(|(_, operation, ..)| *operation == asked.operation).unwrap().0;
            mutated[place].at = mutated[ack].at - 1;
        });
    }
}

#[test]
fn rule_9_a_repeat_is_called_none_and_the_first_is_called_one() {
    for records in open_histories() {
        let facts = Facts::new(&records);
        // Over HTTP, where no order of the connection hangs on it.
        let http = |operation: &OperationId| facts.transport(facts.sends[operation].1.connection) == Transport::Http;
        let flip = |mutated: &mut Vec<Record>, place: usize| {
            if let Event::Sent { repeat, .. } = &mut mutated[place].event {
                *repeat = !*repeat;
            }
        };
        let acks = |wanted| {
            let acks =
                facts.acks(&records).filter(move |(_, operation, _, repeat)| *repeat == wanted && http(operation));
            acks.map(|(place, ..)| place).collect::<Vec<_>>()
        };
        assert_red_somewhere(&records, &acks(true), Rule::RepeatsAgree, flip);
        assert_red_somewhere(&records, &acks(false), Rule::RepeatsAgree, flip);
    }
}

#[test]
fn rule_2_and_9_a_retry_doubles() {
    for mut records in open_histories() {
        let facts = Facts::new(&records);
        let (conversation, entry) = plain_message(&records);
        let seq = facts.last_seqs[&conversation].next();
        let doubled = |(_, asked): &&(u64, SendAsked)| {
            asked.conversation == conversation && Some(&asked.client_msg_id) == entry.client_msg_id.as_ref()
        };
        let (_, first) = facts.sends.values().find(doubled).expect("it was sent").clone();
        let user = facts.user(first.connection);
        let connections = facts.connections.values();
        let is_http = |other: &&tidings_checker::Connected| other.transport == Transport::Http && other.user == *user;
        // Not the one that makes the final reads: it opens later.
        let http = connections.filter(is_http).min_by_key(|other| other.connection).expect("everybody has one");
        append_to_final_reads(&mut records, conversation, &Entry { seq, ..entry });
        // After all else, before the final reads.
        let quiet = places(&records, |event| matches!(event, Event::Mark { text } if text.contains("final reads")))[0];
        let operation = OperationId(u64::MAX);
        let again = SendAsked { operation, connection: http.connection, ..first };
        let at = records[quiet].at;
        records.insert(quiet, Record { at, event: Event::Sent { operation, seq, repeat: false } });
        records.insert(quiet, Record { at, event: Event::Send(again) });
        assert_red(records, &[Rule::OneSeqPerMessage, Rule::RepeatsAgree]);
    }
}
