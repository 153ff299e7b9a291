//! Serves the connections that come through the door, over HTTP/1.1 and HTTP/2. Which calls there are is the router's; when to
//! stop, and what then becomes of sessions, is decided in `serve`.

use super::{
    super::{Edge, addresses::Peer, door::Door},
    router,
};

/// Serves until the stop has begun and no call is under way.
pub async fn serve(door: Door, edge: Edge) -> std::io::Result<()> {
    let shutdown = edge.shutdown.clone();
    let app = router(edge).into_make_service_with_connect_info::<Peer>();
    axum::serve(door, app).with_graceful_shutdown(async move { shutdown.begun().await }).await
}
