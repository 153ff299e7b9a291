//! Makes good histories: many clients against a server that keeps its promises, with pipelined sends, cut lines, crashes,
//! outcomes that nobody learns, retries from other devices, resumes, blocks, edits, people put out and let in again.
//! A seed and settings give the same history each time.

mod client;
mod server;

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use tidings_checker::{History, Recorder, Transport};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{client::Page, server::Kind, server::Receipt},
};

use client::{Client, Frame, Link, Request};
use server::{Decided, Draft, Server};

#[derive(Clone, Debug)]
pub struct Settings {
    pub seed: u64,
    pub users: usize,
    pub devices: usize,
    pub groups: usize,
    pub steps: usize,
    /// Chances in a thousand steps.
    pub cuts: u32,
    pub crashes: u32,
    pub blocks: u32,
}

impl Settings {
    /// A little of everything.
    pub fn mixed(seed: u64) -> Self {
        Self { seed, users: 4, devices: 2, groups: 2, steps: 6_000, cuts: 10, crashes: 2, blocks: 10 }
    }
}

/// A history in which every promise was kept.
pub fn good_history(settings: &Settings) -> History {
    let mut world = World::new(settings);
    for _ in 0..settings.steps {
        world.step();
    }
    world.finish();
    world.recorder.history()
}

struct World {
    settings: Settings,
    rng: StdRng,
    recorder: Recorder,
    clock: Arc<AtomicU64>,
    server: Server,
    clients: Vec<Client>,
    users: Vec<UserId>,
    /// Requests of cut connections that still arrive.
    late: VecDeque<(UserId, Request)>,
    /// What got no answer, for any device of the same user to send again.
    unanswered: Vec<(UserId, Draft)>,
    /// Sent and acked.
    acked: Vec<(UserId, Draft, Seq)>,
    next_message: u64,
}

impl World {
    fn new(settings: &Settings) -> Self {
        let clock = Arc::new(AtomicU64::new(1_000_000_000));
        let ticking = Arc::clone(&clock);
        let recorder = Recorder::simulated(move || ticking.fetch_add(7, Ordering::Relaxed));
        let users: Vec<UserId> =
            (0..settings.users).map(|number| UserId::new(&format!("user-{number}")).expect("a short name")).collect();
        let mut server = Server::default();
        for (place, one) in users.iter().enumerate() {
            for other in &users[place + 1..] {
                server.create(ConversationId::direct(one, other), true, &[one.clone(), other.clone()]);
            }
        }
        for group in 0..settings.groups {
            server.create(ConversationId::group(&users[0], &format!("group-{group}")), false, &users);
        }
        let mut clients = Vec::new();
        for user in &users {
            for number in 0..=settings.devices {
                let device = DeviceId::new(&format!("device-{number}")).expect("a short name");
                let transport = if number == settings.devices { Transport::Http } else { Transport::WebSocket };
                clients.push(Client::new(user.clone(), transport, recorder.session(user, &device)));
            }
        }
        Self {
            rng: StdRng::seed_from_u64(settings.seed),
            settings: settings.clone(),
            recorder,
            clock,
            server,
            clients,
            users,
            late: VecDeque::new(),
            unanswered: Vec::new(),
            acked: Vec::new(),
            next_message: 0,
        }
    }

    fn step(&mut self) {
        self.clock.fetch_add(self.rng.random_range(10..2_000), Ordering::Relaxed);
        if self.chance(self.settings.crashes) {
            return self.crash();
        }
        let client = self.rng.random_range(0..self.clients.len());
        if self.clients[client].link.is_none() {
            return self.connect(client);
        }
        if self.chance(self.settings.cuts) {
            return self.cut(client, true);
        }
        match self.rng.random_range(0..20) {
            0..=3 => self.ask(client),
            4..=11 => self.serve(client),
            12 => self.serve_late(),
            _ => self.receive(client),
        }
    }

    fn chance(&mut self, in_a_thousand: u32) -> bool {
        self.rng.random_ratio(in_a_thousand, 1_000)
    }

    fn crash(&mut self) {
        self.recorder.mark("the server is killed and starts again");
        self.late.clear();
        for client in 0..self.clients.len() {
            self.cut(client, false);
        }
    }

