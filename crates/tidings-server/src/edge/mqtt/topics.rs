//! The topics there are. Everything else is refused: nobody publishes to others but by sending, nobody listens to others.

use tidings_proto::{ConversationId, UserId, frames::client::To, percent};

/// Where entries come.
pub const INBOX: &str = "tidings/inbox";
/// Receipts, typing, presence, changes of the inbox.
pub const LIVE: &str = "tidings/live";
/// Answers to requests, and in MQTT 3.1.1 what was refused.
pub const ANSWER: &str = "tidings/answer";
const REQUEST: &str = "tidings/request";

/// What a client may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    Inbox,
    Live,
    Answer,
}

impl Source {
    pub fn of(filter: &str) -> Option<Self> {
        match filter {
            INBOX => Some(Self::Inbox),
            LIVE => Some(Self::Live),
            ANSWER => Some(Self::Answer),
            _ => None,
        }
    }

    pub fn topic(self) -> &'static str {
        match self {
            Self::Inbox => INBOX,
            Self::Live => LIVE,
            Self::Answer => ANSWER,
        }
    }

    /// Its place among the three.
    pub fn place(self) -> usize {
        match self {
            Self::Inbox => 0,
            Self::Live => 1,
            Self::Answer => 2,
        }
    }
}

/// What a client may publish to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    Send(To),
    /// Any frame, answered on [`ANSWER`] or where the client says.
    Request,
}

impl Target {
    /// `Err` says what is wrong with the topic.
    pub fn of(topic: &str) -> Result<Self, String> {
        if topic == REQUEST {
            return Ok(Self::Request);
        }
        let (kind, name) = topic
            .strip_prefix("tidings/")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(_, name)| !name.contains('/'))
            .ok_or_else(|| unknown(topic))?;
        let name = percent::decoded(name).ok_or_else(|| format!("topic: {name} is not percent-encoded UTF-8"))?;
        match kind {
            "to" => UserId::new(&name).map(To::User).map_err(|error| format!("topic: the user's name: {error}")),
            "send" => {
                let id: Result<ConversationId, _> = name.parse();
                id.map(To::Conversation).map_err(|error| format!("topic: the conversation's id: {error}"))
            }
            _ => return Err(unknown(topic)),
        }
        .map(Self::Send)
    }
}

fn unknown(topic: &str) -> String {
    format!("topic: publish to tidings/to/<user>, tidings/send/<conversation> or tidings/request, not to {topic}")
}

/// Whether a filter could be one at all (MQTT 5 section 4.7.1).
pub fn is_filter(filter: &str) -> bool {
    let last = filter.split('/').count() - 1;
    let is_level = |(at, level): (usize, &str)| match level {
        "+" => true,
        "#" => at == last,
        level => !level.contains(['+', '#']),
    };
    !filter.is_empty() && filter.split('/').enumerate().all(is_level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_percent_encoded() {
        let to = |name: &str| Ok(Target::Send(To::User(UserId::new(name).unwrap())));
        assert_eq!(Target::of("tidings/to/bob"), to("bob"));
        assert_eq!(Target::of("tidings/to/a%2Fb%25%c3%A9"), to("a/b%é"));
        let id = ConversationId::group(&UserId::new("ada").unwrap(), "g");
        assert_eq!(Target::of(&format!("tidings/send/{id}")), Ok(Target::Send(To::Conversation(id))));
        assert_eq!(Target::of("tidings/request"), Ok(Target::Request));
        for wrong in [
            "tidings/to/",
            "tidings/to",
            "tidings/to/a/b",
            "tidings/to/%",
            "tidings/to/%ff",
            "tidings/to/%zz",
            "tidings/to/a%00",
            "tidings/send/bob",
            "tidings/inbox",
            "tidings/other/bob",
            "other/to/bob",
            "",
            "tidings/request/",
        ] {
            assert!(Target::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_wildcard_is_a_whole_level() {
        for right in ["#", "+", "a/#", "+/a", "tidings/inbox", "/", "a//b"] {
            assert!(is_filter(right), "{right}");
        }
        for wrong in ["", "a#", "#/a", "a/b+", "a/#/b"] {
            assert!(!is_filter(wrong), "{wrong}");
        }
    }
}
