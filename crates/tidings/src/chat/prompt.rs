//! What is asked for in a line of its own, and the commands that begin with a slash. Turns words into requests, sends nothing.

use std::collections::BTreeMap;

use tidings_client::{ConversationId, UserId, new_client_msg_id};
use tidings_proto::frames::client::{self, Command, History};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prompt {
    NewMessage,
    NewGroup,
}

impl Prompt {
    pub fn label(self) -> &'static str {
        match self {
            Self::NewMessage => "Write to (a username): ",
            Self::NewGroup => "New group (name: user, user): ",
        }
    }
}

/// A slash command's request; `Err`: what to write instead.
pub fn slash(line: &str, conversation: ConversationId, with: Option<&UserId>) -> Result<Command, String> {
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let rest = rest.trim();
    let client_msg_id = new_client_msg_id();
    let set = |muted: Option<bool>, pinned: Option<bool>, archived: Option<bool>| {
        Command::Set(client::Set { conversation, muted, pinned, archived })
    };
    let members = |add: Vec<UserId>, remove: Vec<UserId>| {
        let client_msg_id = new_client_msg_id();
        Command::Members(client::Members { client_msg_id, conversation, add, remove, roles: BTreeMap::new() })
    };
    Ok(match word {
        "/add" => members(users(rest)?, Vec::new()),
        "/remove" => members(Vec::new(), users(rest)?),
        "/leave" => Command::Leave(client::Leave { client_msg_id, conversation }),
        "/rename" if !rest.is_empty() => {
            Command::Rename(client::Rename { client_msg_id, conversation, name: rest.to_owned() })
        }
        "/rename" => return Err("/rename wants a name".to_owned()),
        "/name" => Command::Profile(client::Profile { name: Some(rest.to_owned()), ..client::Profile::default() }),
        "/mute" => set(Some(true), None, None),
        "/unmute" => set(Some(false), None, None),
        "/pin" => set(None, Some(true), None),
        "/unpin" => set(None, Some(false), None),
        "/archive" => set(None, None, Some(true)),
        "/unarchive" => set(None, None, Some(false)),
        "/block" => Command::Block(client::Block { user: one(rest, with)? }),
        "/unblock" => Command::Unblock(client::Unblock { user: one(rest, with)? }),
        _ => return Err(format!("{word} is no command; F1 shows them. A message may begin with // instead")),
    })
}

/// A group from `name: user, user`.
pub fn group(line: &str) -> Result<Command, String> {
    let (name, members) = line.split_once(':').unwrap_or((line, ""));
    if name.trim().is_empty() {
        return Err("a group needs a name".to_owned());
    }
    let members = if members.trim().is_empty() { Vec::new() } else { users(members)? };
    Ok(Command::Create(client::Create {
        client_msg_id: new_client_msg_id(),
        name: name.trim().to_owned(),
        members,
        history: History::All,
    }))
}

fn users(words: &str) -> Result<Vec<UserId>, String> {
    let users: Result<Vec<UserId>, String> = words
        .split([',', ' '])
        .filter(|word| !word.is_empty())
        .map(|word| UserId::new(word).map_err(|error| format!("{word:?}: {error}")))
        .collect();
    match users {
        Ok(users) if users.is_empty() => Err("name at least one user".to_owned()),
        users => users,
    }
}

fn one(word: &str, with: Option<&UserId>) -> Result<UserId, String> {
    match (word, with) {
        ("", Some(with)) => Ok(with.clone()),
        ("", None) => Err("name a user".to_owned()),
        (word, _) => UserId::new(word).map_err(|error| format!("{word:?}: {error}")),
    }
}
