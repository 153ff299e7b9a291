//! The settings of the whole server: what there is (`settings`), how a value is written (`value`), where values come
//! from (`layers`, `file`). Owns names, defaults, ranges and the texts that say what to repair.
//!
//! Nothing here opens a socket or a data folder, and nobody else reads the environment or a settings file.

mod auth;
mod contradictions;
mod file;
mod inherited;
mod layers;
pub mod origin;
mod s3;
mod settings;
mod value;

pub use file::{check, sample};
pub use inherited::inherited_names;
pub use layers::{ConfigError, Place, Problem};
pub use settings::{
    Archive, Auth, AuthMode, BlobStore, Blocking, BusKind, Cache, Cassandra, Config, Flush, Http, Journal, Limits, Log,
    LogFormat, Metrics, Nats, Node, Presence, Rates, S3, SETTINGS, Store, Tables, Tls, UnknownRecipient, Users,
};
pub use value::{Secret, Setting};
