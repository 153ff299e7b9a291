//! Printing for people: nothing that others wrote may steer the terminal.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use jiff::{Timestamp, Zoned, tz::TimeZone};
use serde::Serialize;
use tidings_proto::frames::server::{Entry, Kind};

/// A line on standard output.
pub fn line(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{text}")
}

/// A value as one line of JSON on standard output.
pub fn json(value: &impl Serialize) -> io::Result<()> {
    line(&serde_json::to_string(value)?)
}

/// Text without characters that steer a terminal: they are shown as pictures. Line breaks and tabs stay.
pub fn printable(text: &str) -> Cow<'_, str> {
    let steers = |char: char| (char.is_control() && !"\n\t".contains(char)) || is_direction(char);
    if !text.chars().any(steers) {
        return Cow::Borrowed(text);
    }
    let picture = |char: char| match char {
        '\0'..='\x1f' if steers(char) => char::from_u32(0x2400 + u32::from(char)).unwrap_or('\u{fffd}'),
        _ if steers(char) => '\u{fffd}',
        _ => char,
    };
    Cow::Owned(text.chars().map(picture).collect())
}

/// Overrides of the writing direction, which can make a line show something else than it says.
fn is_direction(char: char) -> bool {
    matches!(char, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A moment in the zone of this machine.
pub fn local(at_ms: u64) -> Zoned {
    let at = Timestamp::from_millisecond(i64::try_from(at_ms).unwrap_or(0)).unwrap_or(Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::system())
}

/// What an entry says, in one or more lines; `None` for those that only alter others.
pub fn words(entry: &Entry<'_>) -> Option<String> {
    let names = |users: &[tidings_client::UserId]| users.iter().map(AsRef::as_ref).collect::<Vec<&str>>().join(", ");
    let more = entry.more.as_deref();
    match entry.kind {
        Kind::Message | Kind::Tip => {
            if more.is_some_and(|more| more.redacted.is_some()) {
                return Some("(deleted)".to_owned());
            }
            let edited = if more.is_some_and(|more| more.edited_seq.is_some()) { " (edited)" } else { "" };
            Some(format!("{}{edited}", entry.text.as_deref().unwrap_or_default()))
        }
        Kind::Members => {
            let more = more?;
            let mut parts = Vec::new();
            let from = entry.from.as_slice();
            if more.remove == from {
                parts.push("left".to_owned());
            } else if !more.remove.is_empty() {
                parts.push(format!("removed {}", names(&more.remove)));
            }
            if !more.add.is_empty() {
                parts.push(format!("added {}", names(&more.add)));
            }
            parts.extend(more.roles.iter().map(|(user, role)| format!("made {user} {role:?}").to_lowercase()));
            Some(format!("* {}", parts.join(", ")))
        }
        Kind::Rename => Some(format!("* named this {}", more?.name.as_deref().unwrap_or_default())),
        Kind::Edit | Kind::Redaction | Kind::Reaction | Kind::Void | Kind::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_others_wrote_steers_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\x07\u{9b}c\u{202e}d\te\nf"), "a␛[31mb␇\u{fffd}c\u{fffd}d\te\nf");
        assert!(matches!(printable("Grüße 👋🏽"), Cow::Borrowed(_)));
    }
}
