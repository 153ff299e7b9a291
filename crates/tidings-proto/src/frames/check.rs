//! Holds a request against the limits: a value above its maximum is refused by name, never cut.

use crate::{
    frames::client::{Command, Fetch, Page, Send, To},
    limits::{Limits, TAIL_MAX},
};

type Checked = Result<(), String>;

/// `Err`: what to change, beginning with the field's name. The caller answers `bad_request`.
pub fn check(command: &Command, limits: &Limits) -> Checked {
    match command {
        Command::Send(send) => check_send(send, limits),
        Command::Fetch(fetch) => check_fetch(fetch, limits),
        Command::Inbox(inbox) => {
            at_most("limit", inbox.limit.unwrap_or(1), limits.inbox)?;
            at_least_one("limit", inbox.limit)?;
            at_most("tail", inbox.tail.unwrap_or(0), TAIL_MAX)
        }
        Command::Sync(sync) => at_most("tail", sync.tail.unwrap_or(0), TAIL_MAX),
        Command::Hello(hello) => at_most("tail", hello.tail.unwrap_or(0), TAIL_MAX),
        Command::Watch(watch) => at_most("users", watch.users.len(), limits.watch_users),
        Command::Create(create) => {
            name("client_msg_id", &create.client_msg_id, limits.client_msg_id_bytes)?;
            group_name(&create.name, limits)?;
            at_most("members", create.members.len(), limits.members_a_call)
        }
        Command::Members(members) => {
            name("client_msg_id", &members.client_msg_id, limits.client_msg_id_bytes)?;
            let count = members.add.len() + members.remove.len() + members.roles.len();
            at_most("add, remove and roles together", count, limits.members_a_call)?;
            if count == 0 { Err("add, remove or roles: name at least one user".to_owned()) } else { Ok(()) }
        }
        Command::Rename(rename) => {
            name("client_msg_id", &rename.client_msg_id, limits.client_msg_id_bytes)?;
            group_name(&rename.name, limits)
        }
        Command::Edit(edit) => {
            name("client_msg_id", &edit.client_msg_id, limits.client_msg_id_bytes)?;
            text(&edit.text, limits)
        }
        Command::React(react) => {
            name("client_msg_id", &react.client_msg_id, limits.client_msg_id_bytes)?;
            name("emoji", &react.emoji, limits.emoji_bytes)
        }
        Command::Leave(leave) => name("client_msg_id", &leave.client_msg_id, limits.client_msg_id_bytes),
        Command::Redact(redact) => name("client_msg_id", &redact.client_msg_id, limits.client_msg_id_bytes),
        Command::Profile(profile) => {
            at_most_chars("name", profile.name.as_deref().unwrap_or_default(), limits.name_chars)?;
            at_most_bytes("picture", profile.picture.as_deref().unwrap_or_default(), 1024)
        }
        Command::Device(device) => {
            at_most_chars("name", device.name.as_deref().unwrap_or_default(), limits.name_chars)?;
            at_most_chars("platform", device.platform.as_deref().unwrap_or_default(), limits.name_chars)
        }
        Command::Auth(_)
        | Command::MarkRead(_)
        | Command::Ack(_)
        | Command::Typing(_)
        | Command::Block(_)
        | Command::Unblock(_)
        | Command::Set(_)
        | Command::Ping(_)
        | Command::Pong(_) => Ok(()),
    }
}

fn check_send(send: &Send, limits: &Limits) -> Checked {
    name("client_msg_id", &send.client_msg_id, limits.client_msg_id_bytes)?;
    text(&send.text, limits)?;
    if send.text.is_empty() && send.attachments.is_empty() {
        return Err("text: it may be empty only with attachments".to_owned());
    }
    if let To::List(list) = &send.to {
        name("to.list", list, limits.user_bytes)?;
    }
    at_most("mentions", send.mentions.len(), limits.mentions)?;
    for mention in &send.mentions {
        name("mentions", mention, limits.user_bytes)?;
    }
    at_most("attachments", send.attachments.len(), limits.attachments)?;
    for attachment in &send.attachments {
        name("attachments", attachment, limits.client_msg_id_bytes)?;
    }
    if let Some(data) = &send.data {
        at_most_bytes("data", data.get(), limits.data_bytes)?;
        if !data.get().starts_with('{') {
            return Err("data: it must be a JSON object".to_owned());
        }
    }
    Ok(())
}

fn check_fetch(fetch: &Fetch, limits: &Limits) -> Checked {
    match (&fetch.conversation, &fetch.ranges) {
        (Some(_), None) => check_page(&fetch.page, limits),
        (None, Some(ranges)) => {
            at_most("ranges", ranges.len(), limits.ranges)?;
            ranges.iter().try_for_each(|range| check_page(&range.page, limits))
        }
        _ => Err("conversation: name one conversation, or give ranges".to_owned()),
    }
}

fn check_page(page: &Page, limits: &Limits) -> Checked {
    let bounds = [page.before, page.after, page.around].iter().flatten().count();
    if bounds > 1 {
        return Err("before, after, around: give at most one of them".to_owned());
    }
    at_least_one("limit", page.limit)?;
    at_most("limit", page.limit.unwrap_or(1), limits.fetch)
}

fn text(text: &str, limits: &Limits) -> Checked {
    at_most_bytes("text", text, limits.text_bytes)?;
    if text.contains('\0') { Err("text: it may not contain NUL".to_owned()) } else { Ok(()) }
}

fn group_name(value: &str, limits: &Limits) -> Checked {
    if value.trim().is_empty() {
        return Err("name: it must not be empty".to_owned());
    }
    at_most_chars("name", value, limits.name_chars)
}

fn name(field: &str, value: &str, max: usize) -> Checked {
    if value.is_empty() {
        return Err(format!("{field}: it must not be empty"));
    }
    at_most_bytes(field, value, max)
}

fn at_most_bytes(field: &str, value: &str, max: usize) -> Checked {
    if value.len() <= max {
        Ok(())
    } else {
        Err(format!("{field}: it has {} bytes, at most {max} are taken", value.len()))
    }
}

fn at_most_chars(field: &str, value: &str, max: usize) -> Checked {
    let chars = value.chars().count();
    if chars <= max { Ok(()) } else { Err(format!("{field}: it has {chars} characters, at most {max} are taken")) }
}

fn at_most(field: &str, value: usize, max: usize) -> Checked {
    if value <= max { Ok(()) } else { Err(format!("{field}: {value} is above the maximum of {max}")) }
}

fn at_least_one(field: &str, value: Option<usize>) -> Checked {
    if value == Some(0) { Err(format!("{field}: it must be at least 1")) } else { Ok(()) }
}
