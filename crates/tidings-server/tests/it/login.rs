//! Login elsewhere: tokens of a login service on every transport, their end, and the way of a browser to the login and back.

use http_body_util::BodyExt;
use serde_json::{Value, json};
use tempfile::tempdir;
use tokio::time::timeout;

use crate::{
    http_client::Caller,
    login_service::{KeyServer, jwk, now_s, server, sign, token, token_of},
    support::{PATIENCE, TestServer},
};

const PAGE: &[(&str, &str)] = &[("accept", "text/html,application/xhtml+xml;q=0.9")];

#[tokio::test]
async fn a_token_is_who_one_is_on_every_transport() {
    let server = server(&[("auth.name_claim", "name")]).await;
    let ada_token = token_of(json!({"sub": "Ada@example", "name": "Ada L."}));
    let (mut ada, welcome) = server.hello(json!({"type": "hello", "token": ada_token, "device": "laptop"})).await;
    assert_eq!((&welcome["user"], &welcome["device"]), (&json!("Ada@example"), &json!("laptop")));
    let bob = server.with_token(&token("bob"));
    assert_eq!(bob.get("/v1/me").await.ok()["user"], "bob");
    let sent = bob.post("/v1/messages", json!({"to": {"user": "Ada@example"}, "text": "hi"})).await.ok();
    assert_eq!(ada.next_of("entry").await["text"], "hi");
    assert_eq!(bob.get("/v1/users/Ada%40example").await.ok()["name"], "Ada L.", "the token's name is the display name");

    // A header of the connection stands in for the token of the hello; the device is still the client's to name.
    let bearer = format!("Bearer {ada_token}");
    let mut phone = server.open_with("/v1/ws", &[("authorization", &bearer)]).await;
    phone.say(&json!({"type": "hello", "device": "phone"})).await;
    assert_eq!(phone.next().await["device"], "phone");
    assert_eq!(phone.texts(&sent["conversation"]).await, ["hi"]);

    // A ticket is the token's user and the device that asked for it, once.
    let asking = server.with_token(&ada_token);
    let ticket = asking.call("POST", "/v1/tickets", &[("tidings-device", "tab")], None).await.ok();
    let path = format!("/v1/ws?ticket={}", ticket["ticket"].as_str().unwrap());
    let mut tab = server.open_with(&path, &[]).await;
    tab.say(&json!({"type": "hello", "device": "other"})).await;
    let welcome = tab.next().await;
    assert_eq!((&welcome["user"], &welcome["device"]), (&json!("Ada@example"), &json!("tab")));
    let again = server.nobody().get(&path.replace("/ws", "/events")).await;
    again.problem(401, "unauthenticated");

    let changes = asking.get("/v1/sync").await.ok();
    assert_eq!(changes["items"][0]["with"], "bob");
    let devices = asking.get("/v1/me/devices").await.ok();
    let devices: Vec<_> = devices["devices"].as_array().unwrap().iter().map(|device| &device["device"]).collect();
    assert!(["laptop", "phone", "tab"].iter().all(|name| devices.contains(&&json!(name))), "{devices:?}");
    server.stop().await;
}

#[tokio::test]
async fn without_a_token_one_is_told_where_to_log_in() {
    let server = server(&[]).await;
    let nobody = server.nobody();
    let login = nobody.post("/v1/login", json!({"username": "ada"})).await;
    assert_eq!(login.body["login_url"], "https://login.example/start");
    login.problem(404, "login_is_elsewhere");
    let expired = server.with_token(&token_of(json!({"sub": "ada", "exp": now_s() - 1})));
    for caller in [&nobody, &expired, &server.with_token("tdo1_x.y")] {
        for path in ["/v1/conversations", "/v1/sync?wait=30", "/v1/events"] {
            let refused = caller.get(path).await;
            assert_eq!(refused.body["login_url"], "https://login.example/start", "{path}");
            refused.problem(401, "unauthenticated");
        }
    }
    for hello in [json!({"username": "ada"}), json!({"token": "x"}), json!({})] {
        let mut hello = hello;
        hello["type"] = json!("hello");
        let mut client = server.open().await;
        client.say(&hello).await;
        let refused = client.next().await;
        assert_eq!(refused["code"], "unauthenticated", "{hello}");
        assert_eq!(refused["login_url"], "https://login.example/start", "{hello}");
        assert_eq!(u16::from(client.closed().await.code), 3501);
    }
    server.stop().await;
}

