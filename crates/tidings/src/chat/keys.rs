//! What keys do, mode by mode.

use crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tidings_client::{ConversationId, Seq, To, UserId, new_client_msg_id};
use tidings_proto::frames::{
    client::{self, Command},
    server::Kind,
};
use tui_input::{Input, InputRequest};

use super::{
    app::{App, Effect, Mode, Purpose},
    log::Pending,
    prompt::{self, Prompt},
};

/// What a reaction is picked from.
pub const EMOJIS: [&str; 8] = ["👍", "❤️", "😂", "🎉", "😮", "😢", "👀", "✅"];

/// More than a server takes is no mention.
const MENTIONS_MAX: usize = 50;

pub fn on_key(app: &mut App, key: KeyEvent) {
    if key.kind == KeyEventKind::Release {
        return;
    }
    if everywhere(app, key) {
        return;
    }
    match app.mode {
        Mode::Compose => compose(app, key),
        Mode::List => list(app, key),
        Mode::Select(seq) => select(app, key, seq),
        Mode::React(seq) => react(app, key, seq),
        Mode::Delete(seq) => delete(app, key, seq),
        Mode::Prompt(prompt) => answer(app, key, prompt),
        Mode::Help => app.mode = resting(app),
    }
}

/// Pasted text is written, also with line breaks, and sent only by a person.
pub fn on_paste(app: &mut App, text: &str) {
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let line = text.replace('\n', " ");
    match app.mode {
        Mode::Compose => {
            if let Some(open) = app.open_mut() {
                insert(&mut open.draft.input, &text);
            }
        }
        Mode::List => insert(&mut app.search, &line),
        Mode::Prompt(_) => insert(&mut app.prompt, &line),
        Mode::Select(_) | Mode::React(_) | Mode::Delete(_) | Mode::Help => {}
    }
}

fn insert(input: &mut Input, text: &str) {
    for char in text.chars() {
        input.handle(InputRequest::InsertChar(char));
    }
}

/// Keys that mean the same in all modes; `false`: it is none of them.
fn everywhere(app: &mut App, key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let alt = key.modifiers.contains(KeyModifiers::ALT);
    match key.code {
        KeyCode::Char('c' | 'q') if control => app.effect(Effect::Quit),
        KeyCode::F(1) => app.mode = Mode::Help,
        KeyCode::Char('n') if control => ask(app, Prompt::NewMessage),
        KeyCode::Char('g') if control => ask(app, Prompt::NewGroup),
        KeyCode::Char('f' | 'k') if control => {
            app.search.reset();
            app.mode = Mode::List;
        }
        KeyCode::Up if alt => step(app, -1, true),
        KeyCode::Down if alt => step(app, 1, true),
        KeyCode::PageUp => app.scroll += app.height.saturating_sub(2).max(1),
        KeyCode::PageDown => app.scroll = app.scroll.saturating_sub(app.height.saturating_sub(2).max(1)),
        _ => return false,
    }
    true
}

fn ask(app: &mut App, prompt: Prompt) {
    app.prompt.reset();
    app.mode = Mode::Prompt(prompt);
}

/// Where one is when nothing special is going on.
fn resting(app: &App) -> Mode {
    if app.opened.is_some() { Mode::Compose } else { Mode::List }
}

/// Marks the next conversation of the list, and opens it.
fn step(app: &mut App, by: isize, open: bool) {
    let listed = app.listed();
    let Some(last) = listed.len().checked_sub(1) else { return };
    let place = app.marked.and_then(|marked| listed.iter().position(|id| *id == marked));
    let next = place.map_or(0, |place| place.saturating_add_signed(by).min(last));
    app.marked = Some(listed[next]);
    if open {
        app.show(listed[next]);
    }
}

fn compose(app: &mut App, key: KeyEvent) {
    let Some(open) = app.open_mut() else {
        app.mode = Mode::List;
        return;
    };
    let newline = key.modifiers.intersects(KeyModifiers::ALT | KeyModifiers::SHIFT);
    let is_empty = open.draft.input.value().is_empty();
    match key.code {
        KeyCode::Enter if newline => drop(open.draft.input.handle(InputRequest::InsertChar('\n'))),
        KeyCode::Char('j') if key.modifiers.contains(KeyModifiers::CONTROL) => {
            open.draft.input.handle(InputRequest::InsertChar('\n'));
        }
        KeyCode::Enter => send(app),
        KeyCode::Esc if open.draft.reply_to.is_some() || open.draft.editing.is_some() => {
            if open.draft.editing.take().is_some() {
                open.draft.input.reset();
            }
            open.draft.reply_to = None;
        }
        KeyCode::Esc | KeyCode::Tab => app.mode = Mode::List,
        KeyCode::Up if is_empty => {
            if let Some(failed) = open.log.take_failed() {
                open.draft.input = Input::new(failed.text);
            } else if let Some(newest) = open.log.newest() {
                app.mode = Mode::Select(newest);
            }
        }
        KeyCode::End if is_empty => app.scroll = 0,
        _ => {
            let was = open.draft.input.value().len();
            edit_line(&mut open.draft.input, key);
            let (conversation, grew) = (open.item.conversation, open.draft.input.value().len() > was);
            if grew && open.item.last_seq > Seq::NONE {
                app.effect(Effect::Typing(conversation));
            }
        }
    }
}

