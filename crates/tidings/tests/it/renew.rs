//! A token that is renewed on a living connection: what is said and asked afterwards shows the new one, on every transport, and
//! the connection is not replaced by another.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::{EncodingKey, Header};
use serde_json::{Value, json};
use tidings_client::{Client, ClientError, Way, http::Http};
use tidings_proto::{Code, frames::client::History};
use tokio::time::timeout;

use crate::server::Server;

const SECRET: &str = "a secret of this test, known to nobody else";
const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough to connect on a slow machine.
const SHORT_S: u64 = 8;

fn token(device: &str, life_s: u64) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = json!({"sub": "ada", "device": device, "iat": now_s, "exp": now_s + life_s});
    jsonwebtoken::encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Asks until the server takes this token no more.
async fn until_over(http: &Http) {
    let is_over = async {
        loop {
            match http.call::<Value>(http::Method::GET, "/v1/me", None::<&()>).await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                Err(ClientError::Refused(refused)) if refused.code == Code::Unauthenticated => return,
                Err(error) => panic!("{error}"),
            }
        }
    };
    timeout(PATIENCE, is_over).await.expect("the token ends");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_token_is_shown_from_then_on_and_a_wrong_one_is_not() {
    let settings = [("auth.mode", "jwt"), ("auth.secret", SECRET), ("auth.leeway_s", "0"), ("store", "memory")];
    let server = Server::start_with(&settings);
    let mut clients = Vec::new();
    for way in Way::ALL {
        let device = format!("{way:?}");
        let short = token(&device, SHORT_S);
        let builder = Client::builder(&server.url).token(&short).device(&device).way(way);
        let (client, mut events) = builder.connect().await.unwrap();
        // What comes is taken and of no account.
        tokio::spawn(async move { while events.next().await.is_some() {} });
        client.renew(&token(&device, 3_600)).await.unwrap();
        // One that is refused changes nothing.
        let refused = client.renew(&token("another device", 3_600)).await;
        assert!(
            matches!(&refused, Err(ClientError::Refused(refused)) if refused.code == Code::Forbidden),
            "{refused:?}"
        );
        let mut status = client.status();
        status.mark_unchanged();
        clients.push((way, client, status, Http::new(&server.url).unwrap().with_token(&short)));
    }
    for (way, client, status, short) in &clients {
        until_over(short).await;
        client.inbox().await.unwrap();
        client.create("Still here", Vec::new(), History::All).await.unwrap();
        assert!(!status.has_changed().unwrap(), "{way:?}: the connection stands");
    }
}
