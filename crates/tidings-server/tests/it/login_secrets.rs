//! Tokens and tickets never stand where somebody may read them: logs at any level, metrics, errors, addresses.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use serde_json::json;
use tidings_server::config::Log;
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    login_service::{now_s, server, token_of},
    support::TestServer,
};

/// What is logged: counted, and the lines with a secret kept.
#[derive(Clone, Default)]
struct Watch {
    secrets: Arc<Mutex<Vec<String>>>,
    found: Arc<Mutex<Vec<String>>>,
    lines: Arc<AtomicUsize>,
}

impl io::Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.lines.fetch_add(1, Ordering::Relaxed);
        let text = String::from_utf8_lossy(bytes);
        if self.secrets.lock().iter().any(|secret| text.contains(secret)) {
            self.found.lock().push(text.into_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Watch {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// Shows a token wherever one can be shown; gives all that came back as text.
async fn show_everywhere(server: &TestServer, token: &str) -> String {
    let mut said = String::new();
    let caller = server.with_token(token);
    for path in ["/v1/me", "/v1/sync?wait=0", "/v1/no/such/call", "/", "/signed-in"] {
        let headers = [("accept", "text/html"), ("cookie", &format!("tidings_token={token}"))];
        let answer = caller.call("GET", path, &headers, None).await;
        said.push_str(&format!("{:?} {}\n", answer.headers, answer.body));
    }
    let address = format!("/v1/events?ticket={token}");
    said.push_str(&caller.get(&address).await.body.to_string());
    for body in [json!({"frames": [{"type": "auth", "id": 1, "token": token}]}), json!({"token": token})] {
        said.push_str(&caller.post("/v1/frames", body).await.body.to_string());
    }
    said.push_str(&caller.post("/v1/login", json!({"username": token})).await.body.to_string());
    let mut client = server.open().await;
    client.say(&json!({"type": "hello", "token": token, "device": "d"})).await;
    let answer = client.next().await;
    if answer["type"] == "welcome" {
        said.push_str(&client.ask(json!({"type": "auth", "token": token})).await.to_string());
        said.push_str(&client.ask(json!({"type": "auth", "token": format!("{token}x")})).await.to_string());
    }
    said.push_str(&answer.to_string());
    said + &server.nobody().text("/metrics").await
}

#[tokio::test]
async fn tokens_are_told_to_nobody() {
    let watch = Watch::default();
    let log = Log { level: "trace,tungstenite=trace".to_owned(), ..Log::default() };
    let filter = tracing_subscriber::EnvFilter::new(log.filter());
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(watch.clone()).finish();
    // What libraries log by the older way comes to the same place. Another test may have done this already.
    let _ = tracing_log::LogTracer::init();
    // Of this thread alone, on which the whole server of this test runs.
    let _logging = tracing::subscriber::set_default(subscriber);
    let good = token_of(json!({"sub": "canary"}));
    let expired = token_of(json!({"sub": "canary", "exp": now_s() - 60}));
    let forged = format!("{}{}", &good[..good.len() - 8], "AAAAAAAA");
    let secrets = |token: &str| [token.to_owned(), token.rsplit('.').next().unwrap_or_default().to_owned()];
    *watch.secrets.lock() = [&good, &expired, &forged].iter().flat_map(|token| secrets(token)).collect();

    let server = server(&[]).await;
    for token in [&good, &expired, &forged] {
        let said = show_everywhere(&server, token).await;
        for secret in secrets(token) {
            assert!(!said.contains(&secret), "{said}");
        }
    }
    server.stop().await;
    let found: Vec<_> = watch.found.lock().drain(..).collect();
    assert_eq!(found, Vec::<String>::new());
    assert!(watch.lines.load(Ordering::Relaxed) > 20, "the watch sees what is logged");
    tracing::trace!(token = good, "the control");
    tracing_log::log::trace!("the other control {good}");
    assert_eq!(watch.found.lock().len(), 2, "the watch finds what it is for");
}