    fn cut(&mut self, client: usize, may_arrive_late: bool) {
        let Some(link) = self.clients[client].link.take() else { return };
        let user = self.clients[client].user.clone();
        if may_arrive_late {
            let arrives = self.rng.random_range(0..=link.up.len());
            self.late.extend(link.up.into_iter().take(arrives).map(|request| (user.clone(), request)));
        }
        link.connection.closed();
        self.unanswered.extend(self.clients[client].forget().into_iter().map(|draft| (user.clone(), draft)));
    }

    fn connect(&mut self, client: usize) {
        let resumes = self.rng.random_bool(0.8);
        self.clients[client].connect(resumes);
    }

    /// The client asks for something.
    fn ask(&mut self, client: usize) {
        match self.rng.random_range(0..100) {
            0..=54 => self.send_new(client),
            55..=62 => self.send_again(client),
            63..=80 => {
                if let Some((conversation, range)) = self.some_range(client) {
                    self.clients[client].fetch(conversation, range);
                }
            }
            81..=90 => {
                let whole = self.rng.random_bool(0.4);
                self.clients[client].sync(whole);
            }
            91..=94 => {
                let conversation = self.some_conversation();
                let seq = self.server.conversations[&conversation].last_seq();
                if self.server.is_member(&self.clients[client].user, conversation) && seq > Seq::NONE {
                    let seq = Seq(self.rng.random_range(1..=seq.0));
                    self.clients[client].mark_read(conversation, seq);
                }
            }
            _ => {
                let wanted = self.chance(self.settings.blocks * 20);
                let other = self.users.choose(&mut self.rng).expect("there are users").clone();
                if wanted && other != self.clients[client].user {
                    let on = self.rng.random_bool(0.6);
                    self.clients[client].block(&other, on);
                }
            }
        }
    }

    fn some_conversation(&mut self) -> ConversationId {
        let place = self.rng.random_range(0..self.server.conversations.len());
        *self.server.conversations.keys().nth(place).expect("a place within")
    }

    fn some_range(&mut self, client: usize) -> Option<(ConversationId, Page)> {
        let conversation = self.some_conversation();
        if !self.server.is_member(&self.clients[client].user, conversation) {
            return None;
        }
        let last = self.server.conversations[&conversation].last_seq().0;
        let seq = Some(Seq(self.rng.random_range(0..=last + 2)));
        let limit = Some(self.rng.random_range(1..15));
        let range = match self.rng.random_range(0..4) {
            0 => Page { after: seq, limit, ..Page::default() },
            1 => Page { before: seq, limit, ..Page::default() },
            2 => Page { around: seq, limit, ..Page::default() },
            _ => Page { limit, ..Page::default() },
        };
        Some((conversation, range))
    }

    fn send_new(&mut self, client: usize) {
        let user = self.clients[client].user.clone();
        let own = |(from, draft, _): &&(UserId, Draft, Seq)| *from == user && draft.kind == Kind::Message;
        let draft = match self.rng.random_range(0..20) {
            0 | 1 => {
                let recent = self.acked.iter().rev().take(50).find(own).cloned();
                recent.map(|(_, draft, seq)| {
                    let kind = if self.rng.random_bool(0.7) { Kind::Edit } else { Kind::Redaction };
                    self.draft(draft.conversation, draft.to, kind, Some(seq))
                })
            }
            2 if self.users.len() > 2 => self.members_change(&user),
            _ => Some(self.message(&user)),
        };
        if let Some(draft) = draft {
            self.clients[client].send(draft);
        }
    }

    fn message(&mut self, user: &UserId) -> Draft {
        let conversation = self.some_conversation();
        let known = &self.server.conversations[&conversation];
        // Of direct conversations only one's own; of groups also those one was put out of, to be refused.
        if known.direct && !known.members.contains(user) {
            return self.message(user);
        }
        let to = known.members.iter().find(|member| *member != user && known.direct).cloned();
        self.draft(conversation, to, Kind::Message, None)
    }

    /// The last user is put out of the last group, or let in again.
    fn members_change(&mut self, user: &UserId) -> Option<Draft> {
        let mut groups = self.server.conversations.iter().rev();
        let (&group, conversation) = groups.find(|(_, conversation)| !conversation.direct)?;
        let last = self.users.last().expect("there are users").clone();
        let is_in = conversation.members.contains(&last);
        if *user == last {
            return None;
        }
        let mut draft = self.draft(group, None, Kind::Members, None);
        if is_in {
            draft.removes.push(last)
        } else {
            draft.adds.push(last)
        }
        Some(draft)
    }

