//! What the chat knows: conversations, the open one, who is there, what is being written. Pure: it is told what happened and
//! answers with effects.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use tidings_client::{ClientError, ConversationId, Event, Seq, Status, To, UserId};
use tidings_proto::frames::{
    client::{self, Command, Page},
    server::{Changes, Item, LiveEntry, PresenceState, ServerFrame, UserProfile, Who},
};
use tui_input::Input;

use super::{conversation::Conversation, lines, prompt::Prompt};

/// Entries of a page of history.
pub const PAGE_ENTRIES: usize = 50;
/// Somebody who typed so long ago does not any more.
const TYPING_FOR: Duration = Duration::from_secs(6);
/// A notice stays so long.
const NOTICE_FOR: Duration = Duration::from_secs(6);
/// Presence is asked for at most so many.
const WATCHED_MAX: usize = 500;

/// What is to be done outside.
#[derive(Debug)]
pub enum Effect {
    Request(Box<Command>, Purpose),
    Typing(ConversationId),
    Names(Vec<UserId>),
    Quit,
}

/// What an answer is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    Message(ConversationId, String),
    Page(ConversationId),
    /// Opens what was made.
    Create,
    /// Only a refusal is of interest.
    Other,
    Silent,
}

#[derive(Debug)]
pub enum Outcome {
    Answer(Purpose, Box<Result<ServerFrame<'static>, ClientError>>),
    Names(Vec<UserProfile>),
}

/// Where keys go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Compose,
    List,
    Select(Seq),
    React(Seq),
    Delete(Seq),
    Prompt(Prompt),
    Help,
}

#[derive(Debug)]
pub struct Presence {
    pub state: PresenceState,
    pub last_seen: Option<u64>,
}

pub struct App {
    pub me: UserId,
    pub conversations: HashMap<ConversationId, Conversation>,
    pub opened: Option<ConversationId>,
    pub mode: Mode,
    /// In the list: what it is narrowed to, and the marked one.
    pub search: Input,
    pub marked: Option<ConversationId>,
    pub prompt: Input,
    /// Lines of the open conversation hidden below the screen.
    pub scroll: usize,
    /// The room for messages, as drawn last.
    pub width: usize,
    pub height: usize,
    pub offline: Option<(String, Instant)>,
    pub notice: Option<(String, Instant)>,
    pub focused: bool,
    pub presence: HashMap<UserId, Presence>,
    names: HashMap<UserId, String>,
    asked_names: HashSet<UserId>,
    watched: Vec<UserId>,
    wanted: Option<To>,
    effects: Vec<Effect>,
}

impl App {
    pub fn new(me: UserId) -> Self {
        Self {
            me,
            conversations: HashMap::new(),
            opened: None,
            mode: Mode::List,
            search: Input::default(),
            marked: None,
            prompt: Input::default(),
            scroll: 0,
            width: 50,
            height: 20,
            offline: None,
            notice: None,
            focused: true,
            presence: HashMap::new(),
            names: HashMap::new(),
            asked_names: HashSet::new(),
            watched: Vec::new(),
            wanted: None,
            effects: Vec::new(),
        }
    }

    /// Opens `to` as soon as the inbox is there.
    pub fn open_when_known(&mut self, to: To) {
        self.wanted = Some(to);
    }

    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    pub fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    pub fn request(&mut self, command: Command, purpose: Purpose) {
        self.effects.push(Effect::Request(Box::new(command), purpose));
    }

    pub fn open(&self) -> Option<&Conversation> {
        self.conversations.get(&self.opened?)
    }

    pub fn open_mut(&mut self) -> Option<&mut Conversation> {
        self.conversations.get_mut(&self.opened?)
    }

    pub fn notify(&mut self, text: impl Into<String>) {
        self.notice = Some((text.into(), Instant::now() + NOTICE_FOR));
    }

    /// What to call somebody.
    pub fn name<'a>(&'a self, user: &'a UserId) -> &'a str {
        self.names.get(user).map_or(user.as_str(), String::as_str)
    }

    /// Shows a conversation and begins to write in it.
    pub fn show(&mut self, conversation: ConversationId) {
        self.mode = Mode::Compose;
        self.search.reset();
        if self.opened == Some(conversation) {
            return;
        }
        if let Some(left) = self.open_mut() {
            left.unread_from = None;
        }
        self.opened = Some(conversation);
        self.marked = Some(conversation);
        self.scroll = 0;
        let Some(open) = self.conversations.get_mut(&conversation) else { return };
        open.unread_from = (open.item.unread > 0).then(|| open.item.read_seq.next());
        if !open.log.is_open() && !open.log.is_loading {
            self.load(conversation, None);
        }
    }

