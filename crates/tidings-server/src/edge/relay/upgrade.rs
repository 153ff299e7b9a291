//! WebSockets whose user is known when they are asked for: the asking goes to the other node, and if that agrees, all bytes go
//! to and fro. A client that speaks HTTP/2 (RFC 8441) is asked for in the words of HTTP/1.1.

use std::sync::Arc;

use axum::{
    body::Body,
    http::{Extensions, HeaderMap, HeaderValue, Method, Request, StatusCode, header},
    response::Response,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::{body::Incoming, ext::Protocol, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;

use crate::metrics::InUse;

use super::{
    super::Edge,
    http::{Driven, strip},
    pump::{Bytes, pump},
};

const WEBSOCKET: &str = "websocket";

/// A client that wants to speak another protocol than HTTP.
pub struct Upgrade {
    client: OnUpgrade,
    is_http_2: bool,
}

pub fn is_asked<B>(request: &Request<B>) -> bool {
    let asks = |protocol: &str| protocol.eq_ignore_ascii_case(WEBSOCKET);
    match request.extensions().get::<Protocol>() {
        Some(protocol) => request.method() == Method::CONNECT && asks(protocol.as_str()),
        None => request.headers().get(header::UPGRADE).is_some_and(|value| value.to_str().is_ok_and(asks)),
    }
}

impl Upgrade {
    /// The wish of a request.
    pub fn take(request: &mut Request<Body>) -> Option<Self> {
        let is_http_2 = request.method() == Method::CONNECT;
        is_asked(request).then(|| Self { client: hyper::upgrade::on(request), is_http_2 })
    }

    /// The same wish to another node.
    pub fn ask(&self, headers: &mut HeaderMap) {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
        if self.is_http_2 {
            let key = STANDARD.encode(rand::random::<[u8; 16]>());
            headers.insert(header::SEC_WEBSOCKET_KEY, key.parse().expect("base 64 is ASCII"));
        }
    }
}

/// The other node has agreed: so does this one.
pub fn join(
    edge: &Edge,
    Upgrade { client, is_http_2 }: Upgrade,
    mut answer: Response<Incoming>,
    bytes: Bytes,
    (life, counted): (Arc<Driven>, InUse),
) -> Response {
    let node = hyper::upgrade::on(&mut answer);
    let (carrying, held) = (edge.clone(), edge.relay.connection());
    edge.shutdown.spawn(async move {
        if let (Ok(client), Ok(node)) = tokio::join!(client, node) {
            let (client, node) = (TokioIo::new(client), TokioIo::new(node));
            pump(&carrying, client, node, &life.life, Vec::new(), bytes).await;
        }
        drop((counted, held));
    });
    let (mut parts, _) = answer.into_parts();
    strip(&mut parts.headers);
    if is_http_2 {
        parts.status = StatusCode::OK;
        parts.headers.remove(header::SEC_WEBSOCKET_ACCEPT);
    } else {
        parts.headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(header::UPGRADE, HeaderValue::from_static(WEBSOCKET));
    }
    parts.extensions = Extensions::new();
    Response::from_parts(parts, Body::empty())
}
