use super::*;
use crate::{
    cluster::view::Node,
    home::event::{Tell, Told},
};

const ME: NodeId = NodeId::from_u128(1);
const NEAR: NodeId = NodeId::from_u128(2);
const FAR: NodeId = NodeId::from_u128(3);

fn user() -> UserId {
    "ada".parse().expect("it is a name")
}

fn conversation() -> ConversationId {
    ConversationId::direct(&user(), &"bob".parse().expect("it is a name"))
}

fn at(node: NodeId) -> Place {
    Place::There(Node::new(node, String::new(), "").into())
}

fn tell(version: u64) -> Item {
    let what = Told::Peer { delivered: Seq(version), read: Seq::NONE };
    let tell = Tell { conversation: conversation(), version, what };
    Item::Tell { user: user(), tell, sender: None, with_entry: true }
}

fn answer(streams: &mut Streams, node: NodeId, command: u64) {
    let behind = Behind { home: user().shard(), conversation: conversation() };
    streams.push_answer(node, command, Answer::Done, behind);
}

/// What is due, as node, versions of tells, and (negative) numbers of answered commands; of late answers, 100 more.
fn due(streams: &mut Streams) -> Vec<(NodeId, Vec<i64>)> {
    let mut due: Vec<_> = streams.due(Instant::now()).into_iter().map(|(node, frame)| (node, words(&frame))).collect();
    due.sort_unstable();
    due
}

fn words(frame: &Frame) -> Vec<i64> {
    let Frame::Batch { items, .. } = frame else { panic!("only batches are due") };
    let word = |item: &Item| match item {
        Item::Tell { tell, .. } => i64::try_from(tell.version).expect("it is small"),
        Item::Answer { command, is_late, .. } => {
            -i64::try_from(*command).expect("it is small") - if *is_late { 100 } else { 0 }
        }
        Item::Entry { .. } | Item::Command { .. } => panic!("nobody pushed that"),
    };
    items.iter().map(word).collect()
}

fn confirm(streams: &mut Streams, node: NodeId, refused: &[u32]) {
    let number = streams.outgoing[&(node, Class::Tells)].number;
    streams.confirmed(node, Class::Tells, number, refused);
}

fn assert_empty(streams: &mut Streams) {
    assert_eq!(due(streams), []);
    assert_eq!((streams.bytes(), streams.routes.len(), streams.untold(conversation())), (0, 0, Vec::new()));
}

#[test]
fn an_answer_stays_behind_what_waits_to_be_told() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &Place::Moving);
    answer(&mut streams, NEAR, 1);
    streams.push(tell(2), &at(NEAR));
    assert_eq!(due(&mut streams), []);
    streams.settle(|_| at(NEAR));
    answer(&mut streams, NEAR, 2);
    assert_eq!(due(&mut streams), [(NEAR, vec![1, -1, 2, -2])]);
    confirm(&mut streams, NEAR, &[]);
    // Behind nothing it goes at once.
    answer(&mut streams, NEAR, 3);
    assert_eq!(due(&mut streams), [(NEAR, vec![-3])]);
    confirm(&mut streams, NEAR, &[]);
    assert_empty(&mut streams);
}

#[test]
fn tells_go_where_the_home_went_and_answers_come_late_where_they_are_awaited() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &at(NEAR));
    assert_eq!(due(&mut streams), [(NEAR, vec![1])]);
    answer(&mut streams, NEAR, 1);
    streams.push(tell(2), &at(FAR));
    confirm(&mut streams, NEAR, &[0]);
    assert_eq!(due(&mut streams), []);
    streams.settle(|_| at(FAR));
    assert_eq!(due(&mut streams), [(NEAR, vec![-101]), (FAR, vec![1, 2])]);
    confirm(&mut streams, NEAR, &[]);
    confirm(&mut streams, FAR, &[]);
    assert_empty(&mut streams);
}

#[test]
fn a_home_that_came_here_is_told_in_order_too() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &at(NEAR));
    assert_eq!(due(&mut streams), [(NEAR, vec![1])]);
    streams.push(tell(2), &Place::Here);
    streams.gone(NEAR);
    assert!(streams.has_tells_for(user().shard()));
    streams.settle(|_| Place::Here);
    answer(&mut streams, ME, 1);
    assert_eq!(due(&mut streams), [(ME, vec![1, 2, -1])]);
    confirm(&mut streams, ME, &[]);
    assert_empty(&mut streams);
}

#[test]
fn with_a_node_go_the_answers_that_it_awaits() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &Place::Moving);
    answer(&mut streams, NEAR, 1);
    streams.gone(NEAR);
    streams.settle(|_| at(FAR));
    assert_eq!(due(&mut streams), [(FAR, vec![1])]);
    confirm(&mut streams, FAR, &[]);
    assert_empty(&mut streams);
}

#[test]
fn with_a_conversation_go_its_tells_and_the_answers_behind_them() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &at(NEAR));
    assert_eq!(due(&mut streams), [(NEAR, vec![1])]);
    streams.push(tell(2), &at(NEAR));
    answer(&mut streams, NEAR, 1);
    streams.drop_told_by(|_| true);
    confirm(&mut streams, NEAR, &[]);
    assert_empty(&mut streams);
}

#[test]
fn what_is_told_when_the_conversation_is_back_stays_untold_though_what_was_on_the_way_arrives() {
    let mut streams = Streams::new(ME);
    streams.push(tell(1), &at(NEAR));
    assert_eq!(due(&mut streams), [(NEAR, vec![1])]);
    streams.drop_told_by(|_| true);
    streams.push(tell(2), &at(NEAR));
    confirm(&mut streams, NEAR, &[]);
    assert_eq!(streams.untold(conversation()), [(user(), Seq::NONE)]);
    assert_eq!(due(&mut streams), [(NEAR, vec![2])]);
    confirm(&mut streams, NEAR, &[]);
    assert_empty(&mut streams);
}
