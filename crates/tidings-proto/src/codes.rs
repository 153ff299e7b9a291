//! Error codes and close codes: the same in frames, HTTP, MQTT and metrics.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

macro_rules! codes {
    ($($name:ident $wire:literal $status:literal $title:literal,)*) => {
        /// Why a request was refused. Clients act on the code, people read the message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $(#[serde(rename = $wire)] $name,)*
        }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $wire,)* }
            }

            /// The HTTP status of this refusal (RFC 9110 section 15).
            pub fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The `title` of its problem document (RFC 9457 section 3.1.3).
            pub fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    BadFrame "bad_frame" 400 "Not a frame",
    BadRequest "bad_request" 400 "Wrong or missing field",
    BadSync "bad_sync" 400 "Unreadable sync token",
    UnknownType "unknown_type" 400 "Unknown frame type",
    Unauthenticated "unauthenticated" 401 "Not logged in",
    PaymentDeclined "payment_declined" 402 "Payment declined",
    Forbidden "forbidden" 403 "Not allowed",
    Blocked "blocked" 403 "Blocked",
    NotAMember "not_a_member" 403 "Not a member",
    NotFound "not_found" 404 "Not found",
    UnknownUser "unknown_user" 404 "Unknown user",
    UnknownConversation "unknown_conversation" 404 "Unknown conversation",
    UnknownEntry "unknown_entry" 404 "Unknown entry",
    LoginIsElsewhere "login_is_elsewhere" 404 "Login is elsewhere",
    MethodNotAllowed "method_not_allowed" 405 "Method not allowed",
    Conflict "conflict" 409 "Conflict",
    TooLarge "too_large" 413 "Too large",
    RateLimited "rate_limited" 429 "Too many requests",
    LimitReached "limit_reached" 429 "Limit reached",
    Internal "internal" 500 "Internal error",
    Unavailable "unavailable" 503 "Unavailable",
    UnsupportedVersion "unsupported_version" 505 "Unsupported version",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Not a code that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownCode;

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(wire: &str) -> Result<Self, UnknownCode> {
        Self::ALL.iter().copied().find(|code| code.as_str() == wire).ok_or(UnknownCode)
    }
}

/// Why a connection ends. The number carries the advice: 3000-3499 come back, 3500-3999 do not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseCode {
    Draining,
    Lagging,
    GoingIdle,
    TokenExpired,
    TryLater,
    BadFrame,
    Unauthenticated,
    Revoked,
    Replaced,
    UnsupportedVersion,
}

impl CloseCode {
    pub const ALL: &'static [Self] = &[
        Self::Draining,
        Self::Lagging,
        Self::GoingIdle,
        Self::TokenExpired,
        Self::TryLater,
        Self::BadFrame,
        Self::Unauthenticated,
        Self::Revoked,
        Self::Replaced,
        Self::UnsupportedVersion,
    ];

    pub fn number(self) -> u16 {
        match self {
            Self::Draining => 3000,
            Self::Lagging => 3001,
            Self::GoingIdle => 3002,
            Self::TokenExpired => 3003,
            Self::TryLater => 3004,
            Self::BadFrame => 3500,
            Self::Unauthenticated => 3501,
            Self::Revoked => 3502,
            Self::Replaced => 3503,
            Self::UnsupportedVersion => 3504,
        }
    }

    pub fn reason(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Lagging => "lagging",
            Self::GoingIdle => "going_idle",
            Self::TokenExpired => "token_expired",
            Self::TryLater => "try_later",
            Self::BadFrame => "bad_frame",
            Self::Unauthenticated => "unauthenticated",
            Self::Revoked => "revoked",
            Self::Replaced => "replaced",
            Self::UnsupportedVersion => "unsupported_version",
        }
    }

    /// Whether a client that is closed with `number` should connect again.
    pub fn is_reconnect(number: u16) -> bool {
        !(3500..4000).contains(&number)
    }
}
