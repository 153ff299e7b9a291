//! Looks at a quiet fleet as each person, and reads every log whole, as the checker's final read.

use std::{sync::Arc, time::Duration};

use tidings_checker::{Connection, Transport};
use tidings_proto::{
    Code, ConversationId, Seq, UserId,
    frames::{
        RequestId,
        client::{Command, Fetch, Hello, Inbox, Page, Request},
        server::{EntriesPage, ServerFrame},
    },
};

use super::{
    lines::{Lines, Socket},
    proof::world::{OWNER, PEOPLE, World as People, creates, device, user},
};

/// Entries of a page.
const PAGE: usize = 200;

struct Line {
    user: UserId,
    recorded: Connection,
    socket: Socket,
    last_id: i64,
}

impl Line {
    async fn open(people: &People, lines: &Lines, person: &str, name: &str) -> Self {
        let session = people.recorder.session(&user(person), &device(name));
        loop {
            let recorded = session.connect(Transport::WebSocket);
            let hello = Hello { username: Some(person.to_owned()), device: Some(device(name)), ..Hello::default() };
            if let Some(socket) = lines.open(hello).await {
                return Self { user: user(person), recorded, socket, last_id: 0 };
            }
            recorded.closed();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// The answer. What comes of its own accord is recorded on the way.
    async fn ask(&mut self, command: Command) -> Option<ServerFrame<'static>> {
        self.last_id += 1;
        let id = RequestId::Number(self.last_id);
        self.socket.say(&Request { id: Some(id.clone()), command });
        loop {
            let frame = self.socket.next().await.ok()?;
            let re = match &frame {
                ServerFrame::Inbox(page) => &page.re,
                ServerFrame::Entries(entries) => &entries.re,
                ServerFrame::Created(sent) | ServerFrame::Sent(sent) => &sent.re,
                ServerFrame::Error(refused) => &refused.re,
                ServerFrame::Entry(live) => {
                    self.recorded.delivered(live.conversation, &live.entry);
                    continue;
                }
                ServerFrame::Changes(changes) => {
                    self.recorded.told().returned_changes(changes);
                    continue;
                }
                _ => continue,
            };
            if *re == Some(id.clone()) {
                return Some(frame);
            }
        }
    }
}

/// Everybody is known, and both groups are there, when this returns.
pub async fn set_up(people: Arc<People>, lines: Arc<Lines>) {
    for person in PEOPLE.into_iter().rev() {
        // The owner comes last, when all are known.
        let mut line = Line::open(&people, &lines, person, "set-up").await;
        for create in creates().into_iter().filter(|_| person == OWNER) {
            loop {
                let command = Command::Create(create.clone());
                let sending = people.sending(&line.recorded, &line.user, &command);
                match line.ask(command).await {
                    Some(ServerFrame::Created(created)) => {
                        sending.sent(created.seq, created.repeat);
                        break;
                    }
                    Some(ServerFrame::Error(refused)) => sending.refused(refused.code),
                    _ => {
                        drop(sending);
                        line.recorded.closed();
                        line = Line::open(&people, &lines, person, "set-up").await;
                    }
                }
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
        }
        line.recorded.closed();
    }
}

/// Everybody reads all their conversations from the first entry to the last.
pub async fn read_all(people: Arc<People>, lines: Arc<Lines>) -> Result<(), String> {
    for person in PEOPLE {
        let mut line = Line::open(&people, &lines, person, "audit").await;
        let syncing = line.recorded.syncing();
        let inbox = Command::Inbox(Inbox { limit: Some(1_000), ..Inbox::default() });
        let page = match line.ask(inbox).await {
            Some(ServerFrame::Inbox(page)) => page,
            other => return Err(format!("{person} asked for the inbox and got {other:?}")),
        };
        syncing.returned_inbox(&page);
        for item in &page.items {
            read_log(&mut line, item.conversation, item.last_seq).await?;
        }
        line.recorded.closed();
    }
    Ok(())
}

async fn read_log(line: &mut Line, conversation: ConversationId, last_seq: Seq) -> Result<(), String> {
    let mut after = Seq::NONE;
    while after < last_seq {
        let range = Page { after: Some(after), limit: Some(PAGE), ..Page::default() };
        let fetching = line.recorded.fetching_final(conversation, range);
        let page = page(line, conversation, range).await?;
        fetching.returned(&page, false);
        after =
            page.entries.last().ok_or_else(|| format!("{conversation} has {last_seq} and nothing behind {after}"))?.seq;
    }
    Ok(())
}

async fn page(line: &mut Line, conversation: ConversationId, page: Page) -> Result<EntriesPage<'static>, String> {
    for _ in 0..10 {
        let fetch = Fetch { conversation: Some(conversation), page, ranges: None };
        match line.ask(Command::Fetch(fetch)).await {
            Some(ServerFrame::Entries(entries)) => {
                return entries.page.ok_or_else(|| "a page was asked for".to_owned());
            }
            Some(ServerFrame::Error(refused)) if refused.code == Code::Unavailable => {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            other => return Err(format!("{} asked for {conversation} and got {other:?}", line.user)),
        }
    }
    Err(format!("{} is not served {conversation}", line.user))
}