/// The usual keys of a line of text.
fn edit_line(input: &mut Input, key: KeyEvent) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    let by_word = control || key.modifiers.contains(KeyModifiers::ALT);
    let request = match key.code {
        KeyCode::Char('a') if control => InputRequest::GoToStart,
        KeyCode::Char('e') if control => InputRequest::GoToEnd,
        KeyCode::Char('u') if control => InputRequest::DeleteFromStart,
        KeyCode::Char('w') if control => InputRequest::DeletePrevWord,
        KeyCode::Char('y') if control => InputRequest::Yank,
        KeyCode::Char('b') if by_word && !control => InputRequest::GoToPrevWord,
        KeyCode::Char('f') if by_word && !control => InputRequest::GoToNextWord,
        KeyCode::Char(char) if !by_word => InputRequest::InsertChar(char),
        KeyCode::Backspace if by_word => InputRequest::DeletePrevWord,
        KeyCode::Backspace => InputRequest::DeletePrevChar,
        KeyCode::Delete => InputRequest::DeleteNextChar,
        KeyCode::Left if by_word => InputRequest::GoToPrevWord,
        KeyCode::Right if by_word => InputRequest::GoToNextWord,
        KeyCode::Left => InputRequest::GoToPrevChar,
        KeyCode::Right => InputRequest::GoToNextChar,
        KeyCode::Home => InputRequest::GoToStart,
        KeyCode::End => InputRequest::GoToEnd,
        _ => return,
    };
    input.handle(request);
}

/// Sends what was written: a message, an edit, or a command.
fn send(app: &mut App) {
    let Some(open) = app.open_mut() else { return };
    let conversation = open.item.conversation;
    let line = open.draft.input.value().to_owned();
    if line.trim().is_empty() {
        return;
    }
    if line.starts_with('/') && !line.starts_with("//") && open.draft.editing.is_none() {
        match prompt::slash(&line, conversation, open.with()) {
            Ok(command) => {
                open.draft.input.reset();
                app.request(command, Purpose::Other);
            }
            Err(what) => app.notify(what),
        }
        return;
    }
    let text = if line.starts_with("//") { line[1..].to_owned() } else { line };
    open.draft.input.reset();
    let client_msg_id = new_client_msg_id();
    if let Some(seq) = open.draft.editing.take() {
        let is_same = open.log.get(seq).is_some_and(|entry| entry.text.as_deref() == Some(&text));
        if !is_same {
            app.request(Command::Edit(client::Edit { client_msg_id, conversation, seq, text }), Purpose::Other);
        }
        return;
    }
    let reply_to = open.draft.reply_to.take();
    let to = open.with().cloned().map_or(To::Conversation(conversation), To::User);
    open.unread_from = None;
    open.log.pending.push(Pending { client_msg_id: client_msg_id.clone(), text: text.clone(), failed: None });
    let mentions = mentions(&text);
    let purpose = Purpose::Message(conversation, client_msg_id.clone());
    let message = client::Send { to, client_msg_id, text, mentions, reply_to, attachments: Vec::new(), data: None };
    app.request(Command::Send(message), purpose);
    app.scroll = 0;
}

/// `@name` in a text calls that user, `@all` everybody.
fn mentions(text: &str) -> Vec<String> {
    let mut mentions = Vec::new();
    for word in text.split_whitespace().filter_map(|word| word.strip_prefix('@')) {
        let name = word.trim_end_matches(|char: char| ".,;:!?)".contains(char));
        let mention = if name == "all" { "@all".to_owned() } else { name.to_owned() };
        if !mention.is_empty() && !mentions.contains(&mention) && mentions.len() < MENTIONS_MAX {
            mentions.push(mention);
        }
    }
    mentions
}

