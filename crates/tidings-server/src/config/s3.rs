//! Which settings of `[s3]` make sense together.

use super::settings::S3;

impl S3 {
    pub(super) fn contradictions(&self, is_used: bool) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        if is_used {
            if self.bucket.is_none() {
                found.push(("s3.bucket", "blobs = \"s3\" needs a bucket: name one that is there".to_owned()));
            }
            if self.access_key_id.is_none() || self.secret_access_key.is_none() {
                found.push((
                    "s3.access_key_id",
                    "blobs = \"s3\" needs s3.access_key_id and s3.secret_access_key".to_owned(),
                ));
            }
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
        if self.bucket.as_ref().is_some_and(|name| !(3..=63).contains(&name.len()) || !name.chars().all(plain)) {
            found.push(("s3.bucket", "must be 3 to 63 small letters, digits, - and .".to_owned()));
        }
        let scheme = self.endpoint.as_deref().map(|endpoint| endpoint.split_once("://").unwrap_or_default());
        match scheme {
            Some(("https", rest)) if !rest.is_empty() => {}
            Some(("http", rest)) if !rest.is_empty() && self.allow_http => {}
            Some(("http", rest)) if !rest.is_empty() => found.push((
                "s3.endpoint",
                "has no TLS: write https://, or set s3.allow_http = true if nobody else can read on the way".to_owned(),
            )),
            Some(_) => found.push(("s3.endpoint", "must be like https://s3.example:9000".to_owned())),
            None => {}
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn problems(settings: &[(&str, &str)]) -> String {
        let flags = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::layered(None, [], flags).map_or_else(|error| error.to_string(), |_| "none".to_owned())
    }

    #[test]
    fn what_a_bucket_needs_is_asked_for() {
        let all = [
            ("blobs", "s3"),
            ("s3.bucket", "chat"),
            ("s3.access_key_id", "id"),
            ("s3.secret_access_key", "secret"),
            ("s3.endpoint", "https://s3.example"),
        ];
        assert_eq!(problems(&all), "none");
        assert_eq!(problems(&all[..4]), "none", "Amazon's own");
        let found = problems(&all[..1]);
        assert!(found.contains("needs a bucket") && found.contains("needs s3.access_key_id"), "{found}");
        assert!(problems(&[("s3.bucket", "My Bucket")]).contains("small letters"));
        for (endpoint, allow, expected) in [
            ("http://10.0.0.1:9000", "false", "has no TLS"),
            ("http://10.0.0.1:9000", "true", "none"),
            ("s3.example", "true", "must be like https://"),
            ("ftp://s3.example", "true", "must be like https://"),
            ("https://", "true", "must be like https://"),
        ] {
            let found = problems(&[("s3.endpoint", endpoint), ("s3.allow_http", allow)]);
            assert!(found.contains(expected), "{endpoint}: {found}");
        }
    }
}
