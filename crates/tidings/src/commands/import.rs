//! `tidings import FILE --conversation NAME`: the messages of a file into a group, in the file's order.
//!
//! Read twice: first all of it, so that a wrong line is told before anything is sent and the authors are known; then in batches. Each message has the
//! `client_msg_id` `import:<line>`, so that an import that was cut off is begun again and nothing is doubled.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
    time::{Duration, Instant},
};

use flate2::read::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::{Timestamp, civil, tz::TimeZone};
use serde::Deserialize;
use tidings_client::{
    UserId,
    http::{
        Http, admin,
        admin::{ImportConversation, ImportMessage, ImportUser, Imported},
    },
};

use crate::{
    cli::{Import, Shared},
    commands,
    failure::{Failure, Result},
    output,
};

/// What one call of the server takes.
const BATCH: usize = 1_000;
/// Bytes of JSON that one call carries; the server takes 1 MiB.
const BATCH_BYTES: usize = 900 * 1024;
/// Bytes of JSON around a message's text and its author's name.
const FRAMING_BYTES: usize = 512;

pub async fn run(shared: &Shared, import: Import) -> Result<()> {
    let started = Instant::now();
    let operator = commands::operator(shared, &import.operator)?;
    let survey = survey(&import.file)?;
    let bar = progress(survey.lines);
    let users = resolve(&operator, &survey.authors).await?;
    let owner = match &import.owner {
        Some(owner) => Some(UserId::new(owner).map_err(|error| Failure::usage(format!("--owner: {error}")))?),
        None => None,
    };
    let mut importer = Importer {
        operator,
        conversation: ImportConversation { name: import.conversation.clone(), owner },
        users,
        known: HashSet::new(),
        batch: admin::Import {
            conversation: ImportConversation { name: String::new(), owner: None },
            users: Vec::new(),
            messages: Vec::new(),
        },
        bytes: 0,
        imported: 0,
        repeats: 0,
        answer: None,
    };
    let done = importer.take_all(&import.file, &bar).await;
    bar.finish_and_clear();
    let saved = importer.imported + importer.repeats;
    done.map_err(|failure| {
        failure.and(&format!("{saved} messages are saved; run it again and it goes on from there"))
    })?;
    tell(shared, &import, &importer, survey.authors.len(), started.elapsed())
}

fn tell(shared: &Shared, import: &Import, importer: &Importer, authors: usize, took: Duration) -> Result<()> {
    let Some(answer) = &importer.answer else {
        return Err(Failure::usage(format!("{}: there is no message in it", import.file.display())));
    };
    let Importer { imported, repeats, .. } = importer;
    if shared.json {
        output::json(&serde_json::json!({
            "conversation": answer.conversation, "imported": imported, "repeats": repeats, "last_seq": answer.last_seq,
            "authors": authors, "seconds": took.as_secs_f64(),
        }))?;
    } else {
        output::line(&format!(
            "{imported} messages of {authors} people imported into {:?} ({}) in {:.1} s; {repeats} were there already",
            import.conversation,
            answer.conversation,
            took.as_secs_f64()
        ))?;
    }
    Ok(())
}

/// On a terminal; nothing otherwise.
fn progress(lines: u64) -> ProgressBar {
    let style = "{bar:30} {human_pos} of {human_len} lines, {per_sec}, {eta} left";
    ProgressBar::new(lines).with_style(ProgressStyle::with_template(style).expect("the template is right"))
}

struct Importer {
    operator: Http,
    conversation: ImportConversation,
    users: HashMap<String, UserId>,
    /// Who was in a batch already.
    known: HashSet<UserId>,
    batch: admin::Import,
    bytes: usize,
    imported: u64,
    repeats: u64,
    answer: Option<Imported>,
}

impl Importer {
    async fn take_all(&mut self, file: &Path, bar: &ProgressBar) -> Result<()> {
        let mut lines = Lines::open(file)?;
        while let Some(message) = lines.next()? {
            self.add(message).await?;
            bar.set_position(lines.number);
        }
        self.flush().await
    }