#[tokio::test]
async fn a_page_without_a_token_is_sent_to_the_login_and_comes_back_with_one() {
    let server = server(&[]).await;
    let here = format!("http://{}", server.address);
    let nobody = server.nobody();
    let sent_away = nobody.call("GET", "/", PAGE, None).await;
    assert_eq!(sent_away.status, 302);
    let (address, query) = sent_away.header("location").split_once('?').expect("a query");
    assert_eq!(address, "https://login.example/start");
    let (return_to, state) = query.split_once("&state=").expect("a state");
    let encoded = format!("{here}/signed-in").replace(':', "%3A").replace('/', "%2F");
    assert_eq!(return_to, format!("return_to={encoded}"));
    let cookie = sent_away.header("set-cookie");
    assert!(cookie.starts_with(&format!("tidings_state={state}; Path=/signed-in; ")), "{cookie}");
    assert!(state.len() >= 22, "{state}");

    let good = format!("other=1; tidings_token={}", token("ada"));
    let bad = format!("tidings_token={}", token_of(json!({"sub": "ada", "exp": 1})));
    let page = |path: &'static str, cookie: String| {
        let caller = nobody.clone();
        async move { caller.call("GET", path, &[PAGE[0], ("cookie", &cookie)], None).await.status }
    };
    assert_ne!(page("/", good.clone()).await, 302);
    assert_ne!(page("/some/link", good).await, 302);
    assert_eq!(page("/", bad.clone()).await, 302);
    assert_eq!(page("/some/link", bad.clone()).await, 302);
    assert_ne!(page("/signed-in", bad).await, 302, "or nobody could come back");
    // Neither a call nor an asset is a page, and another host is nobody to return to.
    assert_ne!(nobody.get("/").await.status, 302);
    assert_ne!(nobody.call("GET", "/sw.js", PAGE, None).await.status, 302);
    let elsewhere = nobody.call("GET", "/", &[PAGE[0], ("host", "evil.example")], None).await;
    assert!(!elsewhere.header("location").contains("return_to"), "{elsewhere:?}");
    server.stop().await;
}

