//! The host alone, over a journal and tables in memory that tests can hold back, fail and cut: no socket, no disk.

use std::sync::{Arc, atomic::AtomicU64};

use serde_json::{Value, json};
use tidings_proto::{Code, ConversationId, DeviceId, UserId, frames::client::Request};
use tokio::sync::oneshot;

use crate::{
    clock::Clock,
    config::Config,
    data_folder::Lineage,
    home::event::{HomeChange, HomeEvent},
    journal::memory::MemoryJournal,
    metrics::Metrics,
    session::{
        auth::{Identity, log_in},
        execute::{Caller, act, read},
        outbox::Outbox,
        reply::{Answer, Reply},
    },
    shutdown::Shutdown,
    tables::Tables,
};

use super::shards::Shards;
use super::{
    Host,
    event::Part,
    open::{Parts, Tasks},
};

mod archive;
mod archive_shared;
mod caches;
mod cursors;
mod first_message;
mod fleet;
mod fresh;
mod held;
mod large;
mod late;
mod logins;
mod migrate;
mod replay;
mod torn_tables;

/// A host that runs, and what it stands on.
struct Rig {
    host: Arc<Host>,
    journal: Arc<MemoryJournal>,
    shutdown: Shutdown,
    tasks: Tasks,
}

impl Rig {
    /// Replays what the tables lack, and runs. Nothing is flushed but by the test.
    async fn start(journal: MemoryJournal, tables: Arc<dyn Tables>, epoch: u64) -> Self {
        let journal = Arc::new(journal);
        let host = Self::replayed(&journal, tables, epoch).await;
        let shutdown = Shutdown::default();
        let tasks = host.run(journal.clone(), &shutdown);
        Self { host, journal, shutdown, tasks }
    }

