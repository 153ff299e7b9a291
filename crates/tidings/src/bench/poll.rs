//! `poll`: what it costs to tell an old device that nothing is new. Each connection asks again as soon as it is answered; beside it the
//! same requests to a bare handler of the same framework.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tidings_client::http::Http;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use super::{
    Options,
    child::Kind,
    report::{Figure, Report, median},
    server::Server,
};

const CONNECTIONS: usize = 16;
const WARM_UP: Duration = Duration::from_millis(700);
/// An answer is a head and nothing more.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

#[derive(Default)]
struct Rounds {
    per_s: Vec<f64>,
    cpu_us: Vec<f64>,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let server = Server::start(&options.folder.join("poll"), &[]).await?;
    let bare = Server::of_kind(Kind::Handler, &options.folder).await?;
    let requests = polls_of_new_users(&server).await?;
    server.settle().await?;
    let (mut polls, mut handler) = (Rounds::default(), Rounds::default());
    for round in 1..=options.rounds {
        report.progress(&format!("poll: round {round} of {}", options.rounds))?;
        measure(&server, &requests, options.round, &mut polls).await?;
        measure(&bare, &requests, options.round, &mut handler).await?;
    }
    let per_s = Figure::new("poll", "empty polls", median(polls.per_s), "/s");
    report.add(per_s.against("bare handler", median(handler.per_s)).goal(0.6, 1.0))?;
    let cpu = Figure::new("poll", "server CPU an empty poll", median(polls.cpu_us), "us");
    // Judged by itself: what is to be reached is a number, not a ratio.
    report.add(cpu.goal(30.0, 15.0))?;
    report.add(Figure::new("poll", "bare handler, CPU an answer", median(handler.cpu_us), "us"))?;
    server.stop().await
}

/// One user a connection, who has one message and knows of it: each one's request as bytes.
async fn polls_of_new_users(server: &Server) -> anyhow::Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Changes {
        sync: String,
    }
    let http = Http::new(&server.url)?;
    let host = server.url.strip_prefix("http://").context("the server's address")?;
    http.login("writer", Some("bench")).await?;
    let mut requests = Vec::new();
    for place in 0..CONNECTIONS {
        let login = http.login(&format!("reader{place}"), Some("bench")).await?;
        let reader = http.clone().with_token(&login.token);
        let message = serde_json::json!({"to": {"user": "writer"}, "client_msg_id": "c-1", "text": "hi"});
        reader.call::<serde_json::Value>(http::Method::POST, "/v1/messages", Some(&message)).await?;
        let Changes { sync } = reader.call(http::Method::GET, "/v1/sync", None::<&()>).await?;
        requests.push(format!(
            "GET /v1/sync?sync={sync}&wait=0 HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\r\n",
            login.token
        ));
    }
    Ok(requests)
}

async fn measure(server: &Server, requests: &[String], round: Duration, rounds: &mut Rounds) -> anyhow::Result<()> {
    load(server, requests, WARM_UP).await?;
    let (before, began) = (server.usage()?, Instant::now());
    let answered = load(server, requests, round).await?;
    rounds.per_s.push(answered as f64 / began.elapsed().as_secs_f64());
    rounds.cpu_us.push(server.usage()?.since(before).cpu.as_secs_f64() * 1e6 / answered as f64);
    Ok(())
}

/// How many requests were answered.
async fn load(server: &Server, requests: &[String], length: Duration) -> anyhow::Result<u64> {
    let until = Instant::now() + length;
    let mut connections = JoinSet::new();
    for request in requests {
        connections.spawn(poll(server.url.clone(), request.clone(), until));
    }
    let mut answered = 0;
    while let Some(count) = connections.join_next().await {
        answered += count??;
    }
    Ok(answered)
}

async fn poll(url: String, request: String, until: Instant) -> anyhow::Result<u64> {
    let mut stream = TcpStream::connect(url.strip_prefix("http://").context("the server's address")?).await?;
    stream.set_nodelay(true)?;
    let (mut answered, mut answer) = (0, Vec::with_capacity(1024));
    while Instant::now() < until {
        stream.write_all(request.as_bytes()).await?;
        answer.clear();
        while !answer.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut answer).await? == 0 || answer.len() > ANSWER_BYTES_MAX {
                bail!("no answer: {}", String::from_utf8_lossy(&answer));
            }
        }
        if !answer.starts_with(b"HTTP/1.1 204 ") {
            bail!("not an empty answer: {}", String::from_utf8_lossy(&answer));
        }
        answered += 1;
    }
    Ok(answered)
}
