//! One script of a conversation over all five ways, and over ways that change by chance: send, receive, cut, resume, edit, read,
//! leave. All play it at once in one group. Whatever the way, each is handed on the same sequence, and the checker of histories
//! finds nothing.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::{Context, Poll},
    time::Duration,
};

use async_trait::async_trait;
use futures_util::{Sink, Stream, StreamExt, future::BoxFuture};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tidings_checker::{Connection, Outgoing, Recorder, Rule, check};
use tidings_client::{
    Client, ConversationId, Event, Events, Lost, Seq, To, UserId, Way, new_client_msg_id,
    transport::{Link, Transport, http::OverHttp, mqtt::Mqtt},
};
use tidings_proto::frames::{
    client::{Command, Create, Edit, History, Leave, Page, Send},
    server::{Kind, Sent, ServerFrame},
};
use tokio::{
    sync::{Barrier, watch},
    task::JoinSet,
    time::timeout,
};

use crate::server::Server;

/// Messages that each sends in one go, and how often.
const MESSAGES: usize = 12;
const ROUNDS: usize = 2;
/// Between two plain polls.
const POLL_PAUSE: Duration = Duration::from_millis(100);
/// Longer than anything here takes: who waits so long has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// Whom each member is reached by.
type Ways = Vec<Arc<dyn Transport>>;

/// The members, each with the ways that it takes: its own, for a way remembers who was logged in over it.
fn members(url: &str, mqtt: &str) -> Vec<(&'static str, Ways)> {
    let way = |way: Way| way.to(url).unwrap();
    let polls = || -> Arc<dyn Transport> { Arc::new(OverHttp::plain_polls(url, Some(POLL_PAUSE)).unwrap()) };
    let over_tcp = || -> Arc<dyn Transport> { Arc::new(Mqtt::over_tcp(url, mqtt).unwrap()) };
    let all = || Way::ALL.map(way).into_iter().chain([polls(), over_tcp()]).collect();
    vec![
        ("websocket", vec![way(Way::WebSocket)]),
        ("events", vec![way(Way::Events)]),
        ("long-polls", vec![way(Way::Polls)]),
        ("polls", vec![polls()]),
        ("mqtt", vec![way(Way::Mqtt)]),
        ("mqtt-over-tcp", vec![over_tcp()]),
        ("any", all()),
        ("any-other", all()),
    ]
}

/// Takes one of the ways by chance each time, and can be cut.
struct Cuttable {
    ways: Ways,
    rng: Mutex<StdRng>,
    cuts: watch::Receiver<u64>,
}

#[async_trait]
impl Transport for Cuttable {
    async fn open(&self, listens: bool) -> Result<Box<dyn Link>, Lost> {
        let way = self.rng.lock().unwrap().random_range(0..self.ways.len());
        let mut cuts = self.cuts.clone();
        cuts.mark_unchanged();
        let link = self.ways[way].open(listens).await?;
        Ok(Box::new(CuttableLink { link, cut: Box::pin(async move { drop(cuts.changed().await) }) }))
    }
}

struct CuttableLink {
    link: Box<dyn Link>,
    cut: BoxFuture<'static, ()>,
}

impl Link for CuttableLink {
    fn acknowledges(&self) -> bool {
        self.link.acknowledges()
    }

    fn acknowledge(&mut self) -> Result<(), Lost> {
        self.link.acknowledge()
    }
}

impl Stream for CuttableLink {
    type Item = Result<String, Lost>;

    fn poll_next(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.cut.as_mut().poll(context).is_ready() {
            return Poll::Ready(Some(Err(Lost::Broken("cut by the test".to_owned()))));
        }
        self.link.poll_next_unpin(context)
    }
}

impl Sink<String> for CuttableLink {
    type Error = Lost;

    fn poll_ready(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        std::pin::Pin::new(&mut self.link).poll_ready(context)
    }

    fn start_send(mut self: std::pin::Pin<&mut Self>, text: String) -> Result<(), Lost> {
        std::pin::Pin::new(&mut self.link).start_send(text)
    }

    fn poll_flush(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        std::pin::Pin::new(&mut self.link).poll_flush(context)
    }

