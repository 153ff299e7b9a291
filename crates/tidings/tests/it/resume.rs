//! The Rust client against a real server that dies: nothing that was acknowledged is lost, nothing is doubled, nothing is out of order.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use tidings_client::{
    Builder, Client, Event, Events, Lost, Sending, To, Way,
    transport::{Link, Transport},
};
use tidings_proto::frames::client::Send;

use crate::server::Server;

const MESSAGES: u64 = 600;
const KILLS: u64 = 3;

fn send(place: u64) -> Send {
    Send {
        to: To::User("bob".parse().unwrap()),
        client_msg_id: format!("c-{place}"),
        text: format!("number {place}"),
        mentions: vec![],
        reply_to: None,
        attachments: vec![],
        data: None,
    }
}

/// The seqs and texts of all messages, as they are handed on.
async fn receive(mut events: Events) -> Vec<(u64, String)> {
    let mut received = Vec::new();
    while received.len() < MESSAGES as usize {
        if let Event::Entry(live) = events.next().await.expect("the client lives") {
            received.push((live.entry.seq.0, live.entry.text.unwrap_or_default().into_owned()));
        }
    }
    received
}

/// A way that is another one each time it is taken.
struct Switching {
    ways: Vec<Arc<dyn Transport>>,
    taken: AtomicUsize,
}

#[async_trait]
impl Transport for Switching {
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost> {
        self.ways[self.taken.fetch_add(1, Ordering::Relaxed) % self.ways.len()].open(listens).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_the_middle_of_a_talk_lose_and_double_nothing() {
    talk_over_kills(|builder, _| builder).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_over_events() {
    talk_over_kills(|builder, _| builder.way(Way::Events)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_over_polls() {
    talk_over_kills(|builder, _| builder.way(Way::Polls)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_over_mqtt() {
    talk_over_kills(|builder, _| builder.way(Way::Mqtt)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nor_do_they_if_each_time_another_way_is_taken() {
    talk_over_kills(|builder, url| {
        let ways = Way::ALL.iter().map(|way| way.to(url).unwrap()).collect();
        builder.transport(Switching { ways, taken: AtomicUsize::default() })
    })
    .await;
}

/// Ada writes to Bob while the server is killed again and again; `over` chooses the way.
async fn talk_over_kills(over: impl Fn(Builder, &str) -> Builder) {
    let mut server = Server::start();
    let url = server.url.clone();
    let connect = |user: &str| over(Client::builder(&url).user(user).device("d").events_queue(64), &url).connect();
    // Bob is slow at times: what he has no room for comes from the log.
    let (_bob, bob_events) = connect("bob").await.unwrap();
    let (ada, ada_events) = connect("ada").await.unwrap();
    let readers = tokio::spawn(async { tokio::join!(receive(ada_events), receive(bob_events)) });

    let mut sendings: Vec<Sending> = Vec::new();
    for place in 1..=MESSAGES {
        sendings.push(ada.start_send(send(place)).await.unwrap());
        if place % (MESSAGES / (KILLS + 1)) == 0 && place < MESSAGES {
            // Some of these are saved, some on their way, some not sent.
            let middle = sendings.len() - 20;
            (&mut sendings[middle]).await.unwrap();
            sendings.remove(middle);
            server.kill();
            server.restart();
        }
    }
    let mut seqs = Vec::new();
    for sending in sendings {
        seqs.push(sending.await.unwrap().seq.0);
    }
    assert!(seqs.is_sorted(), "they were saved in the order they were sent");

    let expected: Vec<(u64, String)> = (1..=MESSAGES).map(|place| (place, format!("number {place}"))).collect();
    let (at_ada, at_bob) = readers.await.unwrap();
    assert_eq!(at_bob, expected);
    assert_eq!(at_ada, expected);
}
