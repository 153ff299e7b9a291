//! Bytes into a request, with an error that names the field.
//!
//! Two passes: the head (`type` and `id`), then the body as its type's struct. The second borrows nothing from the first, so that no
//! intermediate tree is built for a frame that is right.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use crate::{
    codes::Code,
    frames::{
        FrameError, RequestId,
        client::{Command, Request},
    },
};

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<RequestId>,
}

impl Request {
    /// Reads one frame. `bad_frame`: no JSON object with a string `type`; `unknown_type`; `bad_request`: a wrong or missing field.
    pub fn parse(text: &str) -> Result<Self, FrameError> {
        let Ok(Head { kind, id }) = serde_json::from_str::<Head<'_>>(text) else {
            return Err(explain_head(text));
        };
        match Command::read(&kind, text) {
            Some(Ok(command)) => Ok(Self { id, command }),
            Some(Err(error)) => Err(explain_body(&kind, text, id, &error)),
            None => {
                let message = format!("there is no frame of type \"{kind}\"; docs/protocol.md lists them");
                Err(FrameError { id, code: Code::UnknownType, message })
            }
        }
    }
}

fn explain_head(text: &str) -> FrameError {
    let bad_frame = |message: String| FrameError { id: None, code: Code::BadFrame, message };
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(error) => return bad_frame(format!("send one JSON object a frame; this is not JSON: {error}")),
    };
    let Some(object) = value.as_object() else {
        return bad_frame("send one JSON object a frame, such as {\"type\":\"ping\"}".to_owned());
    };
    if !object.get("type").is_some_and(Value::is_string) {
        return bad_frame("give the object a \"type\" that is a string".to_owned());
    }
    match serde_json::from_value::<Option<RequestId>>(object.get("id").cloned().unwrap_or_default()) {
        Err(error) => FrameError { id: None, code: Code::BadRequest, message: format!("id: {error}") },
        // What is left is a key that stands twice.
        Ok(_) => bad_frame("give \"type\" and \"id\" once each".to_owned()),
    }
}

fn explain_body(kind: &str, text: &str, id: Option<RequestId>, error: &serde_json::Error) -> FrameError {
    let message = match Command::explain(kind, text) {
        Some(error) => {
            let path = error.path().to_string();
            let reason = error.into_inner().to_string();
            let reason = reason.split(" at line ").next().unwrap_or_default().to_owned();
            if path == "." { reason } else { format!("{path}: {reason}") }
        }
        None => error.to_string(),
    };
    FrameError { id, code: Code::BadRequest, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> FrameError {
        Request::parse(text).expect_err(text)
    }

    #[test]
    fn a_send_is_read() {
        let text = r#"{"type":"send","id":1,"to":{"user":"bob"},"client_msg_id":"c-1","text":"hi","data":{"a": 1},"later":true}"#;
        let request = Request::parse(text).unwrap();
        assert_eq!(request.id, Some(RequestId::Number(1)));
        let Command::Send(send) = request.command else { panic!("not a send") };
        assert_eq!(send.text, "hi");
        assert_eq!(send.data.unwrap().get(), r#"{"a": 1}"#);
    }

    #[test]
    fn what_is_no_frame_is_told_apart_from_a_wrong_request() {
        for text in
            ["", "hi", "[]", "{}", "null", r#"{"type":1}"#, r#"{"type":"ping","type":"pong"}"#, r#"{"type":"ping"} x"#]
        {
            assert_eq!(refused(text).code, Code::BadFrame, "{text}");
        }
        assert_eq!(refused(r#"{"type":"shout","id":"a"}"#).code, Code::UnknownType);
        assert_eq!(refused(r#"{"type":"shout","id":"a"}"#).id, Some(RequestId::Text("a".into())));
        for id in ["1.5", "{}", "18446744073709551615", &format!("\"{}\"", "x".repeat(65))] {
            let error = refused(&format!(r#"{{"type":"ping","id":{id}}}"#));
            assert_eq!(error.code, Code::BadRequest, "{id}");
            assert!(error.message.starts_with("id: "), "{}", error.message);
        }
    }

    #[test]
    fn a_wrong_field_is_named() {
        let cases = [
            (r#"{"type":"send","client_msg_id":"c","text":"x"}"#, "to"),
            (r#"{"type":"send","to":{"user":""},"client_msg_id":"c"}"#, "to.user"),
            (r#"{"type":"send","to":{"user":"a","list":"b"},"client_msg_id":"c"}"#, "to"),
            (r#"{"type":"send","to":{"user":"bob"},"client_msg_id":7}"#, "client_msg_id"),
            (r#"{"type":"mark_read","conversation":"x","seq":1}"#, "conversation"),
            (r#"{"type":"fetch","conversation":"x","limit":-1}"#, "conversation"),
        ];
        for (text, field) in cases {
            let error = refused(text);
            assert_eq!(error.code, Code::BadRequest, "{text}");
            assert!(error.message.contains(field), "{text}: {}", error.message);
        }
    }
}