    fn poll_close(mut self: std::pin::Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<(), Lost>> {
        std::pin::Pin::new(&mut self.link).poll_close(context)
    }
}

/// What tells an entry from all others, whenever it is read.
type Seen = (u64, Kind, Option<UserId>, Option<String>);

/// What a member was handed on of the group, in that order, and whether it still belongs.
#[derive(Clone, Default)]
struct Heard {
    seen: Vec<Seen>,
    is_out: bool,
}

struct Member {
    name: &'static str,
    group: ConversationId,
    client: Client,
    heard: watch::Receiver<Heard>,
    said: Connection,
    cut: watch::Sender<u64>,
}

impl Member {
    async fn connect(world: &(Recorder, String, ConversationId), name: &'static str, ways: Ways, rng: StdRng) -> Self {
        let (recorder, url, group) = world;
        let (cut, cuts) = watch::channel(0);
        let session = recorder.session(&name.parse().unwrap(), &"d".parse().unwrap());
        // Over whatever way: the client promises what a socket does.
        let line = session.connect(tidings_checker::Transport::WebSocket);
        let said = recorder.session(&name.parse().unwrap(), &"d".parse().unwrap());
        // It gets answers alone; what it heard is told on the other line.
        let said = said.connect(tidings_checker::Transport::Http);
        let transport = Cuttable { ways, rng: Mutex::new(rng), cuts };
        let builder = Client::builder(url).transport(transport).user(name).device("d").events_queue(16);
        let (client, events) = timeout(PATIENCE, builder.connect()).await.unwrap().unwrap();
        let (tx, heard) = watch::channel(Heard::default());
        tokio::spawn(listen(events, line, *group, tx));
        Self { name, group: *group, client, heard, said, cut }
    }

    /// Waits until what was heard is as wanted.
    async fn until(&self, what: &str, mut wanted: impl FnMut(&Heard) -> bool) {
        let mut heard = self.heard.clone();
        if timeout(PATIENCE, heard.wait_for(|heard| wanted(heard))).await.is_err() {
            let heard = self.heard.borrow().seen.clone();
            panic!("{} waits for {what} and has heard {heard:?}", self.name);
        }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }

    /// Sends some messages at once; what becomes of them.
    async fn send(&self, count: usize) -> Vec<impl Future<Output = Sent> + use<>> {
        let mut under_way = Vec::new();
        for _ in 0..count {
            let send = message(self.group, format!("{} says something", self.name));
            let outgoing = || Outgoing::message(self.group, &*send.client_msg_id, &send.text);
            // After a cut the client repeats it by itself: one attempt whose answer nobody saw stands for those.
            drop(self.said.sending(outgoing()));
            let recorded = self.said.sending(outgoing());
            let answer = self.client.start_send(send).await.unwrap();
            under_way.push(async move {
                let sent = timeout(PATIENCE, answer).await.expect("a send is answered").unwrap();
                recorded.sent(sent.seq, sent.repeat);
                sent
            });
        }
        under_way
    }

    async fn edit(&self, seq: Seq) {
        let (client_msg_id, text) = (new_client_msg_id(), format!("{} meant something else", self.name));
        let recorded = || Outgoing::edit(self.group, &*client_msg_id, seq, &text);
        let edit = Edit { client_msg_id: client_msg_id.clone(), conversation: self.group, seq, text: text.clone() };
        self.say(recorded, Command::Edit(edit)).await;
    }

    async fn leave(&self) -> Sent {
        let client_msg_id = new_client_msg_id();
        let me = [self.client.user().clone()];
        let recorded = || Outgoing::of_kind(Kind::Members, self.group, &*client_msg_id).removing(&me);
        let leave = Leave { client_msg_id: client_msg_id.clone(), conversation: self.group };
        self.say(recorded, Command::Leave(leave)).await
    }

    async fn say(&self, outgoing: impl Fn() -> Outgoing, command: Command) -> Sent {
        drop(self.said.sending(outgoing()));
        let recorded = self.said.sending(outgoing());
        let sent = sent(&self.client, command).await;
        recorded.sent(sent.seq, sent.repeat);
        sent
    }

