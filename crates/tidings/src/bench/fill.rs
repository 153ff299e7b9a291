//! Much data, the way clients make it: many connections that send as fast as they are acknowledged.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::raw::PONG;
use tokio::task::JoinSet;

use super::{
    load::{Sends, connect},
    report::Report,
    server::Server,
};

/// People who write to each other, and to how many each.
const PEOPLE: usize = 200;
const FRIENDS: usize = 50;
/// Conversations that [`conversations`] makes.
pub const CONVERSATIONS: usize = PEOPLE * FRIENDS;
const WINDOW: u64 = 16;
const WINDOW_OF_ONE: u64 = 512;
const AT_ONCE: usize = 32;
const SILENCE: Duration = Duration::from_secs(60);
/// How often a long filling says how far it is.
const STEP: Duration = Duration::from_secs(10);

/// `messages` in a direct conversation of ada and bob: its id.
pub async fn one_conversation(server: &Server, messages: u64, report: &Report) -> anyhow::Result<String> {
    report.progress(&format!("{messages} messages into one conversation"))?;
    drop(connect(&server.url, "bob").await?);
    let sends = Sends::new(r#"{"user":"bob"}"#, 1);
    send(server.url.clone(), "ada".to_owned(), sends, messages, WINDOW_OF_ONE).await
}

/// About `messages` over [`CONVERSATIONS`] direct conversations, both sides writing.
pub async fn conversations(server: &Server, messages: u64, report: &Report) -> anyhow::Result<()> {
    report.progress(&format!("{messages} messages over {CONVERSATIONS} conversations"))?;
    let name = |number: usize| format!("person{}", number % PEOPLE);
    // Everybody is known before anybody writes.
    let log_in = |number| async move { connect(&server.url, &name(number)).await.map(drop) };
    stream::iter(0..PEOPLE).map(log_in).buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let mut tasks = JoinSet::new();
    for number in 0..PEOPLE {
        let others = (1..=FRIENDS).flat_map(|step| [number + step, number + PEOPLE - step]);
        let to: Vec<_> = others.map(|other| format!(r#"{{"user":"{}"}}"#, name(other))).collect();
        let sends = Sends::to_any(&to, number as u64);
        tasks.spawn(send(server.url.clone(), name(number), sends, messages / PEOPLE as u64, WINDOW));
    }
    let began = Instant::now();
    let mut said = began;
    let mut done = 0;
    loop {
        tokio::select! {
            finished = tasks.join_next() => match finished {
                Some(finished) => {
                    finished??;
                    done += 1;
                }
                None => return Ok(()),
            },
            () = tokio::time::sleep_until((said + STEP).into()) => {
                said = Instant::now();
                report.progress(&format!("{done} of {PEOPLE} have sent all"))?;
            }
        }
    }
}

/// Sends `count` messages: the id of the last one's conversation.
async fn send(url: String, user: String, mut sends: Sends, count: u64, window: u64) -> anyhow::Result<String> {
    let mut connection = connect(&url, &user).await?;
    let (mut sent, mut acked) = (0, 0);
    let mut conversation = String::new();
    while acked < count {
        while sent < count && sent - acked < window {
            connection.writer.queue(sends.next());
            sent += 1;
        }
        if connection.writer.queued_bytes() > 0 {
            connection.writer.flush().await?;
        }
        let mut frame = Some(tokio::time::timeout(SILENCE, connection.reader.next()).await.context("no answer")??);
        while let Some(answer) = frame {
            match answer.kind() {
                "sent" => {
                    acked += 1;
                    if acked == count {
                        conversation = answer.conversation().to_owned();
                    }
                }
                "ping" => connection.writer.queue(PONG),
                "error" => bail!("refused: {}", answer.text()),
                _ => {}
            }
            frame = connection.reader.try_next()?;
        }
    }
    Ok(conversation)
}
