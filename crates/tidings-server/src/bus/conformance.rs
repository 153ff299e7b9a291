//! What every bus must do, whatever carries it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tidings_proto::ShardId;

use crate::node::NodeId;

use super::{Bus, FRAME_BYTES, INLET_FRAMES, Inlet, LANES, Lane, Received, SendError};

/// Frames come within this time even on a machine that does much else.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often somebody who was promised nothing sends again.
const AGAIN: Duration = Duration::from_millis(50);

/// A node's end of the bus under test.
pub struct Joined {
    pub node: NodeId,
    pub bus: Arc<dyn Bus>,
    pub lanes: Vec<Inlet>,
}

/// The bus under test, and how it is broken.
pub trait Network {
    async fn join(&mut self, node: NodeId) -> Joined;
    /// Nothing reaches `nodes` any more.
    async fn cut_all(&mut self, nodes: &[NodeId]);
    async fn mend_all(&mut self, nodes: &[NodeId]);
}

pub async fn run(mut network: impl Network) {
    let mut one = network.join(NodeId::from_bytes([1; 16])).await;
    let mut other = network.join(NodeId::from_bytes([2; 16])).await;
    frames_reach_their_lane_in_order(&one, &mut other).await;
    a_node_reaches_itself(&mut one).await;
    all_hear_a_broadcast(&mut one, &mut other).await;
    long_frames_pass_and_longer_ones_are_refused(&one, &mut other).await;
    nobody_is_harmed_by_a_node_that_is_not_there(&one, &mut other).await;
    whoever_does_not_read_is_told_that_frames_were_lost(&one, &mut other).await;
    after_an_interruption_frames_come_again(&mut network, &one, &mut other).await;
}

fn lane(number: usize) -> Lane {
    Lane::of(ShardId(u16::try_from(number).expect("there are few lanes")))
}

/// The next frame; interruptions before it are passed over.
async fn next_frame(inlet: &mut Inlet) -> (NodeId, Bytes) {
    loop {
        match tokio::time::timeout(PATIENCE, inlet.recv()).await.expect("a frame comes in time") {
            Some(Received::Frame { from, frame }) => return (from, frame),
            Some(Received::Interrupted) => {}
            None => panic!("the bus was closed"),
        }
    }
}

async fn frames_reach_their_lane_in_order(one: &Joined, other: &mut Joined) {
    for number in 0..1_000_u32 {
        one.bus.send(other.node, lane(number as usize), Bytes::copy_from_slice(&number.to_be_bytes())).unwrap();
    }
    for number in 0..1_000_u32 {
        let (from, frame) = next_frame(&mut other.lanes[number as usize % LANES]).await;
        assert_eq!((from, &frame[..]), (one.node, &number.to_be_bytes()[..]));
    }
}

async fn a_node_reaches_itself(one: &mut Joined) {
    one.bus.send(one.node, lane(2), Bytes::from_static(b"me")).unwrap();
    assert_eq!(next_frame(&mut one.lanes[2]).await, (one.node, Bytes::from_static(b"me")));
}

async fn all_hear_a_broadcast(one: &mut Joined, other: &mut Joined) {
    let frame = Bytes::from_static(b"all");
    one.bus.broadcast(frame.clone()).unwrap();
    assert_eq!(next_frame(&mut one.lanes[0]).await, (one.node, frame.clone()));
    assert_eq!(next_frame(&mut other.lanes[0]).await, (one.node, frame));
}

async fn long_frames_pass_and_longer_ones_are_refused(one: &Joined, other: &mut Joined) {
    let longest = Bytes::from(vec![7; FRAME_BYTES]);
    one.bus.send(other.node, lane(1), longest.clone()).unwrap();
    assert_eq!(next_frame(&mut other.lanes[1]).await.1, longest);
    let longer = Bytes::from(vec![7; FRAME_BYTES + 1]);
    let refused = Err(SendError::TooLong { bytes: FRAME_BYTES + 1 });
    assert_eq!(one.bus.send(other.node, lane(1), longer.clone()), refused);
    assert_eq!(one.bus.broadcast(longer), refused);
}

async fn nobody_is_harmed_by_a_node_that_is_not_there(one: &Joined, other: &mut Joined) {
    one.bus.send(NodeId::from_bytes([9; 16]), lane(0), Bytes::from_static(b"nobody")).unwrap();
    one.bus.send(other.node, lane(0), Bytes::from_static(b"somebody")).unwrap();
    assert_eq!(&next_frame(&mut other.lanes[0]).await.1[..], b"somebody");
}

async fn whoever_does_not_read_is_told_that_frames_were_lost(one: &Joined, other: &mut Joined) {
    let frame = Bytes::from_static(b"many");
    // More than all queues on the way hold together.
    for _ in 0..INLET_FRAMES * 4 {
        while one.bus.send(other.node, lane(3), frame.clone()) == Err(SendError::Full) {
            tokio::task::yield_now().await;
        }
    }
    let mut frames = 0;
    loop {
        match tokio::time::timeout(PATIENCE, other.lanes[3].recv()).await.expect("it is told in time") {
            Some(Received::Interrupted) => break,
            Some(Received::Frame { .. }) => frames += 1,
            None => panic!("the bus was closed"),
        }
        assert!(frames < INLET_FRAMES * 4, "nothing was lost, and all of it waited somewhere");
        // As slowly as somebody reads who is in trouble.
        tokio::task::yield_now().await;
    }
    assert_until_it_comes(one, other, b"after many").await;
}

async fn after_an_interruption_frames_come_again(network: &mut impl Network, one: &Joined, other: &mut Joined) {
    network.cut_all(&[one.node, other.node]).await;
    // It may be refused or lost, and it does not wait.
    let _ = one.bus.send(other.node, lane(3), Bytes::from_static(b"lost"));
    network.mend_all(&[one.node, other.node]).await;
    let told = async { while other.lanes[3].recv().await.expect("the bus is open") != Received::Interrupted {} };
    tokio::time::timeout(PATIENCE, told).await.expect("it is told of the interruption");
    assert_until_it_comes(one, other, b"back").await;
}

/// Sends again and again, as whoever awaits an answer does.
async fn assert_until_it_comes(one: &Joined, other: &mut Joined, frame: &'static [u8]) {
    let came = async {
        loop {
            let _ = one.bus.send(other.node, lane(3), Bytes::from_static(frame));
            let heard = async { while next_frame(&mut other.lanes[3]).await.1 != frame {} };
            if tokio::time::timeout(AGAIN, heard).await.is_ok() {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, came).await.expect("a frame gets through again");
}