    /// One round of the script: talk, be cut in the middle of it, talk on without a line, and have everything in the end.
    async fn play(&self, rng: &mut StdRng) {
        let before = self.send(MESSAGES).await;
        let cut_after = rng.random_range(0..MESSAGES);
        let mut sent = Vec::new();
        for (place, answer) in before.into_iter().enumerate() {
            if place == cut_after {
                self.cut();
            }
            sent.push(answer.await);
        }
        self.cut();
        for answer in self.send(MESSAGES).await {
            sent.push(answer.await);
        }
        let seqs: Vec<_> = sent.iter().map(|sent| sent.seq).collect();
        assert!(seqs.is_sorted(), "{}: saved in the order sent", self.name);
        self.edit(sent[0].seq).await;
        let last = sent.last().expect("some were sent").seq;
        self.until("its own last message", |heard| heard.seen.last().is_some_and(|(seq, ..)| *seq >= last.0)).await;
    }
}

/// Hears what happens, to the end.
async fn listen(mut events: Events, line: Connection, group: ConversationId, heard: watch::Sender<Heard>) {
    let mut is_first = true;
    while let Some(event) = events.next().await {
        match event {
            Event::Entry(live) => {
                line.delivered(live.conversation, &live.entry);
                let entry = live.entry;
                let seen = (entry.seq.0, entry.kind, entry.from, entry.client_msg_id.map(|id| id.into_owned()));
                heard.send_modify(|heard| heard.seen.push(seen));
            }
            Event::Changes(changes) => {
                let syncing = if std::mem::take(&mut is_first) { line.resuming() } else { line.told() };
                syncing.returned_changes(&changes);
                heard.send_modify(|heard| heard.is_out |= changes.removed.contains(&group));
            }
            Event::Receipt(receipt) => line.receipt(&receipt),
            _ => {}
        }
    }
    line.closed();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_script_over_all_ways_gives_everybody_the_same_sequence() {
    let seed =
        std::env::var("SCRIPT_SEED").map_or_else(|_| rand::random_range(0..1_000_000), |seed| seed.parse().unwrap());
    eprintln!("again with SCRIPT_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mqtt = free_address();
    let settings = [("mqtt.listen", &*mqtt), ("rates.sends_per_s", "1000000"), ("rates.sends_burst", "1000000")];
    let server = Server::start_with(&settings);
    let members = members(&server.url, &mqtt);

    // Everybody is known; the owner makes the group and hears it all over one socket that is never cut.
    for (name, _) in &members {
        Client::builder(&server.url).user(name).device("d").connect_without_events().await.unwrap();
    }
    let recorder = Recorder::in_memory();
    let owner = Client::builder(&server.url).user("owner").device("d").connect_without_events().await.unwrap();
    let names = members.iter().map(|(name, _)| name.parse().unwrap()).collect();
    let said = recorder.session(owner.user(), owner.device()).connect(tidings_checker::Transport::Http);
    let group = create(&owner, &said, names).await;
    let world = (recorder, server.url.clone(), group);

    let all_there = Arc::new(Barrier::new(members.len()));
    let count = members.len();
    let mut tasks = JoinSet::new();
    for (name, ways) in members {
        let (mut rng, barrier) = (StdRng::seed_from_u64(rng.random()), all_there.clone());
        let member = Member::connect(&world, name, ways, StdRng::seed_from_u64(rng.random())).await;
        tasks.spawn(async move {
            // Whoever is first waits for the last: else the last would have less to hear.
            barrier.wait().await;
            for _ in 0..ROUNDS {
                member.play(&mut rng).await;
            }
            barrier.wait().await;
            member
        });
    }
    let mut played = Vec::new();
    while let Some(member) = timeout(PATIENCE * 2, tasks.join_next()).await.expect("everybody plays to the end") {
        played.push(member.expect("a member fails for a reason of its own"));
    }

    let log = whole_log(&world, &owner).await;
    let messages = log.iter().filter(|(_, kind, ..)| *kind == Kind::Message).count();
    assert_eq!(messages, count * ROUNDS * MESSAGES * 2, "each message once");
    for member in &played {
        member.until("the whole log", |heard| heard.seen.len() + 1 >= log.len()).await;
        // The entry that made the group was there before them.
        assert_eq!(member.heard.borrow().seen, log[1..], "{} was handed on what the log says", member.name);
    }
    let last = Seq(log.last().expect("there is a log").0);
    for member in &played {
        member.client.mark_read(group, last).await.unwrap();
        let items = member.client.inbox().await.unwrap();
        assert_eq!((items[0].read_seq, items[0].unread), (last, 0), "{} has read everything", member.name);
    }

    leave(&owner, &said, played).await;
    whole_log(&world, &owner).await;
    let report = check(&world.0.history()).expect("the recording is in order");
    report.assert_green(&[Rule::OneEntryPerSeq, Rule::OneSeqPerMessage, Rule::Durable, Rule::NoGaps]);
}

/// One after the other leaves. Those who stay hear of it, and of what is said then; who is out hears no more.
async fn leave(owner: &Client, said: &Connection, mut members: Vec<Member>) {
    while let Some(member) = members.pop() {
        let left = member.leave().await;
        member.until("being out", |heard| heard.is_out).await;
        let heard = member.heard.borrow().seen.len();
        let after = ask(owner, said, member.group).await;
        assert!(after.seq > left.seq);
        for other in &members {
            other
                .until("what was said then", |heard| heard.seen.last().is_some_and(|last| last.0 == after.seq.0))
                .await;
            let seen = other.heard.borrow().seen.clone();
            assert_eq!(seen[seen.len() - 2].0, left.seq.0, "{} hears that {} left", other.name, member.name);
        }
        let fetched = member.client.fetch(member.group, Page::default()).await;
        assert_eq!(fetched.unwrap_err().code(), Some(tidings_proto::Code::UnknownConversation));
        let seen = member.heard.borrow().seen.clone();
        let is_behind = |seen: &Seen| seen.0 > left.seq.0;
        assert!(seen.len() <= heard + 1 && !seen.iter().any(is_behind), "{} hears of what came later", member.name);
    }
}

/// The owner makes the group.
async fn create(owner: &Client, said: &Connection, members: Vec<UserId>) -> ConversationId {
    let client_msg_id = "everybody".to_owned();
    let group = ConversationId::group(owner.user(), &client_msg_id);
    let recorded = said.sending(Outgoing::of_kind(Kind::Members, group, &*client_msg_id));
    let create = Create { client_msg_id, name: "Everybody".to_owned(), members, history: History::All };
    let created = sent(owner, Command::Create(create)).await;
    recorded.sent(created.seq, created.repeat);
    created.conversation
}

/// The owner says something.
async fn ask(owner: &Client, said: &Connection, group: ConversationId) -> Sent {
    let send = message(group, "who is left?".to_owned());
    let recorded = said.sending(Outgoing::message(group, &*send.client_msg_id, &send.text));
    let sent = sent(owner, Command::Send(send)).await;
    recorded.sent(sent.seq, sent.repeat);
    sent
}

/// What makes an entry, to its answer.
async fn sent(client: &Client, command: Command) -> Sent {
    match timeout(PATIENCE, client.request(command)).await.expect("it is answered").unwrap() {
        ServerFrame::Sent(sent) | ServerFrame::Created(sent) => sent,
        other => panic!("it makes an entry: {other:?}"),
    }
}

fn message(group: ConversationId, text: String) -> Send {
    Send {
        to: To::Conversation(group),
        client_msg_id: new_client_msg_id(),
        text,
        mentions: vec![],
        reply_to: None,
        attachments: vec![],
        data: None,
    }
}

/// The group's log from its first entry, as the owner reads it.
async fn whole_log(world: &(Recorder, String, ConversationId), owner: &Client) -> Vec<Seen> {
    let (recorder, _, group) = world;
    let line = recorder.session(owner.user(), owner.device()).connect(tidings_checker::Transport::WebSocket);
    let mut log = BTreeMap::new();
    let mut after = Seq::NONE;
    loop {
        let range = Page { after: Some(after), limit: Some(200), ..Page::default() };
        let fetching = line.fetching_final(*group, range);
        let page = owner.fetch(*group, range).await.unwrap();
        fetching.returned(&page, false);
        for entry in page.entries {
            after = entry.seq;
            log.insert(after, (after.0, entry.kind, entry.from, entry.client_msg_id.map(|id| id.into_owned())));
        }
        if after >= page.last_seq {
            line.closed();
            return log.into_values().collect();
        }
    }
}

/// Where nobody listens, a moment ago.
fn free_address() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}
