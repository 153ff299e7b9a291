//! Maxima of the wire. What a deployment may configure is in the server's settings; these are the defaults and
//! the bounds that ids need. All that a client must know is told in `welcome.limits`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub const USER_BYTES: usize = 128;
pub const DEVICE_BYTES: usize = 64;
pub const CLIENT_MSG_ID_BYTES: usize = 64;
pub const REQUEST_ID_BYTES: usize = 64;
pub const EMOJI_BYTES: usize = 32;
pub const SYNC_BYTES: usize = 64;
/// A frame before authentication.
pub const HELLO_BYTES: usize = 4 * 1024;
/// An answer; more comes with `more` or `next`.
pub const ANSWER_BYTES: usize = 1024 * 1024;
pub const PREVIEW_CHARS: usize = 200;
pub const UNREAD_MAX: u64 = 9_999;
pub const TAIL_MAX: usize = 20;
/// Conversations up to this size tell each member's home and show receipts live; larger ones are read on demand.
pub const SMALL_CONVERSATION_MEMBERS: usize = 64;

/// The maxima that `welcome` tells, and that a deployment may set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub frame_bytes: usize,
    pub text_bytes: usize,
    pub data_bytes: usize,
    pub fetch: usize,
    pub ranges: usize,
    pub inbox: usize,
    pub watch_users: usize,
    pub members_a_call: usize,
    pub group_members: usize,
    pub name_chars: usize,
    pub user_bytes: usize,
    pub device_bytes: usize,
    pub client_msg_id_bytes: usize,
    pub emoji_bytes: usize,
    pub mentions: usize,
    pub attachments: usize,
    pub reactions_an_entry: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 * 1024,
            text_bytes: 16 * 1024,
            data_bytes: 1024,
            fetch: 200,
            ranges: 1_000,
            inbox: 1_000,
            watch_users: 500,
            members_a_call: 1_000,
            group_members: 100_000,
            name_chars: 128,
            user_bytes: USER_BYTES,
            device_bytes: DEVICE_BYTES,
            client_msg_id_bytes: CLIENT_MSG_ID_BYTES,
            emoji_bytes: EMOJI_BYTES,
            mentions: 50,
            attachments: 16,
            reactions_an_entry: 1_000,
        }
    }
}
