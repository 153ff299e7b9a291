//! `tidings history CONVERSATION`: pages of what was said, oldest first.

use futures_util::{StreamExt, TryStreamExt, stream};
use tidings_client::{Client, ConversationId, Seq};
use tidings_proto::frames::{
    client::Page,
    server::{EntriesPage, Entry},
};

use crate::{
    cli::{History, Shared},
    commands,
    failure::Result,
    names, output,
};

const PAGE_ENTRIES: usize = 200;
/// Pages asked for ahead of the one that is printed.
const PAGES_AHEAD: usize = 4;

pub async fn run(shared: &Shared, history: History) -> Result<()> {
    let client = commands::connect(shared).await?;
    let conversation = names::find_conversation(&client, &history.conversation).await?;
    let print = |entries: &[Entry<'_>]| entries.iter().try_for_each(|entry| print_one(entry, shared.json));
    if history.all {
        return all(&client, conversation, print).await;
    }
    let limit = history.limit as usize;
    if let Some(after) = history.after {
        let mut after = Seq(after);
        let mut left = limit;
        while left > 0 {
            let page = Page { after: Some(after), limit: Some(left.min(PAGE_ENTRIES)), ..Page::default() };
            let page = client.fetch(conversation, page).await?;
            let Some(last) = page.entries.last() else { break };
            (after, left) = (last.seq, left.saturating_sub(page.entries.len()));
            print(&page.entries)?;
        }
        return Ok(());
    }
    print(&backwards(&client, conversation, history.before.map(Seq), limit).await?)
}

/// The newest `limit` entries before `before`, ascending.
pub async fn backwards(
    client: &Client,
    conversation: ConversationId,
    mut before: Option<Seq>,
    limit: usize,
) -> Result<Vec<Entry<'static>>> {
    let mut pages: Vec<Vec<Entry<'static>>> = Vec::new();
    let mut left = limit;
    while left > 0 {
        let page = Page { before, limit: Some(left.min(PAGE_ENTRIES)), ..Page::default() };
        let page = client.fetch(conversation, page).await?;
        let Some(first) = page.entries.first() else { break };
        (before, left) = (Some(first.seq), left.saturating_sub(page.entries.len()));
        let is_whole = first.seq <= page.first_seq;
        pages.push(page.entries);
        if is_whole {
            break;
        }
    }
    Ok(pages.into_iter().rev().flatten().collect())
}

/// Everything, several pages ahead.
async fn all(
    client: &Client,
    conversation: ConversationId,
    mut print: impl FnMut(&[Entry<'_>]) -> Result<()>,
) -> Result<()> {
    let newest = client.fetch(conversation, Page { limit: Some(1), ..Page::default() }).await?;
    let (first, last) = (newest.first_seq.0, newest.last_seq.0);
    let starts = (first..=last).step_by(PAGE_ENTRIES);
    let mut pages = stream::iter(starts)
        .map(|start| range(client, conversation, start, (start + PAGE_ENTRIES as u64 - 1).min(last)))
        .buffered(PAGES_AHEAD);
    while let Some(entries) = pages.try_next().await? {
        print(&entries)?;
    }
    Ok(())
}

/// The entries `from` to `to`, in as many pages as their bytes need.
async fn range(client: &Client, conversation: ConversationId, from: u64, to: u64) -> Result<Vec<Entry<'static>>> {
    let mut entries: Vec<Entry<'static>> = Vec::new();
    let mut after = from - 1;
    while after < to {
        let limit = usize::try_from(to - after).unwrap_or(PAGE_ENTRIES).min(PAGE_ENTRIES);
        let page = Page { after: Some(Seq(after)), limit: Some(limit), ..Page::default() };
        let EntriesPage { entries: more, .. } = client.fetch(conversation, page).await?;
        let Some(last) = more.last() else { break };
        after = last.seq.0;
        entries.extend(more);
    }
    Ok(entries)
}

/// One entry, as people or scripts read it.
fn print_one(entry: &Entry<'_>, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(entry)?);
    }
    if let Some(text) = as_text(entry) {
        output::line(&text)?;
    }
    Ok(())
}

/// `seq date time from: words`, further lines of it indented.
pub fn as_text(entry: &Entry<'_>) -> Option<String> {
    let words = output::words(entry)?.replace('\n', "\n    ");
    let at = entry.at.map_or_else(String::new, |at| output::local(at).strftime("%Y-%m-%d %H:%M:%S").to_string());
    let from = entry.from.as_ref().map_or("", AsRef::as_ref);
    let reply =
        entry.more.as_deref().and_then(|more| more.reply_to).map_or_else(String::new, |seq| format!("[to {seq}] "));
    Some(output::printable(&format!("{:>6}  {at}  {from}: {reply}{words}", entry.seq)).into_owned())
}
