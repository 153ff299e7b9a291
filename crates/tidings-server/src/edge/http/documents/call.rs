//! One call of the OpenAPI document, said step by step beside its handler.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use tidings_proto::{Code, ConversationId, DeviceId, Seq, UserId, limits::EMOJI_BYTES, schema::Schemas};
use utoipa::ToSchema;

use super::of_server;

/// What goes wrong with anything that somebody who is logged in calls.
const OF_USERS: &[Code] =
    &[Code::BadRequest, Code::Unauthenticated, Code::Forbidden, Code::RateLimited, Code::Unavailable];

/// The calls that were described.
pub struct Calls {
    paths: Map<String, Value>,
    schemas: Schemas,
}

impl Calls {
    pub fn new(schemas: Schemas) -> Self {
        Self { paths: Map::new(), schemas }
    }

    /// Begins a call. The names in its path stand for themselves.
    pub fn on(&mut self, method: &str, path: &str, summary: &str) -> Call<'_> {
        let id: Vec<&str> = path.split(['/', '{', '}', '.']).filter(|part| !["", "v1"].contains(part)).collect();
        let names = path.split('{').skip(1).filter_map(|part| part.split('}').next());
        let parameters: Vec<Value> = names
            .map(|name| {
                let schema = self.in_path(name);
                json!({ "name": name, "in": "path", "required": true, "schema": schema })
            })
            .collect();
        let operation = json!({
            "operationId": format!("{method}_{}", id.join("_")),
            "summary": summary,
            "parameters": parameters,
            "responses": {},
        });
        let item = self.paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation;
        let mut call = Call { operation: &mut item[method], schemas: &mut self.schemas, refusals: BTreeMap::new() };
        if path.starts_with("/v1/") {
            // A page of a strange site.
            call.refuse(&[Code::Forbidden]);
        }
        if path.contains('{') {
            call.refuse(&[Code::BadRequest]);
        }
        call
    }

    fn in_path(&mut self, name: &str) -> Value {
        match name {
            "conversation" => self.schemas.refer::<ConversationId>(),
            "user" => self.schemas.refer::<UserId>(),
            "device" => self.schemas.refer::<DeviceId>(),
            "seq" => self.schemas.refer::<Seq>(),
            _ => json!({ "type": "string", "minLength": 1, "maxLength": EMOJI_BYTES }),
        }
    }

    pub fn into_document(self) -> Value {
        let bearer = |what: &str| json!({ "type": "http", "scheme": "bearer", "description": what });
        json!({
            "openapi": "3.1.0",
            "info": {
                "title": "Tidings",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Messages over HTTP. docs/protocol.md says what the calls mean; /asyncapi.json describes the frames \
                    of the other transports. Skip fields that you do not know: more may come.",
                "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
            },
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.into_named(),
                "securitySchemes": {
                    "token": bearer("A user's token: of POST /v1/login in open mode, else of the login service."),
                    "admin": bearer("The admin token."),
                },
            },
        })
    }
}

/// A call that is being described.
pub struct Call<'a> {
    operation: &'a mut Value,
    schemas: &'a mut Schemas,
    /// Codes by their status.
    refusals: BTreeMap<u16, Vec<Code>>,
}

