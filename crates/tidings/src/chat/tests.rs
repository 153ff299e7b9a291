//! The chat as a person sees it: keys in, screens out, no terminal and no server.

use std::time::Instant;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};
use serde_json::{Value, json};
use tidings_client::{ConversationId, Event, Status, UserId};
use tidings_proto::frames::{
    client::Command,
    server::{Changes, LiveEntry, ServerFrame},
};

use super::{
    app::{App, Effect, Mode, Outcome, Purpose},
    keys, render,
};

const MINUTE: u64 = 60_000;

struct Chat {
    app: App,
    terminal: Terminal<TestBackend>,
}

impl Chat {
    /// Ada's chat with an inbox of bob (two unread) and a group.
    fn start(width: u16, height: u16) -> Self {
        let mut app = App::new(user("ada"));
        let last = |text: &str| json!({"seq":3,"kind":"message","from":"bob","at":at(12, 3),"client_msg_id":"b-3","text":text});
        let items = json!([
            {"conversation":bob(),"kind":"direct","with":"bob","with_name":"Bob","with_picture":null,
             "peer":{"delivered_seq":2,"read_seq":1},"last":last("lunch?"),"last_seq":3,"read_seq":2,"unread":1,"mentions":0,
             "muted":false,"pinned":false,"archived":false,"blocked":false},
            {"conversation":team(),"kind":"group","name":"Team","picture":null,"member_count":3,"role":"owner",
             "last":last("a word to all of you"),"last_seq":3,"read_seq":3,"unread":0,"mentions":0,"muted":true,"pinned":true,
             "archived":false,"blocked":false}
        ]);
        let changes = json!({"type":"changes","items":items,"removed":[],"sync":"t","more":false,"full":true});
        app.on_event(Event::Changes(serde_json::from_value::<Changes<'static>>(changes).unwrap()), Instant::now());
        let terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        Self { app, terminal }
    }

    fn key(&mut self, code: KeyCode) -> &mut Self {
        keys::on_key(&mut self.app, KeyEvent::new(code, KeyModifiers::NONE));
        self.app.settle();
        self
    }

    fn types(&mut self, text: &str) -> &mut Self {
        for char in text.chars() {
            self.key(KeyCode::Char(char));
        }
        self
    }

    fn control(&mut self, char: char) -> &mut Self {
        keys::on_key(&mut self.app, KeyEvent::new(KeyCode::Char(char), KeyModifiers::CONTROL));
        self.app.settle();
        self
    }

    /// Answers the history that was asked for.
    fn loads(&mut self, entries: &Value) {
        let loads = self.requests().into_iter().any(|command| matches!(command, Command::Fetch(_)));
        assert!(loads, "history was asked for");
        let conversation = self.app.opened.unwrap();
        let last = entries.as_array().unwrap().last().unwrap()["seq"].clone();
        let page = json!({"type":"entries","re":1,"conversation":conversation,"entries":entries,"first_seq":1,"last_seq":last});
        let frame = ServerFrame::parse(&page.to_string()).unwrap().unwrap();
        self.app.on_outcome(Outcome::Answer(Purpose::Page(conversation), Box::new(Ok(frame))));
        self.app.settle();
    }

    fn hears(&mut self, conversation: ConversationId, mut entry: Value) {
        entry["conversation"] = json!(conversation);
        let live: LiveEntry<'static> = serde_json::from_value(entry).unwrap();
        self.app.on_event(Event::Entry(live), Instant::now());
        self.app.settle();
    }

    fn requests(&mut self) -> Vec<Command> {
        let effects = self.app.take_effects();
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Request(command, _) => Some(*command),
                Effect::Typing(_) | Effect::Names(_) | Effect::Quit => None,
            })
            .collect()
    }

    /// The screen as text, without spaces at the ends of lines.
    fn screen(&mut self) -> String {
        let app = &mut self.app;
        self.terminal.draw(|frame| render::draw(frame, app, Instant::now())).unwrap();
        let buffer = self.terminal.backend().buffer();
        let width = usize::from(buffer.area.width);
        let rows = buffer
            .content
            .chunks(width)
            .map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned());
        rows.collect::<Vec<_>>().join("\n")
    }
}

fn user(name: &str) -> UserId {
    name.parse().unwrap()
}

fn bob() -> ConversationId {
    ConversationId::direct(&user("ada"), &user("bob"))
}

fn team() -> ConversationId {
    ConversationId::group(&user("ada"), "team")
}

