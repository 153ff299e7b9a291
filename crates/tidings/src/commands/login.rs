//! `tidings login USER`: proves that the server takes this user, and remembers them.

use tidings_client::http::Http;

use crate::{
    account::{self, Account},
    cli::Shared,
    failure::Result,
    output,
};

pub async fn run(shared: &Shared, user: &str) -> Result<()> {
    let before = account::remembered(&shared.url)?.filter(|account| account.user == user);
    let device = shared
        .device
        .clone()
        .or(before.map(|account| account.device))
        .unwrap_or_else(|| format!("command-line-{:06x}", rand::random::<u32>() >> 8));
    let login = Http::new(&shared.url)?.login(user, Some(&device)).await?;
    let account = Account { user: login.user.to_string(), device: login.device.to_string() };
    account::remember(&shared.url, account)?;
    if shared.json {
        output::json(&serde_json::json!({ "user": login.user, "device": login.device }))?;
    } else {
        output::line(&format!("logged in as {}", login.user))?;
    }
    Ok(())
}
