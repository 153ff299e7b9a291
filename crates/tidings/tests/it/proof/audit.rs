//! Looks at a quiet server as each person: do inbox and sync say what the logs say? At the end it reads every log whole, as the
//! checker's final read.

use std::{collections::BTreeMap, time::Duration};

use rand::{Rng, rngs::StdRng};
use tidings_checker::{Connection, Event, History, Record, Transport};
use tidings_client::{Lost, raw};
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{
        RequestId,
        client::{Command, Fetch, Hello, Inbox, Page, Request, Sync},
        server::{EntriesPage, Item, Kind, ServerFrame, Who},
    },
};

use super::{
    run::Run,
    world::{BLOCKERS, PEOPLE, World, device, user},
};

/// Entries of a page.
const PAGE: usize = 200;

/// Inbox, sync tokens and logs agree, for everybody.
pub async fn agree(run: &Run, url: &str) {
    for person in PEOPLE {
        let mut line = Line::connect(&run.world, person, url).await;
        let items = line.inbox().await;
        for item in items.values() {
            line.check_item(item).await;
        }
        for (_, held) in run.held.iter().filter(|(user, _)| user.as_str() == person) {
            let (sync, mut told) = {
                let held = held.lock().unwrap();
                (held.sync.clone(), held.told.clone())
            };
            let Some(sync) = sync else { continue };
            line.apply_changes(sync, &mut told).await;
            let now = items.values().map(|item| (item.conversation, item.last_seq)).collect::<BTreeMap<_, _>>();
            assert_eq!(told, now, "what {person} held and the changes since make the inbox");
        }
        line.recorded.closed();
    }
}

/// Everybody reads all their conversations from the first entry to the last, when all is quiet.
pub async fn read_all(world: &World, url: &str) {
    for person in PEOPLE {
        let mut line = Line::connect(world, person, url).await;
        let items = line.inbox().await;
        for item in items.values() {
            let mut after = Seq::NONE;
            while after < item.last_seq {
                let range = Page { after: Some(after), limit: Some(PAGE), ..Page::default() };
                let fetching = line.recorded.fetching_final(item.conversation, range);
                let page = line.page(item.conversation, range).await;
                fetching.returned(&page, false);
                after = page.entries.last().expect("there is more up to last_seq").seq;
            }
        }
        line.recorded.closed();
    }
}

/// A control: the same history, but no final read shows one of the acked entries.
pub fn without_one_final_entry(history: &History, rng: &mut StdRng) -> History {
    let mut records: Vec<Record> = history.records().cloned().collect();
    let acked: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::Fetched(fetched) if fetched.is_final => Some(fetched),
            _ => None,
        })
        .flat_map(|fetched| fetched.entries.iter().map(|entry| (fetched.conversation, entry.seq)))
        .collect();
    let (conversation, seq) = acked[rng.random_range(0..acked.len())];
    for record in &mut records {
        if let Event::Fetched(fetched) = &mut record.event
            && fetched.is_final
            && fetched.conversation == conversation
        {
            fetched.entries.retain(|entry| entry.seq != seq);
        }
    }
    History::new(records)
}

/// How often something is asked again while homes and conversations still move between nodes.
const ASKED: u32 = 40;
const AGAIN: Duration = Duration::from_millis(250);

struct Line {
    user: UserId,
    url: String,
    recorded: Connection,
    connection: raw::Connection,
    last_id: i64,
}

impl Line {
    async fn connect(world: &World, person: &str, url: &str) -> Self {
        let recorded = world.recorder.session(&user(person), &device("audit")).connect(Transport::WebSocket);
        let connection = raw::Connection::connect(url, hello(person)).await.expect("the server is up").0;
        Self { user: user(person), url: url.to_owned(), recorded, connection, last_id: 0 }
    }