    /// Shows the conversation with somebody; it need not exist yet.
    pub fn show_user(&mut self, user: UserId) {
        if user == self.me {
            return self.notify("that is you");
        }
        let conversation = ConversationId::direct(&self.me, &user);
        self.conversations.entry(conversation).or_insert_with(|| Conversation::with_nothing(conversation, user));
        self.show(conversation);
    }

    pub fn load(&mut self, conversation: ConversationId, before: Option<Seq>) {
        if let Some(open) = self.conversations.get_mut(&conversation) {
            open.log.is_loading = true;
        }
        let page = Page { before, limit: Some(PAGE_ENTRIES), ..Page::default() };
        let fetch = client::Fetch { conversation: Some(conversation), page, ranges: None };
        self.request(Command::Fetch(fetch), Purpose::Page(conversation));
    }

    /// In the order of the list: pinned ones, then the latest activity; narrowed to what is searched for.
    pub fn listed(&self) -> Vec<ConversationId> {
        let words = self.search.value().to_lowercase();
        let mut listed: Vec<_> = self
            .conversations
            .values()
            .filter(|listed| if words.is_empty() { !listed.item.archived } else { listed.matches(&words) })
            .map(|listed| {
                let at = listed.item.last.as_ref().and_then(|last| last.at).unwrap_or(0);
                (!listed.item.pinned, std::cmp::Reverse(at), listed.item.conversation)
            })
            .collect();
        listed.sort();
        listed.into_iter().map(|(.., conversation)| conversation).collect()
    }

    pub fn on_event(&mut self, event: Event, now: Instant) {
        match event {
            Event::Entry(live) => self.on_entry(&live),
            Event::Changes(changes) => self.on_changes(changes),
            Event::Receipt(receipt) => {
                if let Some(Conversation { item: Item { who: Who::Direct { with, peer, .. }, .. }, .. }) =
                    self.conversations.get_mut(&receipt.conversation)
                    && *with == receipt.user
                {
                    peer.delivered_seq = peer.delivered_seq.max(receipt.delivered_seq);
                    peer.read_seq = peer.read_seq.max(receipt.read_seq);
                }
            }
            Event::Typing(typing) => {
                if let Some(conversation) = self.conversations.get_mut(&typing.conversation) {
                    conversation.typing.insert(typing.user, now + TYPING_FOR);
                }
            }
            Event::Presence(presence) => {
                let told = Presence { state: presence.state, last_seen: presence.last_seen };
                self.presence.insert(presence.user, told);
            }
            Event::Expiring { in_s } => self.notify(format!("the login ends in {in_s} s")),
        }
    }

    fn on_entry(&mut self, live: &LiveEntry<'static>) {
        let is_open = self.opened == Some(live.conversation);
        let Some(conversation) = self.conversations.get_mut(&live.conversation) else { return };
        if let Some(from) = &live.entry.from {
            conversation.typing.remove(from);
        }
        conversation.take(&live.entry, &self.me);
        if conversation.log.add_live(&live.entry, &self.me) && is_open && self.scroll > 0 {
            // What is read stays where it is; the new one is below.
            self.scroll += lines::height_of(self, &self.conversations[&live.conversation], live.entry.seq);
        }
    }

    fn on_changes(&mut self, changes: Changes<'static>) {
        if changes.full && !changes.more {
            let kept: HashSet<_> = changes.items.iter().map(|item| item.conversation).collect();
            self.conversations.retain(|id, conversation| kept.contains(id) || conversation.item.last_seq == Seq::NONE);
        }
        for item in changes.items {
            if let Who::Direct { with, with_name: Some(name), .. } = &item.who {
                self.names.insert(with.clone(), name.clone());
            }
            match self.conversations.get_mut(&item.conversation) {
                Some(conversation) => conversation.item = item,
                None => drop(self.conversations.insert(item.conversation, Conversation::new(item))),
            }
        }
        for removed in changes.removed {
            self.conversations.remove(&removed);
            if self.opened == Some(removed) {
                self.opened = None;
                self.mode = Mode::List;
                self.notify("you are no longer in that conversation");
            }
        }
        self.open_wanted();
    }

    fn open_wanted(&mut self) {
        match self.wanted.take() {
            Some(To::User(user)) => self.show_user(user),
            Some(To::Conversation(conversation)) if self.conversations.contains_key(&conversation) => {
                self.show(conversation);
            }
            Some(other) => self.wanted = Some(other),
            None => {}
        }
    }

