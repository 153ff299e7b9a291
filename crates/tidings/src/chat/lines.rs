//! Messages as lines of a given width. Pure; what others wrote is made harmless here.

use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::Zoned;
use ratatui::{
    style::{Color, Modifier, Style, Stylize},
    text::{Line, Span},
};
use textwrap::Options;
use tidings_client::{Seq, UserId};
use tidings_proto::frames::server::{Entry, Kind, Reaction, Who};
use unicode_width::UnicodeWidthStr;

use super::{app::App, conversation::Conversation, log::Pending};
use crate::output::{local, printable};

/// Messages of one author so close together stand under one name.
const GROUP_MS: u64 = 5 * 60 * 1000;
const AUTHOR_COLORS: [Color; 6] =
    [Color::Cyan, Color::Magenta, Color::Yellow, Color::Blue, Color::LightRed, Color::LightMagenta];

/// The lines of one entry, and which one it is.
pub struct Block {
    pub seq: Option<Seq>,
    pub lines: Vec<Line<'static>>,
}

/// The newest blocks that together fill `height` lines, newest first; fewer if there are no more here.
pub fn blocks(app: &App, open: &Conversation, width: usize, height: usize) -> Vec<Block> {
    let mut blocks: Vec<Block> = open.log.pending.iter().rev().map(|pending| pending_block(pending, width)).collect();
    let last = open.log.shown().next_back();
    if let Some(oldest) = blocks.last_mut()
        && last.is_none_or(|last| last.kind != Kind::Message || last.from.as_ref() != Some(&app.me))
    {
        oldest.lines.insert(0, Line::from("you").fg(Color::Green).bold());
    }
    let mut total: usize = blocks.iter().map(|block| block.lines.len()).sum();
    let mut newest_first = open.log.shown().rev().peekable();
    while let Some(entry) = newest_first.next() {
        if total >= height {
            return blocks;
        }
        let block = block(app, open, entry, newest_first.peek().copied(), width);
        total += block.lines.len();
        blocks.push(block);
    }
    blocks.push(beginning(open));
    blocks
}

/// How many lines the entry `seq`, one of the newest, takes.
pub fn height_of(app: &App, open: &Conversation, seq: Seq) -> usize {
    let few = open.log.pending.len() + app.height;
    let blocks = blocks(app, open, app.width, few);
    blocks.iter().find(|block| block.seq == Some(seq)).map_or(0, |block| block.lines.len())
}

fn beginning(open: &Conversation) -> Block {
    let text = if open.log.is_loading || !open.log.is_open() {
        "loading …"
    } else if open.log.older_than().is_some() {
        "…"
    } else if open.log.newest().is_none() && open.log.pending.is_empty() {
        "nothing was said yet: write the first message"
    } else {
        "the conversation begins here"
    };
    Block { seq: None, lines: vec![Line::from(text.to_owned()).dim().centered()] }
}

/// One entry, with what stands before it: the day, the line above the unread ones, the author.
fn block(
    app: &App,
    open: &Conversation,
    entry: &Entry<'static>,
    before: Option<&Entry<'static>>,
    width: usize,
) -> Block {
    let at = local(entry.at.unwrap_or_default());
    let mut lines = Vec::new();
    if before.is_none_or(|before| local(before.at.unwrap_or_default()).date() != at.date()) {
        lines.push(rule(&at.strftime("%A, %-d %B %Y").to_string(), width, Color::DarkGray));
    }
    let is_first_unread =
        open.unread_from.is_some_and(|from| entry.seq >= from && before.is_none_or(|before| before.seq < from));
    if is_first_unread {
        lines.push(rule("new", width, Color::Red));
    }
    if entry.kind == Kind::Message || entry.kind == Kind::Tip {
        if !lines.is_empty() || !is_of_one_group(before, entry) {
            lines.push(head(app, entry, &at));
        }
        lines.extend(message(app, open, entry, width));
    } else {
        let from = entry.from.as_ref().map_or("", |from| app.name(from));
        let said = crate::output::said(entry, from).unwrap_or_default();
        lines.extend(wrapped(&said, width, "  ", Style::new().dim().italic()));
    }
    Block { seq: Some(entry.seq), lines }
}

/// The same author, soon after, and both talk.
fn is_of_one_group(before: Option<&Entry<'_>>, entry: &Entry<'_>) -> bool {
    before.is_some_and(|before| {
        before.kind == Kind::Message
            && before.from == entry.from
            && entry.at.unwrap_or_default().saturating_sub(before.at.unwrap_or_default()) < GROUP_MS
    })
}

