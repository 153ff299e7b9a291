//! `tidings tail [CONVERSATION]`: what is said, as it is said, over cuts.

use std::{collections::HashMap, io::Write};

use tidings_client::{Event, Status};
use tidings_proto::frames::server::LiveEntry;

use crate::{
    cli::{Shared, Tail},
    commands::{self, history},
    failure::Result,
    names, output,
};

pub async fn run(shared: &Shared, tail: Tail) -> Result<()> {
    let (client, mut events) = commands::builder(shared)?.connect().await?;
    let mut status = client.status();
    status.mark_unchanged();
    let only = match &tail.conversation {
        Some(name) => Some(names::find_conversation(&client, name).await?),
        None => None,
    };
    // Live entries wait in the queue while these are read; none is printed twice.
    let mut printed = HashMap::new();
    if let Some(conversation) = only {
        for entry in history::backwards(&client, conversation, None, tail.lines.into()).await? {
            printed.insert(conversation, entry.seq);
            print(&LiveEntry { conversation, entry }, None, shared.json)?;
        }
    }
    let mut titles = HashMap::new();
    loop {
        tokio::select! {
            event = events.next() => match event {
                Some(Event::Entry(live)) => {
                    let is_new = printed.get(&live.conversation).is_none_or(|seq| *seq < live.entry.seq);
                    if is_new && only.is_none_or(|only| only == live.conversation) {
                        let title = if only.is_none() { titles.get(&live.conversation) } else { None };
                        print(&live, title.map(String::as_str), shared.json)?;
                        client.ack(live.conversation, live.entry.seq).await?;
                    }
                }
                Some(Event::Changes(changes)) => {
                    titles.extend(changes.items.iter().map(|item| (item.conversation, names::title(item))));
                }
                Some(Event::Receipt(_) | Event::Typing(_) | Event::Presence(_) | Event::Expiring { .. }) => {}
                None => return ended(&status.borrow()),
            },
            Ok(()) = status.changed() => match &*status.borrow_and_update() {
                Status::Connected(_) => eprintln!("tidings: connected"),
                Status::Waiting { reason, .. } => eprintln!("tidings: {}; connecting again", output::printable(reason)),
                Status::Ended { .. } => {}
            },
        }
    }
}

fn ended(status: &Status) -> Result<()> {
    match status {
        Status::Ended { error } => Err(error.clone().into()),
        Status::Connected(_) | Status::Waiting { .. } => Ok(()),
    }
}

fn print(live: &LiveEntry<'_>, title: Option<&str>, json: bool) -> Result<()> {
    if json {
        output::json(live)?;
    } else if let Some(text) = history::as_text(&live.entry) {
        let place = title.map_or_else(String::new, |title| format!("[{}]", output::printable(title)));
        output::line(&format!("{place}{text}"))?;
    }
    Ok(std::io::stdout().flush()?)
}
