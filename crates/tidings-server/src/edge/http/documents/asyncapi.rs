//! The AsyncAPI document: which frames go over which channel. Its operations are the server's: it receives what clients say,
//! and sends what they are told.

use serde_json::{Map, Value, json};
use tidings_proto::{
    frames::{client::Command, server::ServerFrame},
    schema::Schemas,
};

use super::{name_frames, of_client, of_server};

/// What comes of its own accord, on every transport.
const LIVE: &[&str] = &["changes", "receipt", "typing", "presence"];
/// Answers to requests.
const ANSWERS: &[&str] = &["sent", "created", "entries", "inbox", "changes", "ok", "error", "pong"];

/// A channel: what clients say on it, and what the server.
struct Channel {
    name: &'static str,
    address: &'static str,
    what: &'static str,
    from_clients: Vec<&'static str>,
    from_server: Vec<&'static str>,
}

fn channels() -> Vec<Channel> {
    let but_hello = || Command::TYPES.iter().copied().filter(|kind| *kind != "hello").collect();
    vec![
        Channel {
            name: "websocket",
            address: "/v1/ws",
            what: "WebSocket, subprotocol tidings.v1.json: one frame a text message. The first one is hello.",
            from_clients: Command::TYPES.to_vec(),
            // Here the connection itself is closed with a code.
            from_server: ServerFrame::TYPES.iter().copied().filter(|kind| *kind != "close").collect(),
        },
        Channel {
            name: "events",
            address: "/v1/events",
            what: "Server-sent events: one frame in each event's data. What a client says, it posts.",
            from_clients: Vec::new(),
            from_server: [&["welcome", "entry", "move", "expiring", "close"], LIVE].concat(),
        },
        Channel {
            name: "mqttTo",
            address: "tidings/to/{user}",
            what: "MQTT: a message into the direct conversation with a user; a text, or a send without to.",
            from_clients: vec!["send"],
            from_server: Vec::new(),
        },
        Channel {
            name: "mqttSend",
            address: "tidings/send/{conversation}",
            what: "MQTT: a message into a conversation; a text, or a send without to.",
            from_clients: vec!["send"],
            from_server: Vec::new(),
        },
        Channel {
            name: "mqttRequest",
            address: "tidings/request",
            what: "MQTT: any frame but hello.",
            from_clients: but_hello(),
            from_server: Vec::new(),
        },
        Channel {
            name: "mqttAnswer",
            address: "tidings/answer",
            what: "MQTT: answers to requests, and refusals of publishes that have no other way.",
            from_clients: Vec::new(),
            from_server: ANSWERS.to_vec(),
        },
        Channel {
            name: "mqttInbox",
            address: "tidings/inbox",
            what: "MQTT: entries as they happen, and what was missed.",
            from_clients: Vec::new(),
            from_server: vec!["entry"],
        },
        Channel {
            name: "mqttLive",
            address: "tidings/live",
            what: "MQTT: what is of the moment.",
            from_clients: Vec::new(),
            from_server: [&["move", "expiring"], LIVE].concat(),
        },
    ]
}

pub fn document() -> Value {
    let mut schemas = Schemas::default();
    name_frames(&mut schemas);
    let (mut listed, mut operations) = (Map::new(), Map::new());
    for channel in channels() {
        let client = channel.from_clients.iter().map(|kind| of_client(kind));
        let server = channel.from_server.iter().map(|kind| of_server(kind));
        for (names, action, verb) in
            [(client.clone().collect::<Vec<_>>(), "receive", "Hear"), (server.clone().collect(), "send", "Tell")]
        {
            if !names.is_empty() {
                let place = |name: &String| json!({ "$ref": format!("#/channels/{}/messages/{name}", channel.name) });
                let operation = json!({
                    "action": action,
                    "channel": { "$ref": format!("#/channels/{}", channel.name) },
                    "messages": names.iter().map(place).collect::<Vec<_>>(),
                });
                operations.insert(format!("{}{verb}", channel.name), operation);
            }
        }
        let message = |name: String| {
            let reference = json!({ "$ref": format!("#/components/messages/{name}") });
            (name, reference)
        };
        let messages: Map<String, Value> = client.chain(server).map(message).collect();
        let mut described = json!({ "address": channel.address, "description": channel.what, "messages": messages });
        for name in ["user", "conversation"] {
            if channel.address.contains(&format!("{{{name}}}")) {
                described["parameters"][name] = json!({ "description": "Percent-encoded." });
            }
        }
        listed.insert(channel.name.to_owned(), described);
    }
    let client = Command::TYPES.iter().map(|kind| (*kind, of_client(kind)));
    let server = ServerFrame::TYPES.iter().map(|kind| (*kind, of_server(kind)));
    let message = |(kind, name): (&str, String)| {
        let payload = json!({ "$ref": format!("#/components/schemas/{name}") });
        (name.clone(), json!({ "name": kind, "contentType": "application/json", "payload": payload }))
    };
    let messages: Map<String, Value> = client.chain(server).map(message).collect();
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Tidings",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The frames, on every transport. docs/protocol.md says what they mean; /openapi.json describes the \
                calls. Skip fields, kinds and types that you do not know: more may come.",
            "license": { "name": "Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "channels": listed,
        "operations": operations,
        "components": {
            "messages": messages,
            "schemas": schemas.into_named(),
        },
    })
}
