//! `relay`: messages through the whole server, from one socket to another. Each is acknowledged when it is durable, and
//! delivered. The baseline is the same server with journal and tables in memory; a bare echo shows what the sockets allow.

use std::time::Duration;

use super::{
    Options,
    child::Kind,
    load::{Counts, Pairs, Span, echo},
    report::{Figure, Report, median, percentile},
    server::Server,
    sync::sync_times,
};

const PAIRS: usize = 50;
const WINDOW: usize = 16;
const WARM_UP: Duration = Duration::from_millis(700);
const SYNCS: u64 = 500;

/// One measured round.
#[derive(Clone, Copy, Debug)]
struct Round {
    per_s: f64,
    p50_us: f64,
    p99_us: f64,
    cpu_us: f64,
    device_bytes: f64,
}

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let durable = Server::start(&options.folder.join("relay"), &[]).await?;
    let memory = Server::in_memory(&options.folder, &[]).await?;
    let bare = Server::of_kind(Kind::Echo, &options.folder).await?;
    for window in options.window.map_or(vec![WINDOW, 1], |window| vec![window]) {
        let mut rounds = Rounds::default();
        for round in 1..=options.rounds {
            report.progress(&format!("relay, window {window}: round {round} of {}", options.rounds))?;
            rounds.durable.push(relay(&durable, options, window).await?);
            rounds.memory.push(relay(&memory, options, window).await?);
            rounds.echo.push(echo_round(&bare, options, window).await?);
            let folder = options.folder.clone();
            let times = tokio::task::spawn_blocking(move || sync_times(&folder, SYNCS)).await??;
            rounds.sync_us.push(percentile(&times, 0.5).map_or(f64::NAN, |time| time.as_secs_f64() * 1e6));
        }
        rounds.tell(window, report)?;
    }
    durable.stop().await?;
    memory.stop().await?;
    Ok(())
}

async fn relay(server: &Server, options: &Options, window: usize) -> anyhow::Result<Round> {
    let pairs = Pairs::connect(&server.url, PAIRS, window).await?;
    server.settle().await?;
    let span = Span::after(WARM_UP, options.round);
    measure(server, span, pairs.run(span)).await
}

async fn echo_round(server: &Server, options: &Options, window: usize) -> anyhow::Result<Round> {
    let span = Span::after(WARM_UP, options.round);
    measure(server, span, echo(&server.url, PAIRS, window, span)).await
}

async fn measure(
    server: &Server,
    span: Span,
    load: impl Future<Output = anyhow::Result<Counts>>,
) -> anyhow::Result<Round> {
    let before = async {
        tokio::time::sleep_until(span.from.into()).await;
        server.usage()
    };
    let (counts, before) = tokio::try_join!(load, before)?;
    // What the load left to be flushed is its cost too.
    server.settle().await?;
    let used = server.usage()?.since(before);
    let of_latency = |share| percentile(&counts.latencies_us, share).map_or(f64::NAN, f64::from);
    Ok(Round {
        per_s: counts.acked.min(counts.delivered) as f64 / (span.to - span.from).as_secs_f64(),
        p50_us: of_latency(0.5),
        p99_us: of_latency(0.99),
        cpu_us: used.cpu.as_secs_f64() * 1e6 / counts.all_acked as f64,
        device_bytes: used.device_bytes as f64 / counts.all_acked as f64,
    })
}

#[derive(Default)]
struct Rounds {
    durable: Vec<Round>,
    memory: Vec<Round>,
    echo: Vec<Round>,
    sync_us: Vec<f64>,
}

impl Rounds {
    fn tell(&self, window: usize, report: &mut Report) -> anyhow::Result<()> {
        let of = |rounds: &[Round], figure: fn(&Round) -> f64| median(rounds.iter().map(figure).collect());
        let figure = |what: &str, unit, value: fn(&Round) -> f64| {
            let what = format!("{what}, window {window}");
            Figure::new("relay", what, of(&self.durable, value), unit).against("in memory", of(&self.memory, value))
        };
        let rate = figure("messages", "/s", |round| round.per_s);
        let latency = figure("acknowledged, p50", "us", |round| round.p50_us);
        if window == 1 {
            report.add(rate)?;
            let with_sync = of(&self.memory, |round| round.p50_us) + median(self.sync_us.clone());
            report.add(latency.against("in memory + fsync", with_sync).goal(2.5, 1.5))?;
        } else {
            report.add(rate.goal(0.5, 0.8))?;
            report.add(latency)?;
        }
        report.add(figure("acknowledged, p99", "us", |round| round.p99_us))?;
        report.add(figure("server CPU a message", "us", |round| round.cpu_us))?;
        report.add(Figure::new(
            "relay",
            "device bytes a message",
            of(&self.durable, |round| round.device_bytes),
            "B",
        ))?;
        report.add(Figure::new(
            "relay",
            format!("bare echo, window {window}"),
            of(&self.echo, |round| round.per_s),
            "/s",
        ))?;
        report.add(Figure::new("relay", "bare echo, CPU an echo", of(&self.echo, |round| round.cpu_us), "us"))?;
        report.add(Figure::new("relay", "fsync of 4 KiB, p50", median(self.sync_us.clone()), "us"))?;
        Ok(())
    }
}