    fn draft(&mut self, conversation: ConversationId, to: Option<UserId>, kind: Kind, target: Option<Seq>) -> Draft {
        self.next_message += 1;
        let number = self.next_message;
        let text = matches!(kind, Kind::Message | Kind::Edit).then(|| format!("text {number}"));
        let client_msg_id = format!("c-{number}");
        Draft { conversation, to, client_msg_id, kind, text, target, adds: Vec::new(), removes: Vec::new() }
    }

    /// A retry of what has no answer, mostly; sometimes of what has one, and sometimes with another text.
    fn send_again(&mut self, client: usize) {
        let user = self.clients[client].user.clone();
        let unanswered = self.unanswered.iter().position(|(from, _)| *from == user);
        let mut draft = match unanswered {
            Some(place) => self.unanswered.swap_remove(place).1,
            None => {
                let recent: Vec<_> = self.acked.iter().rev().take(30).filter(|(from, ..)| *from == user).collect();
                let Some((_, draft, _)) = recent.choose(&mut self.rng) else { return };
                draft.clone()
            }
        };
        if draft.kind == Kind::Message && self.rng.random_bool(0.1) {
            draft.text = Some("another text under the same id".to_owned());
        }
        self.clients[client].send(draft);
    }

    /// The server takes the next request of a connection.
    fn serve(&mut self, client: usize) {
        let user = self.clients[client].user.clone();
        let in_order = self.clients[client].transport.keeps_order();
        let Some(link) = &mut self.clients[client].link else { return };
        if link.up.is_empty() {
            return;
        }
        let place = if in_order { 0 } else { self.rng.random_range(0..link.up.len()) };
        let request = link.up.remove(place).expect("a place within");
        if let Request::Hello { since } = &request {
            link.subscribed = true;
            let (since, version) = (*since, self.server.version);
            let answer = since.map(|since| self.server.sync(&user, Some(since), 0, usize::MAX, 3));
            link.down.push_back(Frame::Welcome { answer, version });
            return;
        }
        let answer = self.handle(&user, request, Some(client));
        if let Some(link) = &mut self.clients[client].link {
            link.down.extend(answer);
        }
    }

    fn serve_late(&mut self) {
        if let Some((user, request)) = self.late.pop_front() {
            self.handle(&user, request, None);
        }
    }

    fn handle(&mut self, user: &UserId, request: Request, client: Option<usize>) -> Option<Frame> {
        match request {
            Request::Hello { .. } => None,
            Request::Send { number, draft } => Some(self.handle_send(user, number, &draft, client)),
            Request::Fetch { number, conversation, range } => {
                let allowed = self.server.is_member(user, conversation);
                let page = allowed.then(|| self.server.fetch(user, conversation, range));
                Some(Frame::Page { number, page })
            }
            Request::Sync { number, since, skip, token } => {
                Some(Frame::Inbox { number, skip, token, answer: self.server.sync(user, since, skip, 4, 2) })
            }
            Request::Block { number, other, on } => {
                self.server.block(user, &other, on);
                Some(Frame::Done { number })
            }
            Request::MarkRead { number, conversation, seq } => {
                if self.server.is_member(user, conversation) {
                    self.handle_mark_read(user, conversation, seq);
                    return Some(Frame::Done { number });
                }
                Some(Frame::Refused { number, code: Code::UnknownConversation })
            }
        }
    }

    fn handle_send(&mut self, user: &UserId, number: u64, draft: &Draft, client: Option<usize>) -> Frame {
        // It says so without having done anything, or, more rarely, although it has.
        let unavailable = self.chance(10);
        if unavailable && self.rng.random_bool(0.6) {
            return Frame::Refused { number, code: Code::Unavailable };
        }
        let added: Vec<UserId> =
            draft.adds.iter().filter(|user| !self.server.is_member(user, draft.conversation)).cloned().collect();
        let items: Vec<_> =
            added.iter().map(|user| (user.clone(), self.server.item(user, draft.conversation, 0))).collect();
        match self.server.send(user, draft) {
            Decided::Refused(code) => Frame::Refused { number, code },
            Decided::Repeat(seq) => Frame::Sent { number, seq, repeat: true },
            Decided::Committed(seq) => {
                for (user, item) in items {
                    self.push(&user, |_| Frame::Told { items: vec![item.clone()], removed: Vec::new() });
                }
                self.deliver(draft, seq, if unavailable { None } else { client });
                if unavailable {
                    Frame::Refused { number, code: Code::Unavailable }
                } else {
                    Frame::Sent { number, seq, repeat: false }
                }
            }
        }
    }

