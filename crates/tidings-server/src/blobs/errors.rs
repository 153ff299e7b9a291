//! What a store's answer means, and what to do about it.

/// Why a call failed. The texts fit after "failed to …: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    #[error("there is no blob {0}")]
    Absent(String),
    /// The store answers, and will not have it: a setting is wrong.
    #[error("{place} refuses: {advice}")]
    Refused { place: String, advice: String },
    /// Later it may work.
    #[error("{place} cannot be reached: {what}")]
    Unreachable { place: String, what: String },
    #[error("{0}")]
    Failed(String),
}

impl BlobError {
    /// Whether the same call may succeed later without anybody doing anything.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    pub(super) fn of(place: &str, name: &str, error: &object_store::Error) -> Self {
        let text = chain(error);
        // Also of an answer that says no more than "not found": a bucket that is missing is no missing blob.
        if let Some(advice) = advice(&text) {
            return Self::Refused { place: place.to_owned(), advice };
        }
        match error {
            object_store::Error::NotFound { .. } => Self::Absent(name.to_owned()),
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                Self::Refused { place: place.to_owned(), advice: format!("it does not let this server in ({text})") }
            }
            _ if is_out_of_reach(error) => Self::Unreachable { place: place.to_owned(), what: text },
            _ => Self::Failed(format!("{place}: {text}")),
        }
    }
}

/// What to do about an answer of S3, by the code that stands in it.
fn advice(text: &str) -> Option<String> {
    let code = text.split_once("<Code>")?.1.split_once("</Code>")?.0;
    let advice = match code {
        "NoSuchBucket" => "it has no such bucket: make it, or correct s3.bucket",
        // The second is said by versitygw.
        "InvalidAccessKeyId" | "XAdminUserNotFound" => "it does not know the access key: correct s3.access_key_id",
        "SignatureDoesNotMatch" => "the secret is not that of the access key: correct s3.secret_access_key",
        "RequestTimeTooSkewed" | "RequestExpired" => {
            "the clock of this machine is not that of the store: let both follow a time service"
        }
        "AccessDenied" | "AllAccessDisabled" => {
            "the access key may not do this: allow it s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on \
             the bucket"
        }
        "AuthorizationHeaderMalformed" | "PermanentRedirect" | "IllegalLocationConstraintException" => {
            "the bucket is in another region: correct s3.region and s3.endpoint"
        }
        _ => return None,
    };
    Some(format!("{advice} ({code})"))
}

/// Whether nobody answered, or only somebody who says that it cannot be done now.
fn is_out_of_reach(error: &object_store::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<object_store::client::HttpError>() {
            return true;
        }
        source = error.source();
    }
    ["InternalError", "SlowDown", "ServiceUnavailable", "503"].iter().any(|word| error.to_string().contains(word))
}

/// What an error and its causes say, without what they say twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = cause.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