fn head(app: &App, entry: &Entry<'_>, at: &Zoned) -> Line<'static> {
    let (name, color) = match &entry.from {
        Some(from) if *from == app.me => ("you".to_owned(), Color::Green),
        Some(from) => (printable(app.name(from)).into_owned(), color_of(from)),
        None => (String::new(), Color::Reset),
    };
    Line::from(vec![
        Span::styled(name, Style::new().fg(color).bold()),
        Span::styled(format!(" {}", at.strftime("%H:%M")), Style::new().dim()),
    ])
}

fn message(app: &App, open: &Conversation, entry: &Entry<'static>, width: usize) -> Vec<Line<'static>> {
    let more = entry.more.as_deref();
    if more.is_some_and(|more| more.redacted.is_some()) {
        return vec![Line::from("  message deleted").dim().italic()];
    }
    let mut lines = Vec::new();
    if let Some(reply_to) = more.and_then(|more| more.reply_to) {
        lines.push(quote(app, open, reply_to, width));
    }
    lines.extend(wrapped(entry.text.as_deref().unwrap_or_default(), width, "  ", Style::new()));
    let mut notes = Vec::new();
    if more.is_some_and(|more| more.edited_seq.is_some()) {
        notes.push(Span::from("edited").dim());
    }
    if entry.from.as_ref() == Some(&app.me) {
        notes.push(tick(open, entry.seq));
    }
    if let Some(last) = lines.last_mut() {
        annotate(last, notes, width);
    }
    let reactions = more.map(|more| more.reactions.as_slice()).unwrap_or_default();
    if !reactions.is_empty() {
        lines.push(reaction_line(reactions));
    }
    lines
}

/// Puts notes behind a line if there is room, in the margin.
fn annotate(line: &mut Line<'static>, notes: Vec<Span<'static>>, width: usize) {
    for note in notes {
        if line.width() + 1 + note.width() <= width {
            line.push_span(" ");
            line.push_span(note);
        }
    }
}

/// How far an own message is: saved, delivered, read.
fn tick(open: &Conversation, seq: Seq) -> Span<'static> {
    match &open.item.who {
        Who::Direct { peer, .. } if peer.read_seq >= seq => Span::from("✓✓").light_blue().bold(),
        Who::Direct { peer, .. } if peer.delivered_seq >= seq => Span::from("✓✓").dim(),
        Who::Direct { .. } | Who::Group { .. } => Span::from("✓").dim(),
    }
}

fn quote(app: &App, open: &Conversation, reply_to: Seq, width: usize) -> Line<'static> {
    let text = match open.log.get(reply_to) {
        Some(entry) => {
            let from = entry.from.as_ref().map_or("", |from| app.name(from));
            format!("{from}: {}", entry.text.as_deref().unwrap_or("message deleted"))
        }
        None => format!("message {reply_to}"),
    };
    Line::from(cut(&format!("  ┃ {}", one_line(&text)), width)).dim().italic()
}

fn reaction_line(reactions: &[Reaction]) -> Line<'static> {
    let mut line = Line::from("  ");
    for reaction in reactions {
        let style = if reaction.mine { Style::new().bold().fg(Color::Green) } else { Style::new() };
        line.push_span(Span::styled(format!("{} {}", printable(&reaction.emoji), reaction.count), style));
        line.push_span("  ");
    }
    line
}

fn pending_block(pending: &Pending, width: usize) -> Block {
    let mut lines = wrapped(&pending.text, width, "  ", Style::new().dim());
    match &pending.failed {
        Some(reason) => lines.extend(wrapped(
            &format!("not sent: {reason} – ↑ takes it back"),
            width,
            "  ",
            Style::new().fg(Color::Red),
        )),
        None => {
            if let Some(last) = lines.last_mut() {
                annotate(last, vec![Span::from("◌").dim()], width);
            }
        }
    }
    Block { seq: None, lines }
}

/// Text in lines of at most `width` columns, each behind `indent`.
pub fn wrapped(text: &str, width: usize, indent: &'static str, style: Style) -> Vec<Line<'static>> {
    let text = printable(text).replace('\t', "    ");
    // Two columns stay free for a tick.
    let options = Options::new(width.saturating_sub(indent.len() + 3).max(8));
    let lines = textwrap::wrap(&text, options);
    lines.into_iter().map(|line| Line::from(Span::styled(format!("{indent}{line}"), style))).collect()
}

fn rule(words: &str, width: usize, color: Color) -> Line<'static> {
    let dashes = width.saturating_sub(words.width() + 2) / 2;
    let side = "─".repeat(dashes);
    Line::from(format!("{side} {words} {side}")).style(Style::new().fg(color).add_modifier(Modifier::BOLD))
}

/// Line breaks as spaces.
pub fn one_line(text: &str) -> String {
    printable(text).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most `width` columns, ended with an ellipsis if it was more.
pub fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut kept = String::new();
    for char in text.chars() {
        let mut longer = kept.clone();
        longer.push(char);
        if longer.width() + 1 > width {
            break;
        }
        kept = longer;
    }
    kept + "…"
}

fn color_of(user: &UserId) -> Color {
    let mut hasher = DefaultHasher::new();
    user.as_str().hash(&mut hasher);
    AUTHOR_COLORS[(hasher.finish() % AUTHOR_COLORS.len() as u64) as usize]
}
