//! `tidings devices`: where one is logged in, each with what it is and when it was there; to be named or logged out.

use tidings_client::{DeviceId, http::Http};
use tidings_proto::frames::server::Device;

use crate::{
    cli::{DeviceAct, Shared},
    commands,
    failure::{Failure, Result},
    output,
};

pub async fn run(shared: &Shared, act: Option<&DeviceAct>) -> Result<()> {
    let account = commands::account(shared)?;
    let http = Http::new(&shared.url)?;
    let login = http.login(&account.user, Some(&account.device)).await?;
    let http = http.with_token(&login.token);
    match act {
        None | Some(DeviceAct::List) => {
            let mut devices = http.devices().await?;
            devices.sort_by_key(|device| std::cmp::Reverse((device.connected, device.last_seen)));
            for device in &devices {
                show(shared, device, &login.device)?;
            }
            Ok(())
        }
        Some(DeviceAct::Name { which, name }) => {
            let named = http.name_device(&id(which)?, name).await?;
            show(shared, &named, &login.device)
        }
        Some(DeviceAct::Revoke { which }) => {
            let device = id(which)?;
            http.revoke_device(&device).await?;
            if shared.json {
                output::json(&serde_json::json!({ "device": device }))?;
            } else {
                output::line(&output::printable(&format!("{device} is logged out")))?;
            }
            Ok(())
        }
    }
}

fn id(text: &str) -> Result<DeviceId> {
    text.parse().map_err(|error| Failure::usage(format!("{text:?} names no device: {error}")))
}

fn show(shared: &Shared, device: &Device, this: &DeviceId) -> Result<()> {
    if shared.json {
        return Ok(output::json(device)?);
    }
    let seen = match device.last_seen {
        _ if device.connected => "connected".to_owned(),
        Some(at) => output::local(at).strftime("%Y-%m-%d %H:%M").to_string(),
        None => String::new(),
    };
    let this = if device.device == *this { "(this one)" } else { "" };
    let (name, platform) = (device.name.as_deref(), device.platform.as_deref());
    let (id, name, platform) = (&device.device, name.unwrap_or_default(), platform.unwrap_or_default());
    let row = format!("{id:28}  {seen:16}  {name:20}  {platform} {this}");
    Ok(output::line(output::printable(row.trim_end()).as_ref())?)
}
