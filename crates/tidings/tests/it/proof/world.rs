//! Who talks where, and the one recorder of all they see.

use std::sync::{
    Mutex,
    atomic::{AtomicU64, Ordering},
};

use tidings_checker::{Connection, Outgoing, Recorder, Sending};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        client::{Command, Create, To},
        server::Kind,
    },
};

/// Everybody; the last one is who gets blocked.
pub const PEOPLE: [&str; 6] = ["ada", "bob", "eve", "dan", "kim", "mal"];
/// Who owns the groups, and who comes and goes in the second one.
pub const OWNER: &str = "ada";
pub const MOVING: [&str; 2] = ["eve", "dan"];
/// Whom some block at times, and who they are.
pub const BLOCKED: &str = "mal";
pub const BLOCKERS: [&str; 2] = ["ada", "bob"];

/// So many messages are remembered for edits, redactions and reactions.
const REMEMBERED: usize = 200;

pub struct World {
    pub recorder: Recorder,
    /// Everybody is in it for good.
    pub stable: ConversationId,
    /// Members come and go.
    pub moving: ConversationId,
    /// The newest acked messages: where, which, whose.
    messages: Mutex<Vec<(ConversationId, Seq, UserId)>>,
    acked: AtomicU64,
    unavailable: AtomicU64,
}

impl World {
    pub fn new(recorder: Recorder) -> Self {
        let group = |create: &Create| ConversationId::group(&user(OWNER), &create.client_msg_id);
        let [stable, moving] = &creates();
        Self {
            recorder,
            stable: group(stable),
            moving: group(moving),
            messages: Mutex::default(),
            acked: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        }
    }

    /// Records that `user` is about to send `command`, which makes an entry.
    pub fn sending(&self, connection: &Connection, user: &UserId, command: &Command) -> Sending {
        connection.sending(outgoing(user, command))
    }

    /// A send was acknowledged.
    pub fn note_acked(&self) {
        self.acked.fetch_add(1, Ordering::Relaxed);
    }

    pub fn note_refused(&self, code: Code) {
        if code == Code::Unavailable {
            self.unavailable.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many sends were acknowledged so far.
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// How many sends were refused as `unavailable` so far.
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    pub fn remember(&self, conversation: ConversationId, seq: Seq, by: &UserId) {
        let mut messages = self.messages.lock().unwrap();
        if messages.len() == REMEMBERED {
            messages.remove(0);
        }
        messages.push((conversation, seq, by.clone()));
    }

    /// One of the newest messages that `wanted` takes; `pick` chooses among them.
    pub fn message(
        &self,
        pick: usize,
        wanted: impl Fn(ConversationId, &UserId) -> bool,
    ) -> Option<(ConversationId, Seq)> {
        let messages = self.messages.lock().unwrap();
        let fitting: Vec<_> = messages.iter().filter(|(conversation, _, by)| wanted(*conversation, by)).collect();
        let (conversation, seq, _) = fitting.get(pick % fitting.len().max(1))?;
        Some((*conversation, *seq))
    }
}

pub fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

pub fn device(name: &str) -> DeviceId {
    name.parse().unwrap()
}

/// Both groups, as their owner makes them.
pub fn creates() -> [Create; 2] {
    [("create-stable", "Stable"), ("create-moving", "Moving")].map(|(client_msg_id, name)| Create {
        client_msg_id: client_msg_id.to_owned(),
        name: name.to_owned(),
        members: PEOPLE.into_iter().filter(|person| *person != OWNER).map(user).collect(),
        history: tidings_proto::frames::client::History::All,
    })
}

/// What the recorder has to know of a command that makes an entry.
fn outgoing(user: &UserId, command: &Command) -> Outgoing {
    match command {
        Command::Send(send) => match &send.to {
            To::User(other) => {
                let conversation = ConversationId::direct(user, other);
                Outgoing::message(conversation, &*send.client_msg_id, &send.text).to(other)
            }
            To::Conversation(conversation) => Outgoing::message(*conversation, &*send.client_msg_id, &send.text),
            To::List(_) => panic!("nobody here has lists"),
        },
        Command::Edit(edit) => Outgoing::edit(edit.conversation, &*edit.client_msg_id, edit.seq, &edit.text),
        Command::Redact(redact) => Outgoing::redaction(redact.conversation, &*redact.client_msg_id, redact.seq),
        Command::React(react) => Outgoing::of_kind(Kind::Reaction, react.conversation, &*react.client_msg_id),
        Command::Rename(rename) => Outgoing::of_kind(Kind::Rename, rename.conversation, &*rename.client_msg_id),
        Command::Leave(leave) => {
            let leaving = std::slice::from_ref(user);
            Outgoing::of_kind(Kind::Members, leave.conversation, &*leave.client_msg_id).removing(leaving)
        }
        Command::Members(members) => {
            Outgoing::of_kind(Kind::Members, members.conversation, &*members.client_msg_id).removing(&members.remove)
        }
        Command::Create(create) => {
            let conversation = ConversationId::group(user, &create.client_msg_id);
            Outgoing::of_kind(Kind::Members, conversation, &*create.client_msg_id)
        }
        other => panic!("{} makes no entry", other.kind()),
    }
}
