//! Takes connections and serves them over HTTP/1.1 and HTTP/2. Which calls there are is the router's; when to stop, and
//! what then becomes of sessions, is decided in `serve`.

use std::net::SocketAddr;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;

use super::{super::Edge, router};

/// Serves until the stop has begun and no call is under way.
pub async fn serve(listener: TcpListener, edge: Edge) -> std::io::Result<()> {
    let shutdown = edge.shutdown.clone();
    let app = router(edge).into_make_service_with_connect_info::<SocketAddr>();
    let listener = listener.tap_io(|stream| {
        // Frames are small and wanted at once.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, app).with_graceful_shutdown(async move { shutdown.begun().await }).await
}