    /// A host as it is after a replay, which takes nothing.
    async fn replayed(journal: &MemoryJournal, tables: Arc<dyn Tables>, epoch: u64) -> Arc<Host> {
        // Flushes and presence are the test's business; nobody is refused for being quick.
        let settings =
            [("flush.window_ms", "60000"), ("presence.grace_ms", "600000"), ("rates.sends_burst", "1000000")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::load(None, settings).expect("the settings are right");
        let parts = Parts {
            config,
            clock: clock(),
            metrics: Arc::new(Metrics::default()),
            lineage: Lineage([7; 8]),
            shards: Shards::all(epoch),
        };
        let host = Host::new(parts, tables);
        use crate::journal::Journal;
        let commits = journal.read(host.flushed().await.expect("readable"), usize::MAX).await.expect("readable");
        host.replay(commits).await.expect("what was written can be read");
        host.end_replay().await.expect("the tables take it");
        host
    }

    /// Ends it as a crash does, and leaves the journal as the next process finds it. Every test ends so: a flusher that
    /// outlives its runtime panics.
    async fn crash(self) -> MemoryJournal {
        let Self { host, journal, shutdown, tasks } = self;
        shutdown.begin();
        // Nothing is flushed: the host is made to think that it cannot.
        host.fail("the test has crashed it".to_owned());
        host.stop(tasks).await;
        journal.reopen()
    }

    async fn device(&self, user: &str, device: &str) -> Device {
        Device::attach(&self.host, user, device).await
    }

    /// Makes people known who never log in.
    async fn make_known(&self, names: &[String]) {
        let (reply, answer) = Reply::to_call();
        let known = |name: &String| {
            let change = HomeChange::Known { at_ms: 1, name: None };
            Part::Home(HomeEvent { user: user(name), change })
        };
        self.host.commit(names.iter().map(known).collect(), reply).await;
        assert_eq!(answer.await.expect("every request is answered"), Answer::Done);
    }

    async fn flush(&self) {
        self.host.flush_or_fail().await.expect("the tables take it");
    }
}

/// Time goes by a millisecond a look.
fn clock() -> Clock {
    let now = AtomicU64::new(1_700_000_000_000);
    Clock::new(move || now.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
}

/// One session of somebody.
struct Device {
    host: Arc<Host>,
    caller: Caller,
    outbox: Arc<Outbox>,
}

impl Device {
    async fn attach(host: &Arc<Host>, user: &str, device: &str) -> Self {
        let (user, device) = (UserId::new(user).expect("a name"), DeviceId::new(device).expect("a name"));
        let caller = log_in(host, &Identity::new(user, device, u64::MAX)).await.expect("the login is taken");
        let outbox = Arc::new(Outbox::new(64 << 20));
        host.attach(&caller.home, &caller.device, &outbox, None).await.expect("readable");
        Self { host: host.clone(), caller, outbox }
    }

    /// Begins what a frame asks for. When this returns it is decided; an answer that waits for nothing is there.
    async fn begin(&self, frame: Value) -> Asked {
        let Request { command, .. } = Request::parse(&frame.to_string()).expect("the test's frames are right");
        let (reply, answer) = Reply::to_call();
        act(&self.host, &self.caller, command, reply).await;
        Asked(answer)
    }

    async fn ask(&self, frame: Value) -> Answer {
        self.begin(frame).await.answer().await
    }

    /// Asks for what must not be refused; the seq of what was made.
    async fn make(&self, frame: Value) -> u64 {
        match self.ask(frame.clone()).await {
            Answer::Sent { seq, .. } | Answer::Created { seq, .. } => seq.0,
            Answer::Done => 0,
            Answer::Refused(refused) => panic!("{frame}: {} {}", refused.code, refused.message),
        }
    }

    async fn read(&self, frame: Value) -> Value {
        let Request { command, .. } = Request::parse(&frame.to_string()).expect("the test's frames are right");
        let frame = match read(&self.host, &self.caller, None, command).await {
            Ok(frame) => frame,
            Err(refusal) => refusal.into_frame(None).to_json(),
        };
        serde_json::from_str(&frame).expect("frames are JSON")
    }

    async fn fetch(&self, conversation: ConversationId) -> Value {
        self.read(json!({"type": "fetch", "conversation": conversation, "limit": 200})).await
    }

    async fn inbox(&self) -> Vec<Value> {
        self.read(json!({"type": "inbox", "limit": 1000})).await["items"].as_array().expect("items").clone()
    }

    async fn item(&self, conversation: ConversationId) -> Value {
        let id = json!(conversation);
        self.inbox().await.into_iter().find(|item| item["conversation"] == id).unwrap_or_default()
    }

    async fn token(&self) -> Value {
        self.read(json!({"type": "inbox"})).await["sync"].clone()
    }

    /// What was handed to the session since it was asked last.
    fn heard(&self) -> Vec<Value> {
        let mut frames = Vec::new();
        self.outbox.take(&mut frames, usize::MAX);
        frames.iter().map(|frame| serde_json::from_slice(frame).expect("frames are JSON")).collect()
    }
}

/// An answer to come.
struct Asked(oneshot::Receiver<Answer>);

impl Asked {
    fn is_answered(&mut self) -> bool {
        !matches!(self.0.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }

    async fn answer(self) -> Answer {
        self.0.await.expect("every request is answered")
    }

    async fn code(self) -> Option<Code> {
        code(&self.answer().await)
    }
}

fn code(answer: &Answer) -> Option<Code> {
    match answer {
        Answer::Refused(refused) => Some(refused.code),
        _ => None,
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).expect("a name")
}

fn direct(one: &str, other: &str) -> ConversationId {
    ConversationId::direct(&user(one), &user(other))
}

fn send(to: &str, client_msg_id: &str) -> Value {
    json!({"type": "send", "to": {"user": to}, "client_msg_id": client_msg_id, "text": format!("text of {client_msg_id}")})
}

fn send_in(conversation: ConversationId, client_msg_id: &str) -> Value {
    json!({"type": "send", "to": {"conversation": conversation}, "client_msg_id": client_msg_id, "text": "hi"})
}
