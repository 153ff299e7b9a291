//! What the screen looks like: the list, the open conversation, the line to write in, and what lies over them.

use std::time::Instant;

use ratatui::{
    Frame,
    layout::{Constraint, Layout, Rect},
    style::{Color, Style, Stylize},
    text::{Line, Span, Text},
    widgets::{Block, Clear, Paragraph},
};
use tidings_client::Seq;
use tidings_proto::frames::server::{PresenceState, Who};
use unicode_width::UnicodeWidthStr;

use super::{
    app::{App, Mode},
    conversation::Conversation,
    keys::EMOJIS,
    lines::{self, cut, one_line},
    render_list,
};
use crate::{names, output};

/// Below this, list and conversation are shown one at a time.
const TWO_PANES_WIDTH: u16 = 60;
const INPUT_LINES_MAX: usize = 6;

const HELP: &str = "\
Everywhere
  Ctrl-N  write to somebody        Ctrl-G  new group
  Ctrl-F  find a conversation      Alt-↑↓  next conversation
  PgUp PgDn  older, newer          Ctrl-C  leave
Writing
  Enter  send                      Alt-Enter  new line
  ↑ in an empty line  select a message
  Tab  to the list                 @name  calls somebody
On a selected message
  r  reply    e  edit    d  delete    a  react    Esc  back
Commands
  /add USER  /remove USER  /rename NAME  /leave
  /mute /unmute  /pin /unpin  /archive /unarchive
  /block /unblock [USER]  /name YOUR NAME
Ticks:  ◌ on its way  ✓ saved  ✓✓ delivered, bright: read";

/// Draws everything. Notes in `app` how much there is room for, and asks for older messages when the top is seen.
pub fn draw(frame: &mut Frame<'_>, app: &mut App, now: Instant) {
    let mut area = frame.area();
    if let Some((reason, until)) = &app.offline {
        let [banner, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
        area = rest;
        let left = until.saturating_duration_since(now).as_secs();
        let words = format!(" no connection, trying again in {left} s; what you send is kept ({})", one_line(reason));
        let style = Style::new().fg(Color::Black).bg(Color::Yellow);
        frame.render_widget(Line::from(cut(&words, usize::from(banner.width))).style(style), banner);
    }
    let two_panes = area.width >= TWO_PANES_WIDTH;
    let list_width = if two_panes { (area.width / 3).clamp(22, 34) } else { area.width };
    if two_panes {
        let [left, right] = Layout::horizontal([Constraint::Length(list_width), Constraint::Min(0)]).areas(area);
        render_list::draw(frame, app, left);
        conversation(frame, app, right);
    } else if app.mode == Mode::List || app.opened.is_none() {
        render_list::draw(frame, app, area);
    } else {
        conversation(frame, app, area);
    }
    if app.mode == Mode::Help {
        overlay(frame, " keys – any key closes ", HELP);
    }
}

fn conversation(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    let width = usize::from(area.width);
    let input = input_text(app, width);
    let input_height = u16::try_from(input.lines.len().clamp(1, INPUT_LINES_MAX)).unwrap_or(1);
    let [head, messages, above, writing, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Min(1),
        Constraint::Length(1),
        Constraint::Length(input_height),
        Constraint::Length(1),
    ])
    .areas(area);
    frame.render_widget(title(app, width), head);
    self::messages(frame, app, messages);
    frame.render_widget(above_input(app, width), above);
    write(frame, app, input, writing);
    frame.render_widget(footer(app, width), foot);
}

fn title(app: &App, width: usize) -> Line<'static> {
    let Some(open) = app.open() else {
        return Line::from(" Tidings").bold().style(Style::new().reversed());
    };
    let about = match &open.item.who {
        Who::Group { member_count, .. } => format!("{member_count} members"),
        Who::Direct { with, .. } => match app.presence.get(with) {
            _ if open.item.blocked => "blocked".to_owned(),
            Some(presence) if presence.state == PresenceState::Online => "online".to_owned(),
            Some(presence) => presence
                .last_seen
                .map_or_else(String::new, |at| format!("last seen {}", output::local(at).strftime("%-d %b %H:%M"))),
            None => String::new(),
        },
    };
    let name = one_line(&names::title(&open.item));
    let group = if open.with().is_none() { "# " } else { "" };
    let words = cut(&format!(" {group}{name}  {about}"), width);
    let padding = " ".repeat(width.saturating_sub(words.width()));
    Line::from(words + &padding).style(Style::new().reversed())
}

