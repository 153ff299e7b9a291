//! What people call a conversation: its id, a group's unique name, or the user it is with.

use tidings_client::{Client, ConversationId, To, UserId};
use tidings_proto::frames::server::{Item, Who};

use crate::failure::{Failure, Result};

/// Finds what `name` means among this user's conversations.
pub async fn find(client: &Client, name: &str) -> Result<To> {
    if let Ok(conversation) = name.parse() {
        return Ok(To::Conversation(conversation));
    }
    among(&client.inbox().await?, name)
}

/// As `find`, as the id that a direct conversation has also before it exists.
pub async fn find_conversation(client: &Client, name: &str) -> Result<ConversationId> {
    Ok(match find(client, name).await? {
        To::Conversation(conversation) => conversation,
        To::User(user) => ConversationId::direct(client.user(), &user),
        To::List(_) => return Err(Failure::usage("a list has no history of its own")),
    })
}

/// An id, a group of that name, else the user of that name. A name that could be two of them is refused.
fn among(items: &[Item<'_>], name: &str) -> Result<To> {
    let groups: Vec<ConversationId> = items
        .iter()
        .filter(|item| matches!(&item.who, Who::Group { name: group, .. } if group == name))
        .map(|item| item.conversation)
        .collect();
    let direct = items.iter().find(|item| matches!(&item.who, Who::Direct { with, .. } if with.as_str() == name));
    match (groups.as_slice(), direct) {
        ([group], None) => Ok(To::Conversation(*group)),
        ([], Some(item)) => Ok(To::Conversation(item.conversation)),
        ([], None) => {
            let user = UserId::new(name).map_err(|error| Failure::usage(format!("{name:?} is no name: {error}")))?;
            Ok(To::User(user))
        }
        (groups, direct) => {
            let ids: Vec<String> =
                groups.iter().copied().chain(direct.map(|item| item.conversation)).map(|id| id.to_string()).collect();
            Err(Failure::usage(format!("{name:?} is the name of several conversations; say which: {}", ids.join(", "))))
        }
    }
}

/// What to call a conversation, for people.
pub fn title(item: &Item<'_>) -> String {
    match &item.who {
        Who::Direct { with, with_name, .. } => with_name.clone().unwrap_or_else(|| with.to_string()),
        Who::Group { name, .. } => name.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn item(place: u8, kind: &str, who: &Value) -> Item<'static> {
        let mut item = json!({
            "conversation":ConversationId::from_bytes([place; 16]),"kind":kind,"last":null,"last_seq":0,"read_seq":0,
            "unread":0,"mentions":0,"muted":false,"pinned":false,"archived":false,"blocked":false
        });
        let more = who.as_object().unwrap().clone();
        item.as_object_mut().unwrap().extend(more);
        serde_json::from_value(item).unwrap()
    }

    fn group(place: u8, name: &str) -> Item<'static> {
        item(place, "group", &json!({"name":name,"picture":null,"member_count":1,"role":"owner"}))
    }

    fn direct(place: u8, with: &str) -> Item<'static> {
        let peer = json!({"delivered_seq":0,"read_seq":0});
        item(place, "direct", &json!({"with":with,"with_name":null,"with_picture":null,"peer":peer}))
    }

    #[test]
    fn a_name_means_one_conversation_or_is_refused() {
        let items = [
            group(1, "Team"),
            group(2, "twins"),
            group(3, "twins"),
            direct(4, "bob"),
            group(5, "eve"),
            direct(6, "eve"),
        ];
        let id = |place: u8| To::Conversation(ConversationId::from_bytes([place; 16]));
        assert_eq!(among(&items, "Team").unwrap(), id(1));
        assert_eq!(among(&items, "bob").unwrap(), id(4));
        assert_eq!(among(&items, "mal").unwrap(), To::User("mal".parse().unwrap()));
        for name in ["twins", "eve"] {
            let refusal = among(&items, name).unwrap_err().to_string();
            assert!(refusal.contains("several"), "{refusal}");
        }
    }
}
