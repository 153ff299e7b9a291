//! `history`: 50 entries from a random place of one long conversation, over WebSocket, by a client that asks for one page
//! after another.

use anyhow::bail;
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    Options, fill,
    home::ask,
    load::connect,
    report::{Figure, Report, median, percentile},
    server::Server,
};

const PAGES: usize = 2_000;
const PAGE_ENTRIES: usize = 50;

pub async fn run(options: &Options, report: &mut Report) -> anyhow::Result<()> {
    let data = options.folder.join("history");
    let server = Server::start(&data, &[]).await?;
    let conversation = fill::one_conversation(&server, options.messages, report).await?;
    server.settle().await?;
    server.stop().await?;
    let (mut p50, mut p99, mut cpu, mut random) = (Vec::new(), Vec::new(), Vec::new(), StdRng::seed_from_u64(1));
    for round in 1..=options.rounds {
        report.progress(&format!("history: round {round} of {}", options.rounds))?;
        let server = Server::start(&data, &[]).await?;
        server.settle().await?;
        let mut ada = connect(&server.url, "ada").await?;
        let before = server.usage()?;
        let mut times = Vec::new();
        for _ in 0..PAGES {
            let seq = random.random_range(PAGE_ENTRIES as u64..options.messages - PAGE_ENTRIES as u64);
            let fetch = format!(
                r#"{{"type":"fetch","id":1,"conversation":"{conversation}","before":{seq},"limit":{PAGE_ENTRIES}}}"#
            );
            let answer = ask(&mut ada, &[&fetch], "entries").await?;
            if answer.text.matches(r#""text":"#).count() != PAGE_ENTRIES {
                bail!("a page is not full: {}", answer.text);
            }
            times.push(answer.ms);
        }
        cpu.push(server.usage()?.since(before).cpu.as_secs_f64() * 1e6 / PAGES as f64);
        times.sort_by(f64::total_cmp);
        p50.extend(percentile(&times, 0.5));
        p99.extend(percentile(&times, 0.99));
        server.stop().await?;
    }
    report.add(Figure::new("history", "a page of 50, p50", median(p50), "ms").goal(1.0, 0.2))?;
    report.add(Figure::new("history", "a page of 50, p99", median(p99), "ms"))?;
    report.add(Figure::new("history", "server CPU a page", median(cpu), "us"))?;
    Ok(())
}
