//! `tidings export CONVERSATION`: the whole log as JSON lines, texts byte for byte, authors named as they were imported.

use std::io::{self, BufWriter, Write};

use futures_util::{StreamExt, TryStreamExt, stream};
use serde_json::{Map, Value};
use tidings_client::{
    ClientError, ConversationId, Seq, UserId,
    http::{
        Http,
        admin::{ExportEntry, ExportPage},
    },
};

use crate::{
    cli::{Export, Shared},
    commands,
    failure::{Failure, Result},
};

const PAGE_ENTRIES: u64 = 200;
/// Pages asked for ahead of the one that is written.
const PAGES_AHEAD: usize = 4;

pub async fn run(shared: &Shared, export: Export) -> Result<()> {
    let operator = commands::operator(shared, &export.operator)?;
    let conversation = find(&operator, shared, &export.conversation).await?;
    let ExportPage { first_seq, last_seq, .. } = operator.export_page(conversation, Seq::NONE, 1).await?;
    let starts = (first_seq.0.max(1)..=last_seq.0).step_by(PAGE_ENTRIES as usize);
    let mut pages = stream::iter(starts)
        .map(|start| range(&operator, conversation, start, (start + PAGE_ENTRIES - 1).min(last_seq.0)))
        .buffered(PAGES_AHEAD);
    let mut out = BufWriter::with_capacity(256 * 1024, io::stdout().lock());
    while let Some(entries) = pages.try_next().await? {
        for entry in entries {
            serde_json::to_writer(&mut out, &line(entry)).map_err(io::Error::from)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(out.flush()?)
}

async fn find(operator: &Http, shared: &Shared, name: &str) -> Result<ConversationId> {
    if let Ok(conversation) = name.parse() {
        return Ok(conversation);
    }
    match operator.conversations_named(name).await?.as_slice() {
        [conversation] => Ok(*conversation),
        [] => {
            let account = commands::account(shared).map_err(|_| {
                Failure::usage(format!("no group is named {name:?}; for a user's conversation say whose with --user"))
            })?;
            let id = |name: &str| UserId::new(name).map_err(|error| Failure::usage(format!("{name:?}: {error}")));
            Ok(ConversationId::direct(&id(&account.user)?, &id(name)?))
        }
        several => {
            let ids: Vec<String> = several.iter().map(ToString::to_string).collect();
            Err(Failure::usage(format!("{name:?} is the name of several groups; say which: {}", ids.join(", "))))
        }
    }
}

/// The entries `from` to `to`, in as many pages as their bytes need.
async fn range(
    operator: &Http,
    conversation: ConversationId,
    from: u64,
    to: u64,
) -> Result<Vec<ExportEntry>, ClientError> {
    let mut entries: Vec<ExportEntry> = Vec::new();
    let mut after = from - 1;
    while after < to {
        let limit = usize::try_from(to - after).unwrap_or(1);
        let page = operator.export_page(conversation, Seq(after), limit).await?;
        let Some(last) = page.entries.last() else { break };
        after = last.entry.seq.0;
        entries.extend(page.entries);
    }
    Ok(entries)
}

/// `from` is what the author is called, `user` their id.
fn line(exported: ExportEntry) -> Map<String, Value> {
    let mut line = match serde_json::to_value(exported.entry) {
        Ok(Value::Object(fields)) => fields,
        _ => unreachable!("an entry is an object"),
    };
    if let Some(user) = line.remove("from") {
        let name = exported.from_name.map_or_else(|| user.clone(), Value::String);
        line.insert("from".to_owned(), name);
        line.insert("user".to_owned(), user);
    }
    line
}
