//! A client of the HTTP calls: what is asked and answered as plain JSON, with status and headers.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    contract,
    support::{PATIENCE, TestServer},
};

pub const ADMIN: (&str, &str) = ("admin_token", "the-operators-own-secret");

/// Somebody with a token, or nobody.
#[derive(Clone)]
pub struct Caller {
    client: Client<HttpConnector, Full<Bytes>>,
    base: String,
    pub token: Option<String>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    /// `Null`: there was no body, or one that is no JSON.
    pub body: Value,
}

impl Answer {
    /// The body, if it went well.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// A header's value; empty: there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    /// A problem document of this status and code; its detail.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> String {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers.contains_key("www-authenticate"), status == 401, "{self:?}");
        assert_eq!(self.body["status"], status);
        assert!(!self.body["title"].as_str().expect("a title").is_empty());
        self.body["detail"].as_str().expect("a detail").to_owned()
    }
}

impl TestServer {
    pub fn nobody(&self) -> Caller {
        let client = Client::builder(TokioExecutor::new()).build_http();
        Caller { client, base: format!("http://{}", self.address), token: None }
    }

    /// The same caller, over one connection of HTTP/2.
    pub fn over_http_2(&self, caller: &Caller) -> Caller {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http();
        Caller { client, ..caller.clone() }
    }

    pub fn with_token(&self, token: &str) -> Caller {
        Caller { token: Some(token.to_owned()), ..self.nobody() }
    }

    pub fn operator(&self) -> Caller {
        Caller { token: Some(ADMIN.1.to_owned()), ..self.nobody() }
    }

    pub async fn log_in(&self, user: &str, device: &str) -> Caller {
        let nobody = self.nobody();
        let login = nobody.post("/v1/login", json!({"username": user, "device": device})).await.ok();
        Caller { token: login["token"].as_str().map(str::to_owned), ..nobody }
    }
}

impl Caller {
    pub async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call("POST", path, &[], Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.call("PUT", path, &[], Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call("PATCH", path, &[], Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, &[], None).await
    }

    pub async fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
        self.raw(method, path, headers, body.map_or_else(Bytes::new, |body| body.to_string().into())).await
    }

    pub async fn raw(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Bytes) -> Answer {
        let response = self.open(method, path, headers, body.clone()).await;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let said = timeout(PATIENCE, response.into_body().collect()).await.expect("the body ends");
        let said = said.expect("the line stands").to_bytes();
        let answer = Answer { status, headers, body: serde_json::from_slice(&said).unwrap_or(Value::Null) };
        contract::check_answer(method, path, &body, &answer, &said);
        answer
    }

    /// The body of what is no JSON.
    pub async fn text(&self, path: &str) -> String {
        let response = self.open("GET", path, &[], Bytes::new()).await;
        let body = timeout(PATIENCE, response.into_body().collect()).await.expect("the body ends");
        String::from_utf8(body.expect("the line stands").to_bytes().into()).expect("UTF-8")
    }

    /// The answer as it begins.
    pub async fn open(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
    ) -> http::Response<impl BodyExt<Data = Bytes, Error: std::fmt::Debug + Send> + Unpin + use<>> {
        let mut request = http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body)).expect("a right request");
        timeout(PATIENCE, self.client.request(request)).await.expect("an answer comes").expect("the line stands")
    }
}
