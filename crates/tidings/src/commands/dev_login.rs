//! `tidings dev-login`: stands in for a login service. Whoever types a name gets a token for it, so it listens on this machine
//! alone. Its key is a new one at each start; a server finds it at `/keys`.

use std::{
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::{
    Form, Json, Router,
    extract::{Query, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tidings_server::{config::origin::is_this_machine, shutdown::StopSignals};
use tokio::net::TcpListener;

use crate::{
    cli::DevLogin,
    failure::{Failure, Result},
    output,
};

struct Service {
    key: EncodingKey,
    kid: String,
    /// The public key, as a JWK set.
    keys: Value,
    issuer: String,
    life_s: u64,
    return_to: Option<String>,
}

pub async fn run(flags: DevLogin) -> Result<()> {
    if !flags.listen.ip().is_loopback() {
        return Err(Failure::usage("this is for one machine alone: --listen must be a loopback address"));
    }
    let unreachable =
        |error: std::io::Error| Failure::refused(format!("failed to listen on {}: {error}", flags.listen));
    let listener = TcpListener::bind(flags.listen).await.map_err(unreachable)?;
    let address = listener.local_addr().map_err(unreachable)?;
    let service = Service::new(format!("http://{address}"), &flags)?;
    let app = Router::new()
        .route("/", get(page))
        .route("/login", post(log_in))
        .route("/token", post(token))
        .route("/keys", get(keys))
        .with_state(Arc::new(service));
    output::line(&format!("listening on http://{address}"))?;
    output::line(&format!(
        "a server takes its tokens with: tidings serve --set auth.mode=jwt --set auth.jwks_url=http://{address}/keys \
         --set auth.login_url=http://{address}/"
    ))?;
    let mut signals = StopSignals::catch()?;
    let served = axum::serve(listener, app)
        .with_graceful_shutdown(async move {
            signals.next().await;
        })
        .await;
    served.map_err(|error| Failure::refused(error.to_string()))
}

impl Service {
    fn new(issuer: String, flags: &DevLogin) -> Result<Self> {
        let failed = |_| Failure::refused("failed to make a key");
        let pair = Ed25519KeyPair::generate().map_err(failed)?;
        let public = pair.public_key().as_ref();
        let kid = blake3::hash(public).to_hex()[..12].to_owned();
        let x = URL_SAFE_NO_PAD.encode(public);
        Ok(Self {
            keys: json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "use": "sig", "alg": "EdDSA"}]}),
            key: EncodingKey::from_ed_der(pair.to_pkcs8().map_err(failed)?.as_ref()),
            kid,
            issuer,
            life_s: flags.life_s,
            return_to: flags.return_to.clone(),
        })
    }

    fn token(&self, username: &str) -> std::result::Result<String, StatusCode> {
        let now_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let claims =
            json!({"sub": username, "name": username, "iss": self.issuer, "iat": now_s, "exp": now_s + self.life_s});
        let header = Header { kid: Some(self.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        jsonwebtoken::encode(&header, &claims, &self.key).map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// Whether a token may be sent there: anybody can write a link to this page.
    fn may_return(&self, address: &str) -> bool {
        let Ok(address) = address.parse::<http::Uri>() else { return false };
        let (Some(scheme), Some(authority)) = (address.scheme_str(), address.authority()) else { return false };
        match &self.return_to {
            Some(origin) => *origin == format!("{scheme}://{authority}"),
            None => ["http", "https"].contains(&scheme) && is_this_machine(authority.host()),
        }
    }
}

#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    return_to: String,
    #[serde(default)]
    state: String,
}

async fn page(Query(asked): Query<Asked>) -> Response {
    let page = format!(
        r#"<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Log in (development)</title><body><main><h1>Log in</h1>
<p>This stands in for a login service. Any name will do.</p>
<form method="post" action="/login"><input type="hidden" name="return_to" value="{}"><input type="hidden" name="state" value="{}">
<label>Username <input name="username" autofocus required maxlength="128"></label> <button>Log in</button></form></main></body></html>"#,
        escaped(&asked.return_to),
        escaped(&asked.state)
    );
    let headers = [(header::CACHE_CONTROL, "no-store"), (header::REFERRER_POLICY, "no-referrer")];
    (headers, Html(page)).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[derive(Deserialize)]
struct LogIn {
    username: String,
    #[serde(flatten)]
    asked: Asked,
}

/// Sends the browser back, with a token in the fragment: no server is told it, and no log.
async fn log_in(State(service): State<Arc<Service>>, Form(form): Form<LogIn>) -> Response {
    if !service.may_return(&form.asked.return_to) {
        return (StatusCode::BAD_REQUEST, "return_to: a login does not return there\n").into_response();
    }
    let token = match service.token(form.username.trim()) {
        Ok(token) => token,
        Err(status) => return status.into_response(),
    };
    let state: String = form.asked.state.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
    let back = format!("{}#token={token}&state={state}", form.asked.return_to);
    match HeaderValue::from_str(&back) {
        Ok(back) => (StatusCode::SEE_OTHER, [(header::LOCATION, back)]).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

#[derive(Deserialize)]
struct ForToken {
    username: String,
}

/// For clients that are no browser: `{"username":…}` gives `{"token":…}`.
async fn token(State(service): State<Arc<Service>>, Json(asked): Json<ForToken>) -> Response {
    match service.token(asked.username.trim()) {
        Ok(token) => Json(json!({"token": token})).into_response(),
        Err(status) => status.into_response(),
    }
}

async fn keys(State(service): State<Arc<Service>>) -> Json<Value> {
    Json(service.keys.clone())
}
