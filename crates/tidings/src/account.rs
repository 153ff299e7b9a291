//! Who this is, remembered between commands: a file in the user's config folder, readable by nobody else.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use crate::failure::{Failure, Result};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub user: String,
    pub device: String,
}

/// The accounts of each server.
#[derive(Debug, Default, Serialize, Deserialize)]
struct File {
    accounts: BTreeMap<String, Account>,
}

/// The account at `url`, if one was remembered.
pub fn remembered(url: &str) -> Result<Option<Account>> {
    Ok(read()?.accounts.remove(url))
}

/// Remembers `account` at `url`, instead of the one before.
pub fn remember(url: &str, account: Account) -> Result<()> {
    let mut file = read()?;
    file.accounts.insert(url.to_owned(), account);
    let path = path()?;
    let folder = path.parent().expect("the file lies in a folder");
    fs::create_dir_all(folder)?;
    let next = path.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    out.write_all(&serde_json::to_vec_pretty(&file).expect("names are plain text"))?;
    out.sync_all()?;
    fs::rename(&next, &path)?;
    Ok(())
}

fn read() -> Result<File> {
    let path = path()?;
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
        Err(error) => return Err(Failure::refused(format!("failed to read {}: {error}", path.display()))),
    };
    serde_json::from_slice(&bytes)
        .map_err(|error| Failure::usage(format!("{} is damaged, remove it and log in again: {error}", path.display())))
}

/// By the XDG base directory specification.
fn path() -> Result<PathBuf> {
    let folder = match (std::env::var_os("XDG_CONFIG_HOME"), std::env::var_os("HOME")) {
        (Some(config), _) if !config.is_empty() => PathBuf::from(config),
        (_, Some(home)) if !home.is_empty() => PathBuf::from(home).join(".config"),
        _ => return Err(Failure::usage("set HOME or XDG_CONFIG_HOME: the account is remembered there")),
    };
    Ok(folder.join("tidings").join("account.json"))
}
