//! `tidings cluster`: the nodes of a fleet, and the word that one drains or is dead.

use std::{
    io::{IsTerminal, stdout},
    time::Duration,
};

use tidings_client::http::{
    Http,
    admin::{Fleet, FleetNode},
};

use crate::{
    cli::{Cluster, Operator, Shared},
    commands,
    failure::{Failure, Result},
    output,
};

/// How often a fleet that is watched is asked again.
const WATCH_EVERY: Duration = Duration::from_secs(2);

/// The same while a drain is waited for.
const WAIT_EVERY: Duration = Duration::from_millis(500);

/// A terminal's word for: from the top, on an empty screen.
const CLEAR: &str = "\x1b[H\x1b[2J";

pub async fn run(shared: &Shared, command: Cluster) -> Result<()> {
    match &command {
        Cluster::Status { watch, operator } => {
            let http = commands::operator(shared, operator)?;
            if *watch { follow(&http, shared.json).await } else { show(&http.fleet().await?, shared.json) }
        }
        Cluster::Drain { node, wait, operator } => drain(shared, operator, node, *wait).await,
        Cluster::Remove { node, force, operator } => {
            let fleet = commands::operator(shared, operator)?.remove_node(node, *force).await?;
            if !shared.json {
                output::line(&format!("{node} is out of the fleet; the others take what it hosted"))?;
            }
            show(&fleet, shared.json)
        }
    }
}

/// Prints until it is interrupted. A node that does not answer for a while is asked on.
async fn follow(http: &Http, json: bool) -> Result<()> {
    let clears = !json && stdout().is_terminal();
    loop {
        match http.fleet().await {
            Ok(fleet) => {
                if clears {
                    output::line(CLEAR)?;
                }
                show(&fleet, json)?;
            }
            Err(error) => match Failure::from(error) {
                Failure::Unreachable(why) => eprintln!("tidings: {}", output::printable(&why)),
                refused => return Err(refused),
            },
        }
        tokio::time::sleep(WATCH_EVERY).await;
    }
}

async fn drain(shared: &Shared, operator: &Operator, node: &str, wait: bool) -> Result<()> {
    let http = commands::operator(shared, operator)?;
    let mut fleet = http.drain_node(node).await?;
    if !wait {
        if !shared.json {
            output::line(&format!("{node} is to drain"))?;
        }
        return show(&fleet, shared.json);
    }
    let is_it = |each: &&FleetNode| each.name.as_deref() == Some(node) || each.id == node;
    // Gone already: it has handed over and left before this was answered.
    let Some(draining) = fleet.nodes.iter().find(is_it).cloned() else { return show(&fleet, shared.json) };
    // Whoever drains takes no new calls.
    let http = if draining.answers { another(shared, operator, &fleet)? } else { http };
    let mut left = None;
    while let Some(it) = fleet.nodes.iter().find(|each| each.id == draining.id) {
        if left != Some(it.hosted) && !shared.json {
            output::line(&format!("{node}: {} shards left", it.hosted))?;
        }
        left = Some(it.hosted);
        tokio::time::sleep(WAIT_EVERY).await;
        fleet = http.fleet().await?;
    }
    if !shared.json {
        output::line(&format!("{node} has left the fleet"))?;
    }
    show(&fleet, shared.json)
}

/// A node that can be asked how far the one is that was asked first.
fn another(shared: &Shared, operator: &Operator, fleet: &Fleet) -> Result<Http> {
    let others = fleet.nodes.iter().filter(|node| node.state == "live" && !node.answers);
    let url = others.filter_map(|node| node.url.as_ref()).next().ok_or_else(|| {
        Failure::refused(
            "it drains; but it is the node that was asked, it takes no more calls, and no other one has a \
             node.public_url: ask another one with --url to see how far it is",
        )
    })?;
    commands::operator(&Shared { url: url.clone(), ..shared.clone() }, operator)
}

fn show(fleet: &Fleet, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(fleet)?);
    }
    Ok(output::line(&output::printable(&table(fleet)))?)
}

/// Columns as wide as what is in them.
fn table(fleet: &Fleet) -> String {
    const HEADS: [&str; 7] = ["node", "state", "shards", "wished", "quiet", "address", "id"];
    let mut rows = vec![HEADS.map(str::to_owned)];
    rows.extend(fleet.nodes.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<_> = (0..HEADS.len()).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    let mut lines: Vec<_> = rows.iter().map(line).collect();
    lines.push(summary(fleet));
    lines.join("\n")
}

fn row(node: &FleetNode) -> [String; 7] {
    let name = match &node.name {
        Some(name) if node.answers => format!("{name} (answers)"),
        Some(name) => name.clone(),
        None => "-".to_owned(),
    };
    let silent = if node.is_silent { ", silent" } else { "" };
    [
        name,
        format!("{}{silent}", node.state),
        node.hosted.to_string(),
        node.wished.to_string(),
        format!("{:.1} s", node.quiet_ms as f64 / 1_000.0),
        node.url.clone().or_else(|| node.address.clone()).unwrap_or_else(|| "-".to_owned()),
        node.id.clone(),
    ]
}

fn summary(fleet: &Fleet) -> String {
    if fleet.is_alone {
        return "this server works alone: there is no fleet".to_owned();
    }
    let view = fleet.view_epoch;
    if fleet.counted_epoch < view {
        return format!("view {view}; the shards are being counted anew");
    }
    match fleet.moving {
        0 => format!("view {view}; every shard is where it should be"),
        moving => format!("view {view}; {moving} of {} shards are on their way", fleet.shards),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: &str, hosted: u64) -> FleetNode {
        FleetNode {
            id: format!("id-of-{name}"),
            name: (state != "gone").then(|| name.to_owned()),
            url: None,
            address: Some(format!("{name}:8090")),
            weight: 1,
            state: state.to_owned(),
            quiet_ms: 3_400,
            is_silent: state == "gone",
            hosted,
            wished: 8_192,
            answers: name == "one",
        }
    }

    #[test]
    fn a_fleet_is_a_table_that_says_what_is_on_its_way() {
        let nodes = vec![node("one", "live", 8_192), node("two", "draining", 12), node("three", "gone", 5)];
        let mut fleet = Fleet { is_alone: false, view_epoch: 7, counted_epoch: 7, shards: 16_384, moving: 17, nodes };
        let shown = table(&fleet);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[1].starts_with("one (answers)  live          8192"), "{shown}");
        assert!(lines[2].contains("draining") && lines[3].starts_with('-') && lines[3].contains("gone, silent"));
        assert_eq!(lines[4], "view 7; 17 of 16384 shards are on their way");
        fleet.moving = 0;
        assert!(table(&fleet).ends_with("every shard is where it should be"));
        fleet.counted_epoch = 6;
        assert!(table(&fleet).ends_with("being counted anew"));
    }
}
