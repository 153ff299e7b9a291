//! Schemas of what is said over the wire (JSON Schema 2020-12), derived from its types: what the documents for client authors
//! are made of. The names of types within others are kept here once, for all that refers to them.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, OneOfBuilder, Type},
    },
};

use crate::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::RequestId,
    limits::{DEVICE_BYTES, REQUEST_ID_BYTES, USER_BYTES},
};

/// Where a document keeps the schemas that have names.
const PLACE: &str = "#/components/schemas/";

/// The schemas that have names.
#[derive(Default)]
pub struct Schemas {
    named: BTreeMap<String, Value>,
}

impl Schemas {
    /// The schema of a type. What it is made of is referred to by name.
    pub fn of<T: ToSchema>(&mut self) -> Value {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        for (name, schema) in parts {
            self.named.entry(name).or_insert_with(|| written(&schema));
        }
        written(&T::schema())
    }

    /// A reference to the schema of a type.
    pub fn refer<T: ToSchema>(&mut self) -> Value {
        let schema = self.of::<T>();
        self.name(&T::name(), schema)
    }

    /// Gives a schema a name, and refers to it.
    pub fn name(&mut self, name: &str, schema: Value) -> Value {
        self.named.insert(name.to_owned(), schema);
        json!({ "$ref": format!("{PLACE}{name}") })
    }

    /// A frame of the server.
    pub fn frame<T: ToSchema>(&mut self, kind: &str) -> Value {
        let mut schema = self.of::<T>();
        add(&mut schema, "type", json!({ "type": "string", "const": kind }), true);
        schema
    }

    /// A frame of a client, which may have an `id`.
    pub fn request<T: ToSchema>(&mut self, kind: &str) -> Value {
        let id = self.refer::<RequestId>();
        let mut schema = self.frame::<T>(kind);
        add(&mut schema, "id", json!({ "oneOf": [{ "type": "null" }, id] }), false);
        schema
    }

    /// All of them, by name.
    pub fn into_named(self) -> BTreeMap<String, Value> {
        self.named
    }
}

/// Adds a property to the schema of an object.
fn add(schema: &mut Value, name: &str, property: Value, is_required: bool) {
    let part = match schema.get_mut("allOf").and_then(Value::as_array_mut) {
        Some(parts) => {
            parts.push(json!({ "type": "object" }));
            parts.last_mut().expect("one was pushed")
        }
        None => schema,
    };
    part["properties"][name] = property;
    if is_required {
        let mut required = part["required"].as_array().cloned().unwrap_or_default();
        required.push(name.into());
        part["required"] = required.into();
    }
}

fn written(schema: &RefOr<Schema>) -> Value {
    let mut schema = serde_json::to_value(schema).expect("a schema has string keys");
    mend(&mut schema);
    schema
}

/// What the derived schemas say otherwise than it is.
fn mend(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // Objects may get more fields in later versions.
            if object.get("additionalProperties") == Some(&Value::Bool(false)) {
                object.remove("additionalProperties");
            }
            // A kind that a reader does not know has no name on the wire.
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| value != "unknown");
            }
            // What is flattened as an option stands there whole or not at all; it is never `null`.
            if let Some(Value::Array(parts)) = object.get_mut("allOf") {
                for part in parts {
                    let choices = part.get("oneOf").and_then(Value::as_array).cloned().unwrap_or_default();
                    let (nulls, mut whole): (Vec<_>, Vec<_>) =
                        choices.into_iter().partition(|choice| choice["type"] == "null");
                    if !nulls.is_empty() {
                        whole.push(json!({ "type": "object" }));
                        *part = json!({ "anyOf": whole });
                    }
                }
            }
            object.values_mut().for_each(mend);
        }
        Value::Array(values) => values.iter_mut().for_each(mend),
        _ => {}
    }
}

/// Bytes are at least as many as characters, so a maximum of bytes is one of characters, too.
fn name_of(what: &str, max: usize) -> RefOr<Schema> {
    let control = r"^[^\u0000-\u001f\u007f-\u009f]*$";
    let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1)).max_length(Some(max));
    text.pattern(Some(control)).description(Some(format!("{what} At most {max} bytes."))).into()
}

macro_rules! schemas {
    ($($name:ident: $schema:expr,)*) => {
        $(impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema
            }
        }
        impl ToSchema for $name {})*
    };
}

schemas! {
    UserId: name_of("A user's name in the product.", USER_BYTES),
    DeviceId: name_of("A device's name, given by the client and kept by it.", DEVICE_BYTES),
    ConversationId: ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[a-h][a-z2-7]{25}$")).into(),
    Seq: ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(0))
        .description(Some("The place of an entry in its conversation: 1, 2, 3 …"))
        .into(),
    Code: ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(Code::ALL.iter().map(|code| code.as_str())))
        .description(Some("Why a request was refused. Clients act on the code, people read the message."))
        .into(),
    RequestId: OneOfBuilder::new()
        .item(ObjectBuilder::new().schema_type(Type::Integer))
        .item(ObjectBuilder::new().schema_type(Type::String).max_length(Some(REQUEST_ID_BYTES)))
        .into(),
}