    /// To every live connection of every member, but not to the one that gets `sent`.
    fn deliver(&mut self, draft: &Draft, seq: Seq, acked: Option<usize>) {
        let conversation = draft.conversation;
        for place in 0..self.clients.len() {
            let client = &mut self.clients[place];
            let concerned = self.server.is_member(&client.user, conversation) || draft.removes.contains(&client.user);
            let Some(link) = client.link.as_mut().filter(|link| link.subscribed && concerned) else { continue };
            if client.transport.is_live() && acked != Some(place) {
                let entry = self.server.view(&client.user, conversation, seq);
                link.down.push_back(Frame::Entry { conversation, entry });
            }
            if draft.removes.contains(&client.user) {
                link.down.push_back(Frame::Told { items: Vec::new(), removed: vec![conversation] });
            }
        }
    }

    fn handle_mark_read(&mut self, user: &UserId, conversation: ConversationId, seq: Seq) {
        self.server.mark_read(user, conversation, seq);
        let read_seq = self.server.read_seq(user, conversation);
        let delivered_seq = read_seq;
        let item = self.server.item(user, conversation, 0);
        self.push(user, |_| Frame::Told { items: vec![item.clone()], removed: Vec::new() });
        let others: Vec<UserId> = self.server.conversations[&conversation].members.iter().cloned().collect();
        for other in others.iter().filter(|other| *other != user) {
            let receipt = Receipt { conversation, user: user.clone(), delivered_seq, read_seq };
            self.push(other, |_| Frame::Receipt(receipt.clone()));
        }
    }

    fn push(&mut self, user: &UserId, frame: impl Fn(&Link) -> Frame) {
        for client in self.clients.iter_mut().filter(|client| client.user == *user && client.transport.is_live()) {
            if let Some(link) = client.link.as_mut().filter(|link| link.subscribed) {
                let frame = frame(link);
                link.down.push_back(frame);
            }
        }
    }

    /// A client takes the next frame that reached it.
    fn receive(&mut self, client: usize) {
        let in_order = self.clients[client].transport.keeps_order();
        let Some(link) = &mut self.clients[client].link else { return };
        if link.down.is_empty() {
            return;
        }
        let place = if in_order { 0 } else { self.rng.random_range(0..link.down.len()) };
        let frame = link.down.remove(place).expect("a place within");
        let user = self.clients[client].user.clone();
        match self.clients[client].receive(frame) {
            client::Learned::Acked(draft, seq) => self.acked.push((user, draft, seq)),
            client::Learned::Unanswered(draft) => self.unanswered.push((user, draft)),
            client::Learned::Nothing => {}
        }
    }

    /// All that is under way arrives; then everybody reads everything.
    fn finish(&mut self) {
        while !self.late.is_empty() {
            self.serve_late();
        }
        for client in 0..self.clients.len() {
            while self.clients[client].link.as_ref().is_some_and(|link| !link.up.is_empty()) {
                self.serve(client);
            }
        }
        for client in 0..self.clients.len() {
            while self.clients[client].link.as_ref().is_some_and(|link| !link.down.is_empty()) {
                self.receive(client);
            }
            self.cut(client, false);
        }
        self.recorder.mark("all is quiet: final reads");
        let device = DeviceId::new("auditor").expect("a short name");
        for user in &self.users {
            let connection = self.recorder.session(user, &device).connect(Transport::Http);
            let conversations = self.server.conversations.iter();
            for (&id, conversation) in conversations.filter(|(_, conversation)| conversation.members.contains(user)) {
                let mut after = Seq::NONE;
                while after < conversation.last_seq() || after == Seq::NONE {
                    let range = Page { after: Some(after), limit: Some(20), ..Page::default() };
                    let fetching = connection.fetching_final(id, range);
                    let (entries, last_seq) = self.server.fetch(user, id, range);
                    after = entries.last().map_or(Seq::FIRST, |entry| entry.seq);
                    fetching.returned_entries(entries, Seq::FIRST, last_seq, false);
                }
            }
        }
    }
}
