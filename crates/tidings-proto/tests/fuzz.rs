//! Any bytes into the frame parser: it answers with a request or with a refusal that says what to do, and never panics.
//!
//! Under `cargo test` it runs the corpus beside it and some random bytes; `cargo bolero test frames`
//! fuzzes for as long as one likes.

use tidings_proto::{
    codes::Code,
    frames::{check, client::Request, server::ServerFrame},
    limits::Limits,
};

#[test]
fn any_bytes_are_a_request_or_a_refusal() {
    bolero::check!(name = "frames").for_each(|bytes: &[u8]| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Request::parse(text) {
            Ok(request) => {
                let written = serde_json::to_string(&request).expect("what was read can be written");
                let again = Request::parse(&written).expect("what was written can be read");
                assert_eq!(serde_json::to_string(&again).expect("it can be written"), written);
                if let Err(message) = check::check(&request.command, &Limits::default()) {
                    assert!(message.contains(": "), "it names the field: {message}");
                }
            }
            Err(refusal) => {
                assert!(matches!(refusal.code, Code::BadFrame | Code::BadRequest | Code::UnknownType), "{refusal}");
                assert!(!refusal.message.is_empty());
            }
        }
        // A client reads what a server says with the same care.
        drop(ServerFrame::parse(text));
    });
}
