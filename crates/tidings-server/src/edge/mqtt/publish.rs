//! From a publish to a request: topic and payload say what is wanted, the correlation data or the server which
//! `client_msg_id` it has.

use std::borrow::Cow;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;
use tidings_proto::{
    Code,
    frames::{
        FrameError,
        check::check,
        client::{Command, Hello, Request, Send, To},
    },
    limits::Limits,
};

use super::{
    super::http::send::SendBody,
    topics::Target,
    wire::{Publish, Reason},
};

/// What a publish wants.
#[derive(Debug)]
pub enum Wanted {
    /// A message. `is_named`: the client gave it its `client_msg_id`; else it is empty.
    Send {
        command: Command,
        is_named: bool,
    },
    Request(Request),
}

/// Reads a publish and holds it against the limits.
pub fn read(publish: &Publish, limits: &Limits) -> Result<Wanted, FrameError> {
    let refused = |code, message: String| FrameError { id: None, code, message };
    let target = Target::of(&publish.topic).map_err(|message| refused(Code::NotFound, message))?;
    let text = std::str::from_utf8(&publish.payload)
        .map_err(|_| refused(Code::BadRequest, "payload: it is not UTF-8".to_owned()))?;
    let to = match target {
        Target::Send(to) => to,
        Target::Request => {
            let request = Request::parse(text)?;
            let wrong = |message| FrameError { id: request.id.clone(), code: Code::BadRequest, message };
            check(&request.command, limits).map_err(wrong)?;
            return match request.command {
                Command::Hello(Hello { .. }) => Err(wrong("type: CONNECT has said hello".to_owned())),
                _ => Ok(Wanted::Request(request)),
            };
        }
    };
    let given = publish.correlation.as_deref().map(client_msg_id);
    let mut send = send(text, to, given)?;
    let is_named = !send.client_msg_id.is_empty();
    if !is_named {
        // Held against the limits as if it had one.
        send.client_msg_id.push('x');
    }
    let mut command = Command::Send(send);
    check(&command, limits).map_err(|message| refused(Code::BadRequest, message))?;
    if let (Command::Send(send), false) = (&mut command, is_named) {
        send.client_msg_id.clear();
    }
    Ok(Wanted::Send { command, is_named })
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// A payload is the text of the message, or the whole `send` object; where it goes is in the topic.
fn send(text: &str, to: To, given: Option<String>) -> Result<Send, FrameError> {
    let is_send = text.trim_start().starts_with('{')
        && serde_json::from_str::<Kind<'_>>(text).is_ok_and(|object| object.kind == "send");
    if !is_send {
        let (client_msg_id, text) = (given.unwrap_or_default(), text.to_owned());
        let (mentions, attachments) = (Vec::new(), Vec::new());
        return Ok(Send { to, client_msg_id, text, mentions, reply_to: None, attachments, data: None });
    }
    let refused = |message| FrameError { id: None, code: Code::BadRequest, message };
    let json = &mut serde_json::Deserializer::from_str(text);
    // The topic says where it goes.
    let sent: SendBody<Option<To>> =
        serde_path_to_error::deserialize(json).map_err(|error| refused(error.to_string()))?;
    if sent.to.as_ref().is_some_and(|other| *other != to) {
        return Err(refused("to: the topic says something else".to_owned()));
    }
    Ok(sent.into_send(|_| to, |named| named.or(given).unwrap_or_default()))
}

/// Correlation data as a `client_msg_id`: as it is where it is a text, else in base 64.
fn client_msg_id(data: &[u8]) -> String {
    match std::str::from_utf8(data) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => URL_SAFE_NO_PAD.encode(data),
    }
}

/// Tells publishes with the same packet id apart.
pub fn hash(publish: &Publish) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(publish.topic.len() as u64).to_le_bytes());
    hasher.update(publish.topic.as_bytes());
    hasher.update(&publish.payload);
    let hash = *hasher.finalize().as_bytes();
    u64::from_le_bytes([hash[0], hash[1], hash[2], hash[3], hash[4], hash[5], hash[6], hash[7]])
}

/// How a refusal is acknowledged.
pub fn reason(code: Code) -> Reason {
    match code {
        Code::BadFrame | Code::BadRequest | Code::BadSync | Code::UnknownType | Code::TooLarge => Reason::PAYLOAD,
        Code::Unauthenticated | Code::Forbidden | Code::Blocked | Code::NotAMember => Reason::NOT_AUTHORIZED,
        Code::NotFound | Code::UnknownUser | Code::UnknownConversation | Code::UnknownEntry => Reason::TOPIC_NAME,
        Code::RateLimited | Code::LimitReached => Reason::QUOTA,
        Code::PaymentDeclined
        | Code::LoginIsElsewhere
        | Code::MethodNotAllowed
        | Code::Conflict
        | Code::UnsupportedVersion => Reason::IMPLEMENTATION,
        Code::Internal | Code::Unavailable => Reason::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(topic: &str, payload: &str, correlation: Option<&[u8]>) -> Publish {
        Publish {
            topic: topic.to_owned(),
            payload: payload.as_bytes().to_vec(),
            packet_id: Some(1),
            dup: false,
            response_topic: None,
            correlation: correlation.map(<[u8]>::to_vec),
        }
    }

    fn sent(publish: &Publish) -> (Send, bool) {
        match read(publish, &Limits::default()).expect("it is right") {
            Wanted::Send { command: Command::Send(send), is_named } => (send, is_named),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_payload_is_a_text_or_a_send() {
        for text in ["hi", "{\"a\":1}", "{", "[1]", "{\"type\":\"ping\"}", " \t"] {
            let (send, is_named) = sent(&publish("tidings/to/bob", text, None));
            assert_eq!((send.text.as_str(), is_named), (text, false));
        }
        let object = r#"{"type":"send","client_msg_id":"c","text":"hi","reply_to":3}"#;
        let (send, is_named) = sent(&publish("tidings/to/bob", object, Some(b"other")));
        assert_eq!((send.text.as_str(), send.client_msg_id.as_str(), is_named), ("hi", "c", true));
        let (send, _) = sent(&publish("tidings/to/bob", r#"{"type":"send","text":"hi"}"#, Some(b"c-9")));
        assert_eq!(send.client_msg_id, "c-9");
        let (send, _) = sent(&publish("tidings/to/bob", "hi", Some(&[0xff, 0])));
        assert_eq!(send.client_msg_id, "_wA");
    }

    #[test]
    fn what_is_wrong_is_told() {
        let long = "x".repeat(65);
        for (topic, payload, correlation, code) in [
            ("tidings/to/bob", "", None, Code::BadRequest),
            ("tidings/to/bob", "hi", Some(long.as_bytes()), Code::BadRequest),
            ("tidings/to/bob", r#"{"type":"send","to":{"user":"eve"},"text":"hi"}"#, None, Code::BadRequest),
            ("tidings/to/bob", r#"{"type":"send","text":7}"#, None, Code::BadRequest),
            ("tidings/elsewhere", "hi", None, Code::NotFound),
            ("tidings/request", "hi", None, Code::BadFrame),
            ("tidings/request", r#"{"type":"hello","username":"eve"}"#, None, Code::BadRequest),
        ] {
            let error = read(&publish(topic, payload, correlation), &Limits::default()).expect_err(payload);
            assert_eq!(error.code, code, "{topic} {payload}");
        }
        let mut bytes = publish("tidings/to/bob", "", None);
        bytes.payload = vec![0xff];
        assert_eq!(read(&bytes, &Limits::default()).expect_err("it is no text").code, Code::BadRequest);
    }
}
