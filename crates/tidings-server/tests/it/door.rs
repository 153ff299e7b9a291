//! The front door: pages of other sites, TLS, proxies that say who the client is.

use std::{net::SocketAddr, path::Path, sync::Arc};

use futures_util::{SinkExt, StreamExt};
use http::StatusCode;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use serde_json::json;
use tempfile::tempdir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_tungstenite::{
    client_async, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest},
};

use crate::{
    login_service::key_file,
    mqtt_client::{Hello, V4, publish, subscribe},
    support::{PATIENCE, TestServer},
};

#[tokio::test]
async fn pages_of_strange_origins_reach_nothing() {
    let folder = tempdir().unwrap();
    let settings = [("store", "memory"), ("http.allowed_origins", "https://app.example")];
    let server = TestServer::start(folder.path(), &settings).await;
    let ada = server.log_in("ada", "d").await;
    let own = format!("http://{}", server.address);
    let by_socket = async |path: &str, protocol: &str, origin: &str| {
        let mut request = format!("ws://{}{path}", server.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", protocol.parse().unwrap());
        request.headers_mut().insert("origin", origin.parse().unwrap());
        match connect_async(request).await {
            Ok(_) => StatusCode::SWITCHING_PROTOCOLS,
            Err(Error::Http(response)) => response.status(),
            Err(other) => panic!("{other}"),
        }
    };
    for (origin, is_let_in) in
        [(own.as_str(), true), ("https://app.example", true), ("https://evil.example", false), ("null", false)]
    {
        let header = [("origin", origin)];
        for path in ["/v1/me", "/v1/sync", "/v1/conversations"] {
            let answer = ada.call("GET", path, &header, None).await;
            assert_eq!(answer.status == 200, is_let_in, "{origin} {path}");
            let told = if origin == "https://app.example" { origin } else { "" };
            assert_eq!(answer.header("access-control-allow-origin"), told, "{origin} {path}");
            if !is_let_in {
                answer.problem(403, "forbidden");
            }
        }
        let events = ada.open("GET", "/v1/events", &header, bytes::Bytes::new()).await;
        assert_eq!(events.status() == 200, is_let_in, "{origin}");
        for (path, protocol) in [("/v1/ws", "tidings.v1.json"), ("/v1/mqtt", "mqtt")] {
            let expected = if is_let_in { 101 } else { 403 };
            assert_eq!(by_socket(path, protocol, origin).await, expected, "{origin} {path}");
        }
    }
    // A refusal is readable for those who may call; a strange page is not told that it may.
    let asks = [("access-control-request-method", "PUT"), ("access-control-request-headers", "authorization")];
    let preflight = async |origin: &str| {
        server.nobody().call("OPTIONS", "/v1/me", &[("origin", origin), asks[0], asks[1]], None).await
    };
    let allowed = preflight("https://app.example").await;
    assert_eq!((allowed.status, allowed.header("access-control-allow-origin")), (204, "https://app.example"));
    assert!(allowed.header("access-control-allow-methods").contains("PUT"));
    assert!(allowed.header("access-control-allow-headers").contains("Authorization"));
    assert_eq!(preflight("https://evil.example").await.header("access-control-allow-origin"), "");
    let refused = server.nobody().call("GET", "/v1/me", &[("origin", "https://app.example")], None).await;
    assert_eq!(refused.header("access-control-allow-origin"), "https://app.example");
    refused.problem(401, "unauthenticated");
    server.stop().await;
}

/// A connection that trusts one certificate, and speaks what the server chose of `protocols`.
async fn secured(server: &TestServer, certificate: &Path, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    secured_at(server.address, certificate, protocols).await
}

async fn secured_at(
    address: SocketAddr,
    certificate: &Path,
    protocols: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(certificate).expect("a certificate")).expect("it can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has them");
    let mut config = config.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(address).await?;
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").expect("a name"), stream).await
}

