//! `tidings inbox`: one line for each conversation.

use tidings_proto::frames::server::{Item, Who};

use crate::{cli::Shared, commands, failure::Result, names, output};

pub async fn run(shared: &Shared) -> Result<()> {
    let items = commands::connect(shared).await?.inbox().await?;
    for item in &items {
        if shared.json {
            output::json(item)?;
        } else {
            output::line(&row(item))?;
        }
    }
    if items.is_empty() && !shared.json {
        output::line("no conversations yet; begin one: tidings send USER TEXT")?;
    }
    Ok(())
}

fn row(item: &Item<'_>) -> String {
    let unread = match (item.unread, item.mentions) {
        (0, _) => String::new(),
        (unread, 0) => format!("({unread})"),
        (unread, mentions) => format!("({unread}, {mentions} @)"),
    };
    let group = if matches!(item.who, Who::Group { .. }) { "#" } else { "" };
    let last = item.last.as_ref();
    let at = last
        .and_then(|last| last.at)
        .map_or_else(String::new, |at| output::local(at).strftime("%Y-%m-%d %H:%M").to_string());
    let words = last.and_then(output::words).unwrap_or_default();
    let from = last.and_then(|last| last.from.as_ref()).map_or_else(String::new, |from| format!("{from}: "));
    let said = format!("{from}{}", words.lines().next().unwrap_or_default());
    let title = format!("{group}{}", names::title(item));
    output::printable(&format!("{at:16}  {title:24} {unread:>8}  {said}")).into_owned()
}
