//! Sends a browser without a good token from the page to the login service (`auth.login_url`), and says where to return to.
//!
//! The service comes back to `/signed-in#token=…&state=…`. A fragment is told to no server, stands in no log and no `Referer`; the
//! page takes it, clears it, and keeps the token as the cookie `tidings_token`. A service of the same site may set that cookie
//! itself. The cookie opens the page only: calls show the token in their header, so that no other site can make them.

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tidings_proto::percent;

use crate::config::origin::is_this_machine;

use super::{Edge, http::bearer};

/// Where the login service returns to.
pub const RETURN_PATH: &str = "/signed-in";
/// The operators' page of the fleet. It asks for the admin token itself: who operates need not be a user.
pub const OPERATORS_PATH: &str = "/cluster";
pub const TOKEN_COOKIE: &str = "tidings_token";
/// What the service must give back unchanged: nobody else can log a browser in as somebody.
pub const STATE_COOKIE: &str = "tidings_state";
const STATE_LIFE_S: u64 = 3_600;

/// The redirect, if this is the page, asked for by a browser that has no good token.
pub async fn redirect(edge: &Edge, path: &str, headers: &HeaderMap) -> Option<Response> {
    let login_url = edge.auth.guards_page()?;
    let is_page = !path.contains('.') && path != RETURN_PATH && path != OPERATORS_PATH;
    if !is_page || !wants_page(headers) || has_token(edge, headers).await {
        return None;
    }
    let origin = return_origin(&edge.host.config.auth.return_origins, headers);
    let state = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
    let mut location = login_url.to_owned();
    location.push(if login_url.contains('?') { '&' } else { '?' });
    if let Some(origin) = &origin {
        location.push_str(&format!("return_to={}&", percent::encoded(&format!("{origin}{RETURN_PATH}"))));
    }
    location.push_str(&format!("state={state}"));
    let secure = if origin.is_some_and(|origin| origin.starts_with("https:")) { "; Secure" } else { "" };
    let cookie = format!("{STATE_COOKIE}={state}; Path={RETURN_PATH}; Max-Age={STATE_LIFE_S}; SameSite=Lax{secure}");
    let location = HeaderValue::from_str(&location).ok()?;
    let cookie = HeaderValue::from_str(&cookie).ok()?;
    let headers = [
        (header::LOCATION, location),
        (header::SET_COOKIE, cookie),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    ];
    Some((StatusCode::FOUND, headers).into_response())
}

fn wants_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|one| one.split(';').next().is_some_and(|kind| kind.trim() == "text/html"))
}

async fn has_token(edge: &Edge, headers: &HeaderMap) -> bool {
    let token = bearer(headers).or_else(|| cookie(headers, TOKEN_COOKIE));
    match token {
        Some(token) => edge.auth.verify(token, edge.host.clock.unix_ms()).await.is_ok(),
        None => false,
    }
}

/// A cookie's value (RFC 6265 section 4.2).
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let values = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(given, _)| *given == name).map(|(_, value)| value)
}

/// The origin that the browser sees, if it is one of ours. `Host` is what anybody writes: it only chooses among those.
fn return_origin(ours: &[String], headers: &HeaderMap) -> Option<String> {
    let host = headers.get(header::HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let authority: Option<http::uri::Authority> = host.parse().ok();
    let is_asked = |origin: &&String| origin.split_once("://").is_some_and(|(_, rest)| rest.eq_ignore_ascii_case(host));
    let is_near = authority.is_some_and(|authority| is_this_machine(authority.host()) && !host.contains('@'));
    match ours.iter().find(is_asked) {
        Some(origin) => Some(origin.clone()),
        None if is_near => Some(format!("http://{host}")),
        None => ours.first().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_header_cannot_choose_where_a_login_returns_to() {
        let asked = |ours: &[&str], host: &str| {
            let ours: Vec<String> = ours.iter().map(|&origin| origin.to_owned()).collect();
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().unwrap());
            return_origin(&ours, &headers)
        };
        let ours = ["https://chat.example", "https://chat.example:8443"];
        assert_eq!(asked(&ours, "chat.example:8443").as_deref(), Some("https://chat.example:8443"));
        for host in
            ["evil.example", "chat.example.evil.example", "chat.example@evil.example", "localhost@evil.example", ""]
        {
            assert_eq!(asked(&ours, host).as_deref(), Some("https://chat.example"), "{host}");
            assert_eq!(asked(&[], host), None, "{host}");
        }
        for host in ["127.0.0.1:8080", "localhost:1", "[::1]:8080"] {
            assert_eq!(asked(&[], host), Some(format!("http://{host}")));
        }
    }
}
