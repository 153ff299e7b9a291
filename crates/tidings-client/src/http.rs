//! The calls that need no connection: login, a single message, and what operators do.

pub mod admin;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tidings_proto::{
    Code, ConversationId, DeviceId, Seq, UserId,
    frames::{
        client::{Command, Request as Frame, Send},
        server::{Device, Entry, Problem, Refused, Sent, UserProfile},
    },
    percent,
};

use crate::{endpoint::Endpoint, error::ClientError};

/// Answers are at most 1 MiB, an operator's pages some more.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
const TIMEOUT: Duration = Duration::from_secs(60);

/// What calls show. Shared by clones, so that a new token is shown by all of them from then on.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Option<Arc<str>>>>);

impl Shown {
    fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, token: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(token.into());
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token is a secret: that there is one is enough.
        f.write_str(if self.get().is_some() { "a token" } else { "none" })
    }
}

/// A client of the HTTP interface; connections and what is shown are kept and shared by clones.
#[derive(Clone, Debug)]
pub struct Http {
    endpoint: Endpoint,
    token: Shown,
    client: Client<HttpConnector, Full<Bytes>>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Login {
    pub token: String,
    pub user: UserId,
    pub device: DeviceId,
}

impl Http {
    pub fn new(url: &str) -> Result<Self, ClientError> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { endpoint: Endpoint::parse(url)?, token: Shown::default(), client })
    }

    /// The same connections, for somebody: what to show is a user's token, or the operator's.
    #[must_use]
    pub fn with_token(mut self, token: &str) -> Self {
        self.token = Shown::default();
        self.token.set(token);
        self
    }

    /// A new token, for this and all its clones.
    pub(crate) fn renew(&self, token: &str) {
        self.token.set(token);
    }

    /// A token for `username`, where a username is enough.
    pub async fn login(&self, username: &str, device: Option<&str>) -> Result<Login, ClientError> {
        self.call(Method::POST, "/v1/login", Some(&serde_json::json!({ "username": username, "device": device }))).await
    }

    /// One message, durable when this returns. Repeating it with the same `client_msg_id` is safe.
    pub async fn send(&self, send: Send) -> Result<Sent, ClientError> {
        self.call(Method::POST, "/v1/messages", Some(&Frame { id: None, command: Command::Send(send) })).await
    }

    /// The profiles of at most 100 users; unknown ones are left out.
    pub async fn users(&self, users: &[UserId]) -> Result<Vec<UserProfile>, ClientError> {
        #[derive(Deserialize)]
        struct Users {
            users: Vec<UserProfile>,
        }
        let ids: Vec<String> = users.iter().map(|user| percent::encoded(user.as_str())).collect();
        let path = format!("/v1/users?ids={}", ids.join(","));
        Ok(self.call::<Users>(Method::GET, &path, None::<&()>).await?.users)
    }

    /// One's own devices: where one is logged in.
    pub async fn devices(&self) -> Result<Vec<Device>, ClientError> {
        #[derive(Deserialize)]
        struct Devices {
            devices: Vec<Device>,
        }
        Ok(self.call::<Devices>(Method::GET, "/v1/me/devices", None::<&()>).await?.devices)
    }

    /// What one calls a device of one's own; an empty name removes it.
    pub async fn name_device(&self, device: &DeviceId, name: &str) -> Result<Device, ClientError> {
        self.call(Method::PATCH, &device_path(device), Some(&serde_json::json!({ "name": name }))).await
    }

    /// Ends a device's connections, and its tokens are worth nothing from then on.
    pub async fn revoke_device(&self, device: &DeviceId) -> Result<(), ClientError> {
        self.exchange(Method::DELETE, &device_path(device), None::<&()>).await.map(|_| ())
    }

    /// Any call: a body goes out as JSON, the answer comes back as JSON. A refusal is `ClientError::Refused`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let answer = self.exchange(method, path, body).await?;
        serde_json::from_slice(answer.body()).map_err(|error| ClientError::Unexpected(format!("{path}: {error}")))
    }

    /// Any call, and the whole answer if it went well. One whose token has ended while a new one came is made again with that: a
    /// poll may have been on its way when the token was renewed.
    pub(crate) async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Bytes>, ClientError> {
        let shown = self.token.get();
        match self.exchange_once(method.clone(), path, body).await {
            Err(ClientError::Refused(refused))
                if refused.code == Code::Unauthenticated && self.token.get() != shown =>
            {
                self.exchange_once(method, path, body).await
            }
            answer => answer,
        }
    }

    async fn exchange_once(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Bytes>, ClientError> {
        let whole = async { self.whole(self.begin(method, path, body).await?).await };
        match tokio::time::timeout(TIMEOUT, whole).await {
            Ok(answer) => checked(path, answer?),
            Err(_) => Err(self.unreachable(&format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    /// An answer that goes on and on, if it begins well.
    pub(crate) async fn open(&self, path: &str) -> Result<Incoming, ClientError> {
        let response = self.begin(Method::GET, path, None::<&()>).await?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        checked(path, self.whole(response).await?)?;
        Err(ClientError::Unexpected(format!("{path}: it does not go on")))
    }

    async fn begin(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Response<Incoming>, ClientError> {
        let mut request = Request::builder().method(method).uri(self.endpoint.path(path));
        if let Some(token) = self.token.get() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).map_err(|error| ClientError::Unexpected(error.to_string()))?
            }
            None => Vec::new(),
        };
        let wrong = |error: http::Error| ClientError::Address { url: path.to_owned(), reason: error.to_string() };
        let request = request.body(Full::new(Bytes::from(body))).map_err(wrong)?;
        self.client.request(request).await.map_err(|error| self.unreachable(&causes(&error)))
    }

    async fn whole(&self, response: Response<Incoming>) -> Result<Response<Bytes>, ClientError> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
        let body = body.map_err(|error| self.unreachable(&error.to_string()))?;
        Ok(Response::from_parts(head, body.to_bytes()))
    }

    fn unreachable(&self, reason: &str) -> ClientError {
        ClientError::Unreachable { url: self.endpoint.path(""), reason: reason.to_owned() }
    }
}

fn device_path(device: &DeviceId) -> String {
    format!("/v1/me/devices/{}", percent::encoded(device.as_str()))
}

/// An error with what it came of: the outermost one alone says nothing.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// The answer, unless it is a refusal.
fn checked(path: &str, answer: Response<Bytes>) -> Result<Response<Bytes>, ClientError> {
    let (status, body) = (answer.status(), answer.body());
    if status.is_success() {
        return Ok(answer);
    }
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) => {
            let seconds =
                answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
            let retry_after_ms = seconds.map(|seconds| seconds.saturating_mul(1_000));
            Err(ClientError::Refused(Box::new(Refused { retry_after_ms, ..refused(problem) })))
        }
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(200)]).into_owned();
            Err(ClientError::Unexpected(format!("{path}: status {status}: {text}")))
        }
    }
}

fn refused(problem: Problem) -> Refused {
    Refused {
        re: None,
        code: problem.code,
        message: problem.detail,
        retry_after_ms: None,
        users: problem.users,
        login_url: problem.login_url,
    }
}
