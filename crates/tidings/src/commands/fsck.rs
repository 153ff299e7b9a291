//! `tidings fsck`: whether inboxes, states and logs of a store fit each other.

use tidings_server::{config::Store, fsck::Report, serve};

use crate::{
    cli::Fsck,
    commands,
    failure::{Failure, Result},
    output,
};

pub async fn run(command: Fsck, json: bool) -> Result<()> {
    let Fsck { mend, all_stopped, data, settings } = command;
    let config = commands::config(settings, data.map(|data| ("data".to_owned(), data)))?;
    // Opening would make the folder, and an empty one has no faults.
    if matches!(config.store, Store::Embedded) && !config.data.is_dir() {
        let data = config.data.display();
        return Err(Failure::usage(format!("there is no data folder {data}; --data names the one to check")));
    }
    let report =
        serve::fsck::fsck(config, mend, all_stopped).await.map_err(|error| Failure::refused(error.to_string()))?;
    let faults: Vec<String> = report.faults.iter().map(ToString::to_string).collect();
    if json {
        let Report { conversations, entries, homes, items, mended, .. } = report;
        output::json(&serde_json::json!({
            "conversations": conversations, "entries": entries, "homes": homes, "items": items,
            "faults": faults, "mended": mended,
        }))?;
    } else {
        faults.iter().try_for_each(|fault| output::line(fault))?;
        output::line(&format!(
            "{} conversations with {} entries, {} homes with {} items: {} faults, {} mended",
            report.conversations,
            report.entries,
            report.homes,
            report.items,
            faults.len(),
            report.mended
        ))?;
    }
    match faults.len() as u64 - report.mended {
        0 => Ok(()),
        left => Err(Failure::refused(format!("{left} faults are left"))),
    }
}