#[tokio::test]
async fn tls_is_spoken_and_a_new_certificate_is_taken_up() {
    let folder = tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let put = |name: &str| {
        std::fs::copy(key_file(&format!("{name}.key.pem")), &key).unwrap();
        std::fs::copy(key_file(&format!("{name}.pem")), &certificate).unwrap();
    };
    put("tls");
    let (first, second) = (key_file("tls.pem"), key_file("tls2.pem"));
    let data = folder.path().join("data");
    let files = [
        ("store", "memory"),
        ("tls.cert_file", certificate.to_str().unwrap()),
        ("tls.key_file", key.to_str().unwrap()),
    ];
    let server = TestServer::start(&data, &files).await;

    let mut stream = secured(&server, first.as_ref(), &["http/1.1"]).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let stream = secured(&server, first.as_ref(), &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    let stream = secured(&server, first.as_ref(), &["http/1.1"]).await.unwrap();
    let (mut socket, _) = client_async("wss://localhost/v1/ws", stream).await.unwrap();
    socket.send(Message::text(json!({"type": "hello", "username": "ada"}).to_string())).await.unwrap();
    let welcome = timeout(PATIENCE, socket.next()).await.unwrap().unwrap().unwrap();
    assert!(welcome.to_text().unwrap().contains("welcome"));

    // Plain bytes get no answer, and are in nobody's way.
    let mut plain = TcpStream::connect(server.address).await.unwrap();
    plain.write_all(b"GET /livez HTTP/1.1\r\n\r\n").await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut rest)).await.expect("it is closed");
    assert!(!rest.starts_with(b"HTTP"));

    std::fs::write(&certificate, "half a certificate").unwrap();
    assert!(secured(&server, first.as_ref(), &[]).await.is_ok(), "what cannot be used changes nothing");
    put("tls2");
    // The files' times may stand still for a moment: it is tried until the new one is there.
    let is_new = async {
        while secured(&server, second.as_ref(), &[]).await.is_err() {
            put("tls2")
        }
    };
    timeout(PATIENCE, is_new).await.expect("the new certificate is shown");
    assert!(secured(&server, first.as_ref(), &[]).await.is_err());
    socket.send(Message::text(r#"{"type":"ping"}"#)).await.unwrap();
    assert!(timeout(PATIENCE, socket.next()).await.unwrap().unwrap().is_ok(), "old connections go on");
    drop(socket);
    server.stop().await;
}

#[tokio::test]
async fn mqtt_has_a_port_under_tls() {
    let folder = tempdir().unwrap();
    let (certificate, key) = (key_file("tls.pem"), key_file("tls.key.pem"));
    let settings = [
        ("store", "memory"),
        ("tls.cert_file", certificate.as_str()),
        ("tls.key_file", key.as_str()),
        ("mqtt.tls_listen", "127.0.0.1:0"),
    ];
    let server = TestServer::start(folder.path(), &settings).await;
    let address = server.mqtt_tls.expect("it listens");
    // More than one record, and a publish right behind the CONNECT.
    let text_of = |length: usize| "x".repeat(length);
    let hello = Hello::new(V4, "ada", "phone").packet();
    let publish = publish(V4, 0x32, Some(1), "tidings/to/ada", &[], text_of(10_000).as_bytes());
    let mut stream = secured_at(address, certificate.as_ref(), &[]).await.unwrap();
    stream.write_all(&[hello, publish, subscribe(V4, 2, "tidings/live", 0)].concat()).await.unwrap();
    let mut heard = vec![0; 8];
    timeout(PATIENCE, stream.read_exact(&mut heard)).await.unwrap().unwrap();
    assert_eq!(heard[..4], [0x20, 2, 0, 0]);
    // In the open it is not spoken there, and a stop says goodbye here, too.
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(&Hello::new(V4, "ada", "phone").packet()).await.unwrap();
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, plain.read_to_end(&mut rest)).await.expect("it is closed");
    assert_ne!(rest.first(), Some(&0x20));
    server.stop().await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it ends");
}

#[tokio::test]
async fn rates_follow_the_address_that_a_trusted_proxy_tells() {
    let folder = tempdir().unwrap();
    let rates = [("store", "memory"), ("rates.logins_per_s", "1"), ("rates.logins_burst", "2")];
    let log_in = async |server: &TestServer, client: &str| {
        let headers = [("x-forwarded-for", client)];
        server.nobody().call("POST", "/v1/login", &headers, Some(json!({"username": "ada"}))).await.status
    };
    let trusting = rates.into_iter().chain([("http.trusted_proxies", "127.0.0.0/8")]).collect::<Vec<_>>();
    let server = TestServer::start(folder.path(), &trusting).await;
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(log_in(&server, "198.51.100.7").await);
    }
    assert!(statuses.contains(&429), "{statuses:?}");
    assert_eq!(log_in(&server, "198.51.100.8").await, 200, "another client of the same proxy");
    let limited = server.nobody().call("GET", "/v1/events", &[("x-forwarded-for", "198.51.100.7")], None).await;
    if limited.status == 429 {
        assert!(!limited.header("retry-after").is_empty());
    }
    server.stop().await;
    // Loopback is exempt, and what it says of others is nobody's word here.
    let server = TestServer::start(folder.path(), &rates).await;
    for n in 0..20 {
        assert_eq!(log_in(&server, "198.51.100.7").await, 200, "{n}");
    }
    server.stop().await;
}

#[tokio::test]
async fn the_proxy_protocol_is_asked_for_and_read() {
    let folder = tempdir().unwrap();
    let settings = [
        ("store", "memory"),
        ("http.proxy_protocol", "true"),
        ("http.trusted_proxies", "127.0.0.1"),
        ("rates.logins_per_s", "1"),
        ("rates.logins_burst", "1"),
    ];
    let server = TestServer::start(folder.path(), &settings).await;
    let address = server.address;
    let say = async |head: &[u8]| {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(head).await.unwrap();
        let body = r#"{"username":"ada"}"#;
        let call = format!(
            "POST /v1/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        // A server that does not like the head may close before it has read the rest.
        let _ = stream.write_all(call.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
        String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
    };
    let v1 = b"PROXY TCP4 198.51.100.7 127.0.0.1 5000 443\r\n";
    let mut v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
    v2.extend([198, 51, 100, 8, 127, 0, 0, 1, 0x13, 0x88, 0x01, 0xbb]);
    assert_eq!(say(v1).await, "HTTP/1.1 200 OK");
    assert_eq!(say(&v2).await, "HTTP/1.1 200 OK", "another client");
    let mut again = Vec::new();
    for _ in 0..20 {
        again.push(say(v1).await);
    }
    assert!(again.iter().any(|line| line.starts_with("HTTP/1.1 429")), "the first client has had its login: {again:?}");
    assert_eq!(say(b"").await, "", "no head, no answer");
    assert_eq!(say(b"PROXY TCP4 nonsense\r\n").await, "");
    // Those that say nothing are in nobody's way.
    let mut silent = Vec::new();
    for _ in 0..5 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert_eq!(say(b"PROXY UNKNOWN\r\n").await, "HTTP/1.1 200 OK");
    server.stop().await;
}