/// The messages, scrolled so that what is selected is seen.
fn messages(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    let (width, height) = (usize::from(area.width), usize::from(area.height));
    (app.width, app.height) = (width, height);
    let Some(open) = app.open() else {
        let words = Text::from(vec![
            Line::from(""),
            Line::from("Choose a conversation, or write to somebody: Ctrl-N"),
            Line::from("F1 shows all keys").dim(),
        ]);
        return frame.render_widget(Paragraph::new(words).centered(), area);
    };
    let selected = match app.mode {
        Mode::Select(seq) | Mode::React(seq) | Mode::Delete(seq) => Some(seq),
        _ => None,
    };
    // One screen more than is hidden, so that the selected one just above is there too.
    let blocks = lines::blocks(app, open, width, app.scroll + 2 * height);
    let total: usize = blocks.iter().map(|block| block.lines.len()).sum();
    let mut scroll = app.scroll.min(total.saturating_sub(height));
    if let Some((below, lines)) = place_of(&blocks, selected) {
        if below < scroll {
            scroll = below;
        }
        if below + lines > scroll + height {
            scroll = (below + lines).saturating_sub(height);
        }
    }
    let older = open.log.older_than().filter(|_| total < scroll + 2 * height);
    let conversation = open.item.conversation;
    let newest_first = blocks.into_iter().flat_map(|block| {
        let is_selected = selected.is_some() && block.seq == selected;
        let style = if is_selected { Style::new().bg(Color::Indexed(237)) } else { Style::new() };
        block.lines.into_iter().rev().map(move |line| line.patch_style(style))
    });
    let mut shown: Vec<Line<'static>> = newest_first.skip(scroll).take(height).collect();
    shown.reverse();
    let top = u16::try_from(height - shown.len()).unwrap_or(0);
    let place = Rect { y: area.y + top, height: area.height - top, ..area };
    frame.render_widget(Paragraph::new(shown), place);
    app.scroll = scroll;
    if let Some(before) = older {
        app.load(conversation, Some(before));
    }
}

/// How many lines lie below the block of `selected`, and how many it has.
fn place_of(blocks: &[lines::Block], selected: Option<Seq>) -> Option<(usize, usize)> {
    let mut below = 0;
    for block in blocks {
        if selected.is_some() && block.seq == selected {
            return Some((below, block.lines.len()));
        }
        below += block.lines.len();
    }
    None
}

/// The line between messages and writing: what is going on.
fn above_input(app: &App, width: usize) -> Line<'static> {
    if let Some((notice, _)) = &app.notice {
        return Line::from(cut(&format!(" {}", one_line(notice)), width)).fg(Color::Yellow);
    }
    let Some(open) = app.open() else { return Line::default() };
    let words = match app.mode {
        Mode::Delete(_) => " delete this message for everybody?  y: yes, any other key: no".to_owned(),
        Mode::React(_) => {
            EMOJIS.iter().zip(1..).fold(String::new(), |words, (emoji, digit)| format!("{words} {digit} {emoji} "))
        }
        _ if open.draft.editing.is_some() => " editing – Esc leaves it as it was".to_owned(),
        _ if open.draft.reply_to.is_some() => format!(" {} – Esc: no reply", answered(app, open)),
        _ if !open.typing.is_empty() => {
            let mut names: Vec<&str> = open.typing.keys().map(|user| app.name(user)).collect();
            names.sort_unstable();
            format!(" {} {} typing …", names.join(", "), if names.len() == 1 { "is" } else { "are" })
        }
        _ if app.scroll > 0 && open.item.unread > 0 => format!(" ▼ {} new below", open.item.unread),
        _ => return Line::from("─".repeat(width)).dim(),
    };
    Line::from(cut(&one_line_kept(&words), width)).fg(Color::Cyan)
}

