//! Says back what it hears over WebSocket, bounded as `/v1/ws` is: what the Autobahn testsuite judges (`scripts/interop/autobahn.sh`).
//! Only this test program has the route. Prints where it listens; ends when its standard input does.

use axum::{
    Router,
    extract::{WebSocketUpgrade, ws::Message},
    response::Response,
    routing::get,
};
use tidings_server::edge::websocket::bounded;
use tokio::{io::AsyncReadExt, net::TcpListener};

/// The default of `limits.frame_bytes`.
const FRAME_BYTES: usize = 64 * 1024;

async fn echo(upgrade: WebSocketUpgrade) -> Response {
    bounded(upgrade, FRAME_BYTES).on_upgrade(async |mut socket| {
        // Pings and closes are answered by the layer under this one.
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Text(_) | Message::Binary(_)) && socket.send(message).await.is_err() {
                return;
            }
        }
    })
}

#[tokio::main]
#[allow(clippy::print_stdout, reason = "it tells the script where it listens")]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let starter_is_gone = async {
        let _ = tokio::io::stdin().read_to_end(&mut Vec::new()).await;
    };
    tokio::select! {
        served = axum::serve(listener, Router::new().route("/", get(echo))) => served,
        () = starter_is_gone => Ok(()),
    }
}