/// A time of one day in 2004, in the zone of this machine, so that screens are the same everywhere.
fn at(hour: i8, minute: i8) -> u64 {
    let time = jiff::civil::date(2004, 11, 15).at(hour, minute, 0, 0);
    let zoned = time.to_zoned(jiff::tz::TimeZone::system()).unwrap();
    u64::try_from(zoned.timestamp().as_millisecond()).unwrap()
}

fn message(seq: u64, from: &str, at: u64, text: &str) -> Value {
    json!({"seq":seq,"kind":"message","from":from,"at":at,"client_msg_id":format!("{from}-{seq}"),"text":text})
}

fn talk() -> Value {
    let mut edited = message(2, "ada", at(12, 1), "yes, and you?");
    edited["edited_seq"] = json!(4);
    edited["reactions"] = json!([{"emoji":"+1","count":2,"mine":true}]);
    let mut reply = message(
        3,
        "bob",
        at(12, 3),
        "lunch? \u{1b}[31mThere is a new place around the corner that I would like to try",
    );
    reply["reply_to"] = json!(2);
    json!([message(1, "bob", at(12, 0), "are you there?"), edited, reply])
}

#[test]
fn an_open_conversation_in_80_by_24() {
    let mut chat = Chat::start(80, 24);
    // The group is pinned, so bob is below it.
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    chat.loads(&talk());
    let expected = "\
ada – Tab: list          │ Bob
# Team                 ↑z│
  Bob: a word to al… 2004│
○ Bob                    │
  lunch?             2004│
                         │             the conversation begins here
                         │────────────── Monday, 15 November 2004 ──────────────
                         │Bob 12:00
                         │  are you there?
                         │you 12:01
                         │  yes, and you? edited ✓✓
                         │  +1 2
                         │──────────────────────── new ────────────────────────
                         │Bob 12:03
                         │  ┃ ada: yes, and you?
                         │  lunch? ␛[31mThere is a new place around the
                         │  corner that I would like to try
                         │──────────────────────────────────────────────────────
                         │>
                         │ Enter send  ↑ select  Tab list  ^N new  F1 keys";
    let screen = chat.screen();
    let squeezed: Vec<&str> = screen.lines().filter(|line| !line.trim_matches(['│', ' ']).is_empty()).collect();
    assert_eq!(squeezed.join("\n"), expected, "\n{screen}");
    assert!(
        chat.requests().iter().any(|command| matches!(command, Command::MarkRead(read) if read.seq.0 == 3)),
        "what is seen is read"
    );
}

#[test]
fn a_message_is_shown_at_once_and_then_as_saved() {
    let mut chat = Chat::start(80, 24);
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    chat.loads(&talk());
    chat.requests();
    chat.types("see you").key(KeyCode::Enter);
    assert!(chat.screen().contains("see you ◌"));
    let Some(Command::Send(send)) = chat.requests().pop() else { panic!("it is sent") };
    let mut entry = message(4, "ada", at(12, 4), &send.text);
    entry["client_msg_id"] = json!(send.client_msg_id);
    chat.hears(bob(), entry);
    let screen = chat.screen();
    assert!(screen.contains("see you ✓") && !screen.contains('◌'), "{screen}");
}

#[test]
fn a_selected_message_is_answered_edited_deleted_and_reacted_to() {
    let mut chat = Chat::start(80, 24);
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    chat.loads(&talk());
    chat.requests();

    chat.key(KeyCode::Up).types("r");
    assert!(chat.screen().contains("reply to Bob: lunch?"));
    chat.types("yes").key(KeyCode::Enter);
    let Some(Command::Send(send)) = chat.requests().pop() else { panic!("it is sent") };
    assert_eq!(send.reply_to.map(|seq| seq.0), Some(3));

    chat.key(KeyCode::Up).key(KeyCode::Up).types("e");
    assert!(chat.screen().contains("> yes, and you?"));
    chat.types("!").key(KeyCode::Enter);
    let Some(Command::Edit(edit)) = chat.requests().pop() else { panic!("it is edited") };
    assert_eq!((edit.seq.0, edit.text.as_str()), (2, "yes, and you?!"));

    chat.key(KeyCode::Up).types("e");
    assert!(chat.screen().contains("only your own messages"), "bob's is his");
    chat.types("dn");
    assert!(!chat.requests().iter().any(|command| matches!(command, Command::Redact(_))), "it was not confirmed");
    chat.types("dy");
    assert!(matches!(chat.requests().pop(), Some(Command::Redact(redact)) if redact.seq.0 == 3));
    chat.types("a2");
    assert!(matches!(chat.requests().pop(), Some(Command::React(react)) if react.seq.0 == 3 && react.on));
}

#[test]
fn edits_redactions_and_reactions_are_folded_once_whatever_comes_first() {
    let mut chat = Chat::start(80, 24);
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    chat.loads(&talk());
    let change = |seq: u64, kind: &str, more: Value| {
        let mut entry = json!({"seq":seq,"kind":kind,"from":"bob","at":at(12, 5),"client_msg_id":format!("x-{seq}")});
        entry.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        entry
    };
    // The page stands at seq 3: what it holds already is not folded again.
    chat.hears(bob(), change(3, "reaction", json!({"target":2,"emoji":"+1","on":true})));
    assert!(chat.screen().contains("+1 2"));
    chat.hears(bob(), change(4, "reaction", json!({"target":2,"emoji":"+1","on":true})));
    assert!(chat.screen().contains("+1 3"));
    chat.hears(bob(), change(5, "edit", json!({"target":1,"text":"hello?"})));
    assert!(chat.screen().contains("hello?"));
    chat.hears(bob(), change(6, "redaction", json!({"target":1})));
    let screen = chat.screen();
    assert!(screen.contains("message deleted") && !screen.contains("hello?"), "{screen}");
}

#[test]
fn what_is_refused_says_why_and_can_be_taken_back() {
    let mut chat = Chat::start(80, 24);
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    chat.loads(&talk());
    chat.types("hi").key(KeyCode::Enter);
    let Some(Effect::Request(_, purpose)) = chat.app.take_effects().pop() else { panic!("it is sent") };
    let error = tidings_client::ClientError::TooLarge { bytes: 9, max: 3 };
    chat.app.on_outcome(Outcome::Answer(purpose, Box::new(Err(error))));
    assert!(chat.screen().contains("not sent: the request has 9 bytes"));
    chat.key(KeyCode::Up);
    let screen = chat.screen();
    assert!(screen.contains("> hi") && !screen.contains("not sent"), "{screen}");
}

#[test]
fn the_list_is_searched_and_a_new_name_begins_a_conversation() {
    let mut chat = Chat::start(80, 24);
    chat.types("bo").key(KeyCode::Enter);
    assert_eq!(chat.app.opened, Some(bob()));
    chat.control('f').types("zoë");
    assert!(chat.screen().contains("Enter: write to zoë"));
    chat.key(KeyCode::Enter).types("hi").key(KeyCode::Enter);
    let Some(Command::Send(send)) = chat.requests().pop() else { panic!("it is sent") };
    assert_eq!(send.to, tidings_client::To::User(user("zoë")));
    chat.control('g').types("Lunch: bob, zoë").key(KeyCode::Enter);
    assert!(matches!(chat.requests().pop(), Some(Command::Create(create)) if create.members.len() == 2));
}

#[test]
fn a_long_history_is_paged_in_and_stays_where_it_is_read() {
    let mut chat = Chat::start(80, 12);
    chat.key(KeyCode::Down).key(KeyCode::Down).key(KeyCode::Enter);
    let page: Vec<Value> =
        (51..=100).map(|seq| message(seq, "bob", at(12, 0) + seq * MINUTE * 10, &format!("number {seq}"))).collect();
    chat.loads(&json!(page));
    assert!(chat.screen().contains("number 100"));
    for _ in 0..30 {
        chat.key(KeyCode::PageUp);
        chat.screen();
    }
    let asked = chat.requests();
    let before = asked.iter().find_map(|command| match command {
        Command::Fetch(fetch) => fetch.page.before,
        _ => None,
    });
    assert_eq!(before.map(|seq| seq.0), Some(51));
    let was = chat.screen();
    chat.hears(bob(), message(101, "bob", at(13, 0) + 100 * MINUTE * 10, "newer"));
    let messages = |screen: &str| {
        screen.lines().skip(1).take(8).map(|line| line[line.find('│').unwrap()..].to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(messages(&chat.screen()), messages(&was), "it does not jump");
    assert!(chat.screen().contains("new below"));
}

#[test]
fn small_and_odd_screens_do_not_panic() {
    for (width, height) in [(1, 1), (5, 2), (20, 5), (59, 24), (60, 3), (200, 60)] {
        let mut chat = Chat::start(width, height);
        chat.screen();
        chat.key(KeyCode::Enter);
        chat.loads(&talk());
        chat.types("ein längerer Text mit 👩‍👩‍👧 und\u{200d}so weiter");
        keys::on_paste(&mut chat.app, "zwei\r\nZeilen");
        chat.screen();
        chat.app.on_status(&Status::Waiting { reason: "cut\x1b".to_owned(), retry_in_ms: 900 }, Instant::now());
        chat.app.mode = Mode::Help;
        chat.screen();
        chat.key(KeyCode::Esc).key(KeyCode::Tab);
        chat.screen();
    }
}
