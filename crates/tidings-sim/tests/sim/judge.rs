//! What must hold at the end: for the clients by the checker's rules, in the store by its own look at logs, states and items, and
//! among the nodes.

use std::sync::Arc;

use tidings_checker::{Event, History, Outcome, Record, Rule, Server, check, check_of};
use tidings_server::fsck::Fsck;

use super::{fleet::Fleet, store::at_once};

/// Marks when everything has come to rest.
pub const QUIET: &str = "quiet";

/// What is wrong with a run.
pub fn judge(fleet: &Fleet, history: &History) -> Vec<String> {
    let mut faults = Vec::new();
    match check_of(Server::Fleet, history) {
        Ok(report) => {
            if report.without_final_read > 0 {
                faults.push(format!("{} conversations were not read at the end", report.without_final_read));
            }
            faults.extend(report.outcomes.iter().filter_map(broken));
        }
        Err(error) => faults.push(format!("the recording is wrong: {error}")),
    }
    match check(&quiet(history)) {
        Ok(report) => {
            let outcome = report.outcome(Rule::FreshInbox);
            if outcome.violation_count > 0 {
                faults.push(format!("when all was quiet: {:#?}", outcome.violations));
            }
        }
        Err(error) => faults.push(format!("the recording is wrong: {error}")),
    }
    faults.extend(fleet.unsettled().map(|what| format!("not settled: {what}")));
    let store = fleet.ground.store.lock();
    faults.extend(store.faults.iter().take(3).cloned());
    let tables = Arc::new(store.tables.clone());
    match at_once(Fsck::new(tables, |_| u64::MAX, false).run()) {
        Ok(report) => {
            faults.extend(report.faults.iter().take(5).map(|fault| format!("in the tables: {fault}")));
            if report.entries == 0 {
                faults.push("the tables have no entry".to_owned());
            }
        }
        Err(error) => faults.push(format!("the tables cannot be read: {error}")),
    }
    faults
}

/// What is wrong by this rule.
fn broken(outcome: &Outcome) -> Option<String> {
    let wrong = &outcome.violations;
    (!wrong.is_empty()).then(|| format!("{}, {} times: {wrong:#?}", outcome.rule, outcome.violation_count))
}

/// The history with only those answers of inbox and sync that were asked for when all was quiet. What a conversation of one node
/// tells a home of another takes its time, and the ack does not wait for it.
fn quiet(history: &History) -> History {
    let records: Vec<_> = history.records().cloned().collect();
    let is_quiet = |record: &Record| matches!(&record.event, Event::Mark { text } if text == QUIET);
    let since = records.iter().find(|record| is_quiet(record)).map_or(u64::MAX, |record| record.at);
    let is_late = |record: &Record| !matches!(record.event, Event::Synced(_)) || record.at >= since;
    History::new(records.into_iter().filter(is_late))
}
