//! The web app, from the binary: what `web/dist` held when it was built. Hashed assets are immutable; the page itself is asked for
//! anew each time.

use axum::{
    http::{HeaderMap, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::RustEmbed;

use super::{Edge, login_page};

#[derive(RustEmbed)]
#[folder = "../../web/dist"]
#[allow_missing = true]
struct Dist;

/// What the page may load and do: itself, and nothing that somebody typed.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob: https:; \
    media-src 'self' blob: https:; font-src 'self'; connect-src 'self' ws: wss:; manifest-src 'self'; worker-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Any path that is no call: an asset, or the page, whose own routes are in the fragment or below `/`.
pub async fn asset(edge: &Edge, uri: &Uri, headers: &HeaderMap) -> Response {
    if let Some(redirect) = login_page::redirect(edge, uri.path(), headers).await {
        return redirect;
    }
    let path = uri.path().trim_start_matches('/');
    let path = if path.is_empty() { "index.html" } else { path };
    match find(path, headers) {
        Some(response) => response,
        // A deep link into the app; but a missing file is missing.
        None if !path.contains('.') => find("index.html", headers).unwrap_or_else(no_app),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn find(path: &str, headers: &HeaderMap) -> Option<Response> {
    let accepts = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let packed = [("br", ".br"), ("gzip", ".gz")].into_iter().find_map(|(encoding, ending)| {
        let accepted = accepts.split(',').any(|one| one.split(';').next().is_some_and(|one| one.trim() == encoding));
        let file = if accepted { Dist::get(&format!("{path}{ending}")) } else { None };
        file.map(|file| (Some(encoding), file))
    });
    let (encoding, file) = packed.or_else(|| Some((None, Dist::get(path)?)))?;
    let is_hashed = path.starts_with("assets/");
    let cache = if is_hashed { "public, max-age=31536000, immutable" } else { "no-cache" };
    let mut response = (
        [
            (header::CONTENT_TYPE, media_type(path)),
            (header::CACHE_CONTROL, cache),
            (header::CONTENT_SECURITY_POLICY, POLICY),
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::REFERRER_POLICY, "no-referrer"),
            (header::VARY, "Accept-Encoding"),
        ],
        file.data.into_owned(),
    )
        .into_response();
    if let Some(encoding) = encoding {
        response.headers_mut().insert(header::CONTENT_ENCODING, header::HeaderValue::from_static(encoding));
    }
    Some(response)
}

fn media_type(path: &str) -> &'static str {
    match path.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "webmanifest" => "application/manifest+json",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

fn no_app() -> Response {
    let why = "this binary was built without the web app: run `npm run build` in web/ first, or `make run`\n";
    (StatusCode::NOT_FOUND, why).into_response()
}