fn list(app: &mut App, key: KeyEvent) {
    match key.code {
        KeyCode::Up => step(app, -1, false),
        KeyCode::Down => step(app, 1, false),
        KeyCode::Tab => app.mode = resting(app),
        KeyCode::Esc => {
            if app.search.value().is_empty() {
                app.mode = resting(app);
            }
            app.search.reset();
        }
        KeyCode::Enter => {
            let listed = app.listed();
            let searched = app.search.value().trim().to_owned();
            match app.marked.filter(|marked| listed.contains(marked)).or(listed.first().copied()) {
                Some(conversation) => app.show(conversation),
                None => open_user(app, &searched),
            }
        }
        _ => {
            edit_line(&mut app.search, key);
            // The first match is marked while one types.
            if !app.search.value().is_empty() {
                app.marked = app.listed().first().copied();
            }
        }
    }
}

fn open_user(app: &mut App, name: &str) {
    match UserId::new(name.trim_start_matches('@')) {
        Ok(user) => app.show_user(user),
        Err(_) => app.notify("write a username"),
    }
}

fn answer(app: &mut App, key: KeyEvent, prompt: Prompt) {
    match key.code {
        KeyCode::Esc => app.mode = resting(app),
        KeyCode::Enter => {
            let line = app.prompt.value_and_reset();
            app.mode = resting(app);
            match prompt {
                Prompt::NewMessage => open_user(app, line.trim()),
                Prompt::NewGroup => match prompt::group(&line) {
                    Ok(command) => app.request(command, Purpose::Create),
                    Err(what) => app.notify(what),
                },
            }
        }
        _ => edit_line(&mut app.prompt, key),
    }
}

fn select(app: &mut App, key: KeyEvent, seq: Seq) {
    let Some(open) = app.open_mut() else { return };
    let is_message = open.log.get(seq).is_some_and(|entry| {
        entry.kind == Kind::Message && entry.more.as_ref().is_none_or(|more| more.redacted.is_none())
    });
    match key.code {
        KeyCode::Up | KeyCode::Char('k') => {
            app.mode = Mode::Select(open.log.neighbour(seq, true).unwrap_or(seq));
        }
        KeyCode::Down | KeyCode::Char('j') => match open.log.neighbour(seq, false) {
            Some(next) => app.mode = Mode::Select(next),
            None => app.mode = Mode::Compose,
        },
        KeyCode::Char('r') | KeyCode::Enter if is_message => {
            open.draft.editing = None;
            open.draft.reply_to = Some(seq);
            app.mode = Mode::Compose;
        }
        KeyCode::Char('e') if is_message => edit(app, seq),
        KeyCode::Char('d') | KeyCode::Delete if is_message => app.mode = Mode::Delete(seq),
        KeyCode::Char('a' | '+') if is_message => app.mode = Mode::React(seq),
        KeyCode::Esc | KeyCode::Tab | KeyCode::Char('q') => app.mode = Mode::Compose,
        _ => {}
    }
}

fn edit(app: &mut App, seq: Seq) {
    let me = app.me.clone();
    let Some(open) = app.open_mut() else { return };
    let Some(entry) = open.log.get(seq) else { return };
    if entry.from.as_ref() != Some(&me) {
        return app.notify("only your own messages can be edited");
    }
    let text = entry.text.as_deref().unwrap_or_default().to_owned();
    open.draft.input = Input::new(text);
    open.draft.reply_to = None;
    open.draft.editing = Some(seq);
    app.mode = Mode::Compose;
}

fn delete(app: &mut App, key: KeyEvent, seq: Seq) {
    app.mode = Mode::Select(seq);
    let Some(conversation) = app.opened else { return };
    if key.code == KeyCode::Char('y') {
        let redact = client::Redact { client_msg_id: new_client_msg_id(), conversation, seq };
        app.request(Command::Redact(redact), Purpose::Other);
    }
}

fn react(app: &mut App, key: KeyEvent, seq: Seq) {
    app.mode = Mode::Select(seq);
    let Some(conversation) = app.opened else { return };
    let KeyCode::Char(digit @ '1'..='8') = key.code else { return };
    let emoji = EMOJIS[digit as usize - '1' as usize];
    let on = !has_mine(app, seq, emoji);
    let react = react_to(conversation, seq, emoji, on);
    app.request(react, Purpose::Other);
    app.mode = Mode::Compose;
}

fn has_mine(app: &App, seq: Seq, emoji: &str) -> bool {
    let entry = app.open().and_then(|open| open.log.get(seq));
    let reactions = entry.and_then(|entry| entry.more.as_ref()).map(|more| more.reactions.as_slice());
    reactions.unwrap_or_default().iter().any(|reaction| reaction.emoji == emoji && reaction.mine)
}

fn react_to(conversation: ConversationId, seq: Seq, emoji: &str, on: bool) -> Command {
    let client_msg_id = new_client_msg_id();
    Command::React(client::React { client_msg_id, conversation, seq, emoji: emoji.to_owned(), on })
}
