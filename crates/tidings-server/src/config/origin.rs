//! Addresses in settings: which are origins (RFC 6454), and which may be asked for something that must not be forged.

use std::net::IpAddr;

use http::Uri;

/// Whether `text` is a scheme with a host and perhaps a port, as a browser's `Origin` header has it.
pub fn is_origin(text: &str) -> bool {
    let is_plain = |authority: &str| !authority.is_empty() && !authority.contains(['/', '?', '#', '@', ' ']);
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|authority| is_plain(authority) && authority.parse::<http::uri::Authority>().is_ok())
}

/// Whether nobody on the way can change what `url` answers: https, or this machine.
pub fn is_safe_url(url: &str) -> bool {
    let Ok(url) = url.parse::<Uri>() else { return false };
    match (url.scheme_str(), url.host()) {
        (Some("https"), Some(_)) => true,
        (Some("http"), Some(host)) => is_this_machine(host),
        _ => false,
    }
}

/// Whether a host (of an address, without its port) is the machine itself.
pub fn is_this_machine(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_have_no_path_and_safe_addresses_cannot_be_changed() {
        for right in ["https://a.example", "http://[::1]:8080", "https://a.example:8443"] {
            assert!(is_origin(right), "{right}");
        }
        for wrong in
            ["a.example", "https://", "https://a.example/", "https://u@a.example", "null", "ftp://a", "https://a b"]
        {
            assert!(!is_origin(wrong), "{wrong}");
        }
        for right in ["https://a.example/keys?x=1", "http://127.0.0.1:9/k", "http://localhost/", "http://[::1]:1/k"] {
            assert!(is_safe_url(right), "{right}");
        }
        for wrong in ["http://a.example/", "//a.example/", "/keys", "file:///k", "http://127.0.0.1.example/"] {
            assert!(!is_safe_url(wrong), "{wrong}");
        }
    }
}
