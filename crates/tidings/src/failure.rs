//! Why a command failed, and the exit code that tells scripts: 1 refused, 2 usage, 3 unreachable.

use std::{fmt, process::ExitCode};

use tidings_client::ClientError;

use crate::output;

#[derive(Debug)]
pub enum Failure {
    /// The server, or this machine, said no. `code` is the server's.
    Refused {
        code: Option<&'static str>,
        message: String,
    },
    /// The command line or a file is wrong.
    Usage(String),
    Unreachable(String),
    /// Whoever read the output stopped reading: nothing is left to do.
    OutputClosed,
}

pub type Result<T, E = Failure> = std::result::Result<T, E>;

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self::Refused { code: None, message: message.into() }
    }

    /// The same, with what to know besides.
    pub fn and(mut self, note: &str) -> Self {
        if let Self::Refused { message, .. } | Self::Usage(message) | Self::Unreachable(message) = &mut self {
            message.push_str("; ");
            message.push_str(note);
        }
        self
    }

    fn message(&self) -> &str {
        match self {
            Self::Refused { message, .. } | Self::Usage(message) | Self::Unreachable(message) => message,
            Self::OutputClosed => "the output was closed",
        }
    }

    /// Prints why to standard error.
    pub fn tell(&self, json: bool) -> ExitCode {
        let (exit, code) = match self {
            Self::Refused { code, .. } => (1, code.unwrap_or("refused")),
            Self::Usage(_) => (2, "usage"),
            Self::Unreachable(_) => (3, "unreachable"),
            Self::OutputClosed => return ExitCode::SUCCESS,
        };
        if json {
            eprintln!("{}", serde_json::json!({ "error": { "code": code, "message": self.message() } }));
        } else {
            eprintln!("tidings: {}", output::printable(&self.to_string()));
        }
        ExitCode::from(exit)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())?;
        match self {
            Self::Refused { code: Some(code), .. } => write!(f, " ({code})"),
            _ => Ok(()),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Refused(refused) => {
                Self::Refused { code: Some(refused.code.as_str()), message: refused.message }
            }
            ClientError::Address { .. } => Self::Usage(error.to_string()),
            ClientError::Unreachable { .. } => Self::Unreachable(error.to_string())
                .and("is a server running there? `tidings serve` starts one, --url or TIDINGS_URL names another"),
            ClientError::Stopped => Self::Unreachable(error.to_string()),
            ClientError::Closed { .. } | ClientError::TooLarge { .. } | ClientError::Unexpected(_) => {
                Self::refused(error.to_string())
            }
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::OutputClosed
        } else {
            Self::refused(error.to_string())
        }
    }
}
