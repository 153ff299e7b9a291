//! The list of conversations on the left: two lines each.

use jiff::Zoned;
use ratatui::{
    Frame,
    layout::Rect,
    style::{Color, Style, Stylize},
    text::{Line, Span},
    widgets::{Block, Borders, Paragraph},
};
use tidings_proto::frames::server::{Kind, PresenceState, Who};
use unicode_width::UnicodeWidthStr;

use super::{
    app::{App, Mode},
    conversation::Conversation,
    lines::{cut, one_line},
};
use crate::{names, output};

pub fn draw(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let is_here = app.mode == Mode::List;
    let border = if is_here { Style::new().fg(Color::Green) } else { Style::new().dim() };
    let block = Block::new().borders(Borders::RIGHT).border_style(border);
    let inner = block.inner(area);
    frame.render_widget(block, area);
    let width = usize::from(inner.width);

    let search = if is_here || !app.search.value().is_empty() {
        Line::from(vec![
            Span::from("/ ").fg(Color::Green),
            Span::from(tail_of(app.search.value(), width.saturating_sub(3))),
        ])
    } else {
        Line::from(cut(&format!("{} – Tab: list", app.me), width)).dim()
    };
    let listed = app.listed();
    let rows = usize::from(inner.height).saturating_sub(1) / 2;
    let marked = app.marked.and_then(|marked| listed.iter().position(|id| *id == marked)).unwrap_or(0);
    let first = marked.saturating_sub(rows.saturating_sub(1));
    let mut lines = vec![search];
    for id in listed.iter().skip(first).take(rows) {
        let style = match (app.marked == Some(*id), app.opened == Some(*id)) {
            (true, _) if is_here => Style::new().reversed(),
            (_, true) => Style::new().bold(),
            _ => Style::new(),
        };
        lines.extend(row(app, &app.conversations[id], width).map(|line| line.style(style)));
    }
    if listed.is_empty() {
        let hint = if app.search.value().is_empty() {
            "no conversations yet: Ctrl-N writes to somebody".to_owned()
        } else {
            format!("Enter: write to {}", app.search.value().trim())
        };
        lines.extend(textwrap::wrap(&hint, width.max(8)).into_iter().map(|line| Line::from(line.into_owned()).dim()));
    }
    frame.render_widget(Paragraph::new(lines), inner);
    if is_here {
        let column = app.search.visual_cursor().min(width.saturating_sub(3));
        frame.set_cursor_position((inner.x + 2 + u16::try_from(column).unwrap_or(0), inner.y));
    }
}

fn row(app: &App, conversation: &Conversation, width: usize) -> [Line<'static>; 2] {
    let item = &conversation.item;
    let mark = match &item.who {
        Who::Group { .. } => Span::from("# ").dim(),
        Who::Direct { with, .. } => match app.presence.get(with).map(|presence| presence.state) {
            Some(PresenceState::Online) => Span::from("● ").fg(Color::Green),
            _ => Span::from("○ ").dim(),
        },
    };
    let unread = match (item.unread, item.mentions) {
        (0, _) => String::new(),
        (unread, 0) => format!(" {unread} "),
        (unread, _) => format!(" @{unread} "),
    };
    let flags = format!("{}{}", if item.pinned { "↑" } else { "" }, if item.muted { "z" } else { "" });
    let title = cut(&one_line(&names::title(item)), width.saturating_sub(3 + unread.width() + flags.width()));
    let gap = width.saturating_sub(2 + title.width() + flags.width() + unread.width());
    let unread_style = if item.muted { Style::new().dim() } else { Style::new().fg(Color::Black).bg(Color::Green) };
    let title = if item.unread > 0 && !item.muted { Span::from(title).bold() } else { Span::from(title) };
    let first = Line::from(vec![
        mark,
        title,
        Span::from(" ".repeat(gap)),
        Span::from(flags).dim(),
        Span::styled(unread, unread_style),
    ]);
    [first, Line::from(preview(app, conversation, width)).dim()]
}

fn preview(app: &App, conversation: &Conversation, width: usize) -> String {
    let draft = conversation.draft.input.value();
    if !draft.is_empty() && app.opened != Some(conversation.item.conversation) {
        return cut(&format!("  draft: {}", one_line(draft)), width);
    }
    let Some(last) = &conversation.item.last else { return String::new() };
    let is_talk = matches!(last.kind, Kind::Message | Kind::Tip);
    let who = match &last.from {
        Some(from) if *from == app.me => "you",
        Some(from) if conversation.with().is_none() || !is_talk => app.name(from),
        _ => "",
    };
    let at = last.at.map_or_else(String::new, |at| when(&output::local(at), &Zoned::now()));
    let said = output::said(last, who).unwrap_or_default();
    let said = cut(&one_line(&said), width.saturating_sub(3 + at.width()));
    let gap = width.saturating_sub(2 + said.width() + at.width());
    format!("  {said}{}{at}", " ".repeat(gap))
}

/// The time today, the day this year, else the date.
fn when(at: &Zoned, now: &Zoned) -> String {
    let format = if at.date() == now.date() {
        "%H:%M"
    } else if at.year() == now.year() {
        "%-d %b"
    } else {
        "%Y"
    };
    at.strftime(format).to_string()
}

/// The end of a text that is longer than its place.
fn tail_of(text: &str, width: usize) -> String {
    let mut start = 0;
    while text[start..].width() > width {
        start += text[start..].chars().next().map_or(1, char::len_utf8);
    }
    text[start..].to_owned()
}