    pub fn on_outcome(&mut self, outcome: Outcome) {
        let (purpose, answer) = match outcome {
            Outcome::Answer(purpose, answer) => (purpose, *answer),
            Outcome::Names(profiles) => {
                let named = profiles.into_iter().filter_map(|profile| Some((profile.user, profile.name?)));
                return self.names.extend(named);
            }
        };
        match (purpose, answer) {
            (Purpose::Page(conversation), Ok(ServerFrame::Entries(entries))) => {
                if let (Some(open), Some(page)) = (self.conversations.get_mut(&conversation), entries.page) {
                    open.log.add_page(page);
                }
            }
            (Purpose::Create, Ok(ServerFrame::Created(made))) => {
                self.wanted = Some(To::Conversation(made.conversation));
                self.open_wanted();
            }
            (purpose, Err(error)) => self.on_refusal(purpose, &error),
            (_, Ok(_)) => {}
        }
    }

    fn on_refusal(&mut self, purpose: Purpose, error: &ClientError) {
        match purpose {
            Purpose::Silent => return,
            Purpose::Message(conversation, client_msg_id) => {
                if let Some(open) = self.conversations.get_mut(&conversation) {
                    let mine = open.log.pending.iter_mut().find(|pending| pending.client_msg_id == client_msg_id);
                    if let Some(pending) = mine {
                        pending.failed = Some(error.to_string());
                    }
                }
            }
            Purpose::Page(conversation) => {
                if let Some(open) = self.conversations.get_mut(&conversation) {
                    open.log.is_loading = false;
                    let is_new = open.item.last_seq == Seq::NONE;
                    if is_new {
                        // Nothing was said yet: an empty beginning, not an error.
                        open.log.add_page(empty_page(conversation));
                        return;
                    }
                }
            }
            Purpose::Create | Purpose::Other => {}
        }
        self.notify(error.to_string());
    }

    pub fn on_status(&mut self, status: &Status, now: Instant) {
        self.offline = match status {
            Status::Connected(_) => None,
            Status::Waiting { reason, retry_in_ms } => {
                Some((reason.clone(), now + Duration::from_millis(*retry_in_ms)))
            }
            Status::Ended { error } => Some((error.to_string(), now)),
        };
    }

    pub fn on_tick(&mut self, now: Instant) {
        if self.notice.as_ref().is_some_and(|(_, until)| *until <= now) {
            self.notice = None;
        }
        for conversation in self.conversations.values_mut() {
            conversation.typing.retain(|_, until| *until > now);
        }
    }

    /// What follows from the new state: reading, older pages, names and presence that are not known yet.
    pub fn settle(&mut self) {
        self.mark_read();
        let watched: Vec<UserId> =
            self.listed().iter().filter_map(|id| self.conversations[id].with().cloned()).take(WATCHED_MAX).collect();
        if watched.iter().collect::<HashSet<_>>() != self.watched.iter().collect::<HashSet<_>>() {
            self.watched.clone_from(&watched);
            self.request(Command::Watch(client::Watch { users: watched }), Purpose::Silent);
        }
        let Some(open) = self.open() else { return };
        let unnamed: HashSet<UserId> = open
            .log
            .shown()
            .filter_map(|entry| entry.from.clone())
            .filter(|user| *user != self.me && !self.names.contains_key(user) && !self.asked_names.contains(user))
            .take(100)
            .collect();
        if !unnamed.is_empty() {
            self.asked_names.extend(unnamed.iter().cloned());
            self.effect(Effect::Names(unnamed.into_iter().collect()));
        }
    }

    fn mark_read(&mut self) {
        if !self.focused || self.scroll > 0 {
            return;
        }
        let Some(open) = self.open_mut() else { return };
        let (conversation, seq) = (open.item.conversation, open.item.last_seq);
        if open.log.is_open() && seq > open.item.read_seq {
            (open.item.read_seq, open.item.unread, open.item.mentions) = (seq, 0, 0);
            self.request(Command::MarkRead(client::MarkRead { conversation, seq }), Purpose::Silent);
        }
    }
}

fn empty_page(conversation: ConversationId) -> tidings_proto::frames::server::EntriesPage<'static> {
    tidings_proto::frames::server::EntriesPage {
        conversation,
        entries: Vec::new(),
        first_seq: Seq::FIRST,
        last_seq: Seq::NONE,
    }
}
