//! The Rust client of Tidings: one connection that comes back, requests that survive a cut, entries without gaps.
//!
//! ```no_run
//! # async fn example() -> Result<(), tidings_client::ClientError> {
//! use tidings_client::{Client, Event, To};
//! let (client, mut events) = Client::builder("http://127.0.0.1:8080").user("ada").device("laptop").connect().await?;
//! let sent = client.send(To::User("bob".parse().expect("a name")), "hi").await?;
//! println!("saved as {} of {}", sent.seq, sent.conversation);
//! while let Some(event) = events.next().await {
//!     if let Event::Entry(entry) = event {
//!         println!("{:?}", entry.entry.text);
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! `client` is the handle, `connection` the task behind it, `session` what that task decides (no I/O), made of the
//! `outbox` (what is unanswered) and the `cursors` (what was delivered). `transport` carries frames and nothing else. `http` is
//! for calls that need no connection, `raw` for load generators.

mod backoff;
mod client;
mod connection;
mod cursors;
pub mod endpoint;
mod error;
mod events;
mod frames;
pub mod http;
mod outbox;
pub mod raw;
mod session;
pub mod transport;

pub use client::{Answer, Builder, Client, Sending};
pub use error::{ClientError, Lost};
pub use events::{Event, Events, Status};
pub use tidings_proto::{ConversationId, DeviceId, Seq, UserId, frames::client::To};
pub use transport::Way;

/// A fresh `client_msg_id`: 128 random bits, so that no two sends of anybody share one.
pub fn new_client_msg_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}
