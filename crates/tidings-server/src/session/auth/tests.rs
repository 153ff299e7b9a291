use std::collections::BTreeSet;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::{token::Wrong, *};

const NOW_S: u64 = 1_800_000_000;
const SECRET: &str = "a secret of the tests, long enough";

fn private(name: &str) -> String {
    read(&format!("{name}.pem"))
}

fn read(file: &str) -> String {
    let path = format!("{}/../../fixtures/keys/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("the key is there")
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Signs any text as header and claims.
fn sign_text(header: &str, claims: &str, algorithm: Algorithm, key: &EncodingKey) -> String {
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("the key fits");
    format!("{message}.{signature}")
}

fn ed() -> EncodingKey {
    EncodingKey::from_ed_pem(private("ed25519").as_bytes()).expect("a key")
}

/// A right token's claims, changed.
fn claims(change: impl FnOnce(&mut Value)) -> String {
    let mut claims = json!({"sub": "ada", "iss": "https://login.example", "aud": "tidings", "exp": NOW_S + 600,
        "iat": NOW_S - 5, "nbf": NOW_S - 5, "tenant": "t1", "name": "Ada L."});
    change(&mut claims);
    claims.to_string()
}

/// A right token, but for its header.
fn with_header(header: &str) -> String {
    sign_text(header, &claims(|_| {}), Algorithm::EdDSA, &ed())
}

/// A right token, but for its claims.
fn with_claims(change: impl FnOnce(&mut Value)) -> String {
    sign_text(r#"{"alg":"EdDSA"}"#, &claims(change), Algorithm::EdDSA, &ed())
}

fn with_text(claims: &str) -> String {
    sign_text(r#"{"alg":"EdDSA"}"#, claims, Algorithm::EdDSA, &ed())
}

async fn door() -> Jwt {
    let keys: Vec<String> = ["rsa", "p256", "ed25519"].iter().map(|name| read(&format!("{name}.public.pem"))).collect();
    let settings = [
        ("auth.mode", "jwt"),
        ("auth.secret", SECRET),
        ("auth.keys", &keys.concat()),
        ("auth.issuer", "https://login.example"),
        ("auth.audience", "tidings,tidings-test"),
        ("auth.required_claims", "tenant"),
        ("auth.name_claim", "name"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let config = config::Config::layered(None, [], settings).expect("right settings");
    Jwt::open(&config.auth, NOW_S * 1_000).await.expect("right keys")
}

#[tokio::test]
async fn a_right_token_of_each_algorithm_is_taken() {
    let door = door().await;
    let keys = [
        (Algorithm::HS256, EncodingKey::from_secret(SECRET.as_bytes())),
        (Algorithm::RS256, EncodingKey::from_rsa_pem(private("rsa").as_bytes()).unwrap()),
        (Algorithm::ES256, EncodingKey::from_ec_pem(private("p256").as_bytes()).unwrap()),
        (Algorithm::EdDSA, ed()),
    ];
    for (algorithm, key) in keys {
        let header = json!({"alg": algorithm, "typ": "JWT", "kid": "any"}).to_string();
        let token = sign_text(&header, &claims(|_| {}), algorithm, &key);
        let identity =
            door.verify(&token, NOW_S * 1_000).await.unwrap_or_else(|wrong| panic!("{algorithm:?}: {wrong}"));
        let ada = UserId::new("ada").unwrap();
        let expected = Identity {
            user: ada,
            device: None,
            issued_ms: (NOW_S - 5) * 1_000,
            expires_ms: Some((NOW_S + 610) * 1_000),
            name: Some("Ada L.".into()),
        };
        assert_eq!(identity, expected, "{algorithm:?}");
        // The second look comes from memory, and ends with the token.
        assert_eq!(door.verify(&token, (NOW_S + 609) * 1_000).await, Ok(expected));
        assert_eq!(door.verify(&token, (NOW_S + 610) * 1_000).await, Err(Wrong::Expired));
    }
}

#[tokio::test]
async fn what_is_unusual_and_right_is_taken() {
    let door = door().await;
    let right = [
        ("typ of an access token", with_header(r#"{"alg":"EdDSA","typ":"at+jwt"}"#)),
        ("typ in full", with_header(r#"{"alg":"EdDSA","typ":"application/JWT"}"#)),
        ("an unknown header", with_header(r#"{"alg":"EdDSA","x5t":"abc","more":1}"#)),
        ("audiences", with_claims(|claims| claims["aud"] = json!(["other", "tidings-test"]))),
        ("exp with a fraction", with_claims(|claims| claims["exp"] = json!(NOW_S as f64 + 0.5))),
        ("exp within the leeway", with_claims(|claims| claims["exp"] = json!(NOW_S - 9))),
        ("nbf within the leeway", with_claims(|claims| claims["nbf"] = json!(NOW_S + 9))),
        (
            "no iat, no nbf",
            with_text(&format!(
                r#"{{"sub":"ada","iss":"https://login.example","aud":"tidings","tenant":1,"exp":{}}}"#,
                NOW_S + 1
            )),
        ),
        ("a device", with_claims(|claims| claims["device"] = json!("phone"))),
        ("another script", with_claims(|claims| claims["sub"] = json!("Ада-日本語"))),
    ];
    for (what, token) in right {
        assert!(door.verify(&token, NOW_S * 1_000).await.is_ok(), "{what}: {:?}", door.verify(&token, 0).await);
    }
}

/// Tokens of which a part is not what it should be before any claim is read.
#[expect(clippy::too_many_lines, reason = "a table")]
fn wrong_forms() -> Vec<(&'static str, String, Wrong)> {
    let good = with_claims(|_| {});
    let parts: Vec<&str> = good.split('.').collect();
    let (head, body, signature) = (parts[0], parts[1], parts[2]);
    let none = encode(r#"{"alg":"none"}"#);
    let rsa_public = EncodingKey::from_secret(read("rsa.public.pem").as_bytes());
    let ed_public = EncodingKey::from_secret(read("ed25519.public.pem").as_bytes());
    let hs = |key: &EncodingKey| sign_text(r#"{"alg":"HS256"}"#, &claims(|_| {}), Algorithm::HS256, key);
    let flipped = {
        let mut bytes = URL_SAFE_NO_PAD.decode(signature).expect("base64");
        bytes[7] ^= 1;
        encode(bytes)
    };
    let other = EncodingKey::from_ed_pem(private("other").as_bytes()).expect("a key");
    let mut list = vec![
        ("empty", String::new(), Wrong::Shape),
        ("a word", "token".to_owned(), Wrong::Shape),
        ("dots", "..".to_owned(), Wrong::Shape),
        ("two parts", format!("{head}.{body}"), Wrong::Shape),
        ("four parts", format!("{good}.{signature}"), Wrong::Shape),
        ("five parts, as if encrypted", format!("{good}.a.b"), Wrong::Shape),
        ("no signature", format!("{head}.{body}."), Wrong::Shape),
        ("no claims", format!("{head}..{signature}"), Wrong::Shape),
        ("no header", format!(".{body}.{signature}"), Wrong::Shape),
        ("padded", format!("{head}.{body}.{signature}=="), Wrong::Shape),
        ("the other alphabet", format!("{head}.{body}.+/{}", &signature[2..]), Wrong::Shape),
        ("a space before", format!(" {good}"), Wrong::Shape),
        ("a line end behind", format!("{good}\n"), Wrong::Shape),
        ("a zero behind", format!("{good}\0"), Wrong::Shape),
        ("a full-width dot", good.replacen('.', "．", 1), Wrong::Shape),
        ("letters of another script", format!("{}.{body}.{signature}", head.replace('e', "е")), Wrong::Shape),
        ("too long", with_claims(|claims| claims["x"] = json!("x".repeat(9_000))), Wrong::TooLong),
        ("a header that is text", with_header("alg"), Wrong::HeaderJson),
        ("a header that is a list", with_header(r#"["EdDSA"]"#), Wrong::HeaderJson),
        ("a header that is no UTF-8", format!("{}.{body}.{signature}", encode([0xff, 0xfe])), Wrong::HeaderJson),
        ("alg twice", with_header(r#"{"alg":"none","alg":"EdDSA"}"#), Wrong::HeaderJson),
        ("alg twice, once escaped", with_header(r#"{"alg":"EdDSA","\u0061lg":"none"}"#), Wrong::HeaderJson),
        ("something behind the header", with_header(r#"{"alg":"EdDSA"}{}"#), Wrong::HeaderJson),
        ("a byte order mark", with_header("\u{feff}{\"alg\":\"EdDSA\"}"), Wrong::HeaderJson),
        ("alg none, signed", with_header(r#"{"alg":"none"}"#), Wrong::Algorithm),
        ("alg none, some signature", format!("{none}.{body}.{signature}"), Wrong::Algorithm),
        ("alg none, no signature", format!("{none}.{body}."), Wrong::Shape),
        ("alg in another case", with_header(r#"{"alg":"eddsa"}"#), Wrong::Algorithm),
        ("alg None", with_header(r#"{"alg":"None"}"#), Wrong::Algorithm),
        ("alg in another script", with_header(r#"{"alg":"ЕdDSA"}"#), Wrong::Algorithm),
        ("alg with a zero", with_header("{\"alg\":\"EdDSA\\u0000\"}"), Wrong::Algorithm),
        ("alg that is a number", with_header(r#"{"alg":256}"#), Wrong::Algorithm),
        ("alg that is a list", with_header(r#"{"alg":["EdDSA"]}"#), Wrong::Algorithm),
        ("no alg", with_header(r#"{"typ":"JWT"}"#), Wrong::Algorithm),
        ("an alg that is not offered", with_header(r#"{"alg":"RS512"}"#), Wrong::Algorithm),
        ("PS256", with_header(r#"{"alg":"PS256"}"#), Wrong::Algorithm),
        ("typ of something else", with_header(r#"{"alg":"EdDSA","typ":"logout+jwt"}"#), Wrong::Type),
        ("typ that is a number", with_header(r#"{"alg":"EdDSA","typ":1}"#), Wrong::Type),
        ("the RSA key as a secret", hs(&rsa_public), Wrong::Signature),
        ("the Ed25519 key as a secret", hs(&ed_public), Wrong::Signature),
        ("an empty secret", hs(&EncodingKey::from_secret(b"")), Wrong::Signature),
        ("another's key", sign_text(r#"{"alg":"EdDSA"}"#, &claims(|_| {}), Algorithm::EdDSA, &other), Wrong::Signature),
        (
            "another header's signature",
            format!("{}.{body}.{signature}", encode(r#"{"alg":"RS256"}"#)),
            Wrong::Signature,
        ),
        ("a changed signature", format!("{head}.{body}.{flipped}"), Wrong::Signature),
        ("a short signature", format!("{head}.{body}.{}", encode([0; 8])), Wrong::Signature),
        ("a signature of zeros", format!("{head}.{body}.{}", encode([0; 64])), Wrong::Signature),
        ("ES256 of zeros", format!("{}.{body}.{}", encode(r#"{"alg":"ES256"}"#), encode([0; 64])), Wrong::Signature),
        (
            "other claims",
            format!("{head}.{}.{signature}", encode(claims(|claims| claims["sub"] = json!("bob")))),
            Wrong::Signature,
        ),
        ("a kid that is a number", with_header(r#"{"alg":"EdDSA","kid":1}"#), Wrong::KeyName),
        ("a kid that is a path", with_header(r#"{"alg":"EdDSA","kid":["../../dev/null"]}"#), Wrong::KeyName),
        ("typ null", with_header(r#"{"alg":"EdDSA","typ":null}"#), Wrong::Type),
    ];
    let brings = [
        ("jku", r#""https://evil.example/keys""#),
        ("jwk", r#"{"kty":"OKP"}"#),
        ("x5u", r#""https://evil.example/""#),
        ("x5c", r#"["MII"]"#),
    ];
    list.extend(brings.map(|(name, value)| {
        (name, with_header(&format!(r#"{{"alg":"EdDSA","{name}":{value}}}"#)), Wrong::BringsKeys)
    }));
    let asks =
        [("crit", r#"["exp"]"#), ("b64", "false"), ("zip", r#""DEF""#), ("cty", r#""JWT""#), ("enc", r#""A128GCM""#)];
    list.extend(
        asks.map(|(name, value)| {
            (name, with_header(&format!(r#"{{"alg":"EdDSA","{name}":{value}}}"#)), Wrong::Critical)
        }),
    );
    list
}

/// Tokens that are signed as they should be, and claim what they must not.
fn wrong_claims() -> Vec<(&'static str, String, Wrong)> {
    let set = |name: &str, value: Value| with_claims(|claims| claims[name] = value);
    let without = |name: &str| with_claims(|claims| drop(claims.as_object_mut().expect("an object").remove(name)));
    let exp = |value: &str| {
        with_text(&claims(|claims| drop(claims.as_object_mut().expect("an object").remove("exp"))).replacen(
            '{',
            &format!("{{\"exp\":{value},"),
            1,
        ))
    };
    let lacks = |name: &str| Wrong::Lacks(name.to_owned());
    let user = || Wrong::User("sub".to_owned());
    let device = || Wrong::Device("device".to_owned());
    vec![
        ("claims that are text", with_text("ada"), Wrong::ClaimsJson),
        ("claims that are a list", with_text("[]"), Wrong::ClaimsJson),
        ("claims that are no UTF-8", with_text("\u{0}{}"), Wrong::ClaimsJson),
        ("sub twice", with_text(&claims(|_| {}).replacen('{', r#"{"sub":"bob","#, 1)), Wrong::ClaimsJson),
        ("exp twice", with_text(&claims(|_| {}).replacen('{', r#"{"exp":1,"#, 1)), Wrong::ClaimsJson),
        (
            "a name twice further in",
            with_text(&claims(|_| {}).replacen('{', r#"{"x":{"a":1,"a":2},"#, 1)),
            Wrong::ClaimsJson,
        ),
        ("no exp", without("exp"), Wrong::NoExpiry),
        ("exp that is text", exp("\"1900000000\""), Wrong::Time("exp")),
        ("exp null", exp("null"), Wrong::Time("exp")),
        ("exp true", exp("true"), Wrong::Time("exp")),
        ("exp that is a list", exp("[1900000000]"), Wrong::Time("exp")),
        ("exp below zero", exp("-1"), Wrong::Time("exp")),
        ("exp beyond the year 9999", exp("253402300800"), Wrong::Time("exp")),
        ("exp in milliseconds", exp("1900000000000"), Wrong::Time("exp")),
        ("exp beyond 64 bits", exp("99999999999999999999999"), Wrong::Time("exp")),
        ("exp beyond all floats", exp("1e999"), Wrong::ClaimsJson),
        ("exp not a number", exp("NaN"), Wrong::ClaimsJson),
        ("exp just past", set("exp", json!(NOW_S - 10)), Wrong::Expired),
        ("exp long past", set("exp", json!(1)), Wrong::Expired),
        ("exp 0", set("exp", json!(0)), Wrong::Expired),
        ("nbf to come", set("nbf", json!(NOW_S + 11)), Wrong::NotYet),
        ("nbf that is text", set("nbf", json!("0")), Wrong::Time("nbf")),
        ("iat to come", set("iat", json!(NOW_S + 3_600)), Wrong::IssuedLater),
        ("iat that is text", set("iat", json!("now")), Wrong::Time("iat")),
        ("no iss", without("iss"), Wrong::Issuer),
        ("another iss", set("iss", json!("https://evil.example")), Wrong::Issuer),
        ("iss with a slash", set("iss", json!("https://login.example/")), Wrong::Issuer),
        ("iss in another case", set("iss", json!("https://LOGIN.example")), Wrong::Issuer),
        ("iss that is a list", set("iss", json!(["https://login.example"])), Wrong::Issuer),
        ("no aud", without("aud"), Wrong::Audience),
        ("another aud", set("aud", json!("tidings2")), Wrong::Audience),
        ("aud that begins so", set("aud", json!("tiding")), Wrong::Audience),
        ("no audience", set("aud", json!([])), Wrong::Audience),
        ("audiences of others", set("aud", json!(["a", "b"])), Wrong::Audience),
        ("an audience within", set("aud", json!([["tidings"]])), Wrong::Audience),
        ("an audience beside a number", set("aud", json!(["tidings", 1])), Wrong::Audience),
        ("aud that is an object", set("aud", json!({"tidings": true})), Wrong::Audience),
        ("a required claim lacks", without("tenant"), lacks("tenant")),
        ("a required claim is null", set("tenant", Value::Null), lacks("tenant")),
        ("no sub", without("sub"), lacks("sub")),
        ("sub null", set("sub", Value::Null), user()),
        ("sub that is a number", set("sub", json!(7)), user()),
        ("sub that is empty", set("sub", json!("")), user()),
        ("sub with a zero", set("sub", json!("ada\u{0}")), user()),
        ("sub with a line end", set("sub", json!("ada\nbob")), user()),
        ("sub with an escape", set("sub", json!("\u{1b}[2J")), user()),
        ("a long sub", set("sub", json!("a".repeat(129))), user()),
        ("device that is a number", set("device", json!(7)), device()),
        ("device that is empty", set("device", json!("")), device()),
        ("device null", set("device", Value::Null), device()),
        ("a long device", set("device", json!("d".repeat(65))), device()),
    ]
}

#[tokio::test]
async fn wrong_tokens_are_refused_each_for_its_reason() {
    let door = door().await;
    let table: Vec<_> = wrong_forms().into_iter().chain(wrong_claims()).collect();
    let names: BTreeSet<_> = table.iter().map(|(name, ..)| name).collect();
    assert_eq!((names.len(), table.len() >= 100), (table.len(), true), "each row is another token");
    for (name, token, reason) in &table {
        assert_eq!(
            door.verify(token, NOW_S * 1_000).await.map(|identity| identity.user),
            Err(reason.clone()),
            "{name}"
        );
    }
    // The controls: the same door takes what the rows are made of.
    assert!(door.verify(&with_claims(|_| {}), NOW_S * 1_000).await.is_ok());
    assert!(door.verify(&with_header(r#"{"alg":"EdDSA"}"#), NOW_S * 1_000).await.is_ok());
}

#[tokio::test]
async fn a_key_is_bound_to_its_algorithm_and_its_name() {
    let ed_x = URL_SAFE_NO_PAD.encode(&pem_bytes(&read("ed25519.public.pem"))[12..]);
    let set = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "x": ed_x, "kid": "k1", "use": "sig", "alg": "EdDSA"},
        {"kty": "OKP", "crv": "Ed25519", "x": ed_x, "kid": "k2", "use": "enc"},
        {"kty": "oct", "k": encode(SECRET), "kid": "k3", "alg": "HS256"},
        {"kty": "EC", "crv": "P-521", "x": "AA", "y": "AA", "kid": "k4"},
        {"kty": "of a later day", "kid": "k5"}
    ]});
    let mut keys = Keys::default();
    keys.extend(Keys::parse(&set.to_string()).expect("one of them is usable"));
    let check = |token: String| keys.check(&Unverified::read(&token).expect("a token"));
    let named = |kid: &str| with_header(&format!(r#"{{"alg":"EdDSA","kid":"{kid}"}}"#));
    assert_eq!(check(named("k1")), Ok(()));
    assert_eq!(check(with_header(r#"{"alg":"EdDSA"}"#)), Ok(()));
    for kid in ["k2", "k3", "k4", "k5", "", "K1", "k1 "] {
        assert_eq!(check(named(kid)), Err(Wrong::UnknownKey), "{kid}");
    }
    let hs = |header: &str| {
        sign_text(header, &claims(|_| {}), Algorithm::HS256, &EncodingKey::from_secret(SECRET.as_bytes()))
    };
    assert_eq!(check(hs(r#"{"alg":"HS256","kid":"k3"}"#)), Err(Wrong::UnknownKey));
    assert_eq!(check(hs(r#"{"alg":"HS256","kid":"k1"}"#)), Err(Wrong::OtherAlgorithm));
    assert_eq!(check(hs(r#"{"alg":"HS256"}"#)), Err(Wrong::OtherAlgorithm));
}

#[test]
fn keys_that_are_none_are_told() {
    let error = |text: &str| Keys::parse(text).map(|keys| keys.len()).expect_err("these are no keys").to_string();
    assert!(error("hello").contains("neither PEM nor"));
    assert!(error("{}").contains("neither PEM nor"));
    assert!(error(r#"{"keys":[]}"#).contains("no key in it"));
    assert!(error(&private("rsa")).contains("private"));
    assert!(error(r#"{"kty":"OKP","crv":"Ed25519","x":"AA","d":"AA"}"#).contains("private"));
    assert!(error("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----").contains("no key in it"));
}

fn pem_bytes(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    base64::engine::general_purpose::STANDARD.decode(text).expect("base64")
}

/// A key server: what it publishes now (`None`: it is down), and how often it was asked.
type Published = Arc<Mutex<(Option<Value>, u32)>>;

async fn key_server(published: Published) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/keys", listener.local_addr().expect("it listens"));
    let answer = move || async move {
        let mut published = published.lock();
        published.1 += 1;
        published.0.as_ref().map(Value::to_string).ok_or(http::StatusCode::SERVICE_UNAVAILABLE)
    };
    let app = axum::Router::new().route("/keys", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

#[tokio::test]
async fn keys_are_asked_for_again_at_most_once_a_minute_and_stay_while_nobody_answers() {
    let set = |kid: &str, name: &str| {
        let x = URL_SAFE_NO_PAD.encode(&pem_bytes(&read(&format!("{name}.public.pem")))[12..]);
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}]})
    };
    let other = EncodingKey::from_ed_pem(private("other").as_bytes()).unwrap();
    let old = with_header(r#"{"alg":"EdDSA","kid":"old"}"#);
    let new = sign_text(r#"{"alg":"EdDSA","kid":"new"}"#, &claims(|_| {}), Algorithm::EdDSA, &other);
    let published: Published = Arc::new(Mutex::new((Some(set("old", "ed25519")), 0)));
    let sources = Sources { url: Some(key_server(published.clone()).await), age_ms: 600_000, file: None };
    let start_ms = 1_000_000;
    let store = KeyStore::open(Vec::new(), sources, start_ms).await.expect("no file to fail");
    let check =
        async |token: &str, at_s: u64| store.check(&Unverified::read(token).unwrap(), start_ms + at_s * 1_000).await;
    let asked = || published.lock().1;

    assert_eq!((check(&old, 0).await, asked()), (Ok(()), 1));
    published.lock().0 = Some(set("new", "other"));
    assert_eq!((check(&new, 59).await, asked()), (Err(Wrong::UnknownKey), 1), "asked a minute ago at the latest");
    assert_eq!((check(&new, 60).await, asked()), (Ok(()), 2));
    assert_eq!(check(&old, 60).await, Err(Wrong::UnknownKey), "withdrawn");

    published.lock().0 = None;
    assert_eq!((check(&old, 120).await, asked()), (Err(Wrong::UnknownKey), 3));
    assert_eq!(check(&new, 120).await, Ok(()), "it is down: what is known stays good");
    published.lock().0 = Some(json!({"keys": "nonsense"}));
    assert_eq!((check(&old, 180).await, asked()), (Err(Wrong::UnknownKey), 4));
    assert_eq!(check(&new, 180).await, Ok(()));
    // Old keys are read anew though each token finds its key: a withdrawn one must go.
    published.lock().0 = Some(set("old", "ed25519"));
    let before = store.generation();
    store.keep_fresh(start_ms + 780_000);
    assert_eq!(store.generation(), before, "nothing is that old");
    store.keep_fresh(start_ms + 781_000);
    while store.generation() == before {
        tokio::task::yield_now().await;
    }
    assert_eq!((check(&new, 781).await, check(&old, 781).await), (Err(Wrong::UnknownKey), Ok(())));
}

#[tokio::test]
async fn a_file_of_keys_may_be_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.pem");
    std::fs::write(&path, read("rsa.public.pem")).unwrap();
    let sources = Sources { file: Some(path.clone()), age_ms: 600_000, url: None };
    let store = KeyStore::open(Vec::new(), sources.clone(), 0).await.expect("the file is right");
    let token = with_claims(|_| {});
    let token = Unverified::read(&token).unwrap();
    std::fs::write(&path, "half of a fi").unwrap();
    assert_eq!(store.check(&token, 60_000).await, Err(Wrong::OtherAlgorithm));
    assert!(KeyStore::open(Vec::new(), sources, 0).await.is_err(), "a start says what is wrong");
    std::fs::write(&path, read("ed25519.public.pem")).unwrap();
    assert_eq!(store.check(&token, 60_000).await, Err(Wrong::OtherAlgorithm));
    assert_eq!(store.check(&token, 120_000).await, Ok(()));
}
