//! The rules: each one promise, one function over the index, near-linear in the history. A rule judges only what the
//! history proves: what may have happened either way is nobody's fault.

mod blocks;
mod identity;
mod inbox;
mod log;
mod receipts;
mod repeats;
mod sent;
mod sessions;
mod time;

use crate::{
    event::Event,
    index::{Index, Via},
    report::{Outcome, Report, Rule},
};

/// Runs every rule.
pub(crate) fn run(index: &Index<'_>) -> Report {
    let outcomes = Rule::ALL.iter().map(|&rule| {
        let mut outcome = Outcome::new(rule);
        function(rule)(index, &mut outcome);
        outcome
    });
    let outcomes = outcomes.collect();
    let records = index.history.records();
    let events = records.len() as u64;
    let start = index.history.records().next().map_or(0, |record| record.at);
    Report { events, start, outcomes, without_final_read: without_final_read(index) }
}

fn function(rule: Rule) -> fn(&Index<'_>, &mut Outcome) {
    match rule {
        Rule::OneEntryPerSeq => identity::one_entry_per_seq,
        Rule::OneSeqPerMessage => identity::one_seq_per_message,
        Rule::Dense => log::dense,
        Rule::Durable => log::durable,
        Rule::OnlyWhatWasSent => sent::only_what_was_sent,
        Rule::RealTimeOrder => time::real_time_order,
        Rule::FreshReads => time::fresh_reads,
        Rule::NoGaps => sessions::no_gaps,
        Rule::RepeatsAgree => repeats::repeats_agree,
        Rule::Blocks => blocks::blocks,
        Rule::FreshInbox => inbox::fresh_inbox,
        Rule::SendOrder => sessions::send_order,
        Rule::ReceiptsForward => receipts::receipts_forward,
    }
}

fn without_final_read(index: &Index<'_>) -> u64 {
    let mut acked = vec![false; index.conversation_count()];
    let mut read = vec![false; index.conversation_count()];
    for sighting in index.sightings.iter().filter(|sighting| sighting.via == Via::Ack) {
        acked[sighting.conversation.place()] = true;
    }
    for record in index.history.records() {
        if let Event::Fetched(fetched) = &record.event {
            read[index.conversation_number(&fetched.conversation).place()] |= fetched.is_final;
        }
    }
    acked.iter().zip(&read).filter(|&(&acked, &read)| acked && !read).count() as u64
}
