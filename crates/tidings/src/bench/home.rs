//! `home`: an account with a thousand conversations. Its inbox right after a start of the server, again while it is in
//! memory, and a client that comes back when nothing has changed.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::raw::Connection;
use tidings_proto::frames::server::ServerFrame;

use super::{
    Options,
    load::{Sends, connect},
    report::{Figure, Report, median, percentile},
    server::Server,
};

const CONVERSATIONS: usize = 1_000;
/// Messages in each.
const MESSAGES: usize = 3;
const AT_ONCE: usize = 32;
const REQUESTS: usize = 100;
const SILENCE: Duration = Duration::from_secs(30);
const INBOX: &str = r#"{"type":"inbox","id":1,"limit":1000}"#;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let data = options.folder.join("home");
    report.progress(&format!("home: {CONVERSATIONS} conversations"))?;
    let server = Server::start(&data, &[]).await?;
    drop(connect(&server.url, "ada").await?);
    stream::iter(0..CONVERSATIONS)
        .map(|friend| write(&server.url, friend))
        .buffer_unordered(AT_ONCE)
        .try_collect::<()>()
        .await?;
    server.settle().await?;
    server.stop().await?;
    let (mut cold, mut warm, mut back, mut anew, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), Vec::new(), (0, 0));
    for round in 1..=options.rounds {
        report.progress(&format!("home: round {round} of {}", options.rounds))?;
        let server = Server::start(&data, &[]).await?;
        server.settle().await?;
        let mut ada = Connection::open(&server.url).await?;
        let first = ask(&mut ada, &[&hello(None), INBOX], "inbox").await?;
        cold.push(first.ms);
        let ServerFrame::Inbox(page) = ServerFrame::parse(&first.text)?.context("no inbox")? else { bail!("no inbox") };
        if page.items.len() != CONVERSATIONS || page.items.iter().any(|item| item.unread != MESSAGES as u64) {
            bail!("the inbox is not what was sent");
        }
        let mut times = Vec::new();
        for _ in 0..REQUESTS {
            times.push(ask(&mut ada, &[INBOX], "inbox").await?.ms);
        }
        warm.push(middle(times));
        let (mut times, mut times_anew) = (Vec::new(), Vec::new());
        for _ in 0..REQUESTS {
            let began = Instant::now();
            let mut again = Connection::open(&server.url).await?;
            let nothing = ask(&mut again, &[&hello(Some(&page.sync))], "changes").await?;
            times_anew.push(began.elapsed().as_secs_f64() * 1e3);
            times.push(nothing.ms);
            bytes = (first.text.len(), nothing.text.len());
        }
        back.push(middle(times));
        anew.push(middle(times_anew));
        server.stop().await?;
    }
    report.add(Figure::new("home", "login and inbox after a restart", median(cold), "ms").goal(30.0, 5.0))?;
    report.add(Figure::new("home", "inbox, warm, p50", median(warm), "ms").goal(6.0, 1.5))?;
    report.add(Figure::new("home", "back, nothing new, p50", median(back), "ms").goal(2.0, 0.3))?;
    report.add(Figure::new("home", "the same with a new socket", median(anew), "ms"))?;
    report.add(Figure::new("home", "inbox", bytes.0 as f64 / 1024.0, "KiB"))?;
    report.add(Figure::new("home", "nothing new", bytes.1 as f64, "B"))?;
    Ok(())
}

/// A friend writes to ada, and leaves.
async fn write(url: &str, friend: usize) -> anyhow::Result<()> {
    let mut connection = connect(url, &format!("friend{friend}")).await?;
    let mut sends = Sends::new(r#"{"user":"ada"}"#, friend as u64);
    for _ in 0..MESSAGES {
        ask(&mut connection, &[sends.next()], "sent").await?;
    }
    Ok(())
}

fn hello(sync: Option<&str>) -> String {
    serde_json::json!({ "type": "hello", "username": "ada", "device": "bench", "sync": sync }).to_string()
}

fn middle(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    percentile(&times, 0.5).unwrap_or(f64::NAN)
}

pub struct Answer {
    pub text: String,
    /// From the first byte of the request to the last one of the answer.
    pub ms: f64,
}

/// Says some frames at once and waits for one of a type.
pub async fn ask(connection: &mut Connection, frames: &[&str], kind: &str) -> anyhow::Result<Answer> {
    let began = Instant::now();
    frames.iter().for_each(|frame| connection.writer.queue(frame));
    connection.writer.flush().await?;
    loop {
        let frame = tokio::time::timeout(SILENCE, connection.reader.next()).await.context("no answer")??;
        match frame.kind() {
            "error" => bail!("refused: {}", frame.text()),
            found if found == kind => {
                return Ok(Answer { text: frame.text().to_owned(), ms: began.elapsed().as_secs_f64() * 1e3 });
            }
            _ => {}
        }
    }
}
