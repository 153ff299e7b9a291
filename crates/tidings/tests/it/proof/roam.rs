//! Clients that stay, whatever happens to the servers: one that loses its line goes to the next address it knows.

use std::{sync::Arc, time::Duration};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_checker::{Recorder, Transport};
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
};

use super::{
    caller::{Product, Script},
    device::Device,
    run::{Client, DEVICES, Phase, Run, set_up},
    world::World,
};

/// The Rust client, over each transport.
const PRODUCTS: [(&str, Transport); 5] = [
    ("socket", Transport::WebSocket),
    ("events", Transport::Sse),
    ("long-poll", Transport::LongPoll),
    ("poll", Transport::Poll),
    ("mqtt", Transport::Mqtt),
];

/// How long clients without a heartbeat of their own wait for an answer before they give a line up.
const SILENCE: Duration = Duration::from_secs(6);

/// The longest wait before another try.
const RETRY_MAX_MS: u64 = 500;

impl Run {
    /// Clients that talk to a fleet, reached at `urls`, until [`Run::finish`].
    pub async fn roaming(seed: u64, urls: &[String]) -> Self {
        let world = Arc::new(World::new(Recorder::in_memory()));
        set_up(&world, &urls[0]).await;
        let mut rng = StdRng::seed_from_u64(seed);
        let (phase, phase_rx) = watch::channel(Phase::Up { generation: 0, url: String::new() });
        let (mut clients, mut held) = (JoinSet::new(), Vec::new());
        for (number, (person, name)) in DEVICES.into_iter().enumerate() {
            let rng = StdRng::seed_from_u64(rng.random());
            let device = Device::new(&world, person, name, rng, phase_rx.clone()).giving_up_after(SILENCE);
            held.push((device.user.clone(), device.held.clone()));
            clients.spawn(roam(device, from(urls, number), phase_rx.clone()));
        }
        let script = Script::new(&world, "bob", StdRng::seed_from_u64(rng.random()), phase_rx.clone());
        clients.spawn(roam(script.giving_up_after(SILENCE), from(urls, 1), phase_rx.clone()));
        for (number, (name, transport)) in PRODUCTS.into_iter().enumerate() {
            let rng = StdRng::seed_from_u64(rng.random());
            let product = Product::new(&world, "kim", name, &[transport], rng, phase_rx.clone());
            clients.spawn(stay(product, from(urls, number), phase_rx.clone()));
        }
        Self { world, held, phase, generation: 0, round: Arc::new(Barrier::new(1)), clients }
    }
}

/// The addresses, another one first for each client.
fn from(urls: &[String], number: usize) -> Vec<String> {
    let mut urls = urls.to_vec();
    let first = number % urls.len();
    urls.rotate_left(first);
    urls
}

async fn roam(mut client: impl Client, urls: Vec<String>, phase: watch::Receiver<Phase>) {
    for url in urls.iter().cycle() {
        client.live(url).await;
        if matches!(*phase.borrow(), Phase::Over) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..RETRY_MAX_MS))).await;
    }
}

/// The Rust client goes to the next server by itself; it ends early only where nobody let it in at all.
async fn stay(mut product: Product, urls: Vec<String>, phase: watch::Receiver<Phase>) {
    while !matches!(*phase.borrow(), Phase::Over) {
        product.stay(&urls).await;
        tokio::time::sleep(Duration::from_millis(rand::random_range(0..RETRY_MAX_MS))).await;
    }
}
