//! The other ways to talk: a script that sends over HTTP, and a product that uses the Rust client. Both record all they say and hear.

use std::{
    collections::{HashMap, VecDeque},
    future::Future,
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures_util::{StreamExt, stream::FuturesUnordered};
use rand::rngs::StdRng;
use tidings_checker::{Sending, Session, Transport};
use tidings_client::{
    Builder, Client as Connected, ClientError, Event, Status, Way,
    http::Http,
    transport::{http::OverHttp, several::Several},
};
use tidings_proto::{
    ConversationId, Seq, UserId,
    frames::{client::Command, server::Sent},
};
use tokio::sync::watch;

use super::{
    device::{REST, within},
    plan::Plan,
    run::{Client, Phase},
    world::{World, device, user},
};

/// Sends of the Rust client that are under way at once.
const WINDOW: usize = 16;

/// Sends over HTTP, one after the other, again and again until each was acked.
pub struct Script {
    world: Arc<World>,
    user: UserId,
    session: Session,
    plan: Plan,
    again: Option<Command>,
    /// How long an answer may take before it is asked again.
    patience: Option<Duration>,
    phase: watch::Receiver<Phase>,
}

impl Script {
    pub fn new(world: &Arc<World>, person: &str, rng: StdRng, phase: watch::Receiver<Phase>) -> Self {
        let user = user(person);
        Self {
            session: world.recorder.session(&user, &device("script")),
            plan: Plan::new(&user, &format!("{person}-script"), rng),
            world: world.clone(),
            user,
            again: None,
            patience: None,
            phase,
        }
    }

    pub fn giving_up_after(self, silence: Duration) -> Self {
        Self { patience: Some(silence), ..self }
    }
}

impl Client for Script {
    async fn live(&mut self, url: &str) {
        let http = Http::new(url).unwrap();
        let login = within(self.patience, http.login(self.user.as_str(), Some("script"))).await;
        let Some(Ok(login)) = login else { return };
        let http = http.with_token(&login.token);
        let recorded = self.session.connect(Transport::Http);
        while !matches!(*self.phase.borrow(), Phase::Over) || self.again.is_some() {
            let command = self.again.take().unwrap_or_else(|| self.plan.send(&self.world));
            let Command::Send(send) = command.clone() else { panic!("the plan sends") };
            let sending = self.world.sending(&recorded, &self.user, &command);
            match within(self.patience, http.send(send)).await {
                Some(Ok(sent)) => {
                    sending.sent(sent.seq, sent.repeat);
                    self.world.note_acked();
                }
                Some(Err(ClientError::Refused(refused))) => {
                    sending.refused(refused.code);
                    self.world.note_refused(refused.code);
                    if refused.code == tidings_proto::Code::Unavailable {
                        self.again = Some(command);
                        tokio::time::sleep(REST).await;
                    }
                }
                Some(Err(_)) | None => {
                    drop(sending);
                    self.again = Some(command);
                    break;
                }
            }
        }
        recorded.closed();
    }
}

/// Every way that the Rust client has.
pub const EVERY_WAY: [Transport; 4] = [Transport::WebSocket, Transport::Sse, Transport::LongPoll, Transport::Mqtt];

/// How often the Rust client asks again by itself what is refused for now. (It waits longer each time.)
const RETRIES: u32 = 3;

/// Between plain polls when nothing is new.
const POLL_PAUSE: Duration = Duration::from_millis(200);

/// Uses the Rust client, which repeats and fills gaps by itself: what it hands on has to be whole. Each time it connects it takes the
/// next of its ways.
pub struct Product {
    world: Arc<World>,
    user: UserId,
    device: &'static str,
    ways: Vec<Transport>,
    /// What it hears; its sends are told apart, because what it hands on has its own entries too.
    heard: Session,
    said: Session,
    plan: Plan,
    again: VecDeque<Command>,
    sync: Option<String>,
    told: HashMap<ConversationId, Seq>,
    cursors: HashMap<ConversationId, Seq>,
    lives: usize,
    phase: watch::Receiver<Phase>,
}

type Answers = FuturesUnordered<Pin<Box<dyn Future<Output = (Sending, Command, Result<Sent, ClientError>)> + Send>>>;

impl Product {
    pub fn new(
        world: &Arc<World>,
        person: &str,
        name: &'static str,
        ways: &[Transport],
        rng: StdRng,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        let user = user(person);
        Self {
            heard: world.recorder.session(&user, &device(name)),
            said: world.recorder.session(&user, &device(name)),
            plan: Plan::new(&user, &format!("{person}-{name}"), rng),
            device: name,
            ways: ways.to_vec(),
            world: world.clone(),
            user,
            again: VecDeque::new(),
            sync: None,
            told: HashMap::new(),
            cursors: HashMap::new(),
            lives: 0,
            phase,
        }
    }

    /// Notes an event. The token is kept only when everything that it tells of was handed on.
    fn on_event(&mut self, line: &tidings_checker::Connection, event: &Event, is_first: bool) {
        match event {
            Event::Entry(live) => {
                line.delivered(live.conversation, &live.entry);
                self.cursors.insert(live.conversation, live.entry.seq);
            }
            Event::Changes(changes) => {
                let syncing = if is_first { line.resuming() } else { line.told() };
                syncing.returned_changes(changes);
                for item in &changes.items {
                    self.told.insert(item.conversation, item.last_seq);
                    if changes.full {
                        self.cursors.insert(item.conversation, item.last_seq);
                    }
                }
                let behind = |(id, told): (&ConversationId, &Seq)| self.cursors.get(id).is_none_or(|have| have < told);
                if !self.told.iter().any(behind) {
                    self.sync = Some(changes.sync.clone());
                }
            }
            Event::Receipt(receipt) => line.receipt(receipt),
            _ => {}
        }
    }

    async fn start(
        &mut self,
        client: &Connected,
        recorded: &tidings_checker::Connection,
        answers: &mut Answers,
    ) -> bool {
        let command = self.again.pop_front().unwrap_or_else(|| self.plan.send(&self.world));
        let Command::Send(send) = command.clone() else { panic!("the plan sends") };
        // The client may repeat it by itself: one attempt whose answer nobody saw stands for those.
        drop(self.world.sending(recorded, &self.user, &command));
        let sending = self.world.sending(recorded, &self.user, &command);
        match client.start_send(send).await {
            Ok(answer) => answers.push(Box::pin(async move { (sending, command, answer.await) })),
            Err(_) => {
                self.again.push_back(command);
                return false;
            }
        }
        true
    }

    fn on_answer(&mut self, sending: Sending, command: Command, answer: Result<Sent, ClientError>) {
        match answer {
            Ok(sent) => {
                sending.sent(sent.seq, sent.repeat);
                self.world.note_acked();
            }
            Err(ClientError::Refused(refused)) if refused.code != tidings_proto::Code::Unavailable => {
                sending.refused(refused.code);
            }
            Err(error) => {
                error.code().into_iter().for_each(|code| self.world.note_refused(code));
                self.again.push_back(command);
            }
        }
    }
}

impl Client for Product {
    async fn live(&mut self, url: &str) {
        self.talk(&[url.to_owned()], false).await;
    }
}

impl Product {
    /// Leaves it to the Rust client to come back, at whichever address, until all is over.
    pub async fn stay(&mut self, urls: &[String]) {
        self.talk(urls, true).await;
    }

    fn builder(&self, transport: Transport, urls: &[String]) -> Builder {
        let (first, others) = urls.split_first().expect("there is a server");
        let builder = others.iter().fold(Connected::builder(first), |builder, url| builder.also(url));
        let builder = builder.user(self.user.as_str()).device(self.device).retries(RETRIES);
        match transport {
            Transport::WebSocket => builder.way(Way::WebSocket),
            Transport::Sse => builder.way(Way::Events),
            Transport::LongPoll => builder.way(Way::Polls),
            Transport::Mqtt => builder.way(Way::Mqtt),
            Transport::Poll => {
                let polls = |url: &str| Ok(Arc::new(OverHttp::plain_polls(url, Some(POLL_PAUSE))?) as _);
                builder.transport(Several::new(urls, polls).expect("addresses"))
            }
            Transport::Http => panic!("nothing comes by calls alone"),
        }
    }

    async fn talk(&mut self, urls: &[String], stays: bool) {
        let transport = self.ways[self.lives % self.ways.len()];
        self.lives += 1;
        let builder = self.builder(transport, urls);
        let (line, builder) = match &self.sync {
            Some(sync) => (self.heard.resume(transport), builder.resume(sync, self.cursors.clone())),
            None => (self.heard.connect(transport), builder),
        };
        let recorded = self.said.connect(Transport::Http);
        let Ok((client, mut events)) = builder.connect().await else { return line.closed() };
        let (mut answers, mut status) = (Answers::new(), client.status());
        let mut is_first = true;
        loop {
            let is_over = matches!(*self.phase.borrow(), Phase::Over);
            if is_over && answers.is_empty() {
                break;
            }
            if !is_over && answers.len() < WINDOW && !self.start(&client, &recorded, &mut answers).await {
                break;
            }
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.on_event(&line, &event, std::mem::take(&mut is_first)),
                    None => break,
                },
                Some((sending, command, answer)) = answers.next() => self.on_answer(sending, command, answer),
                _ = status.wait_for(|status| !matches!(status, Status::Connected(_))), if !stays => break,
            }
        }
        // What is in the queue already was handed on.
        while let Some(event) = events.try_next() {
            self.on_event(&line, &event, std::mem::take(&mut is_first));
        }
        line.closed();
        drop((client, events));
        while let Some((sending, command, answer)) = answers.next().await {
            self.on_answer(sending, command, answer);
        }
        recorded.closed();
    }
}