#[tokio::test]
async fn the_end_of_a_token_ends_what_it_opened() {
    let server = server(&[]).await;
    let short = |user: &str| token_of(json!({"sub": user, "exp": now_s() + 3}));
    let (mut ada, _) = server.hello(json!({"type": "hello", "token": short("ada"), "device": "d"})).await;
    let (mut bob, _) = server.hello(json!({"type": "hello", "token": short("bob"), "device": "d"})).await;
    let eve = server.with_token(&short("eve"));
    let events = eve.open("GET", "/v1/events", &[], bytes::Bytes::new()).await;
    let poll = server.with_token(&short("dan"));
    let sync = poll.get("/v1/sync").await.ok();
    let path = format!("/v1/sync?wait=60&sync={}", sync["sync"].as_str().unwrap());
    let polled = tokio::spawn(async move { poll.get(&path).await });

    let warned = ada.next_of("expiring").await;
    assert!((1..=3).contains(&warned["in_s"].as_u64().unwrap()), "{warned}");
    bob.next_of("expiring").await;
    for other in [token("mal"), token_of(json!({"sub": "bob", "device": "another"}))] {
        assert_eq!(bob.ask(json!({"type": "auth", "token": other})).await["code"], "forbidden");
    }
    assert_eq!(bob.ask(json!({"type": "auth", "token": "nonsense"})).await["code"], "unauthenticated");
    assert_eq!(bob.ask(json!({"type": "auth", "token": token("bob")})).await["type"], "ok");

    let closed = ada.closed().await;
    assert_eq!((u16::from(closed.code), closed.reason.as_str()), (3003, "token_expired"));
    let text = timeout(PATIENCE, events.into_body().collect()).await.expect("it ends").unwrap().to_bytes();
    let text = String::from_utf8(text.into()).unwrap();
    let last = text.trim_end().rsplit("data: ").next().unwrap();
    assert_eq!(serde_json::from_str::<Value>(last).unwrap()["code"], 3003, "{text}");
    assert!(text.contains(r#""type":"expiring""#), "{text}");
    timeout(PATIENCE, polled).await.expect("it ends").unwrap().problem(401, "unauthenticated");
    // Who showed a new one in time is still there.
    assert_eq!(bob.ask(json!({"type": "inbox"})).await["type"], "inbox");
    server.stop().await;
}

#[tokio::test]
async fn keys_come_from_a_key_server_that_may_be_down() {
    let (now, keys) = (now_s(), KeyServer::start(json!([jwk("ed25519", "first")])).await);
    let more = [("auth.keys_file", ""), ("auth.jwks_url", keys.url.as_str())];
    let server = server(&more).await;
    let claims = |user: &str| json!({"sub": user, "exp": now + 3_600});
    let first = server.with_token(&sign("ed25519", Some("first"), &claims("ada")));
    let next = server.with_token(&sign("other", Some("next"), &claims("ada")));
    first.get("/v1/me").await.ok();
    assert_eq!(keys.times_asked(), 1, "at the start");
    keys.publish(None);
    for n in 0..20 {
        let unknown = sign("other", Some(&format!("made-up-{n}")), &claims("ada"));
        server.with_token(&unknown).get("/v1/me").await.problem(401, "unauthenticated");
        first.get("/v1/me").await.ok();
    }
    next.get("/v1/me").await.problem(401, "unauthenticated");
    // Once a minute at most: the readings are less than a minute old.
    assert!(keys.times_asked() <= 2, "asked {} times", keys.times_asked());
    server.stop().await;
}

#[tokio::test]
async fn a_gateway_is_believed_and_nobody_else() {
    let folder = tempdir().unwrap();
    let start = async |gateways: &str| {
        let settings = [("store", "memory"), ("auth.mode", "header"), ("auth.gateways", gateways)];
        TestServer::start(folder.path(), &settings).await
    };
    let ada = [("x-tidings-user", "ada"), ("x-tidings-name", "Ada L."), ("tidings-device", "web")];
    let server = start("10.0.0.0/8, 127.0.0.0/8").await;
    let caller = server.nobody();
    let me = caller.call("GET", "/v1/me", &ada, None).await.ok();
    assert_eq!((&me["user"], &me["name"]), (&json!("ada"), &json!("Ada L.")));
    let mut client = server.open_with("/v1/ws", &ada).await;
    client.say(&json!({"type": "hello"})).await;
    assert_eq!(client.next().await["device"], "web");
    caller.get("/v1/me").await.problem(401, "unauthenticated");
    for wrong in ["", "a\u{1}b"] {
        if let Ok(value) = http::HeaderValue::from_str(wrong) {
            let headers = [("x-tidings-user", value.to_str().unwrap())];
            caller.call("GET", "/v1/me", &headers, None).await.problem(401, "unauthenticated");
        }
    }
    let mut client = server.open().await;
    client.say(&json!({"type": "hello", "username": "ada"})).await;
    assert_eq!(client.next().await["code"], "unauthenticated");
    server.stop().await;
    let server = start("10.0.0.0/8").await;
    server.nobody().call("GET", "/v1/me", &ada, None).await.problem(401, "unauthenticated");
    server.stop().await;
    // In the other modes the header says nothing.
    let server = TestServer::start(folder.path(), &[("store", "memory")]).await;
    let caller: Caller = server.nobody();
    caller.call("GET", "/v1/me", &ada, None).await.problem(401, "unauthenticated");
    server.stop().await;
}