    async fn add(&mut self, message: Message) -> Result<()> {
        let bytes = FRAMING_BYTES + json_bytes(&message.text) + json_bytes(&message.from);
        if self.batch.messages.len() == BATCH || self.bytes + bytes > BATCH_BYTES {
            self.flush().await?;
        }
        let user = self.users[&message.from].clone();
        if self.known.insert(user.clone()) {
            self.batch.users.push(ImportUser { user: user.clone(), name: message.from });
        }
        self.bytes += bytes;
        self.batch.messages.push(ImportMessage {
            client_msg_id: format!("import:{}", message.line),
            from: user,
            at: message.at_ms,
            text: message.text,
        });
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        if self.batch.messages.is_empty() {
            return Ok(());
        }
        self.batch.conversation = self.conversation.clone();
        let answer = patiently(|| self.operator.import(&self.batch)).await?;
        self.imported += answer.imported;
        self.repeats += answer.repeats;
        self.answer = Some(answer);
        self.batch.users.clear();
        self.batch.messages.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// How long a text is at most as JSON.
fn json_bytes(text: &str) -> usize {
    text.bytes()
        .map(|byte| {
            if byte < b' ' {
                6
            } else if b"\"\\".contains(&byte) {
                2
            } else {
                1
            }
        })
        .sum()
}

/// The user ids of display names, given by the server: the same ones in every run.
async fn resolve(operator: &Http, authors: &[String]) -> Result<HashMap<String, UserId>> {
    let mut users = HashMap::with_capacity(authors.len());
    for names in authors.chunks(BATCH) {
        let resolved = patiently(|| operator.resolve_users(names.to_vec())).await?;
        users.extend(resolved.into_iter().map(|user| (user.name, user.user)));
    }
    match authors.iter().find(|name| !users.contains_key(*name)) {
        Some(name) => Err(Failure::refused(format!("the server gave no user id for {name:?}"))),
        None => Ok(users),
    }
}

/// Repeats a call while the server says that it cannot now; calls of an import may be repeated.
async fn patiently<T, F>(mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T, tidings_client::ClientError>>,
{
    const TRIES: u32 = 8;
    for attempt in 1.. {
        match call().await {
            Err(error) if attempt < TRIES && is_busy(&error) => {
                tokio::time::sleep(Duration::from_millis(250) * attempt).await
            }
            answer => return Ok(answer?),
        }
    }
    unreachable!("the last attempt returns")
}

fn is_busy(error: &tidings_client::ClientError) -> bool {
    use tidings_proto::Code;
    matches!(error.code(), Some(Code::Unavailable | Code::RateLimited))
}

/// What a first reading finds.
struct Survey {
    lines: u64,
    /// In order of their first message.
    authors: Vec<String>,
}

fn survey(file: &Path) -> Result<Survey> {
    let mut lines = Lines::open(file)?;
    let mut authors = Vec::new();
    let mut seen = HashSet::new();
    while let Some(message) = lines.next()? {
        if seen.insert(message.from.clone()) {
            authors.push(message.from);
        }
    }
    Ok(Survey { lines: lines.number, authors })
}

struct Message {
    line: u64,
    from: String,
    at_ms: u64,
    text: String,
}

/// The messages of a file, plain or compressed.
struct Lines {
    name: String,
    reader: Box<dyn BufRead + Send>,
    buffer: Vec<u8>,
    /// Of the line read last, from 1.
    number: u64,
}

impl Lines {
    fn open(path: &Path) -> Result<Self> {
        let name = path.display().to_string();
        let wrong = |error: std::io::Error| Failure::usage(format!("failed to read {name}: {error}"));
        let mut file = BufReader::new(File::open(path).map_err(wrong)?);
        let is_gzip = file.fill_buf().map_err(wrong)?.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read + Send> = if is_gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        let reader = Box::new(BufReader::with_capacity(256 * 1024, reader));
        Ok(Self { name, reader, buffer: Vec::new(), number: 0 })
    }

    fn next(&mut self) -> Result<Option<Message>> {
        loop {
            self.buffer.clear();
            let read = self.reader.read_until(b'\n', &mut self.buffer);
            if read.map_err(|error| Failure::usage(format!("failed to read {}: {error}", self.name)))? == 0 {
                return Ok(None);
            }
            self.number += 1;
            if !self.buffer.trim_ascii().is_empty() {
                return match message(self.number, &self.buffer) {
                    Ok(message) => Ok(Some(message)),
                    Err(what) => Err(Failure::usage(format!("{} line {}: {what}", self.name, self.number))),
                };
            }
        }
    }
}

#[derive(Deserialize)]
struct Line {
    from: String,
    text: String,
    at: At,
    day: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum At {
    Milliseconds(u64),
    Text(String),
}

fn message(line: u64, bytes: &[u8]) -> Result<Message, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("it is not UTF-8: {error}"))?;
    let Line { from, text, at, day } = serde_json::from_str(text).map_err(|error| {
        // A file has one object a line: the reader's own "line 1" would mislead.
        let what = error.to_string();
        let what = what.split(" at line ").next().unwrap_or_default();
        format!(
            r#"{what} at column {}; a line is an object like {{"from":"ada","text":"hi","at":1700000000000}}"#,
            error.column()
        )
    })?;
    if text.contains('\0') || from.contains('\0') {
        return Err("it contains NUL".to_owned());
    }
    if from.is_empty() {
        return Err("from: it is empty".to_owned());
    }
    Ok(Message { line, from, at_ms: at_ms(&at, day.as_deref())?, text })
}

/// Milliseconds, RFC 3339, or the time of a `day` (in UTC).
fn at_ms(at: &At, day: Option<&str>) -> Result<u64, String> {
    let ms = match (at, day) {
        (At::Milliseconds(ms), _) => return Ok(*ms),
        (At::Text(at), Some(day)) => {
            let day: civil::Date = day.parse().map_err(|error| format!("day: {error}"))?;
            let time: civil::Time = at.parse().map_err(|error| format!("at: {error}"))?;
            let at = day.to_datetime(time).to_zoned(TimeZone::UTC).map_err(|error| format!("day: {error}"))?;
            at.timestamp().as_millisecond()
        }
        (At::Text(at), None) => {
            at.parse::<Timestamp>().map_err(|error| format!("at without day: {error}"))?.as_millisecond()
        }
    };
    ms.try_into().map_err(|_| "at: it is before 1970".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<(u64, String), String> {
        message(1, line.as_bytes()).map(|message| (message.at_ms, message.text))
    }

    #[test]
    fn times_are_read_in_all_three_ways_and_texts_are_kept() {
        let expected = Ok((1_100_521_080_000, " \t\u{1}x ".to_owned()));
        for at in [r#""at":1100521080000"#, r#""at":"2004-11-15T13:18:00+01:00""#, r#""day":"2004-11-15","at":"12:18""#]
        {
            assert_eq!(read(&format!(r#"{{"from":"a","text":" \t\u0001x ",{at}}}"#)), expected, "{at}");
        }
    }

    #[test]
    fn a_wrong_line_says_what_is_wrong() {
        for (line, what) in [
            (r#"{"from":"a","text":"x"}"#, "at"),
            (r#"{"from":"a","text":"\u0000","at":1}"#, "NUL"),
            (r#"{"from":"","text":"x","at":1}"#, "from"),
            (r#"{"from":"a","text":"x","at":"12:18"}"#, "at"),
            ("{", "EOF"),
        ] {
            let error = read(line).unwrap_err();
            assert!(error.contains(what), "{line}: {error}");
        }
    }
}
