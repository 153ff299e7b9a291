//! Serves the connections that come through the door, over HTTP/1.1 and HTTP/2. What happens to every call is here, in its order:
//! who asks, may a page of that origin ask, the router, the shape of a refusal. Which calls there are is the router's; when to
//! stop, and what then becomes of sessions, is decided in `serve`.

use std::{convert::Infallible, pin::pin, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Method, Request, Version, header},
    response::{IntoResponse, Response},
};
use hyper::{
    body::Incoming,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio_util::task::TaskTracker;

use crate::session::outbox::Outbox;

use super::{
    super::{
        Edge,
        addresses::Peer,
        door::{Door, Stream},
        origins,
        relay::http::{Kept, relay},
        takeover::{self, Endless, Lender},
    },
    is_v1, problem, router,
};

/// Serves until the stop has begun and no call is under way.
pub async fn serve(mut door: Door, edge: Edge) -> std::io::Result<()> {
    let server = Server::new(edge);
    let connections = TaskTracker::new();
    loop {
        let (stream, peer) = tokio::select! {
            taken = door.accept() => taken,
            () = server.0.edge.shutdown.begun() => break,
        };
        let server = server.clone();
        connections.spawn(async move { server.serve(stream, peer).await });
    }
    drop(door);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// Answers the calls of connections, whichever door they came through.
#[derive(Clone)]
pub struct Server(Calls);

impl Server {
    pub fn new(edge: Edge) -> Self {
        Self(Calls { router: TowerToHyperService::new(router(edge.clone())), edge })
    }

    /// Serves one connection to its end, or until the stop has begun and none of its calls is under way.
    pub async fn serve(&self, stream: Stream, peer: Peer) {
        serve_connection(&self.0, stream, peer).await;
    }
}

async fn serve_connection(calls: &Calls, stream: Stream, peer: Peer) {
    let shutdown = calls.edge.shutdown.clone();
    let (lent, lender) = takeover::lend(stream);
    let kept: Option<Arc<Kept>> = calls.edge.host.shards.is_fleet().then(Arc::default);
    let answer = service_fn(|request| {
        let (calls, lender, kept) = (calls.clone(), lender.clone(), kept.clone());
        async move { Ok::<_, Infallible>(calls.answer(request, peer, lender, kept).await) }
    });
    let mut builder = Builder::new(TokioExecutor::new());
    // WebSockets over HTTP/2 begin with CONNECT (RFC 8441).
    builder.http2().enable_connect_protocol();
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(lent), answer));
    let served = tokio::select! {
        served = connection.as_mut() => served,
        () = shutdown.begun() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = served {
        tracing::trace!(error, "a connection failed");
    }
}

#[derive(Clone)]
struct Calls {
    edge: Edge,
    router: TowerToHyperService<Router>,
}

impl Calls {
    async fn answer(self, request: Request<Incoming>, told: Peer, lender: Lender, kept: Option<Arc<Kept>>) -> Response {
        let Self { edge, router } = self;
        let mut request = request.map(Body::new);
        let peer = told.resolved(request.headers(), &edge.host.config.http.trusted_proxies);
        request.extensions_mut().insert(ConnectInfo(peer));
        let is_alone = request.version() == Version::HTTP_11 && request.method() == Method::GET;
        let shown_token = request.headers().contains_key(header::AUTHORIZATION);
        let is_call = is_v1(request.uri().path());
        let cors = match is_call.then(|| origins::check(&edge, &request)) {
            Some(Err(answer)) => return *answer,
            Some(Ok(cors)) => cors,
            None => None,
        };
        let relayed = match kept {
            // Boxed: the calls of a server that is alone have no room for this.
            Some(kept) if is_call => Box::pin(relay(&edge, &kept, told, request)).await,
            _ => Ok(request),
        };
        let mut response = match relayed {
            Ok(request) => router.call(request).await.unwrap_or_else(|never| match never {}),
            Err(response) => response,
        };
        if is_call {
            response = problem::every(response).await;
            problem::challenge(&mut response, shown_token);
        }
        if let Some(cors) = cors {
            cors.put(&mut response);
        }
        if is_alone && let Some(Endless(outbox)) = response.extensions_mut().remove() {
            return take_over(&edge, &lender, response, outbox);
        }
        response
    }
}

/// Takes the connection back for an answer without an end, if that can be. The call's own answer then goes nowhere.
fn take_over(edge: &Edge, lender: &Lender, response: Response, outbox: Arc<Outbox>) -> Response {
    let Some(stream) = lender.take_back() else { return response };
    let unix_s = edge.host.clock.unix_ms() / 1_000;
    edge.shutdown.spawn(async move {
        if let Err(error) = takeover::serve(stream, response, &outbox, unix_s).await {
            tracing::debug!(%error, "a stream ended with its client");
        }
    });
    [(header::CONNECTION, "close")].into_response()
}