impl Call<'_> {
    /// For whoever is logged in.
    pub fn of_users(mut self) -> Self {
        self.operation["security"] = json!([{ "token": [] }]);
        let device = self.schemas.refer::<DeviceId>();
        self.parameter("Tidings-Device", "header", &device, "Which device calls, where the token does not say it.");
        self.refuse(OF_USERS);
        self
    }

    /// For whoever shows the admin token.
    pub fn of_operators(mut self) -> Self {
        self.operation["security"] = json!([{ "admin": [] }]);
        self.refuse(&[Code::Unauthenticated, Code::Unavailable]);
        self
    }

    /// For users, or for whoever shows a ticket of one.
    pub fn of_ticket_holders(mut self) -> Self {
        self.operation["security"] = json!([{}, { "token": [] }]);
        self.parameter("ticket", "query", &json!({ "type": "string" }), "Of POST /v1/tickets, for one use.");
        self.refuse(OF_USERS);
        self
    }

    /// The parameters of the query.
    pub fn asks<T: ToSchema>(mut self) -> Self {
        let schema = self.schemas.of::<T>();
        let required = schema["required"].as_array().cloned().unwrap_or_default();
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let is_known = self.parameters().iter().any(|known| known["name"] == **name);
            if !is_known {
                let mut property = property.clone();
                let what = property["description"].take();
                property.as_object_mut().map(|property| property.remove("description"));
                self.parameter(name, "query", &never_null(property), what.as_str().unwrap_or_default());
                let last = self.parameters().last_mut().expect("one was added");
                last["required"] = required.contains(&json!(name)).into();
            }
        }
        self.refuse(&[Code::BadRequest]);
        self
    }

    /// One parameter of the query, which must be there.
    pub fn asks_for(mut self, name: &str, schema: &Value, what: &str) -> Self {
        self.parameter(name, "query", schema, what);
        self.parameters().last_mut().expect("one was added")["required"] = true.into();
        self.refuse(&[Code::BadRequest]);
        self
    }

    /// A header of the request.
    pub fn hears(mut self, name: &str, what: &str) -> Self {
        self.parameter(name, "header", &json!({ "type": "string" }), what);
        self
    }

    /// A JSON body.
    pub fn takes<T: ToSchema>(self) -> Self {
        self.takes_body::<T>(true)
    }

    /// A JSON body, or none.
    pub fn may_take<T: ToSchema>(self) -> Self {
        self.takes_body::<T>(false)
    }

    fn takes_body<T: ToSchema>(self, is_required: bool) -> Self {
        let schema = self.schemas.of::<T>();
        let call = self.takes_schema(&schema);
        call.operation["requestBody"]["required"] = is_required.into();
        call
    }

    pub fn takes_schema(mut self, schema: &Value) -> Self {
        self.operation["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        self.refuse(&[Code::BadRequest, Code::TooLarge]);
        self
    }

    /// It makes an entry: the same again by its `client_msg_id` is a repeat.
    pub fn repeats(self) -> Self {
        self.hears("Idempotency-Key", "The client_msg_id, where the body has none.")
    }

    /// A frame of the server as the answer.
    pub fn gives_frame(self, status: u16, kind: &str, what: &str) -> Self {
        let schema = json!({ "$ref": format!("#/components/schemas/{}", of_server(kind)) });
        self.gives_schema(status, &schema, what)
    }

    /// The answers of what makes an entry, unless it changes nothing.
    pub fn changes(self, what: &str) -> Self {
        self.gives_frame(200, "sent", &format!("It is {what} now"))
            .gives_nothing(204, &format!("It was {what} already"))
    }

    /// An object as the answer.
    pub fn gives<T: ToSchema>(self, status: u16, what: &str) -> Self {
        let schema = self.schemas.of::<T>();
        self.gives_schema(status, &schema, what)
    }

    pub fn gives_schema(self, status: u16, schema: &Value, what: &str) -> Self {
        self.gives_media(status, "application/json", schema, what)
    }

    /// Something else than JSON.
    pub fn gives_text(self, status: u16, media: &str, what: &str) -> Self {
        self.gives_media(status, media, &json!({ "type": "string" }), what)
    }

    fn gives_media(self, status: u16, media: &str, schema: &Value, what: &str) -> Self {
        self.operation["responses"][status.to_string()] =
            json!({ "description": what, "content": { media: { "schema": schema } } });
        self
    }

    /// An answer without a body.
    pub fn gives_nothing(self, status: u16, what: &str) -> Self {
        self.operation["responses"][status.to_string()] = json!({ "description": what });
        self
    }

    /// A header of an answer that was described.
    pub fn with_header(self, status: u16, name: &str, what: &str) -> Self {
        self.operation["responses"][status.to_string()]["headers"][name] = header(what);
        self
    }

    /// What else may go wrong.
    pub fn refuses(mut self, codes: &[Code]) -> Self {
        self.refuse(codes);
        self
    }

    fn refuse(&mut self, codes: &[Code]) {
        for code in codes {
            let known = self.refusals.entry(code.status()).or_default();
            if !known.contains(code) {
                known.push(*code);
            }
            let codes: Vec<&str> = known.iter().map(|code| code.as_str()).collect();
            let status = code.status().to_string();
            let mut problem = json!({
                "description": known.iter().map(|code| code.title()).collect::<Vec<_>>().join(", or: "),
                "content": { "application/problem+json": { "schema": { "allOf": [
                    { "$ref": "#/components/schemas/Problem" },
                    { "type": "object", "properties": { "code": { "enum": codes }, "status": { "const": code.status() } } },
                ] } } },
            });
            if [429, 503].contains(&code.status()) {
                problem["headers"]["Retry-After"] = header("In how many seconds to try again.");
            }
            if code.status() == 401 {
                problem["headers"]["WWW-Authenticate"] = header("How to show who one is: `Bearer`.");
            }
            self.operation["responses"][status] = problem;
        }
    }

    fn parameter(&mut self, name: &str, place: &str, schema: &Value, what: &str) {
        let mut parameter = json!({ "name": name, "in": place, "required": false, "schema": schema });
        if !what.is_empty() {
            parameter["description"] = what.into();
        }
        self.parameters().push(parameter);
    }

    fn parameters(&mut self) -> &mut Vec<Value> {
        self.operation["parameters"].as_array_mut().expect("a call begins with a list of them")
    }
}

fn header(what: &str) -> Value {
    json!({ "description": what, "required": true, "schema": { "type": "string" } })
}

/// What is absent from a query is not written there as `null`.
fn never_null(mut schema: Value) -> Value {
    if let Some(choices) = schema.get("oneOf").and_then(Value::as_array)
        && let Some(other) = choices.iter().find(|choice| choice["type"] != "null")
    {
        return other.clone();
    }
    if let Some(types) = schema["type"].as_array()
        && let Some(other) = types.iter().find(|kind| **kind != "null")
    {
        schema["type"] = other.clone();
    }
    schema
}
