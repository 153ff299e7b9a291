//! A login service for tests: signs tokens, and publishes its keys where a test says so.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Router, http::StatusCode, routing::get};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::support::TestServer;

pub fn key_file(name: &str) -> String {
    format!("{}/../../fixtures/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(key_file(name)).expect("the key is there")
}

pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

/// A token with these claims; `exp` is an hour away unless they say otherwise.
pub fn token_of(mut claims: Value) -> String {
    claims["exp"] = claims.get("exp").cloned().unwrap_or_else(|| json!(now_s() + 3_600));
    claims["iat"] = claims.get("iat").cloned().unwrap_or_else(|| json!(now_s()));
    sign("ed25519", None, &claims)
}

pub fn token(user: &str) -> String {
    token_of(json!({"sub": user}))
}

pub fn sign(key: &str, kid: Option<&str>, claims: &Value) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    let key = EncodingKey::from_ed_pem(read(&format!("{key}.pem")).as_bytes()).expect("a key");
    jsonwebtoken::encode(&header, claims, &key).expect("it can be signed")
}

/// Settings of a server that takes these tokens.
pub fn settings() -> Vec<(&'static str, String)> {
    vec![
        ("store", "memory".to_owned()),
        ("auth.mode", "jwt".to_owned()),
        ("auth.keys_file", key_file("ed25519.public.pem")),
        ("auth.leeway_s", "0".to_owned()),
        ("auth.login_url", "https://login.example/start".to_owned()),
    ]
}

/// A server in jwt mode, with more settings.
pub async fn server(more: &[(&'static str, &str)]) -> TestServer {
    let mut settings = settings();
    settings.extend(more.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let settings: Vec<(&str, &str)> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    TestServer::start(std::path::Path::new("unused"), &settings).await
}

/// A public key as a JWK with this `kid`.
pub fn jwk(key: &str, kid: &str) -> Value {
    let pem = read(&format!("{key}.public.pem"));
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let bytes = STANDARD.decode(text).expect("base64");
    json!({"kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(&bytes[12..]), "kid": kid, "use": "sig"})
}

/// Publishes a JWK set, counts who asks, and can be down.
pub struct KeyServer {
    pub url: String,
    pub asked: Arc<AtomicU32>,
    keys: Arc<parking_lot::Mutex<Option<Value>>>,
    serving: JoinHandle<()>,
}

impl KeyServer {
    pub async fn start(keys: Value) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/keys", listener.local_addr().expect("it listens"));
        let (asked, keys) = (Arc::new(AtomicU32::new(0)), Arc::new(parking_lot::Mutex::new(Some(keys))));
        let (count, shown) = (asked.clone(), keys.clone());
        let answer = move || async move {
            count.fetch_add(1, Ordering::SeqCst);
            let keys = shown.lock().clone();
            keys.map(|keys| json!({"keys": keys}).to_string()).ok_or(StatusCode::SERVICE_UNAVAILABLE)
        };
        let app = Router::new().route("/keys", get(answer));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Self { url, asked, keys, serving }
    }

    /// From now on these; `None`: it is down.
    pub fn publish(&self, keys: Option<Value>) {
        *self.keys.lock() = keys;
    }

    pub fn times_asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for KeyServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
