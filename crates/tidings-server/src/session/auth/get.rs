//! One small document over HTTP or HTTPS: the login service's keys. No redirects, no proxies, little time, few bytes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Uri, header};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::trust;

const PATIENCE: Duration = Duration::from_secs(5);
const BYTES_MAX: usize = 256 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("the address is not one of http or https")]
    Address,
    #[error("no answer in 5 s")]
    Late,
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    #[error("no secured connection: {0}")]
    Tls(#[from] rustls::Error),
    #[error("the answer breaks off: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}")]
    Status(u16),
    #[error("the answer is too long, or no text")]
    Body,
}

/// The text at `url`. Certificates are checked against the ones this machine trusts (`SSL_CERT_FILE` names others).
pub async fn get(url: &str) -> Result<String, GetError> {
    tokio::time::timeout(PATIENCE, fetch(url)).await.map_err(|_| GetError::Late)?
}

async fn fetch(url: &str) -> Result<String, GetError> {
    let url: Uri = url.parse().map_err(|_| GetError::Address)?;
    let is_secured = url.scheme_str() == Some("https");
    let host = url.host().ok_or(GetError::Address)?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let port = url.port_u16().unwrap_or(if is_secured { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    if !is_secured {
        return ask(stream, &url).await;
    }
    let name = ServerName::try_from(host.to_owned()).map_err(|_| GetError::Address)?;
    let stream = TlsConnector::from(Arc::new(trust::client_config()?)).connect(name, stream).await?;
    ask(stream, &url).await
}

async fn ask(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, url: &Uri) -> Result<String, GetError> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, url.authority().map_or("", |authority| authority.as_str()))
        .header(header::ACCEPT, "application/json")
        .body(Empty::<Bytes>::new())
        .map_err(|_| GetError::Address)?;
    // The connection moves only while it is polled, and ends with this call.
    let mut connection = std::pin::pin!(connection);
    let answer = async {
        let response = sender.send_request(request).await?;
        if response.status() != http::StatusCode::OK {
            return Err(GetError::Status(response.status().as_u16()));
        }
        let body = Limited::new(response.into_body(), BYTES_MAX).collect().await.map_err(|_| GetError::Body)?;
        String::from_utf8(body.to_bytes().into()).map_err(|_| GetError::Body)
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // What was read before the end of the connection is still there to be taken.
        _ = &mut connection => answer.await,
    }
}