fn answered(app: &App, open: &Conversation) -> String {
    let entry = open.draft.reply_to.and_then(|seq| open.log.get(seq));
    let from = entry.and_then(|entry| entry.from.as_ref()).map_or("", |from| app.name(from));
    let text = entry.and_then(|entry| entry.text.as_deref()).unwrap_or_default();
    format!("reply to {from}: {}", cut(&one_line(text), 40))
}

/// Harmless, with its spaces.
fn one_line_kept(text: &str) -> String {
    output::printable(text).replace(['\n', '\t'], " ")
}

/// What is being written, wrapped.
fn input_text(app: &App, width: usize) -> Text<'static> {
    let text = match (app.mode, app.open()) {
        (Mode::Prompt(prompt), _) => format!("{}{}", prompt.label(), app.prompt.value()),
        (_, Some(open)) => format!("> {}", open.draft.input.value()),
        (_, None) => String::new(),
    };
    Text::from(rows_of(&text, width).into_iter().map(Line::from).collect::<Vec<_>>())
}

/// Broken by columns, so that the cursor's place is plain.
fn rows_of(text: &str, width: usize) -> Vec<String> {
    let width = width.max(4);
    let mut rows = vec![String::new()];
    for char in output::printable(text).chars() {
        let row = rows.last_mut().expect("there is a first row");
        if char == '\n' {
            rows.push("  ".to_owned());
            continue;
        }
        row.push(if char == '\t' { ' ' } else { char });
        if row.width() >= width {
            rows.push(String::new());
        }
    }
    rows
}

fn write(frame: &mut Frame<'_>, app: &App, input: Text<'static>, area: Rect) {
    let before_cursor = match (app.mode, app.open()) {
        (Mode::Prompt(prompt), _) => format!("{}{}", prompt.label(), before(&app.prompt)),
        (Mode::Compose, Some(open)) => format!("> {}", before(&open.draft.input)),
        _ => {
            return frame.render_widget(Paragraph::new(input).dim(), area);
        }
    };
    let rows = rows_of(&before_cursor, usize::from(area.width));
    let row = rows.len() - 1;
    let hidden = (row + 1).saturating_sub(usize::from(area.height));
    let column = rows[row].width();
    frame.render_widget(Paragraph::new(input).scroll((u16::try_from(hidden).unwrap_or(0), 0)), area);
    let (x, y) = (u16::try_from(column).unwrap_or(0), u16::try_from(row.saturating_sub(hidden)).unwrap_or(0));
    frame.set_cursor_position((area.x + x.min(area.width.saturating_sub(1)), area.y + y));
}

/// What stands before the cursor.
fn before(input: &tui_input::Input) -> String {
    input.value().chars().take(input.cursor()).collect()
}

fn footer(app: &App, width: usize) -> Line<'static> {
    let words = match app.mode {
        Mode::Compose => " Enter send  ↑ select  Tab list  ^N new  F1 keys",
        Mode::List => " Enter open  type to find  ^N new  ^G group  F1 keys",
        Mode::Select(_) => " ↑↓ select  r reply  e edit  d delete  a react  Esc back",
        Mode::React(_) => " 1-8 react  Esc back",
        Mode::Delete(_) => " y delete  Esc back",
        Mode::Prompt(_) => " Enter go on  Esc back",
        Mode::Help => " any key closes",
    };
    Line::from(Span::from(cut(words, width)).dim())
}

fn overlay(frame: &mut Frame<'_>, title: &'static str, text: &'static str) {
    let area = frame.area();
    let lines = u16::try_from(text.lines().count()).unwrap_or(u16::MAX).saturating_add(2);
    let columns = u16::try_from(text.lines().map(UnicodeWidthStr::width).max().unwrap_or(0)).unwrap_or(u16::MAX);
    let (width, height) = (columns.saturating_add(4).min(area.width), lines.min(area.height));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(title).border_style(Style::new().fg(Color::Green));
    frame.render_widget(Paragraph::new(text).block(block), place);
}
