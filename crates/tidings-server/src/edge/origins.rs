//! Which pages of other sites may call: those of `http.allowed_origins`, and this server's own. Browsers send `Origin` and obey
//! what the answer says (CORS); over a WebSocket they do not, so a call from elsewhere is refused whatever it is.

use axum::{
    http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use tidings_proto::Code;

use crate::session::reply::Answer;

use super::{Edge, http::problem};

const METHODS: &str = "GET, POST, PUT, PATCH, DELETE";
const HEADERS: &str = "Authorization, Content-Type, Idempotency-Key, If-None-Match, Last-Event-ID, Tidings-Device";
const EXPOSED: &str = "ETag, Retry-After, Tidings-Poll-After";
/// How long a browser may remember what a preflight said, in seconds.
const MAX_AGE: &str = "7200";

/// What the answer to a page of an allowed site must say.
pub struct Cors(HeaderValue);

/// Whether a call may be made. `Err`: the answer to it. `Ok`: what the answer must say besides.
pub fn check<B>(edge: &Edge, request: &Request<B>) -> Result<Option<Cors>, Box<Response>> {
    let Some(origin) = request.headers().get(header::ORIGIN) else { return Ok(None) };
    let allowed = &edge.host.config.http.allowed_origins;
    match judge(origin, request.headers(), request.uri(), allowed) {
        Site::Ours => Ok(None),
        Site::Allowed if is_preflight(request) => {
            let mut answer = preflight();
            Cors(origin.clone()).put(&mut answer);
            Err(Box::new(answer))
        }
        Site::Allowed => Ok(Some(Cors(origin.clone()))),
        Site::Strange => {
            let why = "pages of this origin may not call; its operator can name it in http.allowed_origins";
            let refusal = Answer::refused(Code::Forbidden, why);
            refusal.count(&edge.host.metrics);
            Err(Box::new(problem::of(&refusal)))
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Site {
    Ours,
    Allowed,
    Strange,
}

fn judge(origin: &HeaderValue, headers: &HeaderMap, uri: &Uri, allowed: &[String]) -> Site {
    let Ok(origin) = origin.to_str() else { return Site::Strange };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
    let Some((scheme, authority)) = origin.split_once("://") else { return Site::Strange };
    let usual_port = match &*scheme.to_ascii_lowercase() {
        "https" => ":443",
        "http" => ":80",
        _ => return Site::Strange,
    };
    let plain = |authority: &str| authority.strip_suffix(usual_port).unwrap_or(authority).to_ascii_lowercase();
    if !authority.is_empty() && plain(authority) == plain(host) {
        Site::Ours
    } else if allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)) {
        Site::Allowed
    } else {
        Site::Strange
    }
}

fn is_preflight<B>(request: &Request<B>) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let headers = [
        (header::ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (header::ACCESS_CONTROL_MAX_AGE, MAX_AGE),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

impl Cors {
    /// No credentials: tokens are shown in a header, and cookies open nothing but the page.
    pub fn put(self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, self.0);
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(header::VARY, HeaderValue::from_static("Origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_matrix_of_origins() {
        let allowed = ["https://app.example".to_owned(), "http://localhost:5173".to_owned()];
        let judged = |host: &str, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            judge(&HeaderValue::from_bytes(origin.as_bytes()).unwrap(), &headers, &Uri::from_static("/v1/ws"), &allowed)
        };
        let ours = [
            ("chat.example", "https://chat.example"),
            ("chat.example:443", "https://chat.example"),
            ("Chat.Example", "https://chat.example"),
            ("127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("[::1]:8080", "http://[::1]:8080"),
        ];
        for (host, origin) in ours {
            assert_eq!(judged(host, origin), Site::Ours, "{origin} at {host}");
        }
        for origin in ["https://app.example", "HTTPS://APP.example", "http://localhost:5173"] {
            assert_eq!(judged("chat.example", origin), Site::Allowed, "{origin}");
        }
        let strange = [
            "null",
            "",
            "https://",
            "://chat.example",
            "https://evil.example",
            "https://chat.example.evil.example",
            "https://evilchat.example",
            "https://chat.example:444",
            "http://app.example",
            "https://app.example:444",
            "https://app.example/",
            "https://app.example.evil.example",
            "https://sub.app.example",
            "https://user@chat.example",
            "file://chat.example",
            "chrome-extension://chat.example",
            "http://localhost",
            "http://localhost:51731",
            "https://app.example https://chat.example",
            "https://chаt.example",
        ];
        for origin in strange {
            assert_eq!(judged("chat.example", origin), Site::Strange, "{origin}");
        }
    }
}
