//! Histories in which every promise was kept.

use proptest::{prelude::*, test_runner::Config};
use tidings_checker::{Entry, Outgoing, Recorder, Rule, Server, Transport, check, check_jsonl};
use tidings_proto::{
    ConversationId, DeviceId, Seq, UserId,
    frames::{client::Page, server::Kind},
};

use crate::model::{Settings, good_history};

#[test]
fn good_histories_are_green_and_give_every_rule_something_to_judge() {
    for seed in 0..8 {
        let history = good_history(&Settings::mixed(seed));
        let report = check(&history).unwrap();
        report.assert_green(Rule::ALL);
        assert_eq!(report.without_final_read, 0);
    }
}

proptest! {
    #![proptest_config(Config { cases: 24, failure_persistence: None, ..Config::default() })]

    #[test]
    fn good_histories_of_any_shape_are_green(
        seed: u64,
        users in 2..6_usize,
        devices in 1..4_usize,
        groups in 0..3_usize,
        steps in 0..2_500_usize,
        cuts in 0..60_u32,
        crashes in 0..10_u32,
        blocks in 0..50_u32,
    ) {
        let settings = Settings { seed, users, devices, groups, steps, cuts, crashes, blocks };
        let report = check(&good_history(&settings)).unwrap();
        prop_assert!(report.is_green(), "{:?}\n{}", settings, report);
    }
}

#[test]
fn a_history_survives_json_lines_in_any_order() {
    let history = good_history(&Settings::mixed(7));
    let mut lines: Vec<String> = history.records().map(|record| serde_json::to_string(record).unwrap()).collect();
    lines.reverse();
    let report = check_jsonl(Server::Alone, lines.join("\n\n").as_bytes()).unwrap();
    report.assert_green(Rule::ALL);
    assert_eq!(report.events, lines.len() as u64);
}

fn rename(from: &UserId, seq: u64) -> Entry {
    Entry {
        seq: Seq(seq),
        kind: Kind::Rename,
        from: Some(from.clone()),
        client_msg_id: Some(format!("c-{seq}").into()),
        text: None,
        target: None,
        edited_seq: None,
        redacted: false,
    }
}

/// Answers come beside the live frames: a page that was on its way when its reader was put out tells nothing of what comes
/// when they are let in again.
#[test]
fn a_page_that_comes_late_does_not_make_a_gap() {
    let (eve, group) = (UserId::new("eve").unwrap(), ConversationId::from_bytes([7; 16]));
    let recorder = Recorder::in_memory();
    let connection = recorder.session(&eve, &DeviceId::new("laptop").unwrap()).connect(Transport::WebSocket);
    let send = |seq| {
        let outgoing = Outgoing::of_kind(Kind::Rename, group, format!("c-{seq}"));
        connection.sending(outgoing).sent(Seq(seq), false);
    };
    send(1);
    let page = connection.fetching(group, Page::default());
    connection.told().returned_items(vec![], vec![group], false, false);
    page.returned_entries(vec![rename(&eve, 1)], Seq::FIRST, Seq(1), false);
    connection.delivered(group, rename(&eve, 5));
    let report = check(&recorder.history()).unwrap();
    assert!(!report.red().contains(&Rule::NoGaps), "{report}");
}

/// Whoever leaves while their first inbox is read gets what is on its way for them after an inbox without that conversation.
#[test]
fn an_inbox_read_while_its_user_leaves_does_not_make_a_gap() {
    for leaves in [true, false] {
        let (eve, group) = (UserId::new("eve").unwrap(), ConversationId::from_bytes([7; 16]));
        let recorder = Recorder::in_memory();
        let connection = recorder.session(&eve, &DeviceId::new("laptop").unwrap()).connect(Transport::WebSocket);
        let asked = connection.syncing();
        let outgoing = Outgoing::of_kind(Kind::Members, group, "leave");
        let sent = connection.sending(if leaves { outgoing.removing(std::slice::from_ref(&eve)) } else { outgoing });
        asked.returned_items(vec![], vec![], true, false);
        connection.delivered(group, rename(&eve, 2));
        connection.delivered(group, rename(&eve, 3));
        sent.sent(Seq(4), false);
        let report = check(&recorder.history()).unwrap();
        assert_eq!(!report.red().contains(&Rule::NoGaps), leaves, "{report}");
    }
}
