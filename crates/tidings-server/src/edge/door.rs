//! Takes connections: plain ones, those under TLS, and those behind a proxy that says at their head who the client is.
//!
//! A head or a handshake is waited for beside the others, not in their way, and not for long.

use std::{
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{self, AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_rustls::server::TlsStream;

use crate::config::Config;

use super::{
    addresses::{Peer, is_in, read_proxy_head},
    tls::{Tls, TlsError},
};

/// How long a client may take for the head and the handshake.
const HANDSHAKE_WAIT: Duration = Duration::from_secs(10);
/// Handshakes at a time; further connections wait in the system's queue.
const HANDSHAKES_MAX: usize = 1_024;
/// Connections that are ready to be served.
const READY_MAX: usize = 64;
/// After an error that is not the client's, such as too many open files.
const ERROR_WAIT: Duration = Duration::from_millis(200);

pub struct Door(Way);

enum Way {
    Plain(TcpListener),
    /// With something to be waited for before a connection is ready.
    Prepared {
        ready: mpsc::Receiver<(Stream, Peer)>,
        taking: JoinHandle<()>,
    },
}

impl Door {
    pub fn open(listener: TcpListener, config: &Config) -> Result<Self, DoorError> {
        let tls = tls(config)?;
        let proxies = config.http.proxy_protocol.then(|| config.http.trusted_proxies.clone());
        if tls.is_none() && proxies.is_none() {
            return Ok(Self(Way::Plain(listener)));
        }
        Ok(Self::prepared(listener, tls, proxies))
    }

    /// One for TLS alone, with the certificate of the settings. MQTT has it beside its plain port.
    pub fn open_tls(listener: TcpListener, config: &Config) -> Result<Self, DoorError> {
        let tls = tls(config)?;
        Ok(Self::prepared(listener, tls, None))
    }

    fn prepared(listener: TcpListener, tls: Option<Arc<Tls>>, proxies: Option<Vec<ipnet::IpNet>>) -> Self {
        let (ready_tx, ready) = mpsc::channel(READY_MAX);
        let preparing = Arc::new(Preparing { tls, proxies, ready: ready_tx });
        let taking = tokio::spawn(take_all(listener, preparing));
        Self(Way::Prepared { ready, taking })
    }
}

fn tls(config: &Config) -> Result<Option<Arc<Tls>>, TlsError> {
    match (&config.tls.cert_file, &config.tls.key_file) {
        (Some(certificate), Some(key)) => Tls::open(certificate, key).map(|tls| Some(Arc::new(tls))),
        _ => Ok(None),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DoorError {
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("failed to listen: {0}")]
    Listen(#[from] io::Error),
}

struct Preparing {
    tls: Option<Arc<Tls>>,
    proxies: Option<Vec<ipnet::IpNet>>,
    ready: mpsc::Sender<(Stream, Peer)>,
}

async fn take_all(listener: TcpListener, preparing: Arc<Preparing>) {
    let room = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else { return };
        let (stream, socket) = take(&listener).await;
        let preparing = preparing.clone();
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_WAIT, preparing.prepare(stream, socket)).await {
                Ok(Ok(ready)) => {
                    let _ = preparing.ready.send(ready).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a connection failed before its first call"),
                Err(_) => tracing::debug!("a connection took too long before its first call"),
            }
            drop(permit);
        });
    }
}

impl Preparing {
    async fn prepare(&self, mut stream: TcpStream, socket: SocketAddr) -> io::Result<(Stream, Peer)> {
        let mut client = socket;
        if let Some(proxies) = &self.proxies {
            // From anybody else the head would be the client's own word.
            if !is_in(socket.ip(), proxies) {
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it is none of http.trusted_proxies"));
            }
            client = read_proxy_head(&mut stream).await?.unwrap_or(socket);
        }
        let stream = match &self.tls {
            Some(tls) => Stream::Tls(Box::new(tls.acceptor().accept(stream).await?)),
            None => Stream::Plain(stream),
        };
        Ok((stream, Peer { socket, client, is_relayed: false }))
    }
}

pub(super) async fn take(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, socket)) => {
                // Frames are small and wanted at once.
                let _ = stream.set_nodelay(true);
                return (stream, socket);
            }
            Err(error) if is_of_client(&error) => {}
            Err(error) => {
                tracing::warn!(%error, "no connection can be taken");
                tokio::time::sleep(ERROR_WAIT).await;
            }
        }
    }
}

fn is_of_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Door {
    /// The next connection.
    pub async fn accept(&mut self) -> (Stream, Peer) {
        match &mut self.0 {
            Way::Plain(listener) => {
                let (stream, socket) = take(listener).await;
                (Stream::Plain(stream), Peer { socket, client: socket, is_relayed: false })
            }
            Way::Prepared { ready, .. } => match ready.recv().await {
                Some(ready) => ready,
                // The task that takes them ends with this door only.
                None => std::future::pending().await,
            },
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Way::Prepared { taking, .. } = &self.0 {
            taking.abort();
        }
    }
}

/// A connection's bytes.
pub enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! of_either {
    ($stream:expr, $call:ident $(, $argument:expr)*) => {
        match $stream.get_mut() {
            Self::Plain(stream) => Pin::new(stream).$call($($argument),*),
            Self::Tls(stream) => Pin::new(stream).$call($($argument),*),
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        of_either!(self, poll_read, context, into)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        of_either!(self, poll_write, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[std::io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        of_either!(self, poll_write_vectored, context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        of_either!(self, poll_shutdown, context)
    }
}
