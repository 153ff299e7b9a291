//! `tidings archive`: what was moved out of the tables, and a round of it now.

use std::time::Duration;

use tidings_client::http::admin::{Archive as State, Archived};

use crate::{
    cli::{Archive, Shared},
    commands,
    failure::{Failure, Result},
    output,
};

/// How often a round under way is asked after.
const ASK_EVERY: Duration = Duration::from_millis(500);

pub async fn run(shared: &Shared, command: Archive) -> Result<()> {
    let (operator, is_to_run) = match &command {
        Archive::Run(operator) => (operator, true),
        Archive::Status(operator) => (operator, false),
    };
    let operator = commands::operator(shared, operator)?;
    let mut state = if is_to_run { operator.begin_archive().await? } else { operator.archive().await? };
    while is_to_run && state.is_running {
        tokio::time::sleep(ASK_EVERY).await;
        state = operator.archive().await?;
    }
    show(&state, shared.json)?;
    match &state.error {
        Some(error) if is_to_run => Err(Failure::refused(format!("the round ended early: {error}"))),
        _ => Ok(()),
    }
}

fn show(state: &State, json: bool) -> Result<()> {
    if json {
        return Ok(output::json(state)?);
    }
    if state.after_months == 0 {
        output::line("nothing is archived: archive.after_months is 0")?;
    } else {
        output::line(&format!("entries older than {} months go to {}", state.after_months, state.place))?;
    }
    if let Some(last) = &state.last {
        output::line(&said(last))?;
    }
    if state.is_running {
        output::line("a round is under way")?;
    }
    if let Some(error) = &state.error {
        output::line(&format!("the last round ended early: {error}"))?;
    }
    Ok(())
}

fn said(last: &Archived) -> String {
    let Archived { conversations, segments, blocks, entries, unpacked_bytes, packed_bytes, rows, failed } = last;
    let times = *unpacked_bytes as f64 / (*packed_bytes).max(1) as f64;
    let mut said = format!(
        "the last round looked at {conversations} conversations and moved {entries} entries as {blocks} blocks in \
         {segments} segments: {unpacked_bytes} bytes became {packed_bytes} ({times:.1} x), {rows} rows were deleted"
    );
    if *failed > 0 {
        said += &format!("; {failed} conversations could not be moved, the server's log says why");
    }
    said
}