    async fn inbox(&mut self) -> BTreeMap<ConversationId, Item<'static>> {
        let syncing = self.recorded.syncing();
        let inbox = Inbox { limit: Some(1_000), ..Inbox::default() };
        let ServerFrame::Inbox(page) = self.ask(Command::Inbox(inbox)).await else { panic!("an inbox was asked for") };
        assert!(page.next.is_none(), "one page is enough");
        syncing.returned_inbox(&page);
        page.items.into_iter().map(|item| (item.conversation, item)).collect()
    }

    /// The item is what the log says: as far as it goes, and with so many unread messages.
    async fn check_item(&mut self, item: &Item<'_>) {
        let mut after = item.read_seq;
        let mut unread = 0;
        loop {
            let range = Page { after: Some(after), limit: Some(PAGE), ..Page::default() };
            let fetching = self.recorded.fetching(item.conversation, range);
            let page = self.page(item.conversation, range).await;
            fetching.returned(&page, false);
            assert_eq!(item.last_seq, page.last_seq, "{} of {}", item.conversation, self.user);
            let counts = page.entries.iter().filter(|entry| {
                let is_redacted = entry.more.as_ref().is_some_and(|more| more.redacted.is_some());
                entry.kind == Kind::Message && entry.from.as_ref() != Some(&self.user) && !is_redacted
            });
            unread += counts.count() as u64;
            match page.entries.last() {
                Some(last) if last.seq < page.last_seq => after = last.seq,
                _ => break,
            }
        }
        // In groups a block counts as it stood when the message came, and shows as it stands now.
        let is_group = matches!(item.who, Who::Group { .. });
        if is_group && BLOCKERS.contains(&self.user.as_str()) {
            return;
        }
        assert_eq!(
            item.unread, unread,
            "unread of {} for {}, read up to {}",
            item.conversation, self.user, item.read_seq
        );
    }

    /// Brings what was told up to `sync` up to now.
    async fn apply_changes(&mut self, sync: String, told: &mut BTreeMap<ConversationId, Seq>) {
        let answer = self.ask(Command::Sync(Sync { sync: Some(sync), tail: None })).await;
        let ServerFrame::Changes(changes) = answer else { panic!("changes were asked for: {answer:?}") };
        assert!(!changes.more && !changes.full, "a token is good for ever");
        for item in &changes.items {
            told.insert(item.conversation, item.last_seq);
        }
        for removed in &changes.removed {
            told.remove(removed);
        }
    }

    async fn page(&mut self, conversation: ConversationId, page: Page) -> EntriesPage<'static> {
        let fetch = Fetch { conversation: Some(conversation), page, ranges: None };
        match self.ask(Command::Fetch(fetch)).await {
            ServerFrame::Entries(entries) => entries.page.expect("one range was asked for"),
            other => panic!("a page was asked for: {other:?}"),
        }
    }

    /// Asks until there is an answer: nodes send away whose home moves to another one.
    async fn ask(&mut self, command: Command) -> ServerFrame<'static> {
        self.last_id += 1;
        let id = RequestId::Number(self.last_id);
        let request = serde_json::to_string(&Request { id: Some(id.clone()), command }).unwrap();
        for _ in 0..ASKED {
            match self.answer(&request, &id).await {
                Ok(ServerFrame::Error(refused)) if refused.code == Code::Unavailable => {}
                Ok(frame) => return frame,
                Err(_) => {
                    if let Ok((connection, _)) = raw::Connection::connect(&self.url, hello(self.user.as_str())).await {
                        self.connection = connection;
                    }
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
        panic!("{} was not answered: {request}", self.user);
    }

    async fn answer(&mut self, request: &str, id: &RequestId) -> Result<ServerFrame<'static>, Lost> {
        self.connection.writer.queue(request);
        self.connection.writer.flush().await?;
        loop {
            let frame = self.connection.reader.next().await?.parse().unwrap();
            let re = match &frame {
                ServerFrame::Ping(_) => {
                    self.connection.writer.queue(raw::PONG);
                    self.connection.writer.flush().await?;
                    continue;
                }
                ServerFrame::Inbox(page) => &page.re,
                ServerFrame::Changes(changes) => &changes.re,
                ServerFrame::Entries(entries) => &entries.re,
                ServerFrame::Error(refused) => &refused.re,
                _ => continue,
            };
            if re.as_ref() == Some(id) {
                return Ok(frame);
            }
        }
    }
}

fn hello(person: &str) -> Hello {
    Hello { username: Some(person.to_owned()), device: Some(device("audit")), ..Hello::default() }
}
